# amaranth: UnusedElaboratable=no
"""Scratchpads: writes of several elements at any address, in part, and reads of one."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.memory import BankRead, LaneWrite, Scratchpad, connect_lanes, read_element

WIDTH, DEPTH = 16, 32


class Bench(wiring.Component):
    """A scratchpad written by lanes and read by elements."""

    def __init__(self, *, banks, lanes, chunks):
        self.memory = Scratchpad(WIDTH, DEPTH, banks=banks, chunks=chunks)
        super().__init__({
            "write":   In(LaneWrite(width=WIDTH, depth=DEPTH, lanes=lanes, chunks=chunks)),
            "en":      In(1),
            "address": In(range(DEPTH)),
            "data":    Out(WIDTH),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        connect_lanes(m, self.write, self.memory.write)
        m.d.comb += [
            self.write.ready.eq(1),
            self.data.eq(read_element(m, self.memory.read[0], self.address, self.en)),
        ]
        return m


@pytest.mark.parametrize("banks, lanes, chunks", [
    (1, 1, 1),
    (1, 1, 4),   # an element in parts
    (4, 1, 1),   # more banks than lanes
    (4, 4, 2),
    (8, 2, 1),
    (32, 16, 1),  # a row is one element of each bank
])
def test_random_writes_and_reads(banks, lanes, chunks):
    dut = Bench(banks=banks, lanes=lanes, chunks=chunks)
    rng, model, part = random.Random(banks + lanes), [0] * DEPTH, WIDTH // chunks

    async def bench(ctx):
        ctx.set(dut.en, 1)
        for _ in range(300):
            count = rng.randint(1, lanes)
            address = rng.randint(0, DEPTH - count)
            offset, mask = rng.randrange(lanes), rng.randrange(1 << chunks)
            values = [rng.getrandbits(WIDTH) for _ in range(lanes)]
            valid, looked_at = rng.random() < 0.8, rng.randrange(DEPTH)
            for name, value in (("valid", valid), ("address", address), ("offset", offset),
                                ("count", count), ("mask", mask), ("data", values)):
                ctx.set(getattr(dut.write, name), value)
            ctx.set(dut.address, looked_at)
            before = model[looked_at]  # a read does not see the write of its own cycle
            await ctx.tick()
            assert ctx.get(dut.data) == before
            for i in range(count if valid else 0):
                for k in range(chunks):
                    if mask >> k & 1:
                        bits = (1 << part) - 1 << k * part
                        value = values[(offset + i) % lanes]
                        model[address + i] = model[address + i] & ~bits | value & bits

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_what_was_read_is_kept():
    dut = Scratchpad(8, 4)
    port = dut.read[0][0]
    assert isinstance(port.signature, BankRead)

    async def bench(ctx):
        for address in range(4):
            ctx.set(dut.write[0].en, 1)
            ctx.set(dut.write[0].address, address)
            ctx.set(dut.write[0].data, 10 + address)
            await ctx.tick()
        ctx.set(dut.write[0].en, 0)
        ctx.set(port.en, 1)
        ctx.set(port.address, 2)
        await ctx.tick()
        ctx.set(port.en, 0)
        ctx.set(port.address, 3)
        await ctx.tick().repeat(3)
        assert ctx.get(port.data) == 12

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("wrong, message", [
    ({"banks": 3},  "banks must be a power of two that divides 32, not 3"),
    ({"banks": 64}, "banks must be a power of two that divides 32, not 64"),
    ({"banks": 0},  "banks must be a power of two that divides 32, not 0"),
    ({"chunks": 3}, "chunks must divide 16, not 3"),
])
def test_wrong(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Scratchpad(WIDTH, DEPTH, **wrong)
