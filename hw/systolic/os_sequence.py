"""The order of an output-stationary product: tile by tile, k ascending, then the way out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.systolic.sequence import COUNT_WIDTH, ArrayError

__all__ = ["OsCommand", "OsBeat", "OsSequencer"]


class OsCommand(data.Struct):
    """``tiles`` tiles of results, each the sum of ``k`` products; both 1 to 65535.

    ``relu``: negative results become 0. ``keep``: the tile (one only) is not finished; its sums
    stay where they are, and the next command adds to them. ``bias``: each finished tile takes a
    beat of biases, of an array that has such a stream.
    """

    tiles: COUNT_WIDTH
    k:     COUNT_WIDTH
    relu:  1
    keep:  1
    bias:  1


class OsBeat(data.Struct):
    """What an array does in one cycle.

    ``product``: add a product to the sums in ``bank``. ``drain``: begin to hand out the sums of the
    other bank; ``seen``: somebody wants them.
    """

    product: 1
    bank:    1
    drain:   1
    seen:    1
    relu:    1


class OsSequencer(wiring.Component):
    """Turns commands into beats, and says when operands may come.

    Parameters
    ----------
    drain_after : :class:`int`
        Cycles from a tile's last product to ``drain``, 1 or more.
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
    bias_valid : ``In(1)``, bias_ready : ``Out(1)``
        Taken with the last product of a tile whose command says ``bias``.
    finish : ``Out(1)``
        The product taken in this cycle is the last of a tile.
    o : ``Out(OsBeat)``
        ``product`` one cycle after the transfer it speaks of.
    taken : ``In(1)``
        A result beat has left.
    error : ``Out(ArrayError)``
    """

    def __init__(self, *, drain_after: int, gap: int, tile_rows: int, credits: int,
                 k_max: int | None, settle: int):
        self.drain_after, self.gap, self.tile_rows = drain_after, gap, tile_rows
        self.credits, self.k_max, self.settle = credits, k_max, settle
        super().__init__({
            "i_command":     In(stream.Signature(OsCommand)),
            "operand_valid": In(1),
            "operand_ready": Out(1),
            "bias_valid":    In(1),
            "bias_ready":    Out(1),
            "finish":        Out(1),
            "o":             Out(OsBeat),
            "taken":         In(1),
            "error":         Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        busy, bank = Signal(), Signal()
        settling = Signal(range(self.settle + 1), init=self.settle)
        command = Signal(OsCommand)
        ki, ti = Signal(COUNT_WIDTH), Signal(COUNT_WIDTH)
        wait = Signal(range(self.gap + 1))
        credits = Signal(range(self.credits + 1), init=self.credits)

        # A tile leaves when the way out is free and all its rows have room at the end of it.
        free = (wait == 0) & (credits >= self.tile_rows)
        visible = settling == 0
        out, fire = Signal(), Signal()
        last = ki == 1
        done = last & ~command.keep
        m.d.comb += [
            self.operand_ready.eq(
                busy & (~done | free & (self.bias_valid | ~command.bias))),
            fire.eq(self.operand_ready & self.operand_valid),
            self.finish.eq(fire & done),
            self.bias_ready.eq(self.finish & command.bias),
            out.eq(self.finish | ~visible & free),
        ]
        with m.If(fire):
            m.d.sync += ki.eq(Mux(last, command.k, ki - 1))
        with m.If(out):
            m.d.sync += [wait.eq(self.gap - 1), bank.eq(~bank)]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(out & ~visible):
            m.d.sync += settling.eq(settling - 1)

        tile_done = fire & last
        finish = tile_done & (ti == 1)
        with m.If(tile_done):
            m.d.sync += ti.eq(ti - 1)
        with m.If(finish):
            m.d.sync += busy.eq(0)
        m.d.sync += credits.eq(credits + self.taken - Mux(self.finish, self.tile_rows, 0))

        # Commands, once what a reset left behind is out.
        settled = Const(1)
        if self.settle:
            settled = Signal()
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

        m.d.sync += [self.o.product.eq(fire), self.o.bank.eq(bank)]
        leaving = Cat(out, visible, command.relu)
        for n in range(self.drain_after):
            later = Signal(3, name=f"leaving_{n}")
            m.d.sync += later.eq(leaving)
            leaving = later
        m.d.sync += Cat(self.o.drain, self.o.seen, self.o.relu).eq(leaving)
        return m
