"""VTA core, as published: random programs with cocotbext-axi's memory and master."""

import cocotb

from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from sim.benches.vta_host import an_error, random_programs

CONFIG = VtaConfig()


def component() -> VtaCore:
    return VtaCore(CONFIG)


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.3, 0.7])
async def random_programs_match_the_simulator(dut, stall):
    await random_programs(dut, CONFIG, stall)


@cocotb.test()
async def an_error_is_told_and_cleared(dut):
    await an_error(dut, CONFIG)
