"""hw.sdram: another party's AXI4 master, and at the pins a chip in Python that keeps time."""

import dataclasses
import math
from collections import defaultdict

import cocotb
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiBus, AxiMaster

from hw.sdram import CHIPS, Sdram, SdramCycles
from sim.benches.agents import rng, stalls, start
from sim.benches.axi_agents import pause

CHIP = dataclasses.replace(CHIPS["as4c16m16"], power_up=2000)
CLOCK_HZ, CAS = 100e6, 2


def component():
    return Sdram(SdramCycles(CHIP, CLOCK_HZ, CAS), address_width=32, data_width=32)


class Chip:
    """Commands as the data sheet has them, at the falling edge, which is the chip's own.

    A command that comes too early, or to a bank that is not open, fails the test.
    """

    def __init__(self, dut):
        self.dut, self.words = dut, defaultdict(int)
        self.now, self.open, self.up = 0, {}, False
        self.since: dict[object, int] = {}  # (command, bank) -> cycle of the last one
        self.answers: dict[int, int] = {}   # cycle -> word
        self.commands: defaultdict[str, int] = defaultdict(int)
        cocotb.start_soon(self._run())

    def _after(self, what, bank, name):
        """The time ``name`` has passed since ``what``."""
        cycles = math.ceil(getattr(CHIP, name) * CLOCK_HZ / 1e9 - 1e-6)
        passed = self.now - self.since.get((what, bank), -10**9)
        assert passed >= cycles, f"{name} after {what} of bank {bank}: {passed} of {cycles} cycles"

    async def _run(self):
        pins = {name: getattr(self.dut, f"pins__{name}") for name in (
            "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe", "dq_i")}
        names = {(0, 1, 1): self.activate, (1, 0, 1): self.read, (1, 0, 0): self.write,
                 (0, 1, 0): self.precharge, (0, 0, 1): self.refresh, (0, 0, 0): self.mode}
        while True:
            await FallingEdge(self.dut.clk)
            self.now += 1
            now = {name: int(pin.value) for name, pin in pins.items() if name != "dq_i"}
            command = names.get((now["ras_n"], now["cas_n"], now["we_n"]))
            if command and not now["cs_n"]:
                self.commands[command.__name__] += 1
                command(now["ba"], now["a"], now)
            word = self.answers.pop(self.now, None)
            assert word is None or not now["dq_oe"], "both drive the data pins"
            pins["dq_i"].value = word or 0

    def activate(self, bank, row, _):
        assert self.up and bank not in self.open
        for what, name in (("precharge", "t_rp"), ("activate", "t_rc")):
            self._after(what, bank, name)
        self._after("refresh", None, "t_rfc")
        for other in range(4):
            self._after("activate", other, "t_rrd")
        self.open[bank], self.since["activate", bank] = row, self.now

    def _place(self, bank, column):
        self._after("activate", bank, "t_rcd")
        return self.open[bank], bank, column & (1 << CHIP.column_bits) - 1

    def read(self, bank, column, _):
        self.answers[self.now + CAS - 1] = self.words[self._place(bank, column)]

    def write(self, bank, column, now):
        place, mask = self._place(bank, column), sum(
            0xff << 8 * n for n in range(2) if not now["dqm"] >> n & 1)
        assert now["dq_oe"]
        self.words[place] = self.words[place] & ~mask | now["dq_o"] & mask
        self.since["write", bank] = self.now

    def precharge(self, bank, address, _):
        for each in list(self.open) if address >> 10 & 1 else [bank]:
            self._after("activate", each, "t_ras")
            self._after("write", each, "t_wr")
            self.open.pop(each, None)
            self.since["precharge", each] = self.now
        for each in range(4) if address >> 10 & 1 else ():
            self.since["precharge", each] = self.now

    def refresh(self, *_):
        assert not self.open
        for bank in range(4):
            self._after("precharge", bank, "t_rp")
        self._after("refresh", None, "t_rfc")
        self.since["refresh", None] = self.now

    def mode(self, bank, address, _):
        assert (bank, address) == (0, CAS << 4)  # bursts of one word, in order
        self._after("refresh", None, "t_rfc")
        self.up = True


@cocotb.test(timeout_time=5, timeout_unit="ms")
@stalls
async def words_come_back(dut, stall):
    chip, draw = Chip(dut), rng("words", stall)
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, max_burst_len=32)
    pause(master, stall)
    await start(dut)
    written: dict[int, bytes] = {}
    for _ in range(60):
        # A few rows, so that they meet in the same banks.
        row, bank, column = draw.choice((0, 1, 40)), draw.randrange(4), 128 * draw.randrange(4)
        address = (row << 12) + (bank << 10) + column
        if address not in written or draw.random() < 0.5:
            written[address] = draw.randbytes(draw.choice((1, 4, 7, 64, 100)))
            await master.write(address, written[address], awid=0)
        else:
            answer = await master.read(address, len(written[address]), arid=0)
            assert answer.data == written[address], hex(address)
    for address, data in written.items():
        assert (await master.read(address, len(data), arid=0)).data == data, hex(address)
    assert chip.commands["refresh"] > 8 and chip.commands["activate"] > 20, chip.commands
