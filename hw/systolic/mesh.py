"""A row of a weight-stationary array: operands move right, sums pass through downwards."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import WeightStationaryCell
from hw.verilog import Shared

__all__ = ["RowBeat", "WeightSlot", "WsCell", "WsRow"]


class RowBeat(data.StructLayout):
    """What a row carries from cell to cell.

    ``swap``: the activation is the first of a tile, so the waiting weight takes over with it.
    ``load``: ``w`` is a weight of the next tile, for the first cell on its way that waits for one.
    """

    def __init__(self, shape):
        super().__init__({"swap": 1, "load": 1, "a": shape, "w": shape})


class WeightSlot(wiring.Component):
    """Two registers deep: the value in use and the next one; combinational take and pass-on rule.

    The first ``load`` after a ``swap`` stays here, later ones pass. A load in the cycle of a swap
    is the first after it. ``use`` is the value for the beat of the cycle before.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "swap":   In(1),
            "load":   In(1),
            "value":  In(shape),
            "passed": Out(1),
            "use":    Out(shape),
        })

    def elaborate(self, platform):
        m = Module()
        full    = Signal()
        take    = Signal()
        waiting = Signal(self.shape, reset_less=True)
        use     = Signal(self.shape, reset_less=True)
        m.d.comb += [
            take.eq(self.load & (~full | self.swap)),
            self.passed.eq(self.load & ~take),
            self.use.eq(use),
        ]
        m.d.sync += full.eq(take | (full & ~self.swap))
        with m.If(take):
            m.d.sync += waiting.eq(self.value)
        with m.If(self.swap):
            m.d.sync += use.eq(waiting)
        return m


class WsCell(wiring.Component):
    """One cell: keeps a weight, passes the row on, adds its product to the sum from above.

    Members
    -------
    row_i, row_o : ``RowBeat``
        The row, one register apart.
    c : ``In(sum_shape)``, y : ``Out(sum_shape)``

    Timing
    ------
    ``y`` holds ``c + a * w`` for the beat that ``row_i`` brought ``1 + operand_latency`` cycles
    before; ``c`` is due ``sum_latency`` cycles before ``y``.
    """

    def __init__(self, cell: WeightStationaryCell):
        self.cell = cell
        row = RowBeat(cell.operand_shape)
        super().__init__({
            "row_i": In(row),
            "row_o": Out(row),
            "c":     In(cell.sum_shape),
            "y":     Out(cell.sum_shape),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.slot = slot = WeightSlot(self.cell.operand_shape)
        m.submodules.core = core = self.cell.core()
        a = Signal(self.cell.operand_shape, reset_less=True)
        w = Signal(self.cell.operand_shape, reset_less=True)
        m.d.sync += [
            a.eq(self.row_i.a),
            w.eq(self.row_i.w),
            self.row_o.swap.eq(self.row_i.swap),
            self.row_o.load.eq(slot.passed),
        ]
        m.d.comb += [
            slot.swap.eq(self.row_i.swap),
            slot.load.eq(self.row_i.load),
            slot.value.eq(self.row_i.w),
            self.row_o.a.eq(a),
            self.row_o.w.eq(w),
            core.a.eq(a),
            core.w.eq(slot.use),
            core.c.eq(self.c),
            self.y.eq(core.y),
        ]
        return m


class WsRow(wiring.Component):
    """The cells of one row, and the decoder in front of them.

    Members
    -------
    swap, load : ``In(1)``, a, w : ``In(operand)``
        As in :class:`RowBeat`, as words of the stream.
    c, y : arrays of ``sum_shape``
        Column ``j`` runs ``j`` cycles behind column 0.

    Timing
    ------
    ``y[0]`` holds ``c + a * w`` for the ``a`` of ``2 + operand_latency`` cycles before.
    """

    def __init__(self, cell: WeightStationaryCell, cols: int):
        self.cell, self.cols = cell, cols
        super().__init__({
            "swap": In(1),
            "load": In(1),
            "a":    In(cell.operand.shape),
            "w":    In(cell.operand.shape),
            "c":    In(cell.sum_shape).array(cols),
            "y":    Out(cell.sum_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unpack_a = unpack_a = self.cell.unpack_operand()
        m.submodules.unpack_w = unpack_w = self.cell.unpack_operand()
        m.d.comb += [unpack_a.i.eq(self.a), unpack_w.i.eq(self.w)]
        shape = self.cell.operand_shape
        swap, load = Signal(), Signal()
        a, w = Signal(shape, reset_less=True), Signal(shape, reset_less=True)
        m.d.sync += [
            swap.eq(self.swap), load.eq(self.load), a.eq(unpack_a.o), w.eq(unpack_w.o),
        ]

        shared, before = WsCell(self.cell), None
        for c in range(self.cols):
            m.submodules[f"cell_{c}"] = cell = Shared("ws_cell", shared)
            if before is None:
                m.d.comb += [
                    cell.row_i.swap.eq(swap), cell.row_i.load.eq(load),
                    cell.row_i.a.eq(a), cell.row_i.w.eq(w),
                ]
            else:
                m.d.comb += cell.row_i.eq(before.row_o)
            m.d.comb += [cell.c.eq(self.c[c]), self.y[c].eq(cell.y)]
            before = cell
        return m
