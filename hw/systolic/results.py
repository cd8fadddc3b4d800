"""The way out of an array: results wait here until every column has its own, and for the taker."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ResultBuffer"]


class ResultBuffer(wiring.Component):
    """Rows of results that arrive one column per cycle leave as whole beats.

    Room is the writer's business: it may have ``depth`` rows under way that have not been taken,
    and ``taken`` tells it about each one that was.

    Parameters
    ----------
    width : :class:`int`
        Bits of a result; its top bit is its sign.
    cols : :class:`int`
    depth : :class:`int`
        Rows, a power of two.

    Members
    -------
    write : ``In(1)``
        Column 0's result is at ``values[0]``; that of column ``j`` follows ``j`` cycles later.
    relu : ``In(1)``
        With ``write``: negative results become 0. NaN has no sign here and passes.
    values : array of ``In(width)``
    o : ``Out(stream.Signature(ArrayLayout(width, cols)))``
    taken : ``Out(1)``

    Timing
    ------
    Latency: ``cols + 2`` cycles from ``write`` to ``o.valid``. Throughput: one row per cycle.
    """

    def __init__(self, width: int, cols: int, depth: int):
        self.width, self.cols, self.depth = width, cols, depth
        self.latency = self.latency_of(cols)
        super().__init__({
            "write":  In(1),
            "relu":   In(1),
            "values": In(width).array(cols),
            "o":      Out(stream.Signature(data.ArrayLayout(width, cols))),
            "taken":  Out(1),
        })

    @staticmethod
    def latency_of(cols: int) -> int:
        return cols + 2

    def elaborate(self, platform):
        m = Module()
        address, level = Signal(range(self.depth)), Signal(range(self.depth + 1))
        read_en = Signal()
        read_address = Signal(range(self.depth))

        # The write moves from column to column with its address; ReLU with it.
        write, relu, here = self.write, self.relu, address
        with m.If(self.write):
            m.d.sync += address.eq(address + 1)
        for c in range(self.cols):
            m.submodules[f"column_{c}"] = memory = Memory(
                shape=self.width, depth=self.depth, init=[], attrs={"no_rw_check": True})
            port, read = memory.write_port(), memory.read_port()
            negative = relu & self.values[c][-1]
            m.d.comb += [
                port.en.eq(write),
                port.addr.eq(here),
                port.data.eq(Mux(negative, 0, self.values[c])),
                read.en.eq(read_en),
                read.addr.eq(read_address),
                self.o.payload[c].eq(read.data),
            ]
            next_write = Signal(name=f"write_{c + 1}")
            next_relu  = Signal(name=f"relu_{c + 1}", reset_less=True)
            next_here  = Signal.like(address, name=f"address_{c + 1}", reset_less=True)
            m.d.sync += [next_write.eq(write), next_relu.eq(relu), next_here.eq(here)]
            write, relu, here = next_write, next_relu, next_here

        # `write` is now one cycle behind the last column: its row can be read from here on.
        m.d.comb += [
            read_en.eq((level != 0) & (~self.o.valid | self.o.ready)),
            self.taken.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += level.eq(level + write - read_en)
        with m.If(read_en):
            m.d.sync += read_address.eq(read_address + 1)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(read_en)
        return m
