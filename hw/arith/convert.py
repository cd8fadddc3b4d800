"""Rounding from one float format to another."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.formats import BFLOAT16, FLOAT32, FloatFormat

__all__ = ["Convert"]


class Convert(wiring.Component):
    """The number of ``target`` nearest to one of ``source``, ties to even.

    Subnormal numbers count as zero of their sign. The value is rounded with unbounded exponent;
    then beyond the largest number of ``target`` it becomes infinity, below the smallest normal
    number zero, of its sign. Every NaN becomes the one NaN. A ``finite`` target has no infinity:
    NaN stands in. A wider target takes every value as it is.

    Parameters
    ----------
    source, target : :class:`FloatFormat`
        ``source`` has infinity, that is, it is not ``finite``.

    Members
    -------
    i : ``In(source.layout)``
    o : ``Out(target.layout)``

    Timing
    ------
    Latency: 2 cycles. Throughput: 1 word per cycle. No reset.
    """

    latency = 2

    def __init__(self, source: FloatFormat = FLOAT32, target: FloatFormat = BFLOAT16):
        if source.finite:
            raise ValueError(f"source must have an infinity, not be {source.name!r}")
        self.source = source
        self.target = target
        super().__init__({"i": In(source.layout), "o": Out(target.layout)})

    def elaborate(self, platform):
        m = Module()
        source, target, i = self.source, self.target, self.i

        # Stage 1: round. A carry out of the fraction moves on into the exponent.
        below = source.fraction - target.fraction
        if below > 0:
            kept, half = i.fraction[below:], i.fraction[below - 1]
            up = half & (kept[0] | i.fraction[:below - 1].any())
        else:
            kept, up = i.fraction << -below, Const(0)
        s1_packed   = Signal(target.fraction + source.exponent + 1, reset_less=True)
        s1_sign     = Signal(reset_less=True)
        s1_zero     = Signal(reset_less=True)
        s1_infinity = Signal(reset_less=True)
        s1_nan      = Signal(reset_less=True)
        m.d.sync += [
            s1_packed.eq(Cat(kept[:target.fraction], i.exponent) + up),
            s1_sign.eq(i.sign),
            s1_zero.eq(i.exponent == 0),
            s1_infinity.eq(i.exponent.all()),
            s1_nan.eq(i.exponent.all() & i.fraction.any()),
        ]

        # Stage 2: move to the other bias; pack.
        fraction = s1_packed[:target.fraction]
        exponent = s1_packed[target.fraction:] + (target.bias - source.bias)
        beyond = exponent > target.max_exponent + target.bias
        if target.finite:  # the pattern after the largest number is NaN
            beyond |= (exponent == target.max_exponent + target.bias) & fraction.all()
        o = Signal(target.layout, reset_less=True)
        m.d.comb += self.o.eq(o)
        m.d.sync += [o.sign.eq(s1_sign), o.exponent.eq(exponent), o.fraction.eq(fraction)]
        with m.If(s1_nan):
            m.d.sync += o.eq(target.nan)
        with m.Elif(s1_infinity | beyond):
            if target.finite:
                m.d.sync += o.eq(target.nan)
            else:
                m.d.sync += [o.exponent.eq(~0), o.fraction.eq(0)]
        with m.Elif(s1_zero | (exponent < 1)):
            m.d.sync += [o.exponent.eq(0), o.fraction.eq(0)]
        return m
