"""Copies of a register: equal from the first edge on, and not merged by synthesis."""

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.copies import copies
from hw.synth import synthesise
from hw.verilog import to_verilog


class Copied(wiring.Component):
    def __init__(self, count):
        self.count = count
        super().__init__({"i": In(1), "o": Out(count)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(Cat(copies(m, self.i, self.count, "copy")))
        return m


@pytest.mark.parametrize("count", [1, 3, 8, 11])
def test_all_are_the_value_of_the_cycle_before(count):
    dut = Copied(count)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        for bit in (1, 0, 0, 1, 1, 0):
            ctx.set(dut.i, bit)
            await ctx.tick()
            assert ctx.get(dut.o) == bit * (2 ** count - 1)

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("count, registers", [(1, 1), (8, 8), (11, 8)])
def test_synthesis_keeps_them(count, registers):
    assert synthesise(to_verilog(Copied(count), "copied"), "copied", "ecp5").ff == registers
