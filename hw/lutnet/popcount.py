"""Counting ones: a heap of bits in columns of equal weight, compressed until one row is left.

Two styles. ``compressor`` uses tables only: 6:3 (three 6-input tables) and 3:2, all of them in
parallel, level by level, and one ripple adder at the end. ``carry`` uses the carry chain of the
7-series as well, whose cell adds ``a + f(5 inputs)`` in one table:

- a *narrow* node (5 inputs) that nobody else reads is such an f: the adder that counts it costs
  what the node alone would;
- the count of five bits is three such f, so a chain of three cells takes five bits, a running sum
  of three and a carry: nine bits in, four out, three tables (a 6:3 compressor takes three for six
  in, three out).

Counting n bits costs about n tables with compressors and 0.6 n with carry chains; n nodes of which
half are narrow cost 1.3 n with their count.
"""

from dataclasses import dataclass
from functools import cache

from amaranth import *

from .circuit import Circuit, Table, Wire

__all__ = ["STYLES", "Sum", "count", "weigh", "compress"]

STYLES = ("carry", "compressor")


@dataclass(frozen=True)
class Sum:
    """A claim: the sum of ``bit << shift`` over ``inputs`` is that over ``outputs``."""

    inputs: list[tuple[Wire, int]]
    outputs: list[tuple[Wire, int]]


def _ones(bit: int, inputs: int) -> int:
    """Table of bit ``bit`` of the number of ones among ``inputs``."""
    return sum((a.bit_count() >> bit & 1) << a for a in range(1 << inputs))


@cache
def _plan(heights: tuple[int, ...]) -> tuple[int, tuple[int, int] | None]:
    """Fewest tables that bring columns of these heights to one bit each, and the first step.

    A step ``(taken, cells)`` works on the lowest column that has more than one bit, see ``_step``.
    """
    if all(h <= 1 for h in heights):
        return 0, None
    if heights[0] <= 1:
        return _plan(heights[1:])
    best = (10 ** 9, None)
    options = [(7, 3)]
    if heights[0] <= 8:  # odd numbers of bits leave one; an even number takes two and no carry
        options = [(t, d + more) for t in range(2, min(heights[0], 7) + 1)
                   for d in [max(t - 2, 1).bit_length()] for more in range(4 if t < 4 else 2)]
    for taken, cells in options:
        cost, after = _after(heights, taken, cells)
        total = cost + _plan(after)[0]
        if total < best[0]:
            best = (total, (taken, cells))
    return best


def _after(heights: tuple[int, ...], taken: int, cells: int) -> tuple[int, tuple[int, ...]]:
    """Tables of a step, and the heights after it."""
    h = list(heights) + [0] * (cells + 1 - len(heights))
    digits = max(taken - 2, 1).bit_length()  # of the count of all bits but a and carry
    h[0] -= taken
    most, cost = taken, 0
    for i in range(1, cells):
        used = min(h[i], 1 if i < digits else 2)
        h[i] -= used
        most += used << i
        cost += i < digits or used == 2
    for i in range(most.bit_length()):
        if i >= len(h):
            h.append(0)
        h[i] += 1
    while h and h[-1] == 0:
        h.pop()
    return cost + 1, tuple(h)


def _take(column: list[Wire], count: int, *, chain: bool) -> list[Wire]:
    """Remove up to ``count`` bits: the deepest first in a chain, else the shallowest."""
    column.sort(key=lambda w: (w.stage, w.level), reverse=chain)
    taken, column[:] = column[:count], column[count:]
    return taken


def _step(c: Circuit, columns: list[list[Wire]], taken: int, cells: int, every: int) -> None:
    """One carry chain over the columns from the first on.

    Of the ``taken`` bits of the first column one is the carry, one is added directly and the others
    (five at most) are counted in the cells' tables; the cells beyond the count's digits add two
    direct bits of their column.
    """
    columns += [[] for _ in range(cells + 1 - len(columns))]
    bits = _take(columns[0], taken, chain=not every)
    carry, a, rest = (bits[0], bits[1], bits[2:]) if taken > 2 else (None, bits[0], bits[1:])
    digits = len(rest).bit_length()
    rows: list = [(a, Table(_ones(0, len(rest)), tuple(rest)))]
    most, added = taken, []
    for i in range(1, cells):
        own = _take(columns[i], 1 if i < digits else 2, chain=not every)
        most += len(own) << i
        added += [(bit, i) for bit in own]
        f = Table(_ones(i, len(rest)), tuple(rest)) if i < digits else \
            own[1] if len(own) > 1 else None
        rows.append((own[0] if own else None, f))
    total = c.add(rows, carry, every)
    outs = total[:most.bit_length()]
    c.facts.append(Sum([(bit, 0) for bit in bits] + added, list(zip(outs, range(len(outs))))))
    for i, bit in enumerate(outs):
        columns[i].append(bit)


def _compress_carry(c: Circuit, columns: list[list[Wire]], every: int) -> list[Wire]:
    """Columns to one row of bits."""
    row = []
    while columns:
        heights = tuple(map(len, columns))
        if heights[0] <= 1:
            row.append(columns[0][0] if columns[0] else Wire(Const(0, 1)))
            columns = columns[1:]
            continue
        taken, cells = _plan(heights)[1]
        _step(c, columns, taken, cells, every)
        while columns and not columns[-1]:
            columns.pop()
    return row


def _ripple(c: Circuit, columns: list[list[Wire]], every: int) -> list[Wire]:
    """Columns of at most two bits to one row."""
    first = next((k for k, column in enumerate(columns) if len(column) > 1), len(columns))
    row = [column[0] if column else Wire(Const(0, 1)) for column in columns[:first]]
    if first < len(columns):
        rows = [(column + [None, None])[:2] for column in columns[first:]]
        row += c.add([tuple(r) for r in rows], None, every)
    return row


def _compress_tables(c: Circuit, columns: list[list[Wire]], every: int, width: int) -> list[Wire]:
    """Columns to one row with compressors of ``width`` inputs (6 or 3), then an adder."""
    while max(map(len, columns)) > 2:
        columns.append([])
        columns.append([])
        after: list[list[Wire]] = [[] for _ in columns]
        for k, column in enumerate(columns):
            column.sort(key=lambda w: (w.stage, w.level))
            while len(column) > 2:
                size = 6 if width == 6 and len(column) >= 5 else 3
                bits, column[:] = column[:size], column[size:]
                for bit in range(len(bits).bit_length()):
                    after[k + bit].append(c.lut(_ones(bit, len(bits)), bits, every))
            after[k] += column
        while not after[-1]:
            after.pop()
        columns = after
    return _ripple(c, columns, every)


def compress(c: Circuit, columns: list[list[Wire]], *, style: str, inputs: int = 6,
             every: int = 0) -> list[Wire]:
    """The sum of all bits, ``columns[k]`` weighing ``2**k``, as a row of bits.

    The row may be longer than the sum; it is exact as long as nobody cuts it short of the sum.
    ``inputs``: of the fabric's tables; ``every``: cells between registers, 0 for none.
    """
    columns = [list(column) for column in columns]
    if style == "carry":
        return _compress_carry(c, columns, every)
    return _compress_tables(c, columns, every, 6 if inputs >= 6 else 3)


def count(c: Circuit, nodes: list[Wire], narrow: list[Table], *, style: str, inputs: int = 6,
          every: int = 0) -> list[Wire]:
    """How many of ``nodes`` and ``narrow`` are 1: bits, the lowest first.

    ``narrow``: tables of at most 5 inputs that nobody else reads.
    """
    total = len(nodes) + len(narrow)
    columns: list[list[Wire]] = [list(nodes), []]
    if style == "carry":
        queue, free = columns[0], list(narrow)
        while free and len(queue) >= 2:
            queue.sort(key=lambda w: (w.stage, w.level))
            a, carry = queue[:2]
            del queue[:2]
            one, two = c.add([(a, free.pop())], carry, every)
            queue.append(one)
            columns[1].append(two)
        narrow = free
    columns[0] += [c.lut(f.table, list(f.pins), every) for f in narrow]
    row = compress(c, columns, style=style, inputs=inputs, every=every)
    row = row[:total.bit_length()]
    stage = max(w.stage for w in row)
    return [Wire(c.at(w, stage), stage, w.level) for w in row]


def weigh(c: Circuit, bits: list[tuple[Wire, int]], *, style: str, inputs: int = 6,
          every: int = 0) -> list[Wire]:
    """The sum of ``bit << shift`` over pairs ``(bit, shift)``: bits, the lowest first."""
    columns: list[list[Wire]] = [[]]
    constant = total = 0
    for bit, shift in bits:
        value = bit.value
        total += 1 << shift
        if isinstance(value, Const):
            constant += value.value << shift
            continue
        columns += [[] for _ in range(shift + 1 - len(columns))]
        columns[shift].append(bit)
    for shift in range(constant.bit_length()):
        columns += [[] for _ in range(shift + 1 - len(columns))]
        if constant >> shift & 1:
            columns[shift].append(Wire(Const(1, 1)))
    row = compress(c, columns, style=style, inputs=inputs, every=every)[:total.bit_length()]
    row = row or [Wire(Const(0, 1))]
    stage = max(w.stage for w in row)
    return [Wire(c.at(w, stage), stage, w.level) for w in row]
