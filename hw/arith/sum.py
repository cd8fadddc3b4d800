"""Running sums as the adder likes them: fields apart, overflow and underflow left to the reader.

A column of cells hands a sum from one to the next. Packing it into an IEEE word in one cell and
taking it apart in the following one would cost gates and a pipeline stage in each.
"""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.formats import FloatFormat

__all__ = ["SumKind", "SumLayout", "SumReader", "UnpackSum", "PackSum"]


class SumKind(enum.Enum, shape=2):
    """What the other fields of a sum mean."""

    NUMBER   = 0  #: what the exponent says, which may be too large or too small for the format
    ZERO     = 1
    INFINITY = 2
    NAN      = 3


class SumLayout(data.StructLayout):
    """A rounded sum of ``fmt``, with an exponent wide enough for whatever rounding left.

    A ``NUMBER`` is ``1.fraction * 2**(exponent - 2 * bias)``: biased once more than the field in a
    word. If that is beyond the largest number of ``fmt``, the sum is infinity, and below the
    smallest normal number it is zero, of its sign; :class:`SumReader` tells. With other kinds
    fraction and exponent mean nothing; of a NaN the sign means nothing either.

    float32 takes 36 bits, a word of block RAM.
    """

    def __init__(self, fmt: FloatFormat):
        if fmt.finite:
            raise ValueError(f"sum must have an infinity, not be {fmt.name!r}")
        self.fmt = fmt
        super().__init__({
            "fraction": fmt.fraction,
            "exponent": signed(fmt.exponent + 2),
            "sign":     1,
            "kind":     SumKind,
        })


class SumReader:
    """What a sum is, decided by a few gates: ``zero``, ``infinity`` and ``nan`` of a view.

    Written as gates on the exponent's bits, since a comparison would become a carry chain.
    """

    def __init__(self, view):
        # A normal number has an exponent from bias + 1 to bias + 2**e - 2, where bias + 1 is
        # 2**(e - 1): 01000...0 to 10111...01 with a zero as sign, for float32.
        e = view.shape().fmt.exponent
        exponent = view.exponent.as_unsigned()
        negative, top, second, rest = (
            exponent[-1], exponent[e], exponent[e - 1], exponent[1:e - 1])
        small = negative | ~(top | second)
        large = ~negative & top & (second | rest.all())
        number = view.kind == SumKind.NUMBER
        self.zero     = (view.kind == SumKind.ZERO) | number & small
        self.infinity = (view.kind == SumKind.INFINITY) | number & large
        self.nan      = view.kind == SumKind.NAN


class UnpackSum(wiring.Component):
    """Decode one word of ``fmt``; subnormal numbers become zero of their sign.

    Members
    -------
    i : ``In(fmt.layout)``
    o : ``Out(SumLayout(fmt))``

    Timing
    ------
    Latency: 0 cycles, combinational.
    """

    latency = 0

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({"i": In(fmt.layout), "o": Out(SumLayout(fmt))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.sign.eq(self.i.sign),
            self.o.exponent.eq(self.i.exponent + self.fmt.bias),
            self.o.fraction.eq(self.i.fraction),
        ]
        with m.If(self.i.exponent == 0):
            m.d.comb += self.o.kind.eq(SumKind.ZERO)
        with m.Elif(self.i.exponent.all()):
            m.d.comb += self.o.kind.eq(Mux(self.i.fraction.any(), SumKind.NAN, SumKind.INFINITY))
        return m


class PackSum(wiring.Component):
    """Word of ``fmt`` of a sum; NaN becomes the one NaN.

    Members
    -------
    i : ``In(SumLayout(fmt))``
    o : ``Out(fmt.layout)``

    Timing
    ------
    Latency: 1 cycle. Throughput: 1 sum per cycle. No reset.
    """

    latency = 1

    def __init__(self, fmt: FloatFormat):
        self.fmt = fmt
        super().__init__({"i": In(SumLayout(fmt)), "o": Out(fmt.layout)})

    def elaborate(self, platform):
        m = Module()
        reader = SumReader(self.i)
        word = Signal(self.fmt.layout, reset_less=True)
        m.d.comb += self.o.eq(word)
        m.d.sync += [
            word.sign.eq(self.i.sign),
            word.exponent.eq(self.i.exponent - self.fmt.bias),
            word.fraction.eq(self.i.fraction),
        ]
        with m.If(reader.nan):
            m.d.sync += word.eq(self.fmt.nan)
        with m.Elif(reader.infinity):
            m.d.sync += [word.exponent.eq(~0), word.fraction.eq(0)]
        with m.Elif(reader.zero):
            m.d.sync += [word.exponent.eq(0), word.fraction.eq(0)]
        return m
