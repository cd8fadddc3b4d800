"""One exact sum after another through a cell and its drain, for checks of the arithmetic alone."""

import numpy as np
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.drain import Drain
from hw.arith.exact import Accumulate, ExactSum, UnpackExact
from hw.formats import FloatFormat
from sim.lanes import LaneEngine

__all__ = ["ExactUnit", "exact_sums"]


class ExactUnit(wiring.Component):
    """A cell :class:`Accumulate` with the :class:`Drain` of its own, on IEEE words.

    Members
    -------
    a, w : ``In(layout.operand.width)``
    product, drain : ``In(1)``
        As of the cell.
    first : ``In(1)``
        With the drain beat of word 0.
    valid : ``Out(1)``
    y : ``Out(result.width)``

    Timing
    ------
    Latency: ``latency`` cycles, from ``first`` to ``valid``. Throughput and reset: those of cell
    and drain.
    """

    #: Inputs that the units side by side have in common.
    shared = ("product", "drain", "first")

    def __init__(self, layout: ExactSum, result: FloatFormat):
        self.cell, self.end = Accumulate(layout), Drain(layout, result)
        self.latency = self.cell.latency + self.end.latency
        width = layout.operand.width
        super().__init__({
            "a": In(width), "w": In(width), "product": In(1), "drain": In(1), "first": In(1),
            "valid": Out(1), "y": Out(result.width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.cell, m.submodules.end = self.cell, self.end
        for name in ("a", "w"):
            m.submodules[name] = unpack = UnpackExact(self.cell.layout.operand)
            m.d.comb += [unpack.i.eq(getattr(self, name)), getattr(self.cell, name).eq(unpack.o)]
        first = self.first
        for _ in range(self.cell.latency):
            later = Signal()
            m.d.sync += later.eq(first)
            first = later
        m.d.comb += [
            self.cell.product.eq(self.product), self.cell.drain.eq(self.drain),
            self.end.chain.eq(self.cell.chain_o), self.end.first.eq(first),
            self.valid.eq(self.end.valid), self.y.eq(self.end.value),
        ]
        return m


def exact_sums(engine: LaneEngine, layout: ExactSum, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Words of the sums ``(a * w).sum(1)`` from lanes of :class:`ExactUnit`.

    ``a``, ``w``: words of shape (sums, k), the sums a multiple of the lanes; they follow each other
    without a pause. A sum whose result comes in another cycle than its own, or more than once, is
    returned as 0xffffffff, which no sum is.
    """
    sums, k = a.shape
    period, lanes = k + layout.words, engine.lanes
    beats = np.zeros((2, sums // lanes, period, lanes), np.uint16)
    for beat, words in zip(beats, (a, w)):
        beat[:, :k] = words.reshape(-1, lanes, k).swapaxes(1, 2)
    drains = np.array([layout.drain_operands(n) for n in range(layout.words)], np.uint16)
    beats[:, :, k:] = drains.T[:, None, :, None]
    draining = np.arange(sums // lanes * period) % period
    valid, y = engine.pipe({
        "a": beats[0], "w": beats[1], "product": (draining < k).astype(np.uint8),
        "drain": (draining >= k).astype(np.uint8), "first": (draining == k).astype(np.uint8),
    }, ["valid", "y"])
    valid, y = (words.reshape(-1, period, lanes) for words in (valid, y))
    once = (valid[:, k] == 1) & (valid.sum(1) == 1)
    return np.where(once, y[:, k], 0xffffffff).ravel().astype(np.uint32)
