"""A row of an output-stationary array: activations right, weights down, sums up and out."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import OutputStationaryCell
from hw.verilog import Shared

__all__ = ["OsKind", "OsRowBeat", "OsCell", "OsRow"]


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


class OsRow(wiring.Component):
    """The cells of one row, and the decoder in front of them.

    Members
    -------
    kind : ``In(OsKind)``, a : ``In(operand)``
        A word of the stream; decoded here.
    w_i, w_o : arrays of ``operand_shape``
        Already decoded; column ``j`` runs ``j`` cycles behind column 0, which is due one cycle
        after ``a``.
    chain_i, chain_o : arrays of ``chain_shape``
    """

    def __init__(self, cell: OutputStationaryCell, cols: int):
        self.cell, self.cols = cell, cols
        super().__init__({
            "kind":    In(OsKind),
            "a":       In(cell.operand.shape),
            "w_i":     In(cell.operand_shape).array(cols),
            "w_o":     Out(cell.operand_shape).array(cols),
            "chain_i": In(cell.chain_shape).array(cols),
            "chain_o": Out(cell.chain_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unpack = unpack = self.cell.unpack_operand()
        kind = Signal(OsKind)
        a = Signal(self.cell.operand_shape, reset_less=True)
        m.d.comb += unpack.i.eq(self.a)
        m.d.sync += [kind.eq(self.kind), a.eq(unpack.o)]

        shared, before = OsCell(self.cell), None
        for c in range(self.cols):
            m.submodules[f"cell_{c}"] = cell = Shared("os_cell", shared)
            if before is None:
                m.d.comb += [cell.row_i.kind.eq(kind), cell.row_i.a.eq(a)]
            else:
                m.d.comb += cell.row_i.eq(before.row_o)
            m.d.comb += [
                cell.w_i.eq(self.w_i[c]),
                self.w_o[c].eq(cell.w_o),
                cell.chain_i.eq(self.chain_i[c]),
                self.chain_o[c].eq(cell.chain_o),
            ]
            before = cell
        return m
