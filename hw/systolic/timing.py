"""Cycles of a product, in closed form; the simulation counts the same.

Weight-stationary, rows R, columns C, a queue of commands g of m x n tiles x k tiles:

    period(g) = max(m, C)                         a tile: activations, or loading the next weights
    pass(g)   = max(n * period, turnaround)       once over n; a sum must be back before it goes on
    start(0)  = C                                 the first weights
    last(g)   = start(g) + (k - 1) * pass + (n - 1) * period
    start(g+1) = last(g) + period
    cycles    = last + m + latency

with ``turnaround = R * sum_latency + const`` and ``latency = R * sum_latency + C + const``, see
:class:`WsTiming`. Cycles are counted from the first transfer on an input stream to the last
result, both included, with streams that never wait.

Output-stationary, tiles t = 0, 1, ... of all commands in a row, each of k(t) products:

    out(0)    = k(0) + d                                   the command takes cycle 0
    out(t)    = out(t - 1) + max(k(t) + drain_beats, gap)
    cycles    = out + 1 - d + latency

with d = 1 for cells that drain behind their last product, else 0; ``gap``, the cycles in which a
column hands out its R sums; and ``latency``, see :class:`OsTiming`. A command that keeps its tile
adds its k to that of the next.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from hw.formats import FORMATS
from hw.systolic.accumulators import AccumulatorColumn
from hw.systolic.config import ArrayConfig
from hw.systolic.results import ResultBuffer

__all__ = [
    "FORMULAS", "WsTiming", "OsTiming", "WsGemm", "OsGemm", "ws_cycles", "os_cycles",
]

FORMULAS = {
    "ws": "cols + sum over commands but the last of ((k-1)*max(n*p, turnaround) + n*p), p = max(m, "
          "cols), + for the last command (k-1)*max(n*p, turnaround) + (n-1)*p + m + latency",
    "os": "k of the first tile + sum over further tiles of max(k + drain_beats, gap) + 1 + latency",
}


@dataclass(frozen=True)
class WsTiming:
    """Fixed distances, in cycles, in a weight-stationary array of ``config``.

    An activation's sum starts at the top of column 0 ``top`` cycles after the activation was taken,
    and is at the bottom ``bottom`` cycles after. ``turnaround``: until an accumulator that it went
    to can be used. ``latency``: to the transfer of its result.
    """

    config: ArrayConfig

    @property
    def top(self) -> int:
        # A register behind the streams, one behind the row's decoder, one in the cell; then the
        # core, which wants the sum when the product is there.
        cell = self.config.cell
        return 3 + cell.operand_latency - cell.sum_latency - AccumulatorColumn.latency

    @property
    def bottom(self) -> int:
        through = self.config.rows * self.config.cell.sum_latency
        return self.top + AccumulatorColumn.latency + through

    @property
    def turnaround(self) -> int:
        return self.bottom + 1

    @property
    def pack(self) -> int:
        return self.config.cell.pack_latency(FORMATS[self.config.result])

    @property
    def latency(self) -> int:
        return self.bottom + self.pack + ResultBuffer.latency_of(self.config.cols)


@dataclass(frozen=True)
class OsTiming:
    """Fixed distances, in cycles, in an output-stationary array of ``config``.

    ``spacing``: from a row's sum to the next row's, at the top of a column. ``gap``: from a tile on
    its way out to the next. ``chain``: from the beat that hands a tile out, as the sequencer gives
    it, to the first word of row 0 at the top of column 0. ``latency``: from a tile's last product
    to the transfer of its last result.
    """

    config: ArrayConfig

    @property
    def spacing(self) -> int:
        return self.config.cell.row_skew + 1

    @property
    def gap(self) -> int:
        return self.spacing * (self.config.rows - 1) + self.config.cell.words

    @property
    def chain(self) -> int:
        # A register behind the row's decoder and one in the cell.
        return 2 + self.config.cell.chain_latency

    @property
    def column(self) -> int:
        return self.config.cell.column_latency(FORMATS[self.config.result])

    @property
    def latency(self) -> int:
        behind = 2 if self.config.cell.drain_beats else 1
        return (behind + self.chain + self.spacing * (self.config.rows - 1) + self.column
                + ResultBuffer.latency_of(self.config.cols))


class WsGemm(NamedTuple):
    """Counts of a command: rows, tiles of columns, tiles of k."""

    m: int
    n: int
    k: int


class OsGemm(NamedTuple):
    """Counts of a command: tiles of results, beats of k each; ``keep`` as in the command."""

    tiles: int
    k: int
    keep: bool = False


def ws_cycles(config: ArrayConfig, commands: Iterable[WsGemm]) -> int:
    """Cycles of a queue of ``commands`` on a weight-stationary array."""
    timing = WsTiming(config)
    start, end = config.cols, 0
    for m, n, k in commands:
        period = max(m, config.cols)
        last = start + (k - 1) * max(n * period, timing.turnaround) + (n - 1) * period
        start, end = last + period, last + m + timing.latency
    return end


def os_cycles(config: ArrayConfig, commands: Iterable[OsGemm]) -> int:
    """Cycles of a queue of ``commands`` on an output-stationary array."""
    timing, drain_beats = OsTiming(config), config.cell.drain_beats
    behind = 1 if drain_beats else 0
    out, kept = None, 0
    for tiles, k, keep in commands:
        if keep:
            kept += k
            continue
        if out is None:
            out, tiles = kept + k + behind, tiles - 1
        elif kept:
            out, tiles = out + max(kept + k + drain_beats, timing.gap), tiles - 1
        out, kept = out + tiles * max(k + drain_beats, timing.gap), 0
    return (out or 0) + 1 - behind + timing.latency
