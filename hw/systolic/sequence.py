"""The order of a weight-stationary product: tiles of k, in them tiles of n, in them rows of m."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COUNT_WIDTH", "ArrayError", "GemmCommand", "WsBeat", "WsSequencer"]

COUNT_WIDTH = 16


class ArrayError(enum.Enum, shape=2):
    """Why an array stopped; it starts again after a reset."""

    NONE = 0
    #: A command with a count of zero.
    EMPTY = 1
    #: A command whose partial sums do not fit the accumulators.
    CAPACITY = 2


class GemmCommand(data.Struct):
    """A product of ``m`` rows with ``n`` tiles of columns over ``k`` tiles of rows of weights.

    Each count is 1 to 65535. With ``k`` above 1, ``m * n`` sums wait in the accumulators.
    ``relu``: negative results become 0.
    """

    m:    COUNT_WIDTH
    n:    COUNT_WIDTH
    k:    COUNT_WIDTH
    relu: 1


class WsBeat(data.Struct):
    """What an array does in one cycle.

    ``load``: the weights taken in this cycle go to the waiting registers. ``beat``: an activation
    was taken; it starts at ``first`` from the bias, else from the oldest accumulator, and is a
    result if ``last``, else an accumulator again. ``swap``: it begins a tile.
    """

    load:  1
    beat:  1
    swap:  1
    first: 1
    last:  1
    relu:  1


class WsSequencer(wiring.Component):
    """Turns commands into beats, and says when weights and activations may come.

    For each tile of ``k``, for each tile of ``n``: ``m`` activations, against the weights that were
    loaded, ``cols`` beats of them, while the tile before was computed.

    Parameters
    ----------
    cols : :class:`int`
    depth : :class:`int`
        Accumulators.
    credits : :class:`int`
        Results that may be under way.

    Members
    -------
    i_command : ``In(stream.Signature(GemmCommand))``
    weight_valid, weight_ready, activation_valid, activation_ready
        Handshakes of the streams whose payloads go straight to the rows.
    o : ``Out(WsBeat)``
        One cycle after the transfer it speaks of.
    pushed : ``In(1)``
        An accumulator has become readable.
    taken : ``In(1)``
        A result has left.
    error : ``Out(ArrayError)``
    """

    def __init__(self, cols: int, depth: int, credits: int):
        self.cols, self.depth, self.credits = cols, depth, credits
        super().__init__({
            "i_command":        In(stream.Signature(GemmCommand)),
            "weight_valid":     In(1),
            "weight_ready":     Out(1),
            "activation_valid": In(1),
            "activation_ready": Out(1),
            "o":                Out(WsBeat),
            "pushed":           In(1),
            "taken":            In(1),
            "error":            Out(ArrayError),
        })

    def elaborate(self, platform):
        m = Module()
        busy = Signal()
        mi, ni, ki = (Signal(COUNT_WIDTH, name=name) for name in ("mi", "ni", "ki"))
        m_again = Signal(COUNT_WIDTH)
        n_again = Signal(range(self.depth + 1))  # with k above 1, more does not fit
        relu = Signal()
        swap, first, last = Signal(), Signal(), Signal()
        fire, finish = Signal(), Signal()

        # Counters run down to 1, so that "is this the last" needs no subtraction.
        m.d.comb += [
            last.eq(ki == 1),
            finish.eq(fire & (mi == 1) & (ni == 1) & last),
            self.i_command.ready.eq((~busy | finish) & (self.error == ArrayError.NONE)),
        ]
        with m.If(fire):
            m.d.sync += [mi.eq(mi - 1), swap.eq(0)]
            with m.If(mi == 1):
                m.d.sync += [mi.eq(m_again), ni.eq(ni - 1), swap.eq(1)]
                with m.If(ni == 1):
                    m.d.sync += [ni.eq(n_again), ki.eq(ki - 1), first.eq(0)]
            with m.If(finish):
                m.d.sync += busy.eq(0)
        with m.If(self.i_command.ready & self.i_command.valid):
            new = self.i_command.payload
            m.d.sync += [
                mi.eq(new.m), ni.eq(new.n), ki.eq(new.k),
                m_again.eq(new.m), n_again.eq(new.n), relu.eq(new.relu),
                swap.eq(1), first.eq(1),
            ]
            with m.If((new.m == 0) | (new.n == 0) | (new.k == 0)):
                m.d.sync += self.error.eq(ArrayError.EMPTY)
            with m.Else():
                m.d.sync += busy.eq(1)

        # Weights: `cols` beats wait in the array; the swap makes room in its own cycle.
        loaded = Signal(range(self.cols + 1))
        load = Signal()
        swapping = fire & swap
        m.d.comb += [
            self.weight_ready.eq((loaded != self.cols) | swapping),
            load.eq(self.weight_valid & self.weight_ready),
        ]
        m.d.sync += loaded.eq(Mux(swapping, 0, loaded) + load)

        # Results: one credit each.
        credits = Signal(range(self.credits + 1), init=self.credits)
        m.d.sync += credits.eq(credits + self.taken - (fire & last))

        # Accumulators: `kept` were promised a place, `stored` can be read.
        kept, stored = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        pop, push = fire & ~first, fire & ~last
        m.d.sync += [kept.eq(kept + push - pop), stored.eq(stored + self.pushed - pop)]
        overflow = first & (kept == self.depth)  # where k is 1, none is kept
        with m.If(busy & overflow):
            m.d.sync += [busy.eq(0), self.error.eq(ArrayError.CAPACITY)]

        m.d.comb += [
            self.activation_ready.eq(busy & ~overflow
                                     & (~swap | (loaded == self.cols))
                                     & (~last | (credits != 0))
                                     & (first | (stored != 0))),
            fire.eq(self.activation_ready & self.activation_valid),
        ]
        m.d.sync += [
            self.o.load.eq(load),
            self.o.beat.eq(fire),
            self.o.swap.eq(swapping),
            self.o.first.eq(first),
            self.o.last.eq(last),
            self.o.relu.eq(relu),
        ]
        return m
