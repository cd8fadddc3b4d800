"""hw.arith.operand.UnpackOperand: fields and flags of every bfloat16 exponent, no clock."""

import cocotb
import numpy as np

from hw.arith.operand import OperandLayout, UnpackOperand
from hw.formats import BFLOAT16
from sim.benches.agents import pipeline
from sim.payload import pack


def component():
    return UnpackOperand(BFLOAT16)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def fields(dut):
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    exponent = np.tile(np.arange(256), 4)
    fraction = np.where(np.arange(1024) < 256, 0, draw.integers(0, 128, 1024))
    sign = draw.integers(0, 2, 1024)
    special, normal = exponent == 255, (exponent != 0) & (exponent != 255)
    expected = pack(OperandLayout(BFLOAT16), {
        "significand": np.where(normal, fraction + 128, 0),
        "exponent":    np.where(normal, exponent, 0),
        "sign":        sign,
        "infinity":    special & (fraction == 0),
        "nan":         special & (fraction != 0),
    })
    await pipeline(dut, {"i": sign << 15 | exponent << 7 | fraction}, {"o": expected},
                   latency=component().latency)
