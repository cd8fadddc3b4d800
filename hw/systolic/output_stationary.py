"""The output-stationary array: streams in, skew, mesh, ends of the columns, stream out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.formats import FORMATS
from hw.systolic.config import ArrayConfig
from hw.systolic.os_mesh import OsKind, OsRow
from hw.systolic.os_sequence import OsCommand, OsSequencer
from hw.systolic.results import ResultBuffer
from hw.systolic.sequence import ArrayError
from hw.systolic.skew import DelayLine
from hw.systolic.timing import OsTiming
from hw.verilog import Shared

__all__ = ["OutputStationaryArray"]


class OutputStationaryArray(wiring.Component):
    """``o[i, j] = relu(a[i, 0] * w[0, j] + a[i, 1] * w[1, j] + ...)``.

    A command makes ``tiles`` tiles of ``rows`` x ``cols`` results. Each takes ``k`` beats of both
    operand streams: a column of activations (one for each row) with a row of weights (one for each
    column). Its results leave as ``rows`` beats of ``cols``. Edges are padded with anything; those
    results are thrown away by whoever padded.

    Parameters
    ----------
    config : :class:`ArrayConfig`
        With ``dataflow`` ``os``.

    Members
    -------
    i_command : ``In(stream.Signature(OsCommand))``
    i_weights : ``In(stream.Signature(ArrayLayout(operand, cols)))``
    i_activations : ``In(stream.Signature(ArrayLayout(operand, rows)))``
    o : ``Out(stream.Signature(ArrayLayout(result, cols)))``
    error : ``Out(ArrayError)``
        Stays until reset; nothing more is taken then, and results under way still leave.

    Timing
    ------
    One product beat per cycle; :mod:`hw.systolic.timing` has the closed form.
    ``latency``: cycles from a tile's last product to its last result. After reset, cells may need
    ``settle_tiles`` tiles of their own before the first command is taken.
    Reset: commands and sums under way are lost.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        cell = config.cell
        self.result = FORMATS[config.result]
        self.result_width = Shape.cast(self.result.shape).width
        self.timing = OsTiming(config)
        self.latency = self.timing.latency
        tiles = 2 + -(-self.latency // self.timing.gap)
        self.result_depth = 1 << (tiles * config.rows - 1).bit_length()
        super().__init__({
            "i_command":     In(stream.Signature(OsCommand)),
            "i_weights":     In(stream.Signature(
                data.ArrayLayout(cell.operand.shape, config.cols))),
            "i_activations": In(stream.Signature(
                data.ArrayLayout(cell.operand.shape, config.rows))),
            "o":             Out(stream.Signature(
                data.ArrayLayout(self.result_width, config.cols))),
            "error":         Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        config, cell = self.config, self.config.cell
        m.submodules.sequencer = sequencer = OsSequencer(
            drain_beats=cell.drain_beats, gap=self.timing.gap, tile_rows=config.rows,
            credits=self.result_depth, k_max=cell.k_max, settle=cell.settle_tiles)
        m.submodules.results = results = ResultBuffer(
            self.result_width, config.cols, self.result_depth)
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.i_command)
        wiring.connect(m, results.o, wiring.flipped(self.o))
        m.d.comb += [
            sequencer.operand_valid.eq(self.i_weights.valid & self.i_activations.valid),
            self.i_weights.ready.eq(sequencer.operand_ready & self.i_activations.valid),
            self.i_activations.ready.eq(sequencer.operand_ready & self.i_weights.valid),
            sequencer.taken.eq(results.taken),
            self.error.eq(sequencer.error),
        ]
        weights     = Signal.like(self.i_weights.payload, reset_less=True)
        activations = Signal.like(self.i_activations.payload, reset_less=True)
        m.d.sync += [weights.eq(self.i_weights.payload),
                     activations.eq(self.i_activations.payload)]

        # Edges: skew, then decode. The operands of a drain beat select the word.
        beat = sequencer.o
        drain_a, drain_w = cell.drain_operands(beat.word)
        draining = beat.kind == OsKind.DRAIN
        down = []
        for c in range(config.cols):
            m.submodules[f"skew_w_{c}"] = skew = DelayLine(0, cell.operand.shape, c)
            m.submodules[f"unpack_w_{c}"] = unpack = cell.unpack_operand()
            w = Signal(cell.operand_shape, name=f"w_{c}", reset_less=True)
            m.d.comb += [
                skew.i.payload.eq(Mux(draining, drain_w, Value.cast(weights[c]))),
                unpack.i.eq(skew.o.payload),
            ]
            m.d.sync += w.eq(unpack.o)
            down.append(w)
        shared = OsRow(cell, config.cols)
        rows = []
        for r in range(config.rows):
            m.submodules[f"skew_a_{r}"] = skew = DelayLine(
                2, cell.operand.shape, r * cell.row_skew)
            m.submodules[f"row_{r}"] = row = Shared("os_row", shared)
            m.d.comb += [
                skew.i.flags.eq(beat.kind),
                skew.i.payload.eq(Mux(draining, drain_a, Value.cast(activations[r]))),
                row.kind.eq(skew.o.flags),
                row.a.eq(skew.o.payload),
                *(w.eq(above) for w, above in zip(row.w_i, down)),
            ]
            if rows:
                m.d.comb += [up.eq(chain) for up, chain in zip(rows[-1].chain_i, row.chain_o)]
            down = row.w_o
            rows.append(row)

        # The way out: row 0's sum is at the top of column 0 first, the others follow at a fixed
        # distance, each column one cycle behind the one before.
        m.submodules.out = out = DelayLine(1, unsigned(2), self.timing.chain)
        m.d.comb += [
            out.i.flags.eq(beat.out),
            out.i.payload.eq(Cat(sequencer.seen, beat.relu)),
        ]
        row, seen, relu = Signal(), Signal(), Signal()
        rows_left = Signal(range(config.rows + 1))
        phase = Signal(range(self.timing.spacing))
        held = Signal(2)
        with m.If(out.o.flags):
            m.d.sync += [
                rows_left.eq(config.rows - 1), phase.eq(self.timing.spacing - 1),
                held.eq(out.o.payload),
            ]
        with m.Elif(rows_left != 0):
            m.d.sync += phase.eq(Mux(phase == 0, self.timing.spacing - 1, phase - 1))
            with m.If(phase == 0):
                m.d.sync += rows_left.eq(rows_left - 1)
        m.d.comb += [
            row.eq(out.o.flags | (rows_left != 0) & (phase == 0)),
            Cat(seen, relu).eq(Mux(out.o.flags, out.o.payload, held)),
        ]

        row_here = row
        shared = cell.column(self.result)
        for c in range(config.cols):
            m.submodules[f"column_{c}"] = column = Shared("os_column", shared)
            m.d.comb += [
                column.row.eq(row_here),
                column.chain.eq(rows[0].chain_o[c]),
                results.values[c].eq(column.value),
            ]
            row_next = Signal(name=f"row_{c + 1}")
            m.d.sync += row_next.eq(row_here)
            row_here = row_next
            if c == 0:
                m.submodules.write = write = DelayLine(1, unsigned(1), self.timing.column)
                m.d.comb += [
                    write.i.flags.eq(row & seen),
                    write.i.payload.eq(relu),
                    results.write.eq(write.o.flags),
                    results.relu.eq(write.o.payload),
                ]
        return m
