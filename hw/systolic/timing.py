"""Cycles of a product, in closed form; the simulation counts the same.

Weight-stationary, rows R, columns C, a queue of commands g of m x n tiles x k tiles:

    period(g) = max(m, C)                         a tile: activations, or loading the next weights
    pass(g)   = max(n * period, turnaround)       once over n; a sum must be back before it goes on
    start(0)  = C                                 the first weights
    last(g)   = start(g) + (k - 1) * pass + (n - 1) * period
    start(g+1) = last(g) + period
    cycles    = last + m + latency

with ``turnaround = R * sum_latency + const`` and ``latency = R * sum_latency + C + const``, which
the array publishes. Cycles are counted from the first transfer on an input stream to the last
result, both included, with streams that never wait.

Output-stationary, a queue of commands g of ``tiles`` x k beats:

    period(g)  = max(k + drain_beats, gap)        gap: a column's chain hands out R sums
    start(0)   = 1                                the command
    start(g+1) = start(g) + tiles * period
    cycles     = start(last tile) + k + latency
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["WsGemm", "OsGemm", "ws_cycles", "os_cycles"]


class WsGemm(NamedTuple):
    """Counts of a command: rows, tiles of columns, tiles of k."""

    m: int
    n: int
    k: int


class OsGemm(NamedTuple):
    """Counts of a command: tiles of results, beats of k each."""

    tiles: int
    k: int


def ws_cycles(commands: Iterable[WsGemm], *, cols: int, latency: int, turnaround: int) -> int:
    """Cycles of a queue of ``commands`` on a weight-stationary array."""
    start, end = cols, 0
    for m, n, k in commands:
        period = max(m, cols)
        last = start + (k - 1) * max(n * period, turnaround) + (n - 1) * period
        start, end = last + period, last + m + latency
    return end


def os_cycles(commands: Iterable[OsGemm], *, drain_beats: int, gap: int, latency: int) -> int:
    """Cycles of a queue of ``commands`` on an output-stationary array."""
    start, end = 1, 0
    for tiles, k in commands:
        period = max(k + drain_beats, gap)
        end = start + (tiles - 1) * period + k + latency
        start += tiles * period
    return end
