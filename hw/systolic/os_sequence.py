"""The order of an output-stationary product: tile by tile, k ascending, then the way out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.os_mesh import OsKind
from hw.systolic.sequence import COUNT_WIDTH, ArrayError

__all__ = ["OsCommand", "OsBeat", "OsSequencer"]


class OsCommand(data.Struct):
    """``tiles`` tiles of results, each the sum of ``k`` products; both 1 to 65535.

    ``relu``: negative results become 0. ``keep``: the tile (one only) is not finished; its sums
    stay where they are, and the next command adds to them.
    """

    tiles: COUNT_WIDTH
    k:     COUNT_WIDTH
    relu:  1
    keep:  1


class OsBeat(data.StructLayout):
    """What an array does in one cycle. ``out``: the beat begins to hand a tile out."""

    def __init__(self, drain_beats: int):
        super().__init__({
            "kind": OsKind,
            "word": range(max(drain_beats, 1)),
            "out":  1,
            "relu": 1,
        })


class OsSequencer(wiring.Component):
    """Turns commands into beats, and says when operands may come.

    Parameters
    ----------
    drain_beats : :class:`int`
        Beats behind a tile's products; 0: the last product hands the sums out.
    gap : :class:`int`
        Cycles between two tiles on their way out, at least.
    tile_rows : :class:`int`
        Result beats of a tile.
    credits : :class:`int`
        Result beats that may be under way, at least ``tile_rows``.
    k_max : :class:`int` or ``None``
        A longer sum is an error.
    settle : :class:`int`
        Tiles handed out after reset, before the first command, whose results nobody sees.

    Members
    -------
    i_command : ``In(stream.Signature(OsCommand))``
    operand_valid : ``In(1)``, operand_ready : ``Out(1)``
        Activation and weight of a product, together.
    o : ``Out(OsBeat)``
        One cycle after the transfer it speaks of.
    seen : ``Out(1)``
        With ``o.out``: somebody wants this tile.
    taken : ``In(1)``
        A result beat has left.
    error : ``Out(ArrayError)``
    """

    def __init__(self, *, drain_beats: int, gap: int, tile_rows: int, credits: int,
                 k_max: int | None, settle: int):
        self.drain_beats, self.gap, self.tile_rows = drain_beats, gap, tile_rows
        self.credits, self.k_max, self.settle = credits, k_max, settle
        super().__init__({
            "i_command":     In(stream.Signature(OsCommand)),
            "operand_valid": In(1),
            "operand_ready": Out(1),
            "o":             Out(OsBeat(drain_beats)),
            "seen":          Out(1),
            "taken":         In(1),
            "error":         Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        busy, draining = Signal(), Signal()
        settling = Signal(range(self.settle + 1), init=self.settle)
        command = Signal(OsCommand)
        ki, ti = Signal(COUNT_WIDTH), Signal(COUNT_WIDTH)
        wait = Signal(range(self.gap + 1))
        word = Signal(range(max(self.drain_beats, 1)))
        credits = Signal(range(self.credits + 1), init=self.credits)

        # A tile leaves when the way out is free and all its rows have room at the end of it.
        free = (wait == 0) & (credits >= self.tile_rows)
        out, drain, fire, tile_done = Signal(), Signal(), Signal(), Signal()
        last = ki == 1
        done = last & ~command.keep
        if self.drain_beats:
            m.d.comb += [
                drain.eq(draining & (free | (word != 0))),
                out.eq(drain & (word == 0)),
                tile_done.eq(drain & (word == self.drain_beats - 1)
                             | fire & last & command.keep),
                self.operand_ready.eq(busy & ~draining),
            ]
            with m.If(drain):
                m.d.sync += word.eq(word + 1)
            with m.If(drain & tile_done):
                m.d.sync += [draining.eq(0), word.eq(0)]
            with m.If(fire & done):
                m.d.sync += draining.eq(1)
        else:
            m.d.comb += [
                out.eq(fire & done),
                tile_done.eq(fire & last),
                self.operand_ready.eq(busy & (~done | free)),
            ]
        m.d.comb += fire.eq(self.operand_ready & self.operand_valid)
        with m.If(fire):
            m.d.sync += ki.eq(Mux(last, command.k, ki - 1))
        with m.If(out):
            m.d.sync += wait.eq(self.gap - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)

        visible = settling == 0
        finish = tile_done & busy & (ti == 1)
        with m.If(tile_done & busy):
            m.d.sync += ti.eq(ti - 1)
        with m.If(finish):
            m.d.sync += busy.eq(0)
        if self.settle:
            with m.If(~visible):
                with m.If(tile_done):
                    m.d.sync += settling.eq(settling - 1)
                with m.Elif(~draining):
                    m.d.sync += draining.eq(1)
        m.d.sync += credits.eq(credits + self.taken - Mux(out & visible, self.tile_rows, 0))

        # Commands, once what a reset left behind is out.
        settled = Signal(init=not self.settle)
        with m.If(visible & (wait == 0)):
            m.d.sync += settled.eq(1)
        m.d.comb += self.i_command.ready.eq(
            (~busy | finish) & settled & (self.error == ArrayError.NONE))
        with m.If(self.i_command.ready & self.i_command.valid):
            new = self.i_command.payload
            too_long = Const(0)
            if self.k_max is not None:
                kept = Signal(range(self.k_max + 1))
                total = kept + new.k
                too_long = total > self.k_max
                m.d.sync += kept.eq(Mux(new.keep, total, 0))
            m.d.sync += [command.eq(new), ki.eq(new.k), ti.eq(new.tiles)]
            with m.If((new.tiles == 0) | (new.k == 0)):
                m.d.sync += self.error.eq(ArrayError.EMPTY)
            with m.Elif(too_long | new.keep & (new.tiles != 1)):
                m.d.sync += self.error.eq(ArrayError.CAPACITY)
            with m.Else():
                m.d.sync += busy.eq(1)

        m.d.sync += [
            self.o.kind.eq(OsKind.IDLE),
            self.o.word.eq(word),
            self.o.out.eq(out),
            self.o.relu.eq(command.relu),
            self.seen.eq(visible),
        ]
        with m.If(fire):
            m.d.sync += self.o.kind.eq(OsKind.PRODUCT if self.drain_beats else
                                       Mux(done, OsKind.LAST, OsKind.PRODUCT))
        with m.If(drain):
            m.d.sync += self.o.kind.eq(OsKind.DRAIN)
        return m
