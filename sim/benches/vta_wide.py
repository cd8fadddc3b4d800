"""VTA core, 2x4x4, 256-bit bus: random programs with cocotbext-axi's memory and master."""

import cocotb

from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from sim.benches.vta_host import an_error, random_programs

CONFIG = VtaConfig(log_batch=1, log_block=2, log_uop_buff_size=12, log_inp_buff_size=12,
                   log_wgt_buff_size=12, log_acc_buff_size=13, bus_width=256, address_width=40,
                   reads=3, writes=3)


def component() -> VtaCore:
    return VtaCore(CONFIG)


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.3, 0.7])
async def random_programs_match_the_simulator(dut, stall):
    await random_programs(dut, CONFIG, stall)


@cocotb.test()
async def an_error_is_told_and_cleared(dut):
    await an_error(dut, CONFIG)
