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
    def parts(self) -> tuple[int, int]:
        """Bits of the lower and of the upper part of a word; see :class:`Accumulate`."""
        lower = -(-self.width // 8) * 4
        return lower, self.width - lower

    @property
    def layout(self) -> data.StructLayout:
        """A word on its way out, with what is true of the sum as a whole."""
        return data.StructLayout({
            "lower":  self.parts[0],
            "upper":  self.parts[1],
            "nan":    1,
            "plus":   1,  # a product was +infinity
            "minus":  1,
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

    Words are never cleared: they count on modulo ``2**width`` from sum to sum, and are read out by
    a drain that knows their previous values. Only the flags begin anew.

    Parameters
    ----------
    layout : :class:`ExactSum`

    Members
    -------
    a, w : ``In(ExactOperandLayout(operand))``
    product : ``In(1)``
        Add ``a * w``. If low, significands and specials are ignored.
    drain : ``In(1)``
        Not together with ``product``. Hand out word ``n``, which ``a.place`` and ``w.place`` select
        as the product of :meth:`drain_places` would; the words come in ascending order, and the
        flags, which are right with word 0, are cleared.
    chain_i, chain_o : ``ExactSum.layout``
        Words from the cell below, or own ones, to the cell above. ``upper`` belongs to the ``lower``
        of one cycle before.

    Timing
    ------
    A word handed out holds all products of earlier beats and none of later ones.
    Latency: ``latency`` cycles from the operands of a drain to ``chain_o.lower`` and the flags; 1
    cycle from ``chain_i`` to ``chain_o``. Throughput: 1 beat per cycle, of any kind.
    Reset: clears the flags, but not the words, and beats under way may still be added.
    """

    def __init__(self, layout: ExactSum = ExactSum()):  # noqa: B008 (a frozen value)
        self.layout = layout
        #: Stages that shift the significands.
        self.shifts = layout.radix.bit_length() - 2
        self.latency = 1 + self.shifts + IntegerMultiply.latency + 1
        operand = ExactOperandLayout(layout.operand)
        super().__init__({
            "a":       In(operand),
            "w":       In(operand),
            "product": In(1),
            "drain":   In(1),
            "chain_i": In(layout.layout),
            "chain_o": Out(layout.layout),
        })

    def elaborate(self, platform):
        m = Module()
        layout   = self.layout
        radix    = layout.radix
        exponent = layout.operand.exponent
        fine     = radix.bit_length() - 1
        shifted  = 1 + self.shifts                      # stage of the shifted significands
        added    = shifted + IntegerMultiply.latency    # stage of the product

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

        # The product, in place.
        multiply = IntegerMultiply(a.shape(), w.shape())
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(a), multiply.b.eq(w)]
        term = Signal(signed(layout.term))
        m.d.comb += term.eq(multiply.p)
        negative = term[-1]

        word    = until(added, 2, "word", s1_word)
        lowest  = until(added, 3, "lowest", s2_lowest)
        highest = until(added, 3, "highest", s2_highest)
        beyond  = until(added, 3, "beyond", s2_beyond)
        nan     = until(added, 2, "nan", s1_nan)
        sign    = until(added, 2, "sign", s1_sign)
        drain   = until(added, 1, "drain", self.drain)

        # Add it to the lower part of the word, and one stage later, with the carry, to the upper
        # part: half the carry chain, and still one product per cycle. A zero changes nothing, so
        # only the products at the ends of the range need the write to be held back.
        tiny = lowest & ~(term[radix] ^ negative)
        huge = highest & (term[2 * radix - 2] ^ negative)
        write = Signal()
        m.d.comb += write.eq(~tiny & ~huge)
        lower_bits, upper_bits = layout.parts
        m.submodules.lower = lower = Memory(shape=lower_bits, depth=layout.words, init=[])
        m.submodules.upper = upper = Memory(shape=upper_bits, depth=layout.words, init=[])
        lower_read, lower_write = lower.read_port(domain="comb"), lower.write_port()
        upper_read, upper_write = upper.read_port(domain="comb"), upper.write_port()

        lower_sum = Signal(lower_bits + 1)
        m.d.comb += [
            lower_sum.eq(lower_read.data + term[:lower_bits].as_unsigned()),
            lower_read.addr.eq(word),
            lower_write.addr.eq(word),
            lower_write.data.eq(lower_sum),
            lower_write.en.eq(write),
        ]
        stage = added + 1
        upper_word  = at(stage, "word", word)
        upper_drain = at(stage, "drain", drain)
        upper_term  = at(stage, "term", (term >> lower_bits)[:max(1, layout.term - lower_bits)]
                         .as_signed())
        carry       = at(stage, "carry", lower_sum[-1])
        upper_sum   = Signal(1 + upper_bits)
        m.d.comb += [
            upper_sum.eq(Cat(1, upper_read.data).as_signed() + Cat(carry, upper_term).as_signed()),
            upper_read.addr.eq(upper_word),
            upper_write.addr.eq(upper_word),
            upper_write.data.eq(upper_sum[1:]),
            upper_write.en.eq(at(stage, "write", write)),
        ]

        # Flags of the sum.
        flags = {name: Signal(name=name) for name in ("nan", "plus", "minus")}
        infinite = beyond | huge
        m.d.sync += [
            flags["nan"].eq(flags["nan"] | nan),
            flags["plus"].eq(flags["plus"] | infinite & ~sign),
            flags["minus"].eq(flags["minus"] | infinite & sign),
        ]
        with m.If(drain):
            m.d.sync += [flag.eq(0) for flag in flags.values()]

        # A stage of the column's way out.
        out = Signal(layout.layout, reset_less=True)
        m.d.comb += self.chain_o.eq(out)
        m.d.sync += [
            out.lower.eq(Mux(drain, lower_read.data, self.chain_i.lower)),
            out.upper.eq(Mux(upper_drain, upper_read.data, self.chain_i.upper)),
        ]
        m.d.sync += [out[name].eq(Mux(drain, flag, self.chain_i[name]))
                     for name, flag in flags.items()]
        return m
