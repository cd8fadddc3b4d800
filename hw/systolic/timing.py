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

    out(0)    = k(0)                                       the command takes cycle 0
    out(t)    = out(t - 1) + max(k(t), gap)
    cycles    = out + 1 + latency

with ``gap``, the cycles in which a column hands out its R sums, and ``latency``, see
:class:`OsTiming`. A command that keeps its tile adds its k to that of the next.
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
    "os": "k of the first tile + sum over further tiles of max(k, gap) + 1 + latency",
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

    A column is cut into segments of ``segment`` rows, each with a way out of its own. Row
    ``s * segment + i`` begins to hand out its sum ``drain_delay`` cycles after row 0, so that it is
    at the top of its segment ``spacing`` cycles behind the row above, and its result comes
    ``written`` cycles after that of row 0. Segments are ``segment + 1`` cycles apart, an odd number
    for an even ``segment``: no two results of a column meet.

    ``gap``: from a tile on its way out to the next. ``chain``: from the beat that hands a tile out
    to the first word of row 0 at the top of column 0. ``release``: from the result of row 0 until
    all others come in time, row by row. ``latency``: from a tile's last product to the transfer of
    its last result.
    """

    config: ArrayConfig

    @property
    def segment(self) -> int:
        rows = self.config.rows
        return min(self.config.segment, rows) if self.config.cell.banks == 2 else rows

    @property
    def segments(self) -> int:
        return -(-self.config.rows // self.segment)

    @property
    def spacing(self) -> int:
        # A row runs a cycle behind the one above, and its sum climbs one row per cycle.
        return max(self.config.cell.words, 2)

    def drain_delay(self, row: int) -> int:
        return row // self.segment * (self.segment + 1) + row % self.segment * (self.spacing - 1)

    def written(self, row: int) -> int:
        return self.drain_delay(row) + row % self.segment

    @property
    def gap(self) -> int:
        cell, rows = self.config.cell, range(self.config.rows)
        return max(
            # A segment's ways out, one sum behind the other.
            self.spacing * (self.segment - 1) + cell.words,
            # Results of a tile come before those of the next.
            max(map(self.written, rows)) + 1,
            # A bank is empty when the tile after the next begins to fill it.
            max(self.drain_delay(row) - row for row in rows) + cell.words + cell.drain_after - 1,
        )

    @property
    def chain(self) -> int:
        # A register behind the row's decoder and one in the cell.
        return 2 + self.config.cell.chain_latency

    @property
    def column(self) -> int:
        return self.config.cell.column_latency(FORMATS[self.config.result])

    @property
    def release(self) -> int:
        return max(self.written(row) - row for row in range(self.config.rows))

    @property
    def latency(self) -> int:
        return (1 + self.config.cell.drain_after + self.chain + self.column + self.release
                + self.config.rows - 1 + ResultBuffer.latency_of(self.config.cols))


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
    timing = OsTiming(config)
    out, kept = None, 0
    for tiles, k, keep in commands:
        if keep:
            kept += k
            continue
        if out is None:
            out, tiles = kept + k, tiles - 1
        elif kept:
            out, tiles = out + max(kept + k, timing.gap), tiles - 1
        out, kept = out + tiles * max(k, timing.gap), 0
    return (out or 0) + 1 + timing.latency
