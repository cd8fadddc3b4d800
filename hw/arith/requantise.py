"""Requantise: sums of integer products, back to the narrow integers of the next layer."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply
from hw.formats import INT8, INT32, IntFormat

__all__ = ["Requantise"]

_LIMB = 17  # bits of a factor that a signed 18-bit multiplier takes


class Requantise(wiring.Component):
    """Add a bias, scale by ``multiplier / 2**shift``, round half up, add a zero point, clamp.

    ``y = min(max((((acc + bias) * multiplier + half) >> shift) + zero_point, low), high)``, where
    ``half`` is ``2**(shift - 1)``, or 0 when ``shift`` is 0, and ``>>`` rounds down. No
    intermediate result wraps. Each lane has its own bias, multiplier and shift.

    A real scale below 1 is best written with the top bit of ``multiplier`` set: its relative error
    is then at most ``2**-multiplier_bits``.

    Parameters
    ----------
    lanes : :class:`int`
        Values per beat, at least 1.
    acc : :class:`IntFormat`
        Of sums and biases; signed.
    result : :class:`IntFormat`
        Narrower than ``acc``.
    multiplier_bits : :class:`int`
        Bits of the unsigned multiplier, 1 to 32; up to 17 take two DSP multipliers per lane of
        int32, more take four.
    shift_max : :class:`int`
        Largest shift, 1 to 63.

    Members
    -------
    acc, bias : array of ``In(acc.shape)``
    multiplier : array of ``In(multiplier_bits)``
    shift : array of ``In(range(shift_max + 1))``
        A shift above ``shift_max`` that its bits can hold works as well.
    zero_point, low, high : ``In(result.shape)``
    y : array of ``Out(result.shape)``

    Timing
    ------
    Latency: ``latency`` cycles from all inputs to ``y``. Throughput: 1 beat per cycle. No reset.
    """

    latency = 1 + IntegerMultiply.latency + 6

    def __init__(self, lanes: int = 1, acc: IntFormat = INT32, result: IntFormat = INT8, *,
                 multiplier_bits: int = 16, shift_max: int = 47):
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        if not acc.signed:
            raise ValueError(f"acc must be a signed format, not {acc.name!r}")
        if result.width >= acc.width:
            raise ValueError(f"result must be narrower than {acc.name}, not {result.name!r}")
        if multiplier_bits not in range(1, 33):
            raise ValueError(f"multiplier_bits must be 1 to 32, not {multiplier_bits!r}")
        if shift_max not in range(1, 64):
            raise ValueError(f"shift_max must be 1 to 63, not {shift_max!r}")
        self.lanes, self.acc_format, self.result_format = lanes, acc, result
        self.multiplier_bits, self.shift_max = multiplier_bits, shift_max
        array = lambda shape: data.ArrayLayout(shape, lanes)  # noqa: E731
        super().__init__({
            "acc":        In(array(acc.shape)),
            "bias":       In(array(acc.shape)),
            "multiplier": In(array(multiplier_bits)),
            "shift":      In(array(Shape.cast(range(shift_max + 1)))),
            "zero_point": In(result.shape),
            "low":        In(result.shape),
            "high":       In(result.shape),
            "y":          Out(array(result.shape)),
        })

    def elaborate(self, platform):
        m = Module()

        def delayed(value, cycles):
            for _ in range(cycles):
                register = Signal.like(value, name="delayed", reset_less=True)
                m.d.sync += register.eq(value)
                value = register
            return value

        zero_point = delayed(self.zero_point, self.latency - 2)
        low, high  = delayed(self.low, self.latency - 1), delayed(self.high, self.latency - 1)
        for n in range(self.lanes):
            m.submodules[f"lane_{n}"] = lane = _Lane(self)
            m.d.comb += [
                lane.acc.eq(self.acc[n]),
                lane.bias.eq(self.bias[n]),
                lane.multiplier.eq(self.multiplier[n]),
                lane.shift.eq(self.shift[n]),
                lane.zero_point.eq(zero_point),
                lane.low.eq(low),
                lane.high.eq(high),
                self.y[n].eq(lane.y),
            ]
        return m


class _Lane(wiring.Component):
    """One lane; ``zero_point``, ``low`` and ``high`` come when they are needed."""

    def __init__(self, whole: Requantise):
        self.acc_bits, self.result = whole.acc_format.width, whole.result_format
        self.multiplier_bits = whole.multiplier_bits
        super().__init__({
            "acc":        In(whole.acc_format.shape),
            "bias":       In(whole.acc_format.shape),
            "multiplier": In(whole.multiplier_bits),
            "shift":      In(range(whole.shift_max + 1)),
            "zero_point": In(whole.result_format.shape),
            "low":        In(whole.result_format.shape),
            "high":       In(whole.result_format.shape),
            "y":          Out(whole.result_format.shape),
        })

    def elaborate(self, platform):
        m = Module()

        def at(name, value, shape=None):
            register = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        # Stages 1 to 3: add the bias, and multiply, limb by limb; the top limb of the sum has its
        # sign.
        total = Signal(signed(self.acc_bits + 1))
        m.d.comb += total.eq(self.acc + self.bias)
        partial = []
        for i in range(0, len(total), _LIMB):
            top = i + _LIMB >= len(total)
            limb = total[i:].as_signed() if top else total[i:i + _LIMB]
            for j in range(0, self.multiplier_bits, _LIMB):
                factor = self.multiplier[j:j + _LIMB]
                m.submodules[f"limb_{i}_{j}"] = block = _LimbProduct(
                    signed(len(limb) + (not top)), signed(len(factor) + 1))
                m.d.comb += [block.a.eq(limb), block.b.eq(factor)]
                partial.append(block.p << i + j)
        shift = self.shift
        for stage in (1, 2, 3, 4):
            shift = at(f"s{stage}_shift", shift)

        # Stage 4: the product, with a zero below, which will be the half bit.
        s4_product = at("s4_product", sum(partial),
                        signed(self.acc_bits + 1 + self.multiplier_bits + 1))
        doubled = Cat(Const(0, 1), s4_product).as_signed()

        # Stages 5 and 6: shift, by the high and by the low bits of the distance.
        coarse   = (shift >> 3) << 3
        s5_value = at("s5_value", doubled >> coarse)
        s5_shift = at("s5_shift", shift[:3])
        s6_value = at("s6_value", s5_value >> s5_shift)

        # Stage 7: saturate to two bits more than the result, so that the zero point cannot bring
        # back what is beyond the clamp. Below is still the half bit.
        wide = self.result.width + 2 + 1
        fits = s6_value[wide - 1:].all() | ~s6_value[wide - 1:].any()
        limit = Cat((~s6_value[-1]).replicate(wide - 1), s6_value[-1])
        s7_value = at("s7_value", Mux(fits, s6_value[:wide], limit).as_signed())

        # Stage 8: round half up, and add the zero point. Stage 9: clamp.
        s8_value = at("s8_value", (s7_value >> 1) + s7_value[0] + self.zero_point)
        at_least = Mux(s8_value < self.low, self.low, s8_value)
        m.d.comb += self.y.eq(
            at("s9_value", Mux(at_least > self.high, self.high, at_least), self.result.shape))
        return m


class _LimbProduct(wiring.Component):
    """A register, then :class:`IntegerMultiply`, whose name may occur only once in a module."""

    def __init__(self, a_shape, b_shape):
        self.multiply = IntegerMultiply(a_shape, b_shape)
        super().__init__({
            "a": In(a_shape), "b": In(b_shape), "p": Out(self.multiply.p.shape()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules[self.multiply.name] = multiply = self.multiply
        s1_a = Signal.like(self.a, reset_less=True)
        s1_b = Signal.like(self.b, reset_less=True)
        m.d.sync += [s1_a.eq(self.a), s1_b.eq(self.b)]
        m.d.comb += [multiply.a.eq(s1_a), multiply.b.eq(s1_b), self.p.eq(multiply.p)]
        return m
