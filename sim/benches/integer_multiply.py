"""hw.arith.multiply.IntegerMultiply: signed 9 by 7 bits, every extreme against every other."""

import cocotb
import numpy as np
from amaranth import *

from hw.arith.multiply import IntegerMultiply
from sim.benches.agents import pipeline


def component():
    return IntegerMultiply(signed(9), signed(7))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def is_exact(dut):
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    a, b = draw.integers(-256, 256, 1000), draw.integers(-64, 64, 1000)
    a[:25], b[:25] = np.repeat([-256, -1, 0, 1, 255], 5), np.tile([-64, -1, 0, 1, 63], 5)
    await pipeline(dut, {"a": a, "b": b}, {"p": a * b & 0xffff}, latency=component().latency)
