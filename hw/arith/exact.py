"""Exact sums of products: a cell that adds every product of two floats without rounding any.

The sum is a fixed-point number of hundreds of bits, too wide to add to in one cycle. So it is kept
in redundant form, as words in look-up-table RAM that stand ``radix`` bits apart and overlap: a
product is added to one word alone, and carries stay in the word, which has room for them. They are
resolved when the sum is drained, by :class:`hw.arith.drain.Drain`.

After Kulisch's long accumulator (U. Kulisch, "Computer Arithmetic and Validity", 2008).
"""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply
from hw.arith.operand import UnpackOperand
from hw.formats import BFLOAT16, FloatFormat

__all__ = ["ExactSum", "Special", "ExactOperandLayout", "UnpackExact", "Accumulate"]


@dataclass(frozen=True)
class ExactSum:
    """How an exact sum is laid out.

    The sum is ``sum(word[n] * 2**(n * radix)) * 2**scale`` over ``words`` signed words. Bit
    ``radix`` of that integer is worth the smallest normal number of ``operand``.

    Parameters
    ----------
    operand : :class:`FloatFormat`
        Of the factors: with infinities, and with 1, 3 or 7 fraction bits, so that a product of two
        significands has ``radix = 2 * (fraction + 1)`` bits, a power of two.
    width : :class:`int`
        Bits of a word; a multiple of 4 fills ECP5's look-up-table RAM.
    """

    operand: FloatFormat = BFLOAT16
    width: int = 44

    def __post_init__(self):
        if self.operand.finite or self.operand.fraction not in (1, 3, 7):
            raise ValueError("operand must be a format with infinities and 1, 3 or 7 fraction bits,"
                             f" not {self.operand.name!r}")
        if 1 << self.operand.exponent < 2 * self.radix:
            raise ValueError(f"operand must have at least {self.radix.bit_length()} exponent bits, "
                             f"not {self.operand.exponent!r}")
        if self.width <= self.term or self.width > 128:
            raise ValueError(f"width must be {self.term + 1} to 128, not {self.width!r}")

    @property
    def radix(self) -> int:
        """Bits from one word to the next."""
        return 2 * (self.operand.fraction + 1)

    @property
    def words(self) -> int:
        return (1 << self.operand.exponent) // self.radix

    @property
    def term(self) -> int:
        """Bits of a product shifted to its place in a word, with its sign."""
        return 2 * self.radix

    @property
    def k_max(self) -> int:
        """Products that a sum may have: no word can leave its range."""
        largest = ((2 << self.operand.fraction) - 1) ** 2 << (self.radix - 1)
        return ((1 << (self.width - 1)) - 1) // largest

    @property
    def scale(self) -> int:
        return self.operand.min_exponent - self.radix

    @property
    def parts(self) -> tuple[int, ...]:
        """Bits of the parts of a word, from the lowest up; see :class:`Accumulate`."""
        part = -(-self.width // 12) * 4
        return tuple(min(part, self.width - start) for start in range(0, self.width, part))

    def drain_operands(self, word: int) -> tuple[int, int]:
        """Words of ``operand`` for ``a`` and ``w`` of a drain beat that hands out ``word``."""
        if word not in range(self.words):
            raise ValueError(f"word must be 0 to {self.words - 1}, not {word!r}")
        fraction = self.operand.fraction
        return word * self.radix << fraction, self.operand.bias - 1 << fraction

    @property
    def layout(self) -> data.StructLayout:
        """A word on its way out, with what is true of the sum as a whole."""
        return data.StructLayout({
            "parts": data.StructLayout({str(n): bits for n, bits in enumerate(self.parts)}),
            "nan":   1,
            "plus":  1,  # a product was +infinity
            "minus": 1,
        })


class Special(enum.Enum, shape=2):
    """What an operand is, as far as its product's flags go."""

    ZERO = 0
    FINITE = 1
    INFINITY = 2
    NAN = 3


class ExactOperandLayout(data.StructLayout):
    """A number of ``fmt`` as :class:`Accumulate` takes it.

    ``significand`` is signed, and 0 for everything but normal numbers; ``place`` is the exponent
    field plus 1; ``sign`` and ``special`` serve the flags.
    """

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({
            "significand": signed(fmt.fraction + 2),
            "place":       fmt.exponent,
            "sign":        1,
            "special":     Special,
        })


class UnpackExact(wiring.Component):
    """Decode one word of ``fmt`` for :class:`Accumulate`; combinational.

    Subnormals count as zero. Meant for the edge of an array, once per row and column.

    Members
    -------
    i : ``In(fmt.layout)``
    o : ``Out(ExactOperandLayout(fmt))``

    Timing
    ------
    Latency: 0 cycles.
    """

    latency = 0

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({"i": In(fmt.layout), "o": Out(ExactOperandLayout(fmt))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unpack = unpack = UnpackOperand(self.fmt)
        number = unpack.o
        m.d.comb += [
            unpack.i.eq(self.i),
            self.o.significand.eq(Mux(number.sign, -number.significand, number.significand)),
            self.o.place.eq(number.exponent + 1),
            self.o.sign.eq(number.sign),
        ]
        with m.If(number.nan):
            m.d.comb += self.o.special.eq(Special.NAN)
        with m.Elif(number.infinity):
            m.d.comb += self.o.special.eq(Special.INFINITY)
        with m.Elif(number.significand[-1]):
            m.d.comb += self.o.special.eq(Special.FINITE)
        return m


class Accumulate(wiring.Component):
    """One exact sum, one product per cycle; contract ``exact``.

    A product of magnitude below the smallest normal number of ``operand`` counts as zero. One that
    is infinite, or beyond the largest exponent of ``operand`` (2**128 for bfloat16), raises
    ``plus`` or ``minus``; a NaN operand, or infinity times zero, raises ``nan``. All others are
    added exactly, as long as there are at most ``layout.k_max``. Which of them came first makes no
    difference to any word.

    Draining clears: the next sum begins at zero, right behind the last word.

    Parameters
    ----------
    layout : :class:`ExactSum`

    Members
    -------
    a, w : ``In(ExactOperandLayout(operand))``
    product : ``In(1)``
        Add ``a * w``. If low, significands and specials are ignored.
    drain : ``In(1)``
        Not together with ``product``. Hand out the word to which a product of these exponents would
        be added, and clear it and the flags; :meth:`ExactSum.drain_operands` selects it. The words
        are drained in ascending order, so that word 0 brings the flags.
    chain_i, chain_o : ``ExactSum.layout``
        Words from the cell below, or own ones, to the cell above. Part ``n`` of a word is ``n``
        cycles behind part 0; the flags come with part 0.

    Timing
    ------
    A word handed out holds all products of earlier beats and none of later ones.
    Latency: ``latency`` cycles from the operands of a drain to part 0 at ``chain_o``; 1 cycle
    from ``chain_i`` to ``chain_o``. Throughput: 1 beat per cycle, of any kind.
    Reset: clears the flags but not the words, and beats under way may still be added. Drain once,
    and throw the words away, before the first sum after it.
    """

    def __init__(self, layout: ExactSum = ExactSum()):  # noqa: B008 (a frozen value)
        self.layout = layout
        #: Stages that shift the significands.
        self.shifts = layout.radix.bit_length() - 2
        self.latency = self.latency_of(layout)
        operand = ExactOperandLayout(layout.operand)
        super().__init__({
            "a":       In(operand),
            "w":       In(operand),
            "product": In(1),
            "drain":   In(1),
            "chain_i": In(layout.layout),
            "chain_o": Out(layout.layout),
        })

    @staticmethod
    def latency_of(layout: ExactSum) -> int:
        shifts = layout.radix.bit_length() - 2
        return 1 + shifts + IntegerMultiply.latency + 2

    def elaborate(self, platform):
        m = Module()
        layout   = self.layout
        radix    = layout.radix
        exponent = layout.operand.exponent
        fine     = radix.bit_length() - 1
        shifted  = 1 + self.shifts                      # stage of the shifted significands
        added    = shifted + IntegerMultiply.latency + 1    # stage of the product

        def at(stage, name, value, **kwargs):
            """A register that holds ``value`` in ``stage``."""
            register = Signal.like(value, name=f"s{stage}_{name}", reset_less=True, **kwargs)
            m.d.sync += register.eq(value)
            return register

        def until(stage, first, name, value):
            """``value``, computed in stage ``first - 1``, as it arrives in ``stage``."""
            for n in range(first, stage + 1):
                value = at(n, name, value)
            return value

        # Stage 1: where the product belongs: its lowest bit's position, biased by half the range.
        # A beat that adds nothing has a significand of zero and no specials.
        a_special, w_special = self.a.special, self.w.special
        undefined = ((a_special == Special.INFINITY) & (w_special == Special.ZERO)
                     | (w_special == Special.INFINITY) & (a_special == Special.ZERO))
        s1_place    = at(1, "place", (self.a.place + self.w.place)[:exponent + 1])
        s1_a        = at(1, "a", self.a.significand)
        s1_w        = at(1, "w", Mux(self.product, self.w.significand, 0))
        s1_sign     = at(1, "sign", self.a.sign ^ self.w.sign)
        s1_product  = at(1, "product", self.product)
        s1_nan      = at(1, "nan", self.product & (
            (a_special == Special.NAN) | (w_special == Special.NAN) | undefined))
        s1_infinity = at(1, "infinity", self.product & (
            (a_special == Special.INFINITY) | (w_special == Special.INFINITY)))

        # Stage 2: the word, and whether the product is within the range of the sum. At both ends
        # of the range its own top bit decides, which is not known before it is multiplied.
        s1_word   = Cat(s1_place[fine:exponent - 1], s1_place[exponent])
        s1_inside = s1_place[exponent] ^ s1_place[exponent - 1]
        s1_above  = s1_place[exponent] & s1_place[exponent - 1]
        s2_lowest  = at(2, "lowest", ~(s1_word.any() | s1_place[1:fine].any()))
        s2_highest = at(2, "highest", s1_word.all() & s1_place[:fine].all())
        s2_beyond  = at(2, "beyond", s1_infinity | s1_above & s1_product)

        # The shift to the place within the word is divided among the factors, before they are
        # multiplied: `a` takes all bits of the distance but the highest, one bit per stage; in the
        # last of these stages `w` takes the highest, and is cleared if the product is not inside.
        a, w, distance, inside = s1_a, s1_w, s1_place[:fine], s1_inside
        for n in range(self.shifts):
            stage = 2 + n
            step  = 1 << n
            a_shape = signed(len(a) + step)
            a_next = Signal(a_shape, name=f"s{stage}_a", reset_less=True)
            m.d.sync += a_next.eq(Mux(distance[n], a << step, a))
            if stage == shifted:
                w_next = Signal(signed(len(w) + radix // 2), name=f"s{stage}_w", reset_less=True)
                m.d.sync += w_next.eq(Mux(distance[-1], w << radix // 2, w))
                with m.If(~inside):
                    m.d.sync += w_next.eq(0)
            else:
                w_next, distance, inside = (
                    at(stage, "w", w), at(stage, "distance", distance), at(stage, "inside", inside))
            a, w = a_next, w_next

        # The product, in place. The register behind the multiplier takes the way to the adder off
        # the loop, and is where products out of range are told.
        multiply = IntegerMultiply(a.shape(), w.shape())
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(a), multiply.b.eq(w)]
        product  = multiply.p[:layout.term].as_signed()
        negative = product[-1]
        term     = at(added, "term", product)

        word    = until(added, 2, "word", s1_word)
        drain   = until(added - 1, 1, "drain", self.drain)
        lowest  = until(added - 1, 3, "lowest", s2_lowest)
        highest = until(added - 1, 3, "highest", s2_highest)
        beyond  = until(added - 1, 3, "beyond", s2_beyond)
        tiny    = lowest & ~(product[radix] ^ negative)
        huge    = highest & (product[2 * radix - 2] ^ negative)
        write    = at(added, "write", ~tiny & ~huge | drain)
        infinite = at(added, "infinite", beyond | huge)
        drain    = at(added, "drain", drain)
        nan     = until(added, 2, "nan", s1_nan)
        sign    = until(added, 2, "sign", s1_sign)

        # Add it to the word, part by part, each with the carry of the one before, one stage later:
        # a short carry chain, and still one product per cycle. A zero changes nothing, so only
        # the products at the ends of the range need the write to be held back.
        out = Signal(layout.layout, reset_less=True)
        m.d.comb += self.chain_o.eq(out)
        carry, stage_drain = Const(0, 1), drain
        for n, bits in enumerate(layout.parts):
            name = str(n)
            if n:
                stage = added + n
                word  = at(stage, "word", word)
                write = at(stage, "write", write)
                rest  = term[min(len(term) - 1, layout.parts[n - 1]):]  # at least the sign
                term  = at(stage, "term", rest.as_signed())
                carry = at(stage, "carry", carry)
                stage_drain = at(stage, "drain", stage_drain)
            m.submodules[f"part_{n}"] = memory = Memory(shape=bits, depth=layout.words, init=[])
            read_port, write_port = memory.read_port(domain="comb"), memory.write_port()
            addend = Signal(bits, name=f"addend_{n}")
            total  = Signal(bits + 2, name=f"total_{n}")
            m.d.comb += addend.eq(term)
            if n:  # the carry comes in below the lowest bit
                m.d.comb += total.eq(Cat(1, read_port.data) + Cat(carry, addend))
            else:
                m.d.comb += total[1:].eq(read_port.data + addend)
            carry = total[-1]
            m.d.comb += [
                read_port.addr.eq(word),
                write_port.addr.eq(word),
                write_port.data.eq(Mux(stage_drain, 0, total[1:])),
                write_port.en.eq(write),
            ]
            # A stage of the column's way out.
            m.d.sync += out.parts[name].eq(
                Mux(stage_drain, read_port.data, self.chain_i.parts[name]))

        # Flags of the sum.
        for name, event in (("nan", nan), ("plus", infinite & ~sign), ("minus", infinite & sign)):
            flag = Signal(name=name)
            m.d.sync += flag.eq(flag | event)
            with m.If(drain):
                m.d.sync += flag.eq(0)
            m.d.sync += out[name].eq(Mux(drain, flag, self.chain_i[name]))
        return m
