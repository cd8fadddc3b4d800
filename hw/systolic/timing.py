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

Output-stationary, tiles t = 0, 1, ... of all commands in a row, each of k(t) products:

    out(0)    = k(0) + d                                   the command takes cycle 0
    out(t)    = out(t - 1) + max(k(t) + drain_beats, gap)
    cycles    = out + 1 - d + latency

with d = 1 for cells that drain behind their last product, else 0; ``gap``, the cycles in which a
column hands out its R sums; and ``latency`` as published. A command that keeps its tile adds its k
to that of the next.
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["FORMULAS", "WsGemm", "OsGemm", "ws_cycles", "os_cycles"]

FORMULAS = {
    "ws": "cols + sum over commands but the last of ((k-1)*max(n*p, turnaround) + n*p), p = max(m, "
          "cols), + for the last command (k-1)*max(n*p, turnaround) + (n-1)*p + m + latency",
    "os": "k of the first tile + sum over further tiles of max(k + drain_beats, gap) + 1 + latency",
}


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
    behind = 1 if drain_beats else 0
    out, kept = None, 0
    for tiles, k, keep in commands:
        if keep:
            kept += k
            continue
        if out is None:
            out, tiles = kept + k + behind, tiles - 1
        elif kept:
            out, tiles = out + max(kept + k + drain_beats, gap), tiles - 1
        out, kept = out + tiles * max(k + drain_beats, gap), 0
    return (out or 0) + 1 - behind + latency
