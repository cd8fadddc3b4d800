"""The weight-stationary array: streams in, skew, mesh, accumulators, stream out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.formats import FORMATS
from hw.systolic.accumulators import AccumulatorColumn
from hw.systolic.config import ArrayConfig
from hw.systolic.mesh import WsRow
from hw.systolic.results import ResultBuffer
from hw.systolic.sequence import ArrayError, GemmCommand, WsSequencer
from hw.systolic.skew import DelayLine
from hw.systolic.timing import WsTiming
from hw.verilog import Shared

__all__ = ["WeightBeat", "WeightStationaryArray"]


class WeightBeat(data.StructLayout):
    """Column ``n`` of a tile of weights: ``w[r]`` for row ``r``, and the column's ``bias``.

    The bias starts the sums of a command's first tile of k; in later tiles it is not looked at.
    """

    def __init__(self, config: ArrayConfig):
        cell = config.cell
        super().__init__({
            "w":    data.ArrayLayout(cell.operand.shape, config.rows),
            "bias": cell.sum.shape,
        })


class WeightStationaryArray(wiring.Component):
    """``o[i, n] = relu(bias[n] + a[i, 0] * w[0, n] + a[i, 1] * w[1, n] + ...)``, k ascending.

    A command multiplies ``m`` rows of activations by ``k`` x ``n`` tiles of ``rows`` x ``cols``
    weights. Tiles come in the order: for each tile of k, for each tile of n. A tile takes ``cols``
    beats of ``i_weights``, column by column, and ``m`` beats of ``i_activations`` (the same rows
    again for each tile of n). Results leave as ``o``: for each tile of n, ``m`` beats of ``cols``.
    Edges are padded with ``config.cell.neutral``, which changes no sum.

    Parameters
    ----------
    config : :class:`ArrayConfig`
        With ``dataflow`` ``ws``.

    Members
    -------
    i_command : ``In(stream.Signature(GemmCommand))``
    i_weights : ``In(stream.Signature(WeightBeat(config)))``
    i_activations : ``In(stream.Signature(ArrayLayout(operand, rows)))``
    o : ``Out(stream.Signature(ArrayLayout(result, cols)))``
    error : ``Out(ArrayError)``
        Stays until reset; nothing more is taken then, and results under way still leave.

    Timing
    ------
    One activation beat per cycle; :mod:`hw.systolic.timing` has the closed form.
    ``latency``: cycles from the transfer of an activation of the last tile of k to its result.
    Reset: commands and sums under way are lost.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        operand = config.cell.operand
        self.result = FORMATS[config.result]
        self.result_width = Shape.cast(self.result.shape).width
        self.timing = WsTiming(config)
        self.latency = self.timing.latency
        self.result_depth = 1 << (self.latency + 4).bit_length()
        super().__init__({
            "i_command":     In(stream.Signature(GemmCommand)),
            "i_weights":     In(stream.Signature(WeightBeat(config))),
            "i_activations": In(stream.Signature(
                data.ArrayLayout(operand.shape, config.rows))),
            "o":             Out(stream.Signature(
                data.ArrayLayout(self.result_width, config.cols))),
            "error":         Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        config, cell = self.config, self.config.cell
        m.submodules.sequencer = sequencer = WsSequencer(
            config.cols, config.depth, self.result_depth)
        m.submodules.results = results = ResultBuffer(
            self.result_width, config.cols, self.result_depth)
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.i_command)
        wiring.connect(m, results.o, wiring.flipped(self.o))
        m.d.comb += [
            sequencer.weight_valid.eq(self.i_weights.valid),
            self.i_weights.ready.eq(sequencer.weight_ready),
            sequencer.activation_valid.eq(self.i_activations.valid),
            self.i_activations.ready.eq(sequencer.activation_ready),
            sequencer.taken.eq(results.taken),
            self.error.eq(sequencer.error),
        ]
        weights     = Signal.like(self.i_weights.payload, reset_less=True)
        activations = Signal.like(self.i_activations.payload, reset_less=True)
        m.d.sync += [weights.eq(self.i_weights.payload),
                     activations.eq(self.i_activations.payload)]

        # Columns: the ends, left to right.
        beat = sequencer.o
        shared = AccumulatorColumn(cell, config.depth, self.result)
        columns = []
        for c in range(config.cols):
            m.submodules[f"column_{c}"] = column = Shared("ws_column", shared)
            if columns:
                m.d.comb += [
                    column.top_i.eq(columns[-1].top_o),
                    column.bottom_i.eq(columns[-1].bottom_o),
                ]
            m.d.comb += results.values[c].eq(column.value)
            columns.append(column)

        # Rows: skew, decode, cells; the sums go down.
        word = data.StructLayout({"a": cell.operand.shape, "w": cell.operand.shape})
        shared = WsRow(cell, config.cols)
        sums = [column.c for column in columns]
        for r in range(config.rows):
            m.submodules[f"skew_{r}"] = skew = DelayLine(2, word, r * cell.sum_latency)
            m.submodules[f"row_{r}"] = row = Shared("ws_row", shared)
            m.d.comb += [
                skew.i.flags.eq(Cat(beat.swap, beat.load)),
                skew.i.payload.a.eq(activations[r]),
                skew.i.payload.w.eq(weights.w[r]),
                Cat(row.swap, row.load).eq(skew.o.flags),
                row.a.eq(skew.o.payload.a),
                row.w.eq(skew.o.payload.w),
                *(c.eq(above) for c, above in zip(row.c, sums)),
            ]
            sums = row.y
        m.d.comb += [column.y.eq(y) for column, y in zip(columns, sums)]

        # Tops of the columns.
        m.submodules.unpack_bias = unpack_bias = cell.unpack_sum()
        m.d.comb += unpack_bias.i.eq(weights.bias)
        m.submodules.top = top = DelayLine(
            3, data.StructLayout({"first": 1, "bias": cell.sum_shape}), self.timing.top - 1)
        swap, load, beat_on_top = top.o.flags
        pop_address = Signal(range(config.depth))
        with m.If(beat_on_top & ~top.o.payload.first):
            m.d.sync += pop_address.eq(pop_address + 1)
        m.d.comb += [
            top.i.flags.eq(Cat(beat.swap, beat.load, beat.beat)),
            top.i.payload.first.eq(beat.first),
            top.i.payload.bias.eq(unpack_bias.o),
            columns[0].top_i.swap.eq(swap),
            columns[0].top_i.load.eq(load),
            columns[0].top_i.first.eq(top.o.payload.first),
            columns[0].top_i.address.eq(pop_address),
            columns[0].top_i.bias.eq(top.o.payload.bias),
        ]

        # Bottoms: a sum is an accumulator again, or a result.
        m.submodules.bottom = bottom = DelayLine(2, unsigned(1), self.timing.bottom - 1)
        push, emit = bottom.o.flags
        push_address = Signal(range(config.depth))
        with m.If(push):
            m.d.sync += push_address.eq(push_address + 1)
        m.d.comb += [
            bottom.i.flags.eq(Cat(beat.beat & ~beat.last, beat.beat & beat.last)),
            bottom.i.payload.eq(beat.relu),
            columns[0].bottom_i.push.eq(push),
            columns[0].bottom_i.address.eq(push_address),
            sequencer.pushed.eq(push),
        ]
        result_address = Signal(range(self.result_depth))
        m.submodules.emit = packing = DelayLine(1, unsigned(1), self.timing.pack)
        m.d.comb += [
            packing.i.flags.eq(emit),
            packing.i.payload.eq(bottom.o.payload),
            results.write.eq(packing.o.flags),
            results.release.eq(packing.o.flags),
            results.address.eq(result_address),
            results.relu.eq(packing.o.payload),
        ]
        with m.If(packing.o.flags):
            m.d.sync += result_address.eq(result_address + 1)
        return m
