"""A row of an output-stationary array: activations right, weights down, sums up and out."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import OutputStationaryCell
from hw.verilog import Shared

__all__ = ["OsControl", "OsRowBeat", "OsCell", "OsRow"]


class OsControl(data.StructLayout):
    """What a cell does with a beat.

    ``product``: add the operands' product to the sum in ``bank``; a sum begins at zero with the
    first product after ``bank`` changed. ``drain``: hand out ``word`` of the sum in the other bank.
    """

    def __init__(self, words: int):
        super().__init__({"product": 1, "bank": 1, "drain": 1, "word": range(words)})


class OsRowBeat(data.StructLayout):
    def __init__(self, cell: OutputStationaryCell):
        super().__init__({"control": OsControl(cell.words), "a": cell.operand_shape})


class OsCell(wiring.Component):
    """One cell: passes both operands on, keeps sums, has a stage of the column's way out.

    Members
    -------
    row_i, row_o : ``OsRowBeat``
        One register apart.
    w_i, w_o : ``operand_shape``
        One register apart.
    chain_i, chain_o : ``chain_shape``
        From the cell below, to the cell above, one register apart.
    """

    def __init__(self, cell: OutputStationaryCell):
        self.cell = cell
        row = OsRowBeat(cell)
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
        control = Signal(OsControl(self.cell.words))
        a = Signal(self.cell.operand_shape, reset_less=True)
        w = Signal(self.cell.operand_shape, reset_less=True)
        m.d.sync += [control.eq(self.row_i.control), a.eq(self.row_i.a), w.eq(self.w_i)]
        m.d.comb += [
            self.row_o.control.eq(control),
            self.row_o.a.eq(a),
            self.w_o.eq(w),
            core.control.eq(control),
            core.a.eq(a),
            core.w.eq(w),
            core.chain_i.eq(self.chain_i),
            self.chain_o.eq(core.chain_o),
        ]
        return m


class OsRow(wiring.Component):
    """The cells of one row, and the decoder in front of them.

    Members
    -------
    control : ``In(OsControl)``, a : ``In(operand)``
        A word of the stream; decoded here.
    w_i, w_o : arrays of ``operand_shape``
        Already decoded; column ``j`` runs ``j`` cycles behind column 0, which is due one cycle
        after ``a``.
    chain_i, chain_o : arrays of ``chain_shape``
    """

    def __init__(self, cell: OutputStationaryCell, cols: int):
        self.cell, self.cols = cell, cols
        super().__init__({
            "control": In(OsControl(cell.words)),
            "a":       In(cell.operand.shape),
            "w_i":     In(cell.operand_shape).array(cols),
            "w_o":     Out(cell.operand_shape).array(cols),
            "chain_i": In(cell.chain_shape).array(cols),
            "chain_o": Out(cell.chain_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unpack = unpack = self.cell.unpack_operand()
        control = Signal(OsControl(self.cell.words))
        a = Signal(self.cell.operand_shape, reset_less=True)
        m.d.comb += unpack.i.eq(self.a)
        m.d.sync += [control.eq(self.control), a.eq(unpack.o)]

        shared, before = OsCell(self.cell), None
        for c in range(self.cols):
            m.submodules[f"cell_{c}"] = cell = Shared("os_cell", shared)
            if before is None:
                m.d.comb += [cell.row_i.control.eq(control), cell.row_i.a.eq(a)]
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
