"""Counting ones: a heap of bits in columns of equal weight, compressed until one row is left.

Two styles. ``compressor`` uses tables only: 6:3 (three 6-input tables) and 3:2, all of them in
parallel, level by level, and one ripple adder at the end. ``carry`` uses the carry chain of the
7-series as well, whose cell adds ``a + f(5 inputs)`` in one table:

- a *narrow* node (5 inputs) that nobody else reads is such an f: the adder that counts it costs what
  the node alone would;
- the count of five bits is three such f, so a chain of three cells takes five bits, a running sum of
  three and a carry: nine bits in, four out, three tables (a 6:3 compressor takes three for six in,
  three out).

Counting n bits costs about n tables with compressors and 0.6 n with carry chains; n nodes of which
half are narrow cost 1.3 n with their count.
"""

from amaranth import *

from .circuit import Circuit, Table, Wire

__all__ = ["STYLES", "count", "compress"]

STYLES = ("carry", "compressor")


def _ones(bit: int, inputs: int) -> int:
    """Table of bit ``bit`` of the number of ones among ``inputs``."""
    return sum((a.bit_count() >> bit & 1) << a for a in range(1 << inputs))


def _take(column: list[Wire], count: int, *, chain: bool) -> list[Wire]:
    """Remove ``count`` bits: the deepest first in a chain (it stays one), else the shallowest."""
    column.sort(key=lambda w: (w.stage, w.level), reverse=chain)
    taken, column[:] = column[:count], column[count:]
    return taken


def _compress_carry(c: Circuit, columns: list[list[Wire]], every: int) -> list[Wire]:
    """Columns to one row of bits with chains of three or two cells."""
    k = 0
    while k < len(columns):
        column = columns[k]
        while len(column) >= 3:
            columns += [[] for _ in range(k + 4 - len(columns))]
            cells = 3 if len(column) >= 7 else 2 if len(column) >= 5 else 1
            bits = _take(column, (3, 5, 7)[cells - 1], chain=not every)
            carry, a, rest = bits[0], bits[1], bits[2:]
            f = [Table(_ones(bit, len(rest)), tuple(rest)) for bit in range(cells)]
            above = [(_take(columns[k + i], 1, chain=not every) or [None])[0]
                     for i in range(1, cells)]
            total = c.add(list(zip([a, *above], f)), carry, every)
            most = len(bits) + sum(2 << i for i, w in enumerate(above) if w is not None)
            for i, bit in enumerate(total[:most.bit_length()]):
                columns[k + i].append(bit)
        k += 1
    while not columns[-1]:
        columns.pop()
    return _ripple(c, columns, every)


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
