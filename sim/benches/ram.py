"""hw.bus.ram: another party's AXI4 master reads and writes block RAM, bursts and bytes."""

import cocotb

from hw.bus.ram import AxiRam
from sim.benches import ram_host
from sim.benches.agents import stalls


def component():
    return AxiRam(ram_host.SIZE, address_width=16, data_width=64)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@stalls
async def bursts(dut, stall):
    await ram_host.bursts(dut, stall)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def outside(dut):
    await ram_host.outside(dut)
