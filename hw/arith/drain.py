"""The end of exact sums: carries resolved, rounded once, packed."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.exact import ExactSum
from hw.formats import FLOAT32, FloatFormat

__all__ = ["Drain", "Normal", "Normalise", "Round"]


def _check(layout: ExactSum, result: FloatFormat):
    if result.finite or result.exponent != layout.operand.exponent:
        raise ValueError(f"result must have infinities and {layout.operand.exponent} exponent "
                         f"bits, not be {result.name!r}")


class Normal(data.StructLayout):
    """An exact sum of ``result``'s exponent, cut to ``result``'s fraction; ``up``: what was cut off
    rounds it away from zero. ``zero``, ``infinite`` and ``nan`` say what else it is."""

    def __init__(self, result: FloatFormat):
        super().__init__({
            "body":     result.exponent + result.fraction,
            "up":       1,
            "sign":     1,
            "zero":     1,
            "infinite": 1,
            "nan":      1,
        })


class Drain(wiring.Component):
    """Rounds the exact sums of a column of :class:`hw.arith.exact.Accumulate`, one after another.

    The words of a sum come in ascending order, one per cycle. ``value`` is the sum, rounded once to
    nearest even with unbounded exponent; then beyond the largest number of ``result`` it becomes
    infinity, below the smallest normal number zero, both with the sum's sign. An exact zero is +0;
    NaN, and infinities of both signs, give the one NaN.

    The words of several segments of the column may come side by side, each in its own time, as long
    as no two sums end in the same cycle: they share the last stages.

    Parameters
    ----------
    layout : :class:`ExactSum`
    result : :class:`FloatFormat`
        With the exponent of ``layout.operand``, and with infinities.
    segments : :class:`int`

    Members
    -------
    first : ``In(segments)``
        ``chain`` has part 0 and the flags of a sum's word 0. The other words follow without
        a pause; the segment's next sum may begin ``interval`` cycles later, or any time after.
    chain : array of ``In(ExactSum.layout)``
    valid : ``Out(1)``
    value : ``Out(result.layout)``

    Timing
    ------
    Latency: ``latency`` cycles from ``first`` to ``valid``, high for one cycle. Throughput: 1 sum
    in ``interval`` cycles from each segment, 1 per cycle in all. Reset: sums under way are lost.
    """

    def __init__(self, layout: ExactSum = ExactSum(),  # noqa: B008 (a frozen value)
                 result: FloatFormat = FLOAT32, segments: int = 1):
        _check(layout, result)
        self.layout, self.result, self.segments = layout, result, segments
        #: Cycles from one sum of a segment to the next, at least.
        self.interval = max(layout.words, layout.radix)
        self.latency  = self.latency_of(layout)
        super().__init__({
            "first": In(segments),
            "chain": In(layout.layout).array(segments),
            "valid": Out(1),
            "value": Out(result.layout),
        })

    @staticmethod
    def latency_of(layout: ExactSum) -> int:
        return Normalise.latency_of(layout) + 1 + Round.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.round = end = Round(self.result)
        normal, valid = 0, 0
        for n in range(self.segments):
            m.submodules[f"segment_{n}"] = segment = Normalise(self.layout, self.result)
            m.d.comb += [segment.first.eq(self.first[n]), segment.chain.eq(self.chain[n])]
            normal, valid = normal | Value.cast(segment.o), valid | segment.valid
        merged, merged_valid = Signal(Normal(self.result), reset_less=True), Signal()
        m.d.sync += [merged.eq(normal), merged_valid.eq(valid)]
        for _ in range(Round.latency):
            later = Signal(name="valid")
            m.d.sync += later.eq(merged_valid)
            merged_valid = later
        m.d.comb += [end.i.eq(merged), self.value.eq(end.o), self.valid.eq(merged_valid)]
        return m


class Normalise(wiring.Component):
    """One segment's part of a :class:`Drain`: carries resolved, the leading one found.

    ``first`` and ``chain`` as there. ``o`` is 0 in all cycles but that of ``valid``.
    Latency: ``latency_of(layout)`` cycles from ``first`` to ``valid``.
    """

    def __init__(self, layout: ExactSum, result: FloatFormat):
        _check(layout, result)
        self.layout, self.result = layout, result
        super().__init__({
            "first": In(1),
            "chain": In(layout.layout),
            "valid": Out(1),
            "o":     Out(Normal(result)),
        })

    @staticmethod
    def latency_of(layout: ExactSum) -> int:
        return len(layout.parts) + layout.words + layout.radix + 3

    def elaborate(self, platform):
        m = Module()
        layout, result = self.layout, self.result
        radix, words, width = layout.radix, layout.words, layout.width
        index_bits = words.bit_length() - 1

        def delayed(value, cycles, **kwargs):
            for _ in range(cycles):
                register = Signal.like(value, name="delayed", **kwargs)
                m.d.sync += register.eq(value)
                value = register
            return value

        # Stage 0: all parts of a word are here, and which word it is.
        behind    = len(layout.parts) - 1
        s0_word   = Cat(delayed(self.chain.parts[str(n)], behind - n, reset_less=True)
                        for n in range(behind + 1))
        s0_first  = delayed(self.first, behind)
        s0_index  = Signal(index_bits)
        s0_active = s0_first | s0_index.any()
        s0_last   = s0_index.all()
        s1_word   = Signal(signed(width), reset_less=True)
        m.d.sync += s1_word.eq(s0_word)
        with m.If(s0_active):
            m.d.sync += s0_index.eq(s0_index + 1)

        # Stage 2: resolve the carries, from word to word. What is left after the last word is the
        # top of the sum, with its sign.
        s1_last = delayed(s0_last, 1)
        carry   = Signal(signed(width + 1 - radix), reset_less=True)
        top     = Signal.like(carry, reset_less=True)
        total   = Signal(signed(width + 1))
        s2_digit = Signal(radix, reset_less=True)
        m.d.comb += total.eq(s1_word + carry)
        m.d.sync += [s2_digit.eq(total[:radix]), carry.eq(total >> radix)]
        with m.If(s1_last | ~delayed(s0_active, 1)):
            m.d.sync += carry.eq(0)
        with m.If(s1_last):
            m.d.sync += top.eq(total >> radix)

        # Stage 3: find the highest digits. A digit that only repeats the sign bit of the one below
        # says nothing; the last one that says something is the highest, with its sign bit above the
        # leading one. What matters of the digits below the window is whether they are zero.
        # Digit 0 and what would be below the smallest normal number need no window of their own.
        s2_index  = delayed(s0_index, 2, reset_less=True)
        s2_first  = delayed(s0_first, 2)
        s2_active = delayed(s0_active, 2)
        s3_last   = delayed(s0_last, 3)
        kept      = -(-(result.fraction + 2) // radix)  # digits below the highest
        below     = [Signal(radix, name=f"below_{n}", reset_less=True) for n in range(kept)]
        sticky    = Signal(reset_less=True)
        digit     = Signal(radix)
        says_something = Signal()
        m.d.comb += [
            digit.eq(Mux(s3_last, top, s2_digit)),
            says_something.eq((digit ^ below[0][-1].replicate(radix)).any() | (s2_index == 1)),
        ]
        m.d.sync += [
            below[0].eq(s2_digit),
            *(lower.eq(higher) for lower, higher in zip(below[1:], below)),
            sticky.eq(sticky | below[-1].any()),
        ]
        with m.If(s2_first):
            m.d.sync += [*(lower.eq(0) for lower in below[1:]), sticky.eq(0)]
        window_layout = data.StructLayout({
            "bits":   radix - 1 + kept * radix,
            "sticky": 1,
            "index":  index_bits,
        })
        window = Signal(window_layout, reset_less=True)
        s3_index = delayed(s2_index, 1, reset_less=True)
        with m.If(says_something & (s2_active & ~s2_first | s3_last)):
            m.d.sync += [
                window.bits.eq(Cat(*reversed(below), digit[:-1])),
                window.sticky.eq(sticky),
                window.index.eq(s3_index),
            ]

        # Normalise, one bit per cycle, while the next sum's words arrive. A negative sum becomes
        # its one's complement here, which is its magnitude less one in the lowest place of all.
        # The lowest bits of the window stay below the half bit, however far it is shifted.
        sign = top[-1]
        load = delayed(s0_last, 4)
        cut  = len(window.bits) - (radix - 1) - (result.fraction + 2)
        norm_bits = Signal(len(window.bits) - cut, reset_less=True)
        norm_low  = Signal(range(radix), reset_less=True)  # exponent, lower bits
        norm = Signal(data.StructLayout({
            "sticky": 1, "sign": 1, "high": index_bits, "overflow": 1,
            "plus": 1, "minus": 1,
        }), reset_less=True)
        with m.If(load):
            m.d.sync += [
                norm_bits.eq(window.bits[cut:] ^ sign.replicate(len(norm_bits))),
                norm_low.eq(radix - 1),
                norm.sticky.eq(window.sticky | window.bits[:cut].any()),
                norm.high.eq(window.index),
                norm.sign.eq(sign),
                norm.overflow.eq((top[radix - 1:-1] ^ sign.replicate(len(top) - radix)).any()),
            ]
        with m.Elif(~norm_bits[-1]):
            m.d.sync += [norm_bits.eq(Cat(norm.sign, norm_bits)), norm_low.eq(norm_low - 1)]
        # The flags came with word 0, and waited for the others.
        s0_flags = delayed(Cat(self.chain.plus, self.chain.minus), behind, reset_less=True)
        flags = s0_flags
        for name, keep in (("first", s0_first), ("last", s0_last), ("found", s3_last)):
            kept_flags = Signal(2, name=f"flags_{name}", reset_less=True)
            with m.If(keep):
                m.d.sync += kept_flags.eq(flags)
            flags = kept_flags
        with m.If(load):
            m.d.sync += Cat(norm.plus, norm.minus).eq(flags)

        # Round to nearest even. The magnitude of a negative sum is one more than its complement;
        # that one reaches the half bit only if all bits below are ones, which are zeros in the sum.
        r0_fraction = norm_bits[-1 - result.fraction:-1]
        r0_half     = norm_bits[-2 - result.fraction]
        r0_rest     = norm_bits[:-2 - result.fraction]
        r0_below    = (r0_rest ^ norm.sign.replicate(len(r0_rest))).any() | norm.sticky
        r0_odd      = r0_fraction[0]
        r0_infinite = norm.plus | norm.minus
        o = Signal(Normal(result), reset_less=True)
        m.d.comb += [self.o.eq(o), self.valid.eq(delayed(load, radix + 1))]
        m.d.sync += [
            o.body.eq(Cat(r0_fraction, norm_low, norm.high)),
            o.up.eq(Mux(norm.sign, Mux(r0_below, r0_half, r0_half | r0_odd),
                        r0_half & (r0_below | r0_odd))),
            o.infinite.eq(r0_infinite | norm.overflow),
            o.nan.eq(norm.plus & norm.minus),
            o.zero.eq(~norm_bits[-1]),
            o.sign.eq(Mux(r0_infinite, norm.minus, norm.sign)),
        ]
        with m.If(~delayed(load, radix)):
            m.d.sync += o.eq(0)
        return m


class Round(wiring.Component):
    """The last stages of a :class:`Drain`: ``i``, a :class:`Normal`, as a word of ``result``.

    Latency: 2 cycles. Throughput: 1 per cycle. No reset.
    """

    latency = 2

    def __init__(self, result: FloatFormat):
        self.result = result
        super().__init__({"i": In(Normal(result)), "o": Out(result.layout)})

    def elaborate(self, platform):
        m = Module()
        result = self.result
        body = Signal(len(self.i.body) + 1, reset_less=True)
        kind = Signal.like(self.i, reset_less=True)
        m.d.sync += [body.eq(self.i.body + self.i.up), kind.eq(self.i)]

        exponent = body[result.fraction:]
        value = Signal(result.layout, reset_less=True)
        m.d.comb += self.o.eq(value)
        m.d.sync += [
            value.sign.eq(kind.sign & ~kind.nan),
            value.exponent.eq(exponent),
            value.fraction.eq(body),
        ]
        with m.If(kind.nan):
            m.d.sync += [value.exponent.eq(~0), value.fraction.eq(result.nan)]
        with m.Elif(kind.infinite):
            m.d.sync += [value.exponent.eq(~0), value.fraction.eq(0)]
        with m.Elif(kind.zero | ~exponent.any()):
            m.d.sync += [value.exponent.eq(0), value.fraction.eq(0)]
        with m.Elif(exponent[:-1].all() | exponent[-1]):
            m.d.sync += [value.exponent.eq(~0), value.fraction.eq(0)]
        return m
