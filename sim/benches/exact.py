"""hw.arith.exact and drain: dot products of bfloat16 summed exactly, rounded once, in any order."""

import cocotb
import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge, RisingEdge

from hw.arith.drain import Drain
from hw.arith.exact import Accumulate, ExactSum, UnpackExact
from hw.formats import BFLOAT16, FLOAT32
from sim.benches.agents import start
from sim.golden.arith.exact import exact_dot

LAYOUT = ExactSum()


class OneCell(wiring.Component):
    """An accumulator and the unit that rounds its sums; ``first`` goes with word 0."""

    a: In(BFLOAT16.layout)
    w: In(BFLOAT16.layout)
    product: In(1)
    bank: In(1)
    drain: In(1)
    word: In(range(LAYOUT.words))
    first: In(1)
    valid: Out(1)
    value: Out(FLOAT32.layout)

    def elaborate(self, platform):
        m = Module()
        m.submodules.cell = cell = Accumulate(LAYOUT)
        m.submodules.drain_unit = unit = Drain(LAYOUT)
        for name in ("a", "w"):
            m.submodules[f"unpack_{name}"] = unpack = UnpackExact(BFLOAT16)
            m.d.comb += [unpack.i.eq(getattr(self, name)), getattr(cell, name).eq(unpack.o)]
        first = self.first
        for n in range(cell.latency):
            later = Signal(name=f"first_{n}")
            m.d.sync += later.eq(first)
            first = later
        m.d.comb += [
            cell.product.eq(self.product),
            cell.bank.eq(self.bank),
            cell.drain.eq(self.drain),
            cell.word.eq(self.word),
            unit.first.eq(first),
            unit.chain[0].eq(cell.chain_o),
            self.valid.eq(unit.valid),
            self.value.eq(unit.value),
        ]
        return m


def component():
    return OneCell()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def dot_products(dut):
    """Random words, specials among them; the same products again in another order."""
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    await start(dut)
    results = []
    cocotb.start_soon(_collect(dut, results))
    expected = []
    for sum_number in range(24):
        k = int(draw.integers(1, 60))
        a, w = draw.integers(0, 2**16, (2, k), np.uint16)
        if sum_number % 3:  # finite, of similar size, so that sums cancel
            a, w = ((x & 0x80ff | 0x3f00) for x in (a, w))
        for order in (slice(None), draw.permutation(k)):
            expected.append(int(exact_dot(a, w, BFLOAT16)))
            await _sum(dut, len(expected) & 1, a[order], w[order])
    await _sum(dut, len(expected) + 1 & 1, [], [])
    for _ in range(Drain(LAYOUT).latency + 40):
        await RisingEdge(dut.clk)
    assert results[1:] == expected  # behind what the memories began with


async def _collect(dut, results):
    while True:
        await FallingEdge(dut.clk)
        if dut.valid.value == 1:
            results.append(int(dut.value.value))


async def _sum(dut, bank, a, w):
    """A sum that grows in ``bank``, while the one in the other bank goes out."""
    dut.bank.value = bank
    for n in range(max(len(a), LAYOUT.words + 1)):
        dut.product.value = n < len(a)
        if n < len(a):
            dut.a.value, dut.w.value = int(a[n]), int(w[n])
        goes = 1 <= n <= LAYOUT.words
        dut.drain.value, dut.word.value = goes, n - 1 if goes else 0
        dut.first.value = n == 1
        await RisingEdge(dut.clk)
    dut.product.value = dut.drain.value = dut.first.value = 0
