"""Fused multiply-add, contract ``fma``: ``y = c + a * b``, rounded once."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply, product_flags
from hw.arith.operand import OperandLayout, UnpackOperand
from hw.arith.sum import PackSum, SumLayout, SumReader, UnpackSum
from hw.formats import BFLOAT16, FLOAT32, FloatFormat

__all__ = ["MultiplyAdd", "FusedMultiplyAdd"]


class MultiplyAdd(wiring.Component):
    """``y = c + a * b``, rounded once to nearest even: the core of a cell.

    Subnormal operands count as zero of their sign, so do subnormal addends where they enter
    (:class:`UnpackSum`). The product is exact. The exact sum is rounded with unbounded exponent;
    then beyond the largest number it is infinity, below the smallest normal number zero, with the
    sign of the exact sum. An exact sum of zero is +0, unless both addends are -0.

    Parameters
    ----------
    operand : :class:`FloatFormat`
    sum : :class:`FloatFormat`
        With infinity; its exponent has at least as many bits as the operand's (one more, if the
        operand is ``finite``). Its fraction may be narrower than the product or wider.

    Members
    -------
    a, b : ``In(OperandLayout(operand))``
    c : ``In(SumLayout(sum))``
    y : ``Out(SumLayout(sum))``

    Timing
    ------
    ``y`` appears ``sum_latency`` cycles after ``c`` and ``operand_latency`` cycles after ``a`` and
    ``b``: the product's addend is due two cycles after its factors. Throughput: 1 per cycle.
    No reset: nothing here carries control.
    """

    sum_latency     = 9
    operand_latency = 2 + sum_latency

    def __init__(self, operand: FloatFormat = BFLOAT16, sum: FloatFormat = FLOAT32):
        self.operand = operand
        self.sum     = sum
        _check(operand, sum)
        super().__init__({
            "a": In(OperandLayout(operand)),
            "b": In(OperandLayout(operand)),
            "c": In(SumLayout(sum)),
            "y": Out(SumLayout(sum)),
        })

    def elaborate(self, platform):
        m = Module()
        operand, sum = self.operand, self.sum
        product_width = _product_width(operand)
        after_point   = _after_point(operand, sum)
        bias          = _product_bias(operand, sum)
        reg = _Registers(m)

        # Stages 1 and 2: multiply. The product is p * 2**(1 - product_width), from 1/2 to 2, times
        # 2 to the power of the exponent, which is biased as the sum's.
        a, b = self.a, self.b
        multiply = IntegerMultiply(operand.fraction + 1, operand.fraction + 1)
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(a.significand), multiply.b.eq(b.significand)]
        s2_product = multiply.p
        a_zero, a_infinity, a_nan = product_flags(a, b)
        s1_sign     = reg("s1_sign", a.sign ^ b.sign)
        s1_infinity = reg("s1_infinity", a_infinity)
        s1_nan      = reg("s1_nan", a_nan)
        s1_zero     = reg("s1_zero", a_zero)
        # a + b + 1 in one carry chain.
        s1_exponent = reg("s1_exponent", (a.exponent - ~Cat(b.exponent, 0))[:operand.exponent + 1])
        s2_sign     = reg("s2_sign", s1_sign)
        s2_infinity = reg("s2_infinity", s1_infinity)
        s2_nan      = reg("s2_nan", s1_nan)
        # A zero product is smaller than any other addend.
        s2_exponent = reg("s2_exponent", (s1_exponent + (bias - 1))[:sum.exponent + 1],
                          clear=s1_zero)

        # Stage 3: distance of the exponents. Both addends take the sign of an infinity.
        c = SumReader(self.c)
        shift_bits = (after_point + 1).bit_length()
        s3_distance = Signal(signed(sum.exponent + 2), reset_less=True)
        m.d.sync += s3_distance.eq(self.c.exponent - s2_exponent)
        s3_product  = reg("s3_product", s2_product)
        s3_product_exponent = reg("s3_product_exponent", s2_exponent)
        s3_addend   = reg("s3_addend", self.c.fraction, clear=c.zero)
        s3_addend_exponent = reg("s3_addend_exponent", self.c.exponent)
        s3_addend_zero = reg("s3_addend_zero", c.zero)
        s3_product_sign = reg("s3_product_sign",
                              Mux(c.infinity & ~s2_infinity, self.c.sign, s2_sign))
        s3_addend_sign = reg("s3_addend_sign", Mux(s2_infinity, s2_sign, self.c.sign))
        s3_infinity = reg("s3_infinity", s2_infinity | c.infinity)
        s3_nan      = reg("s3_nan", s2_nan | c.nan
                          | s2_infinity & c.infinity & (s2_sign ^ self.c.sign))

        # Stage 4: the addend with the larger exponent stays, the other will be shifted by
        # the distance. If that is the sum's, which has a negative distance, it is shifted by 1
        # here, and then by the complement of the distance.
        s3_swap = s3_distance[-1] | s3_addend_zero
        s3_addend_above = Cat(s3_addend, ~s3_addend_zero) << (after_point - sum.fraction)
        s3_product_above = s3_product << (after_point + 1 - product_width)
        s3_magnitude = (s3_distance ^ s3_distance[-1].replicate(len(s3_distance)))[:-1]
        s3_shift = Signal(shift_bits)
        m.d.comb += s3_shift.eq(s3_magnitude[:shift_bits]
                                | s3_magnitude[shift_bits:].any().replicate(shift_bits))
        s3_small = Mux(s3_swap, s3_addend_above >> 1, s3_product_above)[:after_point + 1]
        s4_large = reg("s4_large",
                       Mux(s3_swap, s3_product_above, s3_addend_above)[:after_point + 1])
        s4_exponent = reg("s4_exponent",
                          Mux(s3_swap, s3_product_exponent, s3_addend_exponent))
        s4_sign     = reg("s4_sign", Mux(s3_swap, s3_product_sign, s3_addend_sign))
        s4_subtract = reg("s4_subtract", s3_product_sign ^ s3_addend_sign)
        s4_infinity = reg("s4_infinity", s3_infinity)
        s4_nan      = reg("s4_nan", s3_nan)
        half_bits = shift_bits - 1
        aligned, _ = _shift_right(s3_small, Const(0), s3_shift, [half_bits])
        s4_small = reg("s4_small", aligned)
        # Whether ones are lost is asked of four bits at a time here, of all in the next stage.
        lost = s3_small[:1 << half_bits]
        s4_lost  = reg("s4_lost", Cat(lost[n:n + 4].any() for n in range(0, len(lost), 4)),
                       clear=~s3_shift[half_bits]).any()
        s4_shift = reg("s4_shift", s3_shift[:half_bits])

        # Stages 5 and 6: align.
        middle = half_bits // 2
        aligned, lost = _shift_right(s4_small, s4_lost, s4_shift, range(middle, half_bits))
        s5_small = reg("s5_small", aligned)
        s5_lost  = reg("s5_lost", lost)
        s5_shift = reg("s5_shift", s4_shift[:middle])
        s5_large, s5_exponent, s5_sign, s5_subtract, s5_infinity, s5_nan = reg.delay(
            "s5", s4_large, s4_exponent, s4_sign, s4_subtract, s4_infinity, s4_nan)
        aligned, lost = _shift_right(s5_small, s5_lost, s5_shift, range(middle))
        s6_small = reg("s6_small", aligned ^ s5_subtract.replicate(len(aligned)))
        s6_lost  = reg("s6_lost", lost)
        s6_carry = reg("s6_carry", s5_subtract & ~lost)
        s6_large, s6_exponent, s6_sign, s6_subtract, s6_infinity, s6_nan = reg.delay(
            "s6", s5_large, s5_exponent, s5_sign, s5_subtract, s5_infinity, s5_nan)

        # Stage 7: add or subtract; one bit before the point, one for overflow, one for the sign.
        width = after_point + 2
        s7_sum = Signal(width + 2, reset_less=True)  # the carry in adds a bit below
        m.d.sync += s7_sum.eq(Cat(1, s6_large, C(0, 2))
                              + Cat(s6_carry, s6_small, s6_subtract.replicate(2)))
        s7_lost, s7_exponent, s7_sign, s7_subtract, s7_infinity, s7_nan = reg.delay(
            "s7", s6_lost, s6_exponent, s6_sign, s6_subtract, s6_infinity, s6_nan)

        # Stages 8 to 10: shift the leading one to the top, by powers of two. A negative sum is
        # exact, and its complement is too small by one unit: as if ones followed without end.
        s7_negative = s7_sum[-1]
        levels = (width - 1).bit_length()
        value = s7_sum[1:-1] ^ s7_negative.replicate(width)
        value, found = _normalise(value, s7_negative, [levels - 1])
        s8_value    = reg("s8_value", value)
        s8_zeros    = reg("s8_zeros", Cat(found))
        s8_negative = reg("s8_negative", s7_negative)
        s8_lost, s8_exponent, s8_sign, s8_subtract, s8_infinity, s8_nan = reg.delay(
            "s8", s7_lost, s7_exponent, s7_sign, s7_subtract, s7_infinity, s7_nan)
        middle = (levels - 1) // 2
        value, found = _normalise(s8_value, s8_negative, range(middle, levels - 1))
        s9_value    = reg("s9_value", value)
        s9_zeros    = reg("s9_zeros", Cat(found, s8_zeros))
        s9_lost, s9_exponent, s9_sign, s9_subtract, s9_infinity, s9_nan, s9_negative = reg.delay(
            "s9", s8_lost, s8_exponent, s8_sign, s8_subtract, s8_infinity, s8_nan, s8_negative)
        value, found = _normalise(s9_value, s9_negative, range(middle))
        zeros = Cat(found, s9_zeros)
        below = width - 1 - sum.fraction
        half, rest = value[below - 1], value[:below - 1]
        nonzero = value[-1]
        s10_fraction = reg("s10_fraction", value[below:-1])
        s10_half     = reg("s10_half", half)
        s10_rest     = reg("s10_rest", rest.any() | s9_lost)
        s10_up = s10_half & (s10_fraction[0] | s10_rest)
        if product_width > sum.fraction + 2:
            # A negative sum may end anywhere; it is a unit more than what stands here, so the tie
            # has ones below the half, and all above are rounded up. Where the product is narrower,
            # ones fill the half and the rest, and the rule for other sums does the same.
            s10_below_tie = reg("s10_below_tie", s9_negative & rest.all())
            s10_negative  = reg("s10_negative", s9_negative)
            s10_up = Mux(s10_negative, s10_half | s10_fraction[0] & s10_below_tie, s10_up)
        s10_change   = reg("s10_change", _one_minus(zeros, sum.exponent + 2))
        s10_exponent = reg("s10_exponent", s9_exponent)
        s10_sign     = reg("s10_sign", (s9_sign ^ s9_negative) & (nonzero | ~s9_subtract))
        # NUMBER, ZERO, INFINITY or NAN, bit by bit.
        s10_kind     = reg("s10_kind", Cat(s9_nan | ~nonzero & ~s9_infinity, s9_nan | s9_infinity))

        # Stage 11: round. A carry out of the fraction moves on into the exponent, to which the
        # same addition brings what normalisation has changed.
        s11_packed = Signal(sum.fraction + sum.exponent + 2, reset_less=True)
        m.d.sync += s11_packed.eq(Cat(s10_fraction, s10_exponent)
                                  + Cat(s10_up, C(0, sum.fraction - 1), s10_change))
        s11_sign, s11_kind = reg.delay("s11", s10_sign, s10_kind)
        m.d.comb += [
            self.y.fraction.eq(s11_packed[:sum.fraction]),
            self.y.exponent.eq(s11_packed[sum.fraction:].as_signed()),
            self.y.sign.eq(s11_sign),
            self.y.kind.eq(s11_kind),
        ]
        return m


def _product_width(operand):
    """Bits of the product of two significands."""
    return 2 * (operand.fraction + 1)


def _product_bias(operand, sum):
    """What brings the sum of two operands' exponents to the scale of :class:`SumLayout`."""
    return (1 << sum.exponent) - (1 << operand.exponent) + 1


def _after_point(operand, sum):
    """Bits of the aligned addends after the point.

    Where the distance of the exponents is at most 1 (2, if the product is the larger), any number
    of leading bits can cancel, and no bit may be lost. Beyond that at most two cancel, and one bit
    after the last of the result decides, together with whether anything was lost.
    """
    return max(sum.fraction + 3, _product_width(operand))


def _check(operand, sum):
    """Refuse a sum without infinity, or one whose layout does not hold each exponent there is."""
    SumLayout(sum)
    lowest  = 2 + _product_bias(operand, sum) - _after_point(operand, sum)
    highest = 2 * (operand.max_exponent + operand.bias) + _product_bias(operand, sum) + 2
    limits  = range(-2 << sum.exponent, 2 << sum.exponent)
    if sum.exponent < operand.exponent or lowest not in limits or highest not in limits:
        raise ValueError(f"sum must have more than {sum.exponent} bits of exponent "
                         f"for products of {operand.name!r}")


class _Registers:
    """Pipeline registers of a module, by name, without reset."""

    def __init__(self, m):
        self._m = m

    def __call__(self, name, value, *, clear=None):
        """Register of ``value``; of 0 while ``clear``, which costs no gates in front of it."""
        value = Value.cast(value)
        register = Signal(value.shape(), name=name, reset_less=True)
        self._m.d.sync += register.eq(value)
        if clear is not None:
            with self._m.If(clear):
                self._m.d.sync += register.eq(0)
        return register

    def delay(self, stage, *registers):
        """Registers of ``registers`` in the next ``stage``: ``s5_sign`` follows ``s4_sign``."""
        return [self(f"{stage}_{r.name.partition('_')[2]}", r) for r in registers]


def _shift_right(value, lost, amount, levels):
    """``value`` shifted by bits ``levels`` of ``amount``, and whether ones were lost, or are."""
    for level in reversed(levels):
        distance, enable = 1 << level, amount[level]
        lost  = lost | enable & value[:distance].any()
        value = Mux(enable, value[distance:], value)
    return value, lost


def _normalise(value, fill, levels):
    """Shift left by the powers of two ``levels``, largest first, while a shift loses only zeros.

    ``fill`` enters from the right. Returns the value and, from the smallest level up, what shifted.
    """
    start, offsets, found = value, [0], []
    for level in reversed(levels):
        distance = 1 << level
        # Look at every place where the shifts before can find their leading bits, while they shift.
        empty = [~start[:len(start) - offset][-distance:].any() for offset in offsets]
        for shifted in reversed(found):
            empty = [Mux(shifted, then, other) for other, then in zip(empty[::2], empty[1::2])]
        found += empty
        value = Mux(empty[0], Cat(fill.replicate(distance), value[:-distance]), value)
        offsets = [offset + extra for offset in offsets for extra in (0, distance)]
    return value, found[::-1]


def _one_minus(bits, width):
    """``1 - bits`` in ``width`` bits, as gates: fewer than a carry chain takes for a few bits."""
    result, carry = [~bits[0]], Const(1)
    for bit in bits[1:]:
        result.append(~bit ^ carry)
        carry = carry & ~bit
    return Cat(result, (~carry).replicate(width - len(bits)))


class FusedMultiplyAdd(wiring.Component):
    """``y = c + a * b`` on IEEE words, contract as :class:`MultiplyAdd`; every NaN is the one NaN.

    Parameters
    ----------
    operand, sum : :class:`FloatFormat`
        As for :class:`MultiplyAdd`.

    Members
    -------
    a, b : ``In(operand.layout)``
    c : ``In(sum.layout)``
    y : ``Out(sum.layout)``

    Timing
    ------
    Latency: ``latency`` cycles, from all three operands. Throughput: 1 per cycle. No reset.
    """

    latency = MultiplyAdd.operand_latency + PackSum.latency

    def __init__(self, operand: FloatFormat = BFLOAT16, sum: FloatFormat = FLOAT32):
        self.operand = operand
        self.sum     = sum
        _check(operand, sum)
        super().__init__({
            "a": In(operand.layout),
            "b": In(operand.layout),
            "c": In(sum.layout),
            "y": Out(sum.layout),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = MultiplyAdd(self.operand, self.sum)
        m.submodules.unpack_a = unpack_a = UnpackOperand(self.operand)
        m.submodules.unpack_b = unpack_b = UnpackOperand(self.operand)
        m.submodules.unpack_c = unpack_c = UnpackSum(self.sum)
        m.submodules.pack = pack = PackSum(self.sum)
        c = self.c
        for _ in range(core.operand_latency - core.sum_latency):
            later = Signal(self.sum.layout, reset_less=True)
            m.d.sync += later.eq(c)
            c = later
        m.d.comb += [
            unpack_a.i.eq(self.a), core.a.eq(unpack_a.o),
            unpack_b.i.eq(self.b), core.b.eq(unpack_b.o),
            unpack_c.i.eq(c),      core.c.eq(unpack_c.o),
            pack.i.eq(core.y),     self.y.eq(pack.o),
        ]
        return m
