"""The sums of a weight-stationary array between passes over k: bottom of a column to its top."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.formats import Format
from hw.systolic.cell import WeightStationaryCell
from hw.systolic.mesh import WeightSlot

__all__ = ["TopBeat", "BottomBeat", "AccumulatorColumn"]


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


class AccumulatorColumn(wiring.Component):
    """The two ends of a column: where its sums start, and where they stay or become results.

    Members
    -------
    top_i, top_o : ``TopBeat``
        From the column to the left, to the one to the right, one register apart.
    bottom_i, bottom_o : ``BottomBeat``
        The same.
    c : ``Out(sum_shape)``, y : ``In(sum_shape)``
        The column's top and bottom.
    value : ``Out(result)``
        ``y`` as a word, ``pack_latency`` cycles later.

    Timing
    ------
    ``c`` follows ``top_i`` by ``latency`` = 3 cycles: on the ECP5, a block RAM's clock-to-output
    takes 5.6 ns, which leaves nothing for the way to the top cell. ``y`` is stored in the cycle of
    ``bottom_i`` and can be read by a ``top_i`` of the next cycle or later.
    """

    latency = 3

    def __init__(self, cell: WeightStationaryCell, depth: int, result: Format):
        self.cell, self.depth, self.result = cell, depth, result
        top, bottom = TopBeat(cell.sum_shape, depth), BottomBeat(depth)
        super().__init__({
            "top_i":    In(top),
            "top_o":    Out(top),
            "bottom_i": In(bottom),
            "bottom_o": Out(bottom),
            "c":        Out(cell.sum_shape),
            "y":        In(cell.sum_shape),
            "value":    Out(Shape.cast(result.shape).width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bias = slot = WeightSlot(self.cell.sum_shape)
        m.submodules.sums = memory = Memory(
            shape=Shape.cast(self.cell.sum_shape).width, depth=self.depth, init=[],
            attrs={"no_rw_check": True})
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            slot.swap.eq(self.top_i.swap),
            slot.load.eq(self.top_i.load),
            slot.value.eq(self.top_i.bias),
            read.addr.eq(self.top_i.address),
            write.en.eq(self.bottom_i.push),
            write.addr.eq(self.bottom_i.address),
            write.data.eq(Value.cast(self.y)),
        ]

        top, bottom = Signal.like(self.top_i), Signal.like(self.bottom_i)
        m.d.sync += [top.eq(self.top_i), top.load.eq(slot.passed), bottom.eq(self.bottom_i)]
        m.d.comb += [self.top_o.eq(top), self.bottom_o.eq(bottom)]

        start, c = (Signal(self.cell.sum_shape, name=name, reset_less=True)
                    for name in ("start", "top_c"))
        m.d.sync += [Value.cast(start).eq(Mux(top.first, Value.cast(slot.use), read.data)),
                     Value.cast(c).eq(Value.cast(start))]
        m.submodules.pack = pack = self.cell.pack_sum(self.result)
        m.d.comb += [self.c.eq(c), pack.i.eq(self.y), self.value.eq(pack.o)]
        return m
