"""hw.bus.ram: the same of a memory with a single port, as large blocks of iCE40 are."""

import cocotb

from hw.bus.ram import AxiSinglePortRam
from sim.benches import ram_host
from sim.benches.agents import stalls


def component():
    return AxiSinglePortRam(ram_host.SIZE, address_width=16, data_width=32)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@stalls
async def bursts(dut, stall):
    await ram_host.bursts(dut, stall)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def outside(dut):
    await ram_host.outside(dut)
