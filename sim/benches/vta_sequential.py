"""hw.vta.sequential: random programs while the host reads and writes registers all the time."""

import cocotb

from hw.vta.config import preset
from hw.vta.registers import IDENTITY
from hw.vta.sequential import SequentialVta
from sim.benches import vta_host
from sim.benches.agents import stalls

CONFIG = preset("block4")


def component():
    return SequentialVta(CONFIG)


async def ask(host):
    """What a host may do at any time; the program must not notice."""
    while True:
        assert await host.read("identity") == IDENTITY
        assert await host.read("control") in (0, 1, 2)
        await host.write("watchdog", 100_000)
        assert await host.read("watchdog") == 100_000
        await host.write("identity", 0)  # it is constant


@cocotb.test(timeout_time=10, timeout_unit="ms")
@stalls
async def random_programs(dut, stall):
    await vta_host.random_programs(dut, CONFIG, stall, programs=1, meanwhile=ask)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def an_error(dut):
    await vta_host.an_error(dut, CONFIG)
