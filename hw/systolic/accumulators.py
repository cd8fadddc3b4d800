"""The sums of a weight-stationary array between its passes over k: bottom of a column to its top."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.systolic.cell import WeightStationaryCell
from hw.systolic.mesh import WeightSlot

__all__ = ["TopBeat", "BottomBeat", "Accumulators"]


class TopBeat(data.StructLayout):
    """What starts a sum at the top of column 0, and moves right one column per cycle.

    ``first``: the sum starts from the bias, else from the accumulator at ``address``.
    ``swap`` and ``load`` are for the bias what they are for a weight.
    """

    def __init__(self, shape, depth: int):
        super().__init__({
            "swap": 1, "load": 1, "first": 1, "address": range(depth), "bias": shape,
        })


class BottomBeat(data.StructLayout):
    """What becomes of the sum at the bottom: kept at ``address``, or not."""

    def __init__(self, depth: int):
        super().__init__({"push": 1, "address": range(depth)})


class Accumulators(wiring.Component):
    """``depth`` sums and a bias for each column.

    Members
    -------
    top : ``In(TopBeat)``, bottom : ``In(BottomBeat)``
        As column 0 sees them; column ``j`` does the same ``j`` cycles later.
    c : array of ``Out(sum_shape)``, y : array of ``In(sum_shape)``

    Timing
    ------
    ``c[0]`` follows ``top`` by ``latency`` = 2 cycles. ``y[0]`` is stored in the cycle of
    ``bottom`` and can be read by a ``top`` of the next cycle or later.
    """

    latency = 2

    def __init__(self, cell: WeightStationaryCell, cols: int, depth: int):
        self.cell, self.cols, self.depth = cell, cols, depth
        self.top_layout = TopBeat(cell.sum_shape, depth)
        self.bottom_layout = BottomBeat(depth)
        super().__init__({
            "top":    In(self.top_layout),
            "bottom": In(self.bottom_layout),
            "c":      Out(cell.sum_shape).array(cols),
            "y":      In(cell.sum_shape).array(cols),
        })

    def elaborate(self, platform):
        m = Module()
        top, bottom = self.top, self.bottom
        for j in range(self.cols):
            m.submodules[f"bias_{j}"] = slot = WeightSlot(self.cell.sum_shape)
            m.submodules[f"sums_{j}"] = memory = Memory(
                shape=Shape.cast(self.cell.sum_shape).width, depth=self.depth, init=[],
                attrs={"no_rw_check": True})
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                slot.swap.eq(top.swap),
                slot.load.eq(top.load),
                slot.value.eq(top.bias),
                read.addr.eq(top.address),
                write.en.eq(bottom.push),
                write.addr.eq(bottom.address),
                write.data.eq(Value.cast(self.y[j])),
            ]

            next_top    = Signal(self.top_layout, name=f"top_{j + 1}")
            next_bottom = Signal(self.bottom_layout, name=f"bottom_{j + 1}")
            m.d.sync += [next_top.eq(top), next_top.load.eq(slot.passed), next_bottom.eq(bottom)]
            start = Signal(self.cell.sum_shape, name=f"c_{j}", reset_less=True)
            m.d.sync += Value.cast(start).eq(
                Mux(next_top.first, Value.cast(slot.use), read.data))
            m.d.comb += self.c[j].eq(start)
            top, bottom = next_top, next_bottom
        return m
