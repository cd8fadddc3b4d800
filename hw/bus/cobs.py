"""Frames on a line of bytes: COBS, as :func:`hw.bus.protocol.cobs_encode` defines it."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["CobsDecoder", "CobsEncoder", "Decoded", "Outgoing"]

_RUN = 254  # bytes of a block that has no zero at its end


class Decoded(data.Struct):
    """A byte of a frame, or the ``end`` of it; then ``good`` says that no block was cut."""

    data: 8
    end:  1
    good: 1


class CobsDecoder(wiring.Component):
    """Bytes of a line to bytes of frames. Empty frames are left out.

    Members
    -------
    i : ``In(stream.Signature(8))``
    o : ``Out(stream.Signature(Decoded))``

    Timing
    ------
    Latency: 1 cycle. Throughput: a byte per cycle; the first byte of a block gives the zero before
    it, or nothing.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(Decoded))

    latency = 1

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)  # bytes of the block that are to come
        full = Signal()   # the block has no zero at its end
        begun = Signal()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(0), self.o.p.data.eq(0), self.o.p.end.eq(0),
                         self.o.p.good.eq(left == 0)]
            with m.If(self.i.valid):
                with m.If(self.i.payload == 0):
                    m.d.sync += [self.o.valid.eq(begun), self.o.p.end.eq(1), begun.eq(0),
                                 left.eq(0)]
                with m.Elif(left == 0):
                    m.d.sync += [self.o.valid.eq(begun & ~full), begun.eq(1),
                                 left.eq(self.i.payload - 1), full.eq(self.i.payload == _RUN + 1)]
                with m.Else():
                    m.d.sync += [self.o.valid.eq(1), self.o.p.data.eq(self.i.payload),
                                 left.eq(left - 1)]
        return m


class Outgoing(data.Struct):
    """A byte of a frame; ``last``: its last one."""

    data: 8
    last: 1


class CobsEncoder(wiring.Component):
    """Frames to bytes of a line, a zero before and after each.

    A frame is sent when it is complete, so that it can be dropped before.

    Parameters
    ----------
    depth : :class:`int`
        Most bytes of a coded frame, with its zeros. A longer one must not be given.

    Members
    -------
    i : ``In(stream.Signature(Outgoing))``
    drop : ``In(1)``
        Forget the frame of which the last byte has not yet come.
    o : ``Out(stream.Signature(8))``

    Timing
    ------
    Latency: 4 cycles from the last byte, 5 if it is the 254th of a block. Throughput: a byte per
    cycle in, one cycle more for each block of 254, then a byte per cycle out.
    """

    def __init__(self, depth: int):
        self.depth = depth
        super().__init__({
            "i":    In(stream.Signature(Outgoing)),
            "drop": In(1),
            "o":    Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        # Place 0 always holds the zero before the frame.
        code, free = Signal(range(self.depth), init=1), Signal(range(self.depth + 1), init=2)
        run, last = Signal(8), Signal()
        sent = Signal(range(self.depth + 1))
        restart = [code.eq(1), free.eq(2), run.eq(0)]
        m.d.comb += read.en.eq(0)

        with m.FSM():
            with m.State("FILL"):
                m.d.comb += self.i.ready.eq(~self.drop)
                with m.If(self.drop):
                    m.d.sync += restart
                with m.Elif(self.i.valid):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [free.eq(free + 1), last.eq(self.i.p.last)]
                    with m.If(self.i.p.last):
                        m.next = "LENGTH"
                    with m.If(self.i.p.data == 0):
                        m.d.comb += [write.addr.eq(code), write.data.eq(run + 1)]
                        m.d.sync += [code.eq(free), run.eq(0)]
                    with m.Else():
                        m.d.comb += [write.addr.eq(free), write.data.eq(self.i.p.data)]
                        m.d.sync += run.eq(run + 1)
                        with m.If(run == _RUN - 1):
                            m.next = "FULL"
            with m.State("FULL"):
                m.d.comb += [write.en.eq(1), write.addr.eq(code), write.data.eq(_RUN + 1)]
                m.d.sync += [code.eq(free), free.eq(free + 1), run.eq(0)]
                with m.If(last):
                    m.next = "LENGTH"
                with m.Else():
                    m.next = "FILL"
            with m.State("LENGTH"):
                m.d.comb += [write.en.eq(1), write.addr.eq(code), write.data.eq(run + 1)]
                m.next = "ZERO"
            with m.State("ZERO"):
                m.d.comb += [write.en.eq(1), write.addr.eq(free), write.data.eq(0)]
                m.d.sync += [free.eq(free + 1), sent.eq(0)]
                m.next = "SEND"
            with m.State("SEND"):
                with m.If(~self.o.valid | self.o.ready):
                    m.d.comb += read.en.eq(sent != free)
                    m.d.sync += [self.o.valid.eq(read.en), sent.eq(sent + 1)]
                    with m.If(sent == free):
                        m.d.sync += restart
                        m.next = "FILL"
        m.d.comb += [read.addr.eq(sent), self.o.payload.eq(read.data)]
        return m
