"""The grid of an output-stationary array: activations right, weights down, sums up and out."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import OutputStationaryCell

__all__ = ["OsKind", "OsRowBeat", "OsCell", "OsMesh"]


class OsKind(enum.Enum, shape=2):
    """What a cell does with a beat."""

    IDLE = 0
    #: Add the product.
    PRODUCT = 1
    #: Add the product, which is the sum's last; then hand the sum out and begin at zero.
    LAST = 2
    #: Hand out the next word of a finished sum; the operands say which.
    DRAIN = 3


class OsRowBeat(data.StructLayout):
    def __init__(self, shape):
        super().__init__({"kind": OsKind, "a": shape})


class OsCell(wiring.Component):
    """One cell: passes both operands on, keeps a sum, has a stage of the column's way out.

    Members
    -------
    row_i, row_o : ``OsRowBeat``
        One register apart.
    w_i, w_o : ``operand_shape``
        ``row_skew`` registers apart.
    chain_i, chain_o : ``chain_shape``
        From the cell below, to the cell above, one register apart.
    """

    def __init__(self, cell: OutputStationaryCell):
        self.cell = cell
        row = OsRowBeat(cell.operand_shape)
        super().__init__({
            "row_i":   In(row),
            "row_o":   Out(row),
            "w_i":     In(cell.operand_shape),
            "w_o":     Out(cell.operand_shape),
            "chain_i": In(cell.chain_shape),
            "chain_o": Out(cell.chain_shape),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.cell.core()
        kind = Signal(OsKind)
        a = Signal(self.cell.operand_shape, reset_less=True)
        m.d.sync += [kind.eq(self.row_i.kind), a.eq(self.row_i.a)]
        stages = [Signal(self.cell.operand_shape, name=f"w_{n + 1}", reset_less=True)
                  for n in range(self.cell.row_skew)]
        m.d.sync += [stage.eq(before) for stage, before in zip(stages, [self.w_i, *stages])]
        m.d.comb += [
            self.row_o.kind.eq(kind),
            self.row_o.a.eq(a),
            self.w_o.eq(stages[-1]),
            core.kind.eq(kind),
            core.a.eq(a),
            core.w.eq(stages[0]),
            core.chain_i.eq(self.chain_i),
            self.chain_o.eq(core.chain_o),
        ]
        return m


class OsMesh(wiring.Component):
    """``rows`` x ``cols`` cells.

    Members
    -------
    rows : array of ``In(OsRowBeat)``
        Row ``r`` is due ``r * row_skew`` cycles after row 0.
    w : array of ``In(operand_shape)``
        Column ``j`` is due ``j`` cycles after column 0, which is due with row 0.
    chain : array of ``Out(chain_shape)``
        Tops of the columns.
    """

    def __init__(self, cell: OutputStationaryCell, rows: int, cols: int):
        self.cell, self.n_rows, self.n_cols = cell, rows, cols
        super().__init__({
            "rows":  In(OsRowBeat(cell.operand_shape)).array(rows),
            "w":     In(cell.operand_shape).array(cols),
            "chain": Out(cell.chain_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        down, above = list(self.w), list(self.chain)
        for r in range(self.n_rows):
            row = self.rows[r]
            for c in range(self.n_cols):
                m.submodules[f"cell_{r}_{c}"] = cell = OsCell(self.cell)
                m.d.comb += [
                    cell.row_i.eq(row),
                    cell.w_i.eq(down[c]),
                    above[c].eq(cell.chain_o),
                ]
                row, down[c], above[c] = cell.row_o, cell.w_o, cell.chain_i
        return m
