"""hw.systolic: a 2x3 weight-stationary int8 array multiplies queued matrices."""

import cocotb

from hw.systolic.config import ArrayConfig
from sim.benches.agents import stalls
from sim.benches.arrays import array, products

CONFIG = ArrayConfig(rows=2, cols=3, format="int8", depth=16)


def component():
    return array(CONFIG)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def matches_model(dut, stall):
    await products(dut, CONFIG, stall)
