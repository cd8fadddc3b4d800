"""Multiplication: the registered integer multiplier of an FPGA's DSP block, and floats upon it."""

from functools import cache

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.operand import UnpackOperand
from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from hw.verilog import Shared

__all__ = ["IntegerMultiply", "multiplier", "FloatMultiply", "product_flags"]


class IntegerMultiply(wiring.Component):
    """``p = a * b``, exact, with registers before and after the multiplier.

    Yosys infers ECP5's MULT18X18D without the registers it contains, which costs clock rate and
    flip-flops. So the multiplier is a module of its own that a synthesis flow can exchange for the
    primitive: add it under its ``name``, ``m.submodules[multiply.name] = multiply``. Amaranth then
    writes each instance as a module ``<path>.dsp_<a bits>x<b bits>_<u or s>`` (unsigned or signed)
    with the ports ``clk``, ``a``, ``b`` and ``p``; :func:`hw.arith.ecp5.ecp5_multiplier` is the
    replacement. Where nothing is exchanged, the Verilog means the same.

    Parameters
    ----------
    a_shape, b_shape : :class:`Shape`
        Both unsigned or both signed.

    Members
    -------
    a : ``In(a_shape)``
    b : ``In(b_shape)``
    p : ``Out(Shape(a_width + b_width))``
        Of the same signedness.

    Timing
    ------
    Latency: 2 cycles. Throughput: 1 product per cycle. No reset: the first two products after
    power-up are of unknown operands.
    """

    latency = 2

    def __init__(self, a_shape, b_shape):
        self.a_shape = Shape.cast(a_shape)
        self.b_shape = Shape.cast(b_shape)
        if self.a_shape.signed != self.b_shape.signed:
            raise ValueError("a_shape and b_shape must be both signed or both unsigned, "
                             f"not {self.a_shape!r} and {self.b_shape!r}")
        self.signed = self.a_shape.signed
        self.name = (f"dsp_{self.a_shape.width}x{self.b_shape.width}_"
                     f"{'s' if self.signed else 'u'}")
        super().__init__({
            "a": In(self.a_shape),
            "b": In(self.b_shape),
            "p": Out(Shape(self.a_shape.width + self.b_shape.width, self.signed)),
        })

    def elaborate(self, platform):
        m = Module()
        s1_a = Signal(self.a_shape, reset_less=True)
        s1_b = Signal(self.b_shape, reset_less=True)
        # Called as the member, so that the Verilog port is, too.
        s2_p = Signal(self.p.shape(), name="p", reset_less=True)
        m.d.sync += [
            s1_a.eq(self.a),
            s1_b.eq(self.b),
            s2_p.eq(s1_a * s1_b),
        ]
        m.d.comb += self.p.eq(s2_p)
        return m


@cache
def _shared_multiplier(a_shape: Shape, b_shape: Shape) -> IntegerMultiply:
    return IntegerMultiply(a_shape, b_shape)


def multiplier(a_shape, b_shape) -> Shared:
    """One of many places of ``IntegerMultiply(a_shape, b_shape)``, whose Verilog is written once.

    Its module is called ``dsp_<a bits>x<b bits>_<u or s>``; its members are those of the component.
    """
    component = _shared_multiplier(Shape.cast(a_shape), Shape.cast(b_shape))
    return Shared(component.name, component, lambda: IntegerMultiply(a_shape, b_shape))


def product_flags(a, b):
    """``(zero, infinity, nan)`` of the product of two :class:`OperandLayout` views.

    ``zero`` says that the finite part is zero, and also holds for infinity and NaN; ``infinity``
    means nothing beside ``nan``.
    """
    a_normal, b_normal = a.significand[-1], b.significand[-1]
    zero = ~(a_normal & b_normal)
    infinity = a.infinity | b.infinity
    # Infinity times zero; an operand that is neither normal, infinite nor NaN is zero.
    undefined = a.infinity & ~b_normal & ~b.infinity | b.infinity & ~a_normal & ~a.infinity
    return zero, infinity, a.nan | b.nan | undefined


class FloatMultiply(wiring.Component):
    """Product of two floats, rounded once into ``product``.

    Subnormal operands count as zero of their sign. The exact product is rounded to nearest even
    with unbounded exponent; then beyond the largest number it becomes infinity, below the smallest
    normal number zero, both with the product's sign. Every NaN is the one NaN.
    bfloat16 to float32 is exact wherever it neither overflows nor underflows.

    Parameters
    ----------
    operand : :class:`FloatFormat`
    product : :class:`FloatFormat`
        With infinity, that is, not ``finite``.

    Members
    -------
    a, b : ``In(operand.layout)``
    y : ``Out(product.layout)``

    Timing
    ------
    Latency: ``latency`` cycles; 3 where every product fits the fraction, otherwise 4.
    Throughput: 1 product per cycle. No reset.
    """

    def __init__(self, operand: FloatFormat = BFLOAT16, product: FloatFormat = FLOAT32):
        if product.finite:
            raise ValueError(f"product must have an infinity, not be {product.name!r}")
        self.operand = operand
        self.product = product
        self.rounds  = 2 * operand.fraction + 1 > product.fraction
        self.latency = 4 if self.rounds else 3
        super().__init__({
            "a": In(operand.layout),
            "b": In(operand.layout),
            "y": Out(product.layout),
        })

    def elaborate(self, platform):
        m = Module()
        operand, product = self.operand, self.product
        m.submodules.unpack_a = unpack_a = UnpackOperand(operand)
        m.submodules.unpack_b = unpack_b = UnpackOperand(operand)
        m.d.comb += [unpack_a.i.eq(self.a), unpack_b.i.eq(self.b)]
        a, b = unpack_a.o, unpack_b.o

        # Stages 1 and 2: multiply the significands; add the exponents, unbiased for the product.
        # The largest and the smallest exponent, one more for the carry of rounding.
        bias = product.bias - 2 * operand.bias
        s2_exponent_shape = range(min(bias, 0), bias + (2 << operand.exponent) + 2)
        multiply = IntegerMultiply(operand.fraction + 1, operand.fraction + 1)
        m.submodules[multiply.name] = multiply
        s1_sum    = Signal(operand.exponent + 1, reset_less=True)
        s1_flags  = Signal(4, reset_less=True)
        s2_exponent = Signal(s2_exponent_shape, reset_less=True)
        s2_flags  = Signal(4, reset_less=True)
        m.d.comb += [multiply.a.eq(a.significand), multiply.b.eq(b.significand)]
        m.d.sync += [
            s1_sum.eq(a.exponent + b.exponent),
            s1_flags.eq(Cat(a.sign ^ b.sign, *product_flags(a, b))),
            s2_exponent.eq(s1_sum + bias),
            s2_flags.eq(s1_flags),
        ]

        # Stage 3: the leading one is in the top bit or in the one below.
        width = multiply.p.shape().width
        fraction = Signal(width - 1)  # below the leading one
        exponent = Signal(s2_exponent_shape)
        flags    = s2_flags
        m.d.comb += [
            fraction.eq(Mux(multiply.p[-1], multiply.p, multiply.p << 1)),
            exponent.eq(s2_exponent + multiply.p[-1]),
        ]

        # Round the fraction; a carry out of it moves on into the exponent.
        if self.rounds:
            s3_fraction = Signal.like(fraction, reset_less=True)
            s3_exponent = Signal.like(exponent, reset_less=True)
            s3_flags    = Signal.like(flags, reset_less=True)
            m.d.sync += [
                s3_fraction.eq(fraction), s3_exponent.eq(exponent), s3_flags.eq(flags),
            ]
            flags = s3_flags
            below = width - 1 - product.fraction
            kept, half = s3_fraction[below:], s3_fraction[below - 1]
            up = half & (s3_fraction[:below - 1].any() | kept[0])
            packed = Cat(kept, s3_exponent)
            if exponent.shape().signed:
                packed = packed.as_signed()
            rounded = Signal.like(packed)
            m.d.comb += rounded.eq(packed + up)
            y_fraction = rounded[:product.fraction]
            y_exponent = rounded[product.fraction:]
            if exponent.shape().signed:
                y_exponent = y_exponent.as_signed()
        else:
            y_fraction = fraction << (product.fraction - (width - 1))
            y_exponent = exponent

        # Last stage: pack.
        y_sign, y_zero, y_infinity, y_nan = flags
        y = Signal(product.layout, reset_less=True)
        m.d.comb += self.y.eq(y)
        m.d.sync += [
            y.sign.eq(y_sign),
            y.exponent.eq(y_exponent),
            y.fraction.eq(y_fraction),
        ]
        with m.If(y_nan):
            m.d.sync += y.eq(product.nan)
        with m.Elif(y_infinity | ~y_zero & (y_exponent >= (1 << product.exponent) - 1)):
            m.d.sync += [y.exponent.eq(~0), y.fraction.eq(0)]
        with m.Elif(y_zero | (y_exponent < 1)):
            m.d.sync += [y.exponent.eq(0), y.fraction.eq(0)]
        return m
