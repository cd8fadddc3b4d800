"""The grid of a weight-stationary array: operands move right, sums move down."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import WeightStationaryCell

__all__ = ["RowBeat", "WeightSlot", "WsCell", "WsMesh"]


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


class WsMesh(wiring.Component):
    """``rows`` x ``cols`` cells.

    Members
    -------
    rows : array of ``In(RowBeat)``
        Row ``r`` is due ``r * sum_latency`` cycles after row 0.
    c, y : arrays of ``sum_shape``
        Tops and bottoms of the columns; column ``j`` runs ``j`` cycles behind column 0.

    Timing
    ------
    Latency: ``rows * sum_latency`` from ``c`` to ``y``.
    """

    def __init__(self, cell: WeightStationaryCell, rows: int, cols: int):
        self.cell, self.n_rows, self.n_cols = cell, rows, cols
        self.latency = rows * cell.sum_latency
        super().__init__({
            "rows": In(RowBeat(cell.operand_shape)).array(rows),
            "c":    In(cell.sum_shape).array(cols),
            "y":    Out(cell.sum_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        sums = list(self.c)
        for r in range(self.n_rows):
            row = self.rows[r]
            for c in range(self.n_cols):
                m.submodules[f"cell_{r}_{c}"] = cell = WsCell(self.cell)
                m.d.comb += [cell.row_i.eq(row), cell.c.eq(sums[c])]
                row, sums[c] = cell.row_o, cell.y
        m.d.comb += [bottom.eq(y) for bottom, y in zip(self.y, sums)]
        return m
