"""hw.arith.fma.FusedMultiplyAdd: bfloat16 into float32, every directed case of the golden model."""

import cocotb
import numpy as np

from hw.arith.fma import FusedMultiplyAdd
from sim.benches.agents import pipeline
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import directed


def component():
    return FusedMultiplyAdd()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_model(dut):
    a, b, c, _ = directed(np.random.default_rng(cocotb.RANDOM_SEED), 3000)
    await pipeline(dut, {"a": a, "b": b, "c": c}, {"y": fma(a, b, c)},
                   latency=component().latency)
