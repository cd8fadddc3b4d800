"""hw.arith.multiply.FloatMultiply: bfloat16 products as the golden model has them, specials too."""

import cocotb
import numpy as np

from hw.arith.multiply import FloatMultiply
from sim.benches.agents import pipeline
from sim.golden.arith.multiply import multiply

SPECIALS = [0x0000, 0x8000, 0x0001, 0x007f, 0x0080, 0x3f80, 0x7f7f, 0x7f80, 0xff80, 0x7fc0]


def component():
    return FloatMultiply()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_model(dut):
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    a, b = draw.integers(0, 2**16, (2, 2000), np.uint16)
    a[:100], b[:100] = np.repeat(SPECIALS, 10), np.tile(SPECIALS, 10)
    await pipeline(dut, {"a": a, "b": b}, {"y": multiply(a, b)}, latency=component().latency)
