"""The output-stationary array: streams in, skew, mesh, ends of the columns, stream out."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.formats import FORMATS
from hw.systolic.config import ArrayConfig
from hw.systolic.os_mesh import OsControl, OsRow
from hw.systolic.os_results import SegmentRows
from hw.systolic.os_sequence import OsCommand, OsSequencer
from hw.systolic.results import ResultBuffer
from hw.systolic.sequence import ArrayError
from hw.systolic.skew import DelayLine
from hw.systolic.timing import OsTiming
from hw.verilog import Shared

__all__ = ["OutputStationaryArray"]


class OutputStationaryArray(wiring.Component):
    """``o[i, j] = relu(bias[j] + a[i, 0] * w[0, j] + a[i, 1] * w[1, j] + ...)``.

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
    i_bias : ``In(stream.Signature(ArrayLayout(bias, cols)))``
        Only of a cell with ``bias_stream``: a beat for each finished tile of a command with
        ``bias``, taken with the tile's last product.
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
        #: Tiles that may be under way, rounded up to a power of two.
        self.tiles = 1 << (self.result_depth // config.rows - 1).bit_length()
        biases = data.ArrayLayout(cell.bias.shape, config.cols)
        super().__init__({
            "i_command":     In(stream.Signature(OsCommand)),
            "i_weights":     In(stream.Signature(
                data.ArrayLayout(cell.operand.shape, config.cols))),
            "i_activations": In(stream.Signature(
                data.ArrayLayout(cell.operand.shape, config.rows))),
            **({"i_bias":    In(stream.Signature(biases))} if cell.bias_stream else {}),
            "o":             Out(stream.Signature(
                data.ArrayLayout(self.result_width, config.cols))),
            "error":         Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        config, cell, timing = self.config, self.config.cell, self.timing
        m.submodules.sequencer = sequencer = OsSequencer(
            drain_after=cell.drain_after, gap=timing.gap, tile_rows=config.rows,
            credits=self.result_depth, k_max=cell.k_max, settle=cell.settle_tiles)
        m.submodules.results = results = ResultBuffer(
            self.result_width, config.cols, self.result_depth, group=config.rows)
        wiring.connect(m, wiring.flipped(self.i_command), sequencer.i_command)
        wiring.connect(m, results.o, wiring.flipped(self.o))
        m.d.comb += [
            sequencer.operand_valid.eq(self.i_weights.valid & self.i_activations.valid),
            self.i_weights.ready.eq(sequencer.operand_ready & self.i_activations.valid),
            self.i_activations.ready.eq(sequencer.operand_ready & self.i_weights.valid),
            sequencer.taken.eq(results.taken),
            self.error.eq(sequencer.error),
        ]
        rows = self._mesh(m, sequencer.o)

        # The way out: the sum of row 0 is at the top of column 0 first, those of the other rows
        # and segments follow at fixed distances, each column one cycle behind the one before.
        beat = sequencer.o
        first, segments, ends = beat.drain, [], []
        for s in range(timing.segments):
            m.submodules[f"first_{s}"] = delay = DelayLine(
                1, unsigned(2), timing.segment + 1 if s else timing.chain)
            m.submodules[f"segment_{s}"] = segment = SegmentRows(
                start=s * timing.segment, rows=len(rows[s * timing.segment:][:timing.segment]),
                spacing=timing.spacing, tile_rows=config.rows, depth=self.result_depth)
            m.d.comb += [
                delay.i.flags.eq(first),
                delay.i.payload.eq(segments[-1].payload if segments
                                   else Cat(beat.seen, beat.relu)),
                segment.first.eq(delay.o.flags),
                Cat(segment.seen, segment.relu).eq(delay.o.payload),
            ]
            first = delay.o.flags
            segments.append(delay.o)
            ends.append(segment)
        begins = segments[0].flags & segments[0].payload[0]
        m.submodules.write = write = DelayLine(1, ends[0].write.shape(), timing.column)
        m.submodules.release = release = DelayLine(1, unsigned(0), timing.column + timing.release)
        m.d.comb += [
            write.i.flags.eq(reduce(or_, (end.writes for end in ends))),
            write.i.payload.eq(reduce(or_, (end.write.as_value() for end in ends))),
            release.i.flags.eq(begins),
            results.write.eq(write.o.flags),
            results.address.eq(write.o.payload.address),
            results.relu.eq(write.o.payload.relu),
            results.release.eq(release.o.flags),
        ]

        shared = cell.column(self.result, timing.segments, self.tiles)
        columns, row = [], Cat(end.row for end in ends)
        for c in range(config.cols):
            m.submodules[f"column_{c}"] = column = Shared("os_column", shared)
            m.d.comb += [
                column.row.eq(row),
                *(chain.eq(rows[s * timing.segment].chain_o[c])
                  for s, chain in enumerate(column.chain)),
                results.values[c].eq(column.value),
            ]
            columns.append(column)
            row_next = Signal(timing.segments, name=f"row_{c + 1}")
            m.d.sync += row_next.eq(row)
            row = row_next
        if cell.bias_stream:
            self._biases(m, sequencer, begins, columns)
        return m

    def _mesh(self, m, beat):
        """The rows of cells, fed by the operands of the transfer before and by ``beat``."""
        config, cell, timing = self.config, self.config.cell, self.timing
        weights     = Signal.like(self.i_weights.payload, reset_less=True)
        activations = Signal.like(self.i_activations.payload, reset_less=True)
        m.d.sync += [weights.eq(self.i_weights.payload),
                     activations.eq(self.i_activations.payload)]
        down = []
        for c in range(config.cols):
            m.submodules[f"skew_w_{c}"] = skew = DelayLine(0, cell.operand.shape, c)
            m.submodules[f"unpack_w_{c}"] = unpack = cell.unpack_operand()
            w = Signal(cell.operand_shape, name=f"w_{c}", reset_less=True)
            m.d.comb += [skew.i.payload.eq(weights[c]), unpack.i.eq(skew.o.payload)]
            m.d.sync += w.eq(unpack.o)
            down.append(w)

        # Words of row 0, in ascending order; other rows do the same some time later.
        word = Signal(range(cell.words))
        drain = beat.drain | word.any()
        with m.If(drain):
            m.d.sync += word.eq(Mux(word == cell.words - 1, 0, word + 1))
        drains, shared, rows = [], OsRow(cell, config.cols), []
        for r in range(config.rows):
            above = r - 1 if r % timing.segment else r - timing.segment
            m.submodules[f"skew_drain_{r}"] = later = DelayLine(
                1, word.shape(), r and timing.drain_delay(r) - timing.drain_delay(above))
            m.submodules[f"skew_a_{r}"] = skew = DelayLine(2, cell.operand.shape, r)
            m.submodules[f"row_{r}"] = row = Shared("os_row", shared)
            control = Signal(OsControl(cell.words), name=f"control_{r}")
            m.d.comb += [
                later.i.flags.eq(drains[above].flags if r else drain),
                later.i.payload.eq(drains[above].payload if r else word),
                skew.i.flags.eq(Cat(beat.product, beat.bank)),
                skew.i.payload.eq(activations[r]),
                Cat(control.product, control.bank).eq(skew.o.flags),
                control.drain.eq(later.o.flags),
                control.word.eq(later.o.payload),
                row.control.eq(control),
                row.a.eq(skew.o.payload),
                *(w.eq(above) for w, above in zip(row.w_i, down)),
            ]
            if r % timing.segment:
                m.d.comb += [up.eq(chain) for up, chain in zip(rows[-1].chain_i, row.chain_o)]
            down = row.w_o
            drains.append(later.o)
            rows.append(row)
        return rows

    def _biases(self, m, sequencer, begins, columns):
        """Biases of a tile, or zeros, wait in the columns from its last product to its results."""
        biases = Signal.like(self.i_bias.payload, reset_less=True)
        write = Signal()
        written, before = Signal(range(self.tiles)), Signal(range(self.tiles), init=self.tiles - 1)
        tile = (before + begins)[:len(before)]
        m.d.comb += [
            sequencer.bias_valid.eq(self.i_bias.valid),
            self.i_bias.ready.eq(sequencer.bias_ready),
        ]
        m.d.sync += [
            write.eq(sequencer.finish),
            written.eq(written + write),
            before.eq(tile),
            biases.eq(self.i_bias.payload),
        ]
        with m.If(~sequencer.bias_ready):
            m.d.sync += Value.cast(biases).eq(0)
        for c, column in enumerate(columns):
            m.d.comb += [
                column.bias.write.eq(write),
                column.bias.write_tile.eq(written),
                column.bias.value.eq(biases[c]),
                column.bias.tile.eq(tile),
            ]
            tile_next = Signal.like(before, init=0, name=f"tile_{c + 1}")
            m.d.sync += tile_next.eq(tile)
            tile = tile_next
