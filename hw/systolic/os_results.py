"""When the sums of a column arrive, and where their results go."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SegmentRows"]


class SegmentRows(wiring.Component):
    """Follows the sums of one segment of a column, which come at a fixed distance.

    Parameters
    ----------
    start : :class:`int`
        The segment's first row.
    rows : :class:`int`
        Its rows.
    spacing : :class:`int`
        Cycles from one row's sum to the next.
    tile_rows : :class:`int`
        Rows of all segments together.
    depth : :class:`int`
        Rows that the results' memory has, a power of two.

    Members
    -------
    first : ``In(1)``
        The first row's sum is there; the next ``first`` comes behind the last row's sum.
    seen, relu : ``In(1)``
        With ``first``: of this tile.
    row : ``Out(1)``
        A row's sum is there. Combinational in ``first``.
    writes : ``Out(1)``, write : ``Out(StructLayout)``
        It is a result, that goes to ``address``; else ``write`` is 0.
    """

    def __init__(self, *, start: int, rows: int, spacing: int, tile_rows: int, depth: int):
        self.start, self.rows, self.spacing = start, rows, spacing
        self.tile_rows, self.depth = tile_rows, depth
        super().__init__({
            "first":  In(1),
            "seen":   In(1),
            "relu":   In(1),
            "row":    Out(1),
            "writes": Out(1),
            "write":  Out(data.StructLayout({"address": range(depth), "relu": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        left  = Signal(range(self.rows + 1))
        phase = Signal(range(self.spacing))
        address = Signal(range(self.depth), init=self.start)
        held, flags = Signal(2), Signal(2)
        with m.If(self.first):
            m.d.sync += [
                left.eq(self.rows - 1), phase.eq(self.spacing - 1), held.eq(flags)]
        with m.Elif(left != 0):
            m.d.sync += phase.eq(Mux(phase == 0, self.spacing - 1, phase - 1))
            with m.If(phase == 0):
                m.d.sync += left.eq(left - 1)
        last = (left == 1) if self.rows > 1 else self.first
        m.d.comb += [
            flags.eq(Mux(self.first, Cat(self.seen, self.relu), held)),
            self.row.eq(self.first | (left != 0) & (phase == 0)),
            self.writes.eq(self.row & flags[0]),
        ]
        with m.If(self.writes):
            m.d.comb += [self.write.address.eq(address), self.write.relu.eq(flags[1])]
            m.d.sync += address.eq(
                address + Mux(last, 1 + self.tile_rows - self.rows, 1))
        return m
