"""The operations of ALU that multiply, shift or clip: nine stages of a lane."""

from amaranth import *

from hw.arith.multiply import multiplier
from hw.vta.isa import AluOp

__all__ = ["LONG", "KINDS", "RESULT_STAGE", "long_operation"]

LONG = (AluOp.SHR, AluOp.MUL, AluOp.CLIP, AluOp.RQT)
RESULT_STAGE = 12  # a multiple of the banks: so it meets GEMM in as few of them as it can
KINDS = {  # what a lane asks of the operation in a stage
    "s4_shr": (4, (AluOp.SHR,)), "s4_rqt": (4, (AluOp.RQT,)), "s4_clip": (4, (AluOp.CLIP,)),
    "s5_rqt": (5, (AluOp.RQT,)), "s6_clip": (6, (AluOp.CLIP,)),
    "s7_mul": (7, (AluOp.MUL, AluOp.SHR)), "s11_rqt": (11, (AluOp.RQT,)),
}
_PRODUCT = 49  # bits of 32 x 16 bits, and of what rounding adds


def long_operation(m: Module, kinds, imm, lane: int, x, y, bias):
    """One lane of SHR, MUL, CLIP, RQT: operands in stage 3, result in stage 12.

    All are ``((x + bias) * w + rest) >> shift``, with a clamp of their own; what an operation does
    not have is 0. ``kinds``: which operation is in which stage (:data:`KINDS`); ``imm`` is that in
    stage 10; ``lane`` names the signals.
    """
    def register(shape, value, stage, name):
        signal = Signal(shape, name=f"s{stage}_{name}_{lane}", reset_less=True)
        m.d.sync += signal.eq(value)
        return signal

    def delayed(shape, value, first, last, name):
        for stage in range(first, last + 1):
            value = register(shape, value, stage, name)
        return value

    s4_x, s4_y = register(signed(32), x, 4, "x"), register(signed(32), y, 4, "y")
    s4_bias = register(signed(32), bias, 4, "bias")

    # Stage 4: one factor, one shift. A left shift is a product with a power of two, none if it is
    # by more than 31 bits. Only RQT has a bias. Multipliers lie far from all else, so that their
    # factors take a stage to get there.
    right, far = s4_y >= 0, s4_y[5:].any()
    power = Cat(Const(0, 1), (s4_y[5:].all() & (s4_y[:5] == 32 - n) for n in range(1, 32)))
    s5_x = register(signed(32), s4_x + s4_bias, 5, "x")
    s5_w = register(32, Mux(kinds["s4_shr"], Mux(right, 1, power),
                            Mux(kinds["s4_clip"], 0, s4_y)), 5, "w")
    s5_shift = register(6, Mux(kinds["s4_rqt"], s4_y[16:22],
                               Mux(kinds["s4_shr"] & right, Mux(far, 31, s4_y[:5]), 0)), 5, "shift")
    s5_most = register(signed(32), Mux(s4_x < s4_y, s4_x, s4_y), 5, "most")
    s5_least = register(signed(32), (-s4_y)[:32].as_signed(), 5, "least")

    # Stages 5 and 6: products of 16 bits; half of what the shift will drop; the bounds of CLIP.
    def multiply(name, shape, a, b):
        component = multiplier(shape, shape)
        m.submodules[f"{name}_{lane}"] = component
        m.d.comb += [component.a.eq(a), component.b.eq(b)]
        return component.p
    s7_low = multiply("low", unsigned(16), s5_x[:16], s5_w[:16])
    s7_high = multiply("high", signed(17), s5_x[16:].as_signed(), s5_w[:16])
    s7_cross = multiply("cross", unsigned(16), s5_x[:16], s5_w[16:])[:16]
    s6_half = register(_PRODUCT - 2, Mux(kinds["s5_rqt"] & ~s5_shift[4:].all(),
                                         (1 << s5_shift) >> 1, 0), 6, "half")
    s6_clip = register(signed(32), Mux(s5_most > s5_least, s5_most, s5_least), 6, "clip")
    s7_rest = register(signed(_PRODUCT), Mux(kinds["s6_clip"], s6_clip, s6_half), 7, "rest")

    # Stages 7 and 8: their sum.
    s8_product = register(signed(_PRODUCT), Cat(s7_low, Const(0, 1)).as_signed() + (s7_high << 16),
                          8, "product")
    s8_rest = register(signed(_PRODUCT),
                       s7_rest | Cat(Const(0, 16), Mux(kinds["s7_mul"], s7_cross, 0)), 8, "rest")
    s9_sum = register(signed(_PRODUCT), s8_product + s8_rest, 9, "sum")
    s9_shift = delayed(6, s5_shift, 6, 9, "shift")
    s10_zero = delayed(signed(8), s4_y[24:], 5, 10, "zero")

    # Stages 9 and 10: shift. The bounds are moved by the zero point, instead of the result.
    s10_part = register(signed(_PRODUCT), Mux(s9_shift[4:].all(), 0,
                                              s9_sum >> Cat(Const(0, 3), s9_shift[3:])), 10, "part")
    s10_shift = register(3, s9_shift[:3], 10, "shift")
    low, high = imm[:8].as_signed(), imm[8:].as_signed()
    s11_shifted = register(signed(_PRODUCT), s10_part >> s10_shift, 11, "shifted")
    s11_zero  = register(signed(8), s10_zero, 11, "zero")
    s11_least = register(signed(9), low - s10_zero, 11, "least")
    s11_most  = register(signed(9), high - s10_zero, 11, "most")
    s11_low   = register(signed(8), low, 11, "low")
    s11_high  = register(signed(8), Mux(high < low, low, high), 11, "high")

    # Stage 11: zero point and clamp; the lower bound is the stronger one.
    clamped = Mux(s11_shifted > s11_most, s11_high,
                  Mux(s11_shifted < s11_least, s11_low,
                      (s11_shifted[:8] + s11_zero)[:8].as_signed()))
    return register(32, Mux(kinds["s11_rqt"], clamped, s11_shifted), 12, "long")
