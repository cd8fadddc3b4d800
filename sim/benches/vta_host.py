"""Another party's AXI4 memory and AXI4-Lite master around a VTA core, all channels with pauses."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from hw.vta.config import VtaConfig
from hw.vta.isa import Fault
from hw.vta.registers import IDENTITY, register_map
from sim.benches.agents import start
from sim.benches.axi_agents import pause
from sim.golden.vta import Machine, simulate
from sim.vta_fuzz import fuzz_program

__all__ = ["Host", "random_programs", "an_error"]

_MOST = 2000  # us that a program may take


class Host:
    """The registers by name, and the memory."""

    def __init__(self, dut, config, stall):
        self.dut, self.map = dut, register_map(config)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, size=1 << 16)
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_"), dut.clk, dut.rst)
        for side in (self.ram, self.registers):
            pause(side, stall)

    async def write(self, name, value):
        await self.registers.write_dword(self.map[name].offset, value)

    async def read(self, name):
        return await self.registers.read_dword(self.map[name].offset)

    async def run(self, program):
        """Execute a :class:`sim.vta_fuzz.FuzzProgram`; status, and DRAM afterwards."""
        self.ram.write(0, program.image.tobytes())
        await self.write("insn_base", program.insn_addr)
        await self.write("insn_count", program.insn_count)
        await self.write("irq", 3)
        await self.write("control", 1)
        while not self.dut.irq.value:
            await RisingEdge(self.dut.clk)
        assert await self.read("control") == 0b10
        image = np.frombuffer(self.ram.read(0, len(program.image)), np.uint8)
        return Fault(await self.read("status") & 15), image


async def random_programs(dut, config: VtaConfig, stall: float, programs: int = 3,
                          meanwhile=None):
    """Random programs, one after the other, leave DRAM as the simulator does.

    ``meanwhile(host)`` goes on beside them.
    """
    host = Host(dut, config, stall)
    await start(dut)
    if meanwhile:
        cocotb.start_soon(meanwhile(host))
    assert await host.read("identity") == IDENTITY
    assert await host.read("fingerprint") == config.fingerprint
    machine = Machine(config)  # scratchpads persist from program to program, here and there
    for seed in range(programs):
        program = fuzz_program(config, cocotb.RANDOM_SEED * programs + seed)
        expected = program.image.copy()
        machine.tokens.clear()  # those left over would let the units run apart
        model = simulate(machine, program.words, expected)
        await host.write("reset", 1)
        status, image = await with_timeout(host.run(program), _MOST, "us")
        assert status == model.status == Fault.DONE
        np.testing.assert_array_equal(image, expected)


async def an_error(dut, config: VtaConfig):
    """An illegal instruction is told, interrupts, and is over after a reset."""
    host = Host(dut, config, 0.2)
    await start(dut)
    host.ram.write(0, bytes([7]) + bytes(15))  # no such opcode
    await host.write("insn_count", 1)
    await host.write("irq", 1)
    await host.write("control", 1)
    while not dut.irq.value:
        await RisingEdge(dut.clk)
    assert await host.read("status") == Fault.ILLEGAL_OPCODE | 1 << 9
    assert await host.read("error_insn") == 0
    await host.write("reset", 1)
    assert await host.read("status") == 0
    program = fuzz_program(config, cocotb.RANDOM_SEED)
    expected = program.image.copy()
    simulate(Machine(config), program.words, expected)
    status, image = await with_timeout(host.run(program), _MOST, "us")
    assert status == Fault.DONE
    np.testing.assert_array_equal(image, expected)
