"""hw.bus.axi: rows of two readers become bursts at another party's AXI4 memory, and all arrive."""

import cocotb
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotbext.axi import AxiRamRead, AxiReadBus

from hw.bus.axi import Axi4, ReadBeat, ReadPort, Row, RowReader
from sim.benches.agents import exchange, rng, stalls

WIDTHS = {"address_width": 16, "data_width": 64}
SIZE, BEAT_WIDTH, COUNT_WIDTH = 1 << 16, 13, 10


class Readers(wiring.Component):
    """Two readers of rows at one port."""

    def __init__(self):
        row = stream.Signature(Row(beat_width=BEAT_WIDTH, count_width=COUNT_WIDTH))
        beat = stream.Signature(ReadBeat(64))
        axi = {name: member for name, member in Axi4(**WIDTHS).members.items()
               if name[0] == "r" or name[:2] == "ar"}
        super().__init__({"i_0": In(row), "i_1": In(row), "o_0": Out(beat), "o_1": Out(beat),
                          "axi": Out(wiring.Signature(axi))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = ReadPort(2, beat_width=BEAT_WIDTH, reads=4, **WIDTHS)
        for n in range(2):
            m.submodules[f"reader_{n}"] = reader = RowReader(
                beat_width=BEAT_WIDTH, count_width=COUNT_WIDTH, data_width=64, longest=16)
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{n}")), reader.i)
            wiring.connect(m, reader.o, wiring.flipped(getattr(self, f"o_{n}")))
            wiring.connect(m, reader.ar, port.ar[n])
            m.d.comb += [reader.r_valid.eq(port.r_valid[n]), reader.r_data.eq(port.r_data)]
        for name, member in self.axi.signature.members.items():
            ours, theirs = getattr(self.axi, name), getattr(port, name)
            m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        return m


def component():
    return Readers()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@stalls
async def rows_arrive(dut, stall):
    draw = rng("rows", stall)
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=SIZE)
    content = draw.randbytes(SIZE)
    ram.write(0, content)
    pauses = rng("pauses", stall)
    for channel in (ram.ar_channel, ram.r_channel):
        channel.set_pause_generator(iter(lambda: pauses.random() < stall, None))
    layout = Row(beat_width=BEAT_WIDTH, count_width=COUNT_WIDTH)
    rows, beats = {}, {}
    for n in range(2):
        spans = [(first := draw.randrange(SIZE // 8), draw.randint(1, min(SIZE // 8 - first, 90)))
                 for _ in range(15)]  # many of them cross 4 KiB
        rows[f"i_{n}"] = [layout.const({"beat": first, "beats": count, "tag": 0}).as_bits()
                          for first, count in spans]
        beats[f"o_{n}"] = [int.from_bytes(content[8 * at:8 * at + 8], "little")
                           for first, count in spans for at in range(first, first + count)]
    await exchange(dut, rows, beats, stall=stall)
