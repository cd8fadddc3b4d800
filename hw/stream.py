"""The handshakes that everything else is joined by: register slice, queue, fork, join.

All keep the rules of streams: a transfer happens when ``valid`` and ``ready`` are both high; what
is offered stays offered, unchanged, until it is taken; ``valid`` never waits for ``ready``.
"""

from collections.abc import Mapping

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Fork", "Gather", "Join", "Queue", "RegisterSlice", "Scatter"]


class RegisterSlice(wiring.Component):
    """A stream cut by registers in both directions: ``valid``, payload, and ``ready`` too.

    No path leads through it from one side to the other within a cycle, so it parts a long chain of
    handshakes into short ones. It holds up to two beats.

    Parameters
    ----------
    shape : shape-like
        Payload.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : ``Out(stream.Signature(shape))``
    coming : ``Out(shape)``
        What ``o.payload`` will be in the next cycle, unless ``o`` is held: for those who prepare
        something for it.

    Timing
    ------
    Latency: 1 cycle. Throughput: 1 beat per cycle.
    Reset: the beats held are lost; ``o.valid`` is low and ``i.ready`` high after it.
    """

    latency = 1

    def __init__(self, shape):
        self.shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "coming": Out(shape),
        })

    def elaborate(self, platform):
        m = Module()
        # `i.ready` was promised a cycle ago: a beat that comes when `o` has no room waits here.
        spare   = Signal(Shape.cast(self.shape), reset_less=True)
        payload = Signal(Shape.cast(self.shape), reset_less=True)
        empty   = Signal(init=1)
        m.d.comb += [
            Value.cast(self.o.payload).eq(payload),
            self.i.ready.eq(empty),
            Value.cast(self.coming).eq(Mux(empty, self.i.payload, spare)),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | ~empty),
                empty.eq(1),
            ]
            m.d.sync += payload.eq(self.coming)
        with m.Elif(self.i.valid):
            m.d.sync += empty.eq(0)
        with m.If(empty):
            m.d.sync += spare.eq(self.i.payload)
        return m


class Queue(wiring.Component):
    """First in, first out.

    Parameters
    ----------
    shape : shape-like
        Payload.
    depth : :class:`int`
        Beats it holds, at least 1. A depth of 1 is a register, whose ``i.ready`` depends on
        ``o.ready``; from 2 on no path leads from one side to the other within a cycle.
    block : :class:`bool` or ``None``
        Whether the memory is read by the clock, as block RAM is, or at once, as LUT RAM is. Block
        RAM needs a depth of at least 3. ``None`` takes it above a depth of 64.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : ``Out(stream.Signature(shape))``
    level : ``Out(range(depth + 1))``
        Beats held. It costs nothing where it is not used.

    Timing
    ------
    Latency: 1 cycle, 2 with block RAM. Throughput: 1 beat per cycle.
    Reset: the beats held are lost.
    """

    def __init__(self, shape, *, depth: int, block: bool | None = None):
        if not isinstance(depth, int):
            raise TypeError(f"depth must be an integer, not {depth!r}")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        if block and depth < 3:
            raise ValueError(f"depth must be at least 3 with block RAM, not {depth!r}")
        self.shape, self.depth = shape, depth
        self.block = depth > 64 if block is None else block
        super().__init__({
            "i":     In(stream.Signature(shape)),
            "o":     Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    @property
    def latency(self) -> int:
        return 2 if self.block else 1

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.level.eq(
            self.level + (self.i.valid & self.i.ready) - (self.o.valid & self.o.ready))
        if self.depth == 1:
            m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
            with m.If(self.i.ready):
                m.d.sync += self.o.valid.eq(self.i.valid)
                m.d.sync += Value.cast(self.o.payload).eq(self.i.payload)
            return m

        # With block RAM the register of its read port is the last place of the queue.
        places = self.depth - self.block
        m.submodules.memory = memory = Memory(  # never read where it is being written
            shape=Shape.cast(self.shape).width, depth=places, init=[],
            attrs={"no_rw_check": True} if self.block else {})
        write = memory.write_port()
        read = memory.read_port(domain="sync" if self.block else "comb")
        put, take, full = Signal(), Signal(), Signal()
        head, tail = Signal(range(places)), Signal(range(places))
        empty = (head == tail) & ~full

        if platform == "formal":  # induction may not begin with an index that cannot be
            m.d.comb += [Assert(head < places), Assert(tail < places)]

        m.d.comb += [
            self.i.ready.eq(~full),
            put.eq(self.i.valid & ~full),
            write.en.eq(put),
            write.addr.eq(tail),
            write.data.eq(self.i.payload),
            read.addr.eq(head),
            Value.cast(self.o.payload).eq(read.data),
        ]
        with m.If(put):
            m.d.sync += tail.eq(_next(tail, places))
        with m.If(take):
            m.d.sync += head.eq(_next(head, places))
        with m.If(put != take):
            m.d.sync += full.eq(put & (_next(tail, places) == head))

        if self.block:
            m.d.comb += read.en.eq(take)
            with m.If(~self.o.valid | self.o.ready):
                m.d.comb += take.eq(~empty)
                m.d.sync += self.o.valid.eq(~empty)
        else:
            m.d.comb += [self.o.valid.eq(~empty), take.eq(~empty & self.o.ready)]
        return m


def _next(index: Signal, length: int) -> Value:
    return Mux(index == length - 1, 0, index + 1)[:len(index)]


class Fork(wiring.Component):
    """Every beat goes to each of several takers, which need not be ready together.

    A taker that is ready early gets its beat early; the next beat waits for the last one.

    Parameters
    ----------
    shape : shape-like
        Payload.
    outputs : :class:`int`
        Takers, at least 1.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : array of ``Out(stream.Signature(shape))``

    Timing
    ------
    Latency: 0 cycles; ``i.ready`` depends on every ``o[n].ready``. Throughput: 1 beat per cycle.
    Reset: a beat that some have taken and that is still offered goes to all again.
    """

    latency = 0

    def __init__(self, shape, outputs: int):
        if not isinstance(outputs, int):
            raise TypeError(f"outputs must be an integer, not {outputs!r}")
        if outputs < 1:
            raise ValueError(f"outputs must be at least 1, not {outputs!r}")
        self.shape, self.outputs = shape, outputs
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)).array(outputs),
        })

    def elaborate(self, platform):
        m = Module()
        served = Signal(self.outputs)
        serving = Cat(o.ready & self.i.valid for o in self.o)
        m.d.comb += self.i.ready.eq(Cat(o.ready for o in self.o) | served == ~C(0, self.outputs))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += served.eq(0)
        with m.Else():
            m.d.sync += served.eq(served | serving)
        for n, o in enumerate(self.o):
            m.d.comb += [
                o.valid.eq(self.i.valid & ~served[n]),
                Value.cast(o.payload).eq(self.i.payload),
            ]
        return m


class Join(wiring.Component):
    """One beat of each of several streams makes one beat of all of them.

    Parameters
    ----------
    shapes : mapping of name to shape-like
        Payloads, at least one.

    Members
    -------
    i_<name> : ``In(stream.Signature(shapes[name]))``
    o : ``Out(stream.Signature(StructLayout(shapes)))``

    Timing
    ------
    Latency: 0 cycles; each ``ready`` depends on ``o.ready`` and on the ``valid`` of the others.
    Throughput: 1 beat per cycle. Reset: nothing is held.
    """

    latency = 0

    def __init__(self, shapes: Mapping[str, object]):
        if not shapes:
            raise ValueError(f"shapes must name at least one stream, not {shapes!r}")
        self.shapes = dict(shapes)
        super().__init__({
            **{f"i_{name}": In(stream.Signature(shape)) for name, shape in shapes.items()},
            "o": Out(stream.Signature(data.StructLayout(self.shapes))),
        })

    def elaborate(self, platform):
        m = Module()
        inputs = {name: getattr(self, f"i_{name}") for name in self.shapes}
        m.d.comb += self.o.valid.eq(Cat(i.valid for i in inputs.values()).all())
        for name, i in inputs.items():
            m.d.comb += [
                i.ready.eq(self.o.valid & self.o.ready),
                Value.cast(self.o.payload[name]).eq(i.payload),
            ]
        return m


class Gather(wiring.Component):
    """``count`` beats make one beat that is an array of them, the first at index 0.

    Parameters
    ----------
    shape : shape-like
        Payload of ``i``.
    count : :class:`int`
        At least 1.

    Members
    -------
    i : ``In(stream.Signature(shape))``
    o : ``Out(stream.Signature(ArrayLayout(shape, count)))``

    Timing
    ------
    Latency: 1 cycle from the last beat of an array. Throughput: 1 beat of ``i`` per cycle;
    ``i.ready`` depends on ``o.ready`` while an array is waiting.
    Reset: the beats held are lost, and the next one is the first of an array.
    """

    latency = 1

    def __init__(self, shape, count: int):
        _check_count(count)
        self.shape, self.count = shape, count
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(data.ArrayLayout(shape, count))),
        })

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(self.count))
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & (place == self.count - 1))
            with m.If(self.i.valid):
                m.d.sync += place.eq(_next(place, self.count))
                for n in range(self.count):
                    with m.If(place == n):
                        m.d.sync += Value.cast(self.o.payload[n]).eq(self.i.payload)
        return m


class Scatter(wiring.Component):
    """A beat that is an array becomes ``count`` beats, index 0 first.

    Parameters
    ----------
    shape : shape-like
        Payload of ``o``.
    count : :class:`int`
        At least 1.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(shape, count)))``
    o : ``Out(stream.Signature(shape))``

    Timing
    ------
    Latency: 1 cycle. Throughput: 1 beat of ``o`` per cycle; ``i.ready`` depends on ``o.ready``
    at the last beat of an array. Reset: what is left of an array is lost.
    """

    latency = 1

    def __init__(self, shape, count: int):
        _check_count(count)
        self.shape, self.count = shape, count
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(shape, count))),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self.shape).width
        rest = Signal(width * self.count)
        left = Signal(range(self.count + 1))
        m.d.comb += [
            self.o.valid.eq(left != 0),
            Value.cast(self.o.payload).eq(rest[:width]),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        with m.If(self.i.ready):
            m.d.sync += left.eq(Mux(self.i.valid, self.count, 0))
            m.d.sync += rest.eq(self.i.payload)
        with m.Elif(self.o.ready):
            m.d.sync += left.eq(left - 1)
            m.d.sync += rest.eq(rest >> width)
        return m


def _check_count(count: int) -> None:
    if not isinstance(count, int):
        raise TypeError(f"count must be an integer, not {count!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count!r}")
