"""Operands as the arithmetic likes them: fields apart, specials as flags, subnormals already zero.

An array decodes each operand once, at its edge, and every cell it passes is spared the work.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.formats import FloatFormat

__all__ = ["OperandLayout", "UnpackOperand"]


class OperandLayout(data.StructLayout):
    """A number of ``fmt``, decoded.

    ``significand`` carries the hidden bit. It is 0 for zero, for subnormals (which count as zero of
    their sign), for infinity and for NaN. ``exponent`` is the biased field, 0 for zero, infinity
    and NaN, so that ``significand`` and ``exponent`` alone decide the finite part of a product.
    """

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({
            "significand": fmt.fraction + 1,
            "exponent":    fmt.exponent,
            "sign":        1,
            "infinity":    1,
            "nan":         1,
        })


class UnpackOperand(wiring.Component):
    """Decode one word of ``fmt``; combinational.

    Parameters
    ----------
    fmt : :class:`FloatFormat`

    Members
    -------
    i : ``In(fmt.layout)``
    o : ``Out(OperandLayout(fmt))``

    Timing
    ------
    Latency: 0 cycles.
    """

    latency = 0

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({"i": In(fmt.layout), "o": Out(OperandLayout(fmt))})

    def elaborate(self, platform):
        m = Module()
        subnormal = self.i.exponent == 0
        if self.fmt.finite:
            m.d.comb += self.o.nan.eq(Cat(self.i.fraction, self.i.exponent).all())
            special = self.o.nan
        else:
            special = self.i.exponent.all()
            m.d.comb += [
                self.o.nan.eq(special & self.i.fraction.any()),
                self.o.infinity.eq(special & ~self.i.fraction.any()),
            ]
        m.d.comb += self.o.sign.eq(self.i.sign)
        with m.If(~subnormal & ~special):
            m.d.comb += [
                self.o.significand.eq(Cat(self.i.fraction, 1)),
                self.o.exponent.eq(self.i.exponent),
            ]
        return m
