"""hw.arith.convert.Convert: float32 to bfloat16, ties and specials among random words."""

import cocotb
import numpy as np

from hw.arith.convert import Convert
from sim.benches.agents import pipeline
from sim.golden.arith.convert import convert


def component():
    return Convert()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_model(dut):
    words = np.random.default_rng(cocotb.RANDOM_SEED).integers(0, 2**32, 3000, np.uint32)
    words[:500] = words[:500] & 0xffff0000 | 0x8000  # ties
    words[500:600] |= 0x7f800000                     # infinities and NaN
    words[600:700] &= 0x807fffff                     # subnormal
    words[700:702] = 0x7f7fffff, 0xff7fffff          # rounds to infinity
    await pipeline(dut, {"i": words}, {"o": convert(words)}, latency=component().latency)
