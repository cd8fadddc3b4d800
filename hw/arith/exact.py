"""Exact sums of products: a cell that adds every product of two floats without rounding any.

The sum is a fixed-point number of hundreds of bits, too wide to add to in one cycle. So it is kept
in redundant form, as words in look-up-table RAM that stand ``radix`` bits apart and overlap: a
product is added to one word alone, and carries stay in the word, which has room for them. They are
resolved when the sum is drained, by :class:`hw.arith.drain.Drain`. There are two banks of words:
one sum is drained while the next one grows.

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
        part = -(-self.width // 8) * 4
        return tuple(min(part, self.width - start) for start in range(0, self.width, part))

    @property
    def layout(self) -> data.StructLayout:
        """A word on its way out, with what is true of the sum as a whole."""
        return data.StructLayout({
            "parts": data.StructLayout({str(n): bits for n, bits in enumerate(self.parts)}),
            "plus":  1,  # a product was +infinity
            "minus": 1,  # or -infinity; a NaN counts as both
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
    """Two exact sums, one that grows by a product per cycle and one on its way out; ``exact``.

    A product of magnitude below the smallest normal number of ``operand`` counts as zero. One that
    is infinite, or beyond the largest exponent of ``operand`` (2**128 for bfloat16), raises
    ``plus`` or ``minus``; a NaN operand, or infinity times zero, raises both. All others are added
    exactly, as long as there are at most ``layout.k_max``. Which of them came first makes no
    difference to any word.

    Draining clears: a sum begins at zero in a bank all of whose words have been drained.

    Parameters
    ----------
    layout : :class:`ExactSum`

    Members
    -------
    a, w : ``In(ExactOperandLayout(operand))``
    product : ``In(1)``
        Add ``a * w`` to the sum in ``bank``.
    bank : ``In(1)``
        Where products go in this beat; what is drained comes from the other one. The beat that
        changes it drains nothing.
    drain : ``In(1)``
        Hand out ``word`` of the other bank, and clear it.
    word : ``In(range(words))``
    chain_i, chain_o : ``ExactSum.layout``
        Words from the cell below, or own ones, to the cell above; zeros if neither. Part ``n`` of a
        word is ``n`` cycles behind part 0; the sum's flags come with part 0 of each.

    Timing
    ------
    Latency: ``latency`` cycles from a drain to part 0 at ``chain_o``; 1 cycle from ``chain_i`` to
    ``chain_o``. Throughput: 1 product and 1 drained word per cycle.
    Reset: none, and beats under way when others are reset may still be added. Drain both banks, and
    throw the words away, before the first sum.
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
            "bank":    In(1),
            "drain":   In(1),
            "word":    In(range(layout.words)),
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
        multiplied = shifted + IntegerMultiply.latency  # stage of the product
        added    = multiplied + 1                       # stage of the sum's lowest part

        def at(stage, name, value):
            """A register that holds ``value`` in ``stage``."""
            register = Signal.like(value, name=f"s{stage}_{name}", reset_less=True)
            m.d.sync += register.eq(value)
            return register

        def until(stage, first, name, value):
            """``value``, computed in stage ``first - 1``, as it arrives in ``stage``."""
            for n in range(first, stage + 1):
                value = at(n, name, value)
            return value

        # Stage 1: where the product belongs: its lowest bit's position, biased by half the range.
        a_special, w_special = self.a.special, self.w.special
        undefined = ((a_special == Special.INFINITY) & (w_special == Special.ZERO)
                     | (w_special == Special.INFINITY) & (a_special == Special.ZERO))
        s1_place    = at(1, "place", (self.a.place + self.w.place)[:exponent + 1])
        s1_a        = at(1, "a", self.a.significand)
        s1_w        = at(1, "w", self.w.significand)
        s1_sign     = at(1, "sign", self.a.sign ^ self.w.sign)
        s1_nan      = at(1, "nan", (a_special == Special.NAN) | (w_special == Special.NAN)
                         | undefined)
        s1_infinity = at(1, "infinity", (a_special == Special.INFINITY)
                         | (w_special == Special.INFINITY))

        # Stage 2: the word, and whether the product is within the range of the sum. At both ends
        # of the range its own top bit decides, which is not known before it is multiplied.
        s1_word   = Cat(s1_place[fine:exponent - 1], s1_place[exponent])
        s1_inside = s1_place[exponent] ^ s1_place[exponent - 1]
        s1_above  = s1_place[exponent] & s1_place[exponent - 1]
        s2_lowest  = at(2, "lowest", ~(s1_word.any() | s1_place[1:fine].any()))
        s2_highest = at(2, "highest", s1_word.all() & s1_place[:fine].all())
        s2_beyond  = at(2, "beyond", s1_infinity | s1_above)

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
        # the loop, and is where products out of range are cleared.
        multiply = IntegerMultiply(a.shape(), w.shape())
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(a), multiply.b.eq(w)]
        p        = multiply.p[:layout.term].as_signed()
        negative = p[-1]
        lowest   = until(multiplied, 3, "lowest", s2_lowest)
        highest  = until(multiplied, 3, "highest", s2_highest)
        beyond   = until(multiplied, 3, "beyond", s2_beyond)
        huge     = highest & (p[2 * radix - 2] ^ negative)
        term     = at(added, "term", Mux(lowest & ~(p[radix] ^ negative) | huge, 0, p))
        infinite = at(added, "infinite", beyond | huge)
        nan      = until(added, 2, "nan", s1_nan)
        sign     = until(added, 2, "sign", s1_sign)

        # Which word of each bank is meant: where the product goes in one, what is drained in the
        # other. A bit for each word knows whether it was added to since it was drained: if not, it
        # counts as zero. So does one that the beat before adds to: its new value is not in the
        # memory yet, but in a register, `again`.
        looked = added - 2
        before = until(looked - 1, 2, "word", s1_word), until(looked - 1, 1, "bank", self.bank)
        word, bank = (at(looked, name, value) for name, value in zip(("word", "bank"), before))
        drained = until(looked - 1, 1, "drained", self.word)
        drain   = until(looked, 1, "drain", self.drain)
        product = until(looked, 1, "product", self.product)
        same    = at(looked, "same", product & ~Cat(word ^ before[0], bank ^ before[1]).any())
        addresses = [at(looked, f"address_{n}", Mux(before[1] ^ n, drained, before[0]))
                     for n in (0, 1)]
        adds, blanks = [], []
        for n in (0, 1):
            mine = bank == n
            m.submodules[f"used_{n}"] = memory = Memory(
                shape=1, depth=layout.words, init=[], attrs={"ram_style": "distributed"})
            read_port, write_port = memory.read_port(domain="comb"), memory.write_port()
            m.d.comb += [
                read_port.addr.eq(addresses[n]),
                write_port.addr.eq(addresses[n]),
                write_port.data.eq(mine),
                write_port.en.eq(Mux(mine, product, drain)),
            ]
            blanks.append(at(looked + 1, f"blank_{n}",
                             ~read_port.data | Mux(mine, same, ~drain)))
            adds.append(until(added, looked + 1, f"adds_{n}", mine & product))
            addresses[n] = at(looked + 1, f"address_{n}", addresses[n])
        same = at(looked + 1, "same", same)
        bank, product, drain = (until(added, looked + 1, name, value) for name, value in (
            ("bank", bank), ("product", product), ("drain", drain)))

        # Flags of the sums: of the one that grows, then of the one that goes.
        out = Signal(layout.layout, reset_less=True)
        m.d.comb += self.chain_o.eq(out)
        begins = bank ^ at(added + 1, "bank", bank)
        for name, event in (("plus", nan | infinite & ~sign), ("minus", nan | infinite & sign)):
            grows, goes = (Signal(name=f"{name}_{what}", reset_less=True)
                           for what in ("grows", "goes"))
            m.d.sync += grows.eq(event & product | grows & ~begins)
            with m.If(begins):
                m.d.sync += goes.eq(grows)
            m.d.sync += out[name].eq(self.chain_i[name] | goes & drain)

        # Add it to the word, part by part, each with the carry of the one before, one stage later:
        # a short carry chain, and still one product per cycle. Of the words that were read in the
        # stage before, one grows, and the other one goes out, joined with those from below.
        carry = Const(0, 1)
        for n, bits in enumerate(layout.parts):
            if n:
                rest  = term[min(len(term) - 1, layout.parts[n - 1]):]  # at least the sign
                term  = at(added + n, "term", rest.as_signed())
                carry = at(added + n, "carry", carry)
                same  = at(added + n - 1, "same", same)
                bank  = at(added + n, "bank", bank)
            addend = Signal(bits, name=f"addend_{n}")
            total  = Signal(bits + 2, name=f"total_{n}")
            words  = []
            for b in (0, 1):
                if n:
                    adds[b]   = at(added + n, f"adds_{b}", adds[b])
                    blanks[b] = at(added + n - 1, f"blank_{b}", blanks[b])
                m.submodules[f"part_{n}_{b}"] = memory = Memory(
                    shape=bits, depth=layout.words, init=[])
                read_port, write_port = memory.read_port(domain="comb"), memory.write_port()
                m.d.comb += read_port.addr.eq(addresses[b])
                addresses[b] = at(added + n, f"address_{b}", addresses[b])
                m.d.comb += [
                    write_port.addr.eq(addresses[b]),
                    write_port.data.eq(total[1:]),
                    write_port.en.eq(adds[b]),
                ]
                words.append(at(added + n, f"word_{n}_{b}", Mux(blanks[b], 0, read_port.data)))
            again = Signal(bits, name=f"again_{n}", reset_less=True)
            m.d.sync += again.eq(Mux(same, total[1:], 0))
            grows = Mux(bank, words[1], words[0]) | again
            goes  = Mux(bank, words[0], words[1])
            m.d.comb += addend.eq(term)
            if n:  # the carry comes in below the lowest bit
                m.d.comb += total.eq(Cat(1, grows) + Cat(carry, addend))
            else:
                m.d.comb += total[1:].eq(grows + addend)
            carry = total[-1]
            m.d.sync += out.parts[str(n)].eq(self.chain_i.parts[str(n)] | goes)
        return m
