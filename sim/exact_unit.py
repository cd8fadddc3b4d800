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
    product, bank, drain : ``In(1)``, word : ``In(range(words))``
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
    shared = ("product", "bank", "drain", "word", "first")

    def __init__(self, layout: ExactSum, result: FloatFormat):
        self.cell, self.end = Accumulate(layout), Drain(layout, result)
        self.latency = self.cell.latency + self.end.latency
        width = layout.operand.width
        super().__init__({
            "a": In(width), "w": In(width), "product": In(1), "bank": In(1), "drain": In(1),
            "word": In(range(layout.words)), "first": In(1),
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
            self.cell.product.eq(self.product), self.cell.bank.eq(self.bank),
            self.cell.drain.eq(self.drain), self.cell.word.eq(self.word),
            self.end.chain[0].eq(self.cell.chain_o), self.end.first.eq(first),
            self.valid.eq(self.end.valid), self.y.eq(self.end.value),
        ]
        return m


def exact_sums(engine: LaneEngine, layout: ExactSum, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Words of the sums ``(a * w).sum(1)`` from lanes of :class:`ExactUnit`.

    ``a``, ``w``: words of shape (sums, k), the sums a multiple of the lanes; each is handed out
    while the next one grows. A sum whose result comes in another cycle than its own, or more than
    once, is returned as 0xffffffff, which no sum is.
    """
    sums, k = a.shape
    lanes, words = engine.lanes, layout.words
    period, count = max(k, words + 1), sums // engine.lanes
    beats = np.zeros((2, count + 1, period, lanes), np.uint16)
    for beat, operands in zip(beats, (a, w)):
        beat[:count, :k] = operands.reshape(-1, lanes, k).swapaxes(1, 2)
    turn, at = np.divmod(np.arange((count + 1) * period), period)
    drain = (turn > 0) & (1 <= at) & (at <= words)
    valid, y = engine.pipe({
        "a": beats[0], "w": beats[1],
        "product": ((turn < count) & (at < k)).astype(np.uint8),
        "bank": (turn & 1).astype(np.uint8),
        "drain": drain.astype(np.uint8),
        "word": np.where(drain, at - 1, 0).astype(np.uint8),
        "first": (drain & (at == 1)).astype(np.uint8),
    }, ["valid", "y"])
    valid, y = (words.reshape(-1, period, lanes)[1:] for words in (valid, y))
    once = (valid[:, 1] == 1) & (valid.sum(1) == 1)
    return np.where(once, y[:, 1], 0xffffffff).ravel().astype(np.uint32)
