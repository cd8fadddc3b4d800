"""hw.bus.csr: another party's AXI4-Lite master at eight registers, with bytes and words."""

import cocotb
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from hw.bus.csr import AxiLite, AxiLiteSlave
from sim.benches.agents import rng, stalls, start
from sim.benches.axi_agents import pause

COUNT = 8


class Registers(wiring.Component):
    """Eight registers; behind them, reads give the address."""

    axi: In(AxiLite(address_width=6))

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = AxiLiteSlave(address_width=6)
        wiring.connect(m, wiring.flipped(self.axi), slave.axi)
        registers = Array(Signal(32, name=f"register_{n}") for n in range(COUNT))
        mask = Cat(bit.replicate(8) for bit in slave.write_strobe)
        target = registers[slave.write_address[2:5]]
        with m.If(slave.write_en & ~slave.write_address[5]):
            m.d.sync += target.eq((target & ~mask) | (slave.write_data & mask))
        m.d.comb += slave.read_data.eq(Mux(slave.read_address[5], slave.read_address,
                                           registers[slave.read_address[2:5]]))
        return m


def component():
    return Registers()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@stalls
async def registers_keep(dut, stall):
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    pause(master, stall)
    await start(dut)
    draw, kept = rng("registers", stall), bytearray(4 * COUNT)
    for _ in range(150):
        first = draw.randrange(4 * COUNT)
        length = min(draw.choice((1, 2, 4, 4, 9)), 4 * COUNT - first)
        if draw.random() < 0.5:
            kept[first:first + length] = data = draw.randbytes(length)
            await master.write(first, data)
        else:
            assert (await master.read(first, length)).data == kept[first:first + length]
    assert await master.read_dword(0x24) == 0x24
