"""The way out of an array: results wait here until every column has its own, and for the taker."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.verilog import Shared

__all__ = ["ResultColumn", "ResultBuffer"]


class ResultColumn(wiring.Component):
    """One column's share of a :class:`ResultBuffer`: a memory, and the write on its way right."""

    def __init__(self, width: int, depth: int):
        self.width, self.depth = width, depth
        beat = data.StructLayout({
            "write": 1, "release": 1, "relu": 1, "address": range(depth)})
        super().__init__({
            "beat_i":       In(beat),
            "beat_o":       Out(beat),
            "value":        In(width),
            "read":         In(1),
            "read_address": In(range(depth)),
            "result":       Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"no_rw_check": True})
        write, read = memory.write_port(), memory.read_port()
        beat = Signal.like(self.beat_i)
        m.d.sync += beat.eq(self.beat_i)
        m.d.comb += [
            self.beat_o.eq(beat),
            write.en.eq(self.beat_i.write),
            write.addr.eq(self.beat_i.address),
            write.data.eq(Mux(self.beat_i.relu & self.value[-1], 0, self.value)),
            read.en.eq(self.read),
            read.addr.eq(self.read_address),
            self.result.eq(read.data),
        ]
        return m


class ResultBuffer(wiring.Component):
    """Rows of results that arrive one column per cycle leave as whole beats.

    Room is the writer's business: it may have ``depth`` rows under way that have not been taken,
    and ``taken`` tells it about each one that was. Rows are written in any order, and leave in that
    of their addresses, around and around.

    Parameters
    ----------
    width : :class:`int`
        Bits of a result; its top bit is its sign.
    cols : :class:`int`
    depth : :class:`int`
        Rows, a power of two.
    group : :class:`int`
        Rows that ``release`` speaks of.

    Members
    -------
    write : ``In(1)``
        Column 0's result is at ``values[0]``; that of column ``j`` follows ``j`` cycles later.
    address : ``In(range(depth))``
        With ``write``: the row, modulo ``depth``.
    release : ``In(1)``
        The next ``group`` rows are there, or will be: row ``n`` of them, ``n`` from 0, is written
        at most ``n`` cycles from now.
    relu : ``In(1)``
        With ``write``: negative results become 0. NaN has no sign here and passes.
    values : array of ``In(width)``
    o : ``Out(stream.Signature(ArrayLayout(width, cols)))``
    taken : ``Out(1)``

    Timing
    ------
    Latency: ``cols + 2`` cycles from ``release`` to the first ``o.valid``. Throughput: one row
    per cycle.
    """

    def __init__(self, width: int, cols: int, depth: int, group: int = 1):
        self.width, self.cols, self.depth, self.group = width, cols, depth, group
        self.latency = self.latency_of(cols)
        super().__init__({
            "write":   In(1),
            "address": In(range(depth)),
            "release": In(1),
            "relu":    In(1),
            "values":  In(width).array(cols),
            "o":       Out(stream.Signature(data.ArrayLayout(width, cols))),
            "taken":   Out(1),
        })

    @staticmethod
    def latency_of(cols: int) -> int:
        return cols + 2

    def elaborate(self, platform):
        m = Module()
        level = Signal(range(self.depth + 1))
        read_en = Signal()
        read_address = Signal(range(self.depth))

        shared, before = ResultColumn(self.width, self.depth), None
        for c in range(self.cols):
            m.submodules[f"column_{c}"] = column = Shared("result_column", shared)
            if before is None:
                m.d.comb += [
                    column.beat_i.write.eq(self.write),
                    column.beat_i.release.eq(self.release),
                    column.beat_i.relu.eq(self.relu),
                    column.beat_i.address.eq(self.address),
                ]
            else:
                m.d.comb += column.beat_i.eq(before.beat_o)
            m.d.comb += [
                column.value.eq(self.values[c]),
                column.read.eq(read_en),
                column.read_address.eq(read_address),
                self.o.payload[c].eq(column.result),
            ]
            before = column

        # One cycle behind the last column's write its row can be read.
        m.d.comb += [
            read_en.eq((level != 0) & (~self.o.valid | self.o.ready)),
            self.taken.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += level.eq(
            level + Mux(before.beat_o.release, self.group, 0) - read_en)
        with m.If(read_en):
            m.d.sync += read_address.eq(read_address + 1)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(read_en)
        return m
