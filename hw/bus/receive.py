"""From bytes of a line to requests, each checked as a whole before anything is done."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.bus.cobs import CobsDecoder
from hw.bus.protocol import CRC_BYTES, HEADER_BYTES, MAX_WORDS, WINDOW, Header
from hw.stream import Queue

__all__ = ["FrameReceiver", "Request", "crc32"]

_SLOTS = 2  # payloads: one is worked on while the next one comes
_SHORTEST = HEADER_BYTES + CRC_BYTES
_LONGEST = _SHORTEST + 4 * MAX_WORDS


def crc32() -> Processor:
    """The check sum of frames, a byte per cycle."""
    return Processor(CRC32_ISO_HDLC(data_width=8))


class Request(data.Struct):
    """A frame that is whole; ``carried`` counts the words of its payload."""

    header:  Header
    carried: range(MAX_WORDS + 1)


class FrameReceiver(wiring.Component):
    """Requests from bytes. Damaged frames are reported, and leave nothing behind.

    A frame that finds no room is dropped, as if it had been lost on the way.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Always ready.
    o : ``Out(stream.Signature(Request))``
    word : ``In(range(MAX_WORDS))``; payload : ``Out(32)``
        Words of the oldest payload, a cycle after their number.
    release : ``In(1)``
        The oldest payload is not needed any more.
    damaged : ``Out(1)``
        For one cycle.

    Timing
    ------
    Latency: 3 cycles from the zero at the end of a frame. Throughput: a byte per cycle.
    """

    i:       In(stream.Signature(8))
    o:       Out(stream.Signature(Request))
    word:    In(range(MAX_WORDS))
    payload: Out(32)
    release: In(1)
    damaged: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.queue = queue = Queue(Request, depth=WINDOW, block=False)
        m.submodules.memory = memory = Memory(shape=32, depth=_SLOTS * MAX_WORDS, init=[])
        m.submodules.crc = crc = crc32()
        write, read = memory.write_port(), memory.read_port()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        byte, coming = decoder.o.p, decoder.o.valid
        header, word = Signal(8 * HEADER_BYTES), Signal(32)
        place = Signal(range(_LONGEST + 2))  # of the byte; stays when there are too many
        slot, oldest, used = Signal(), Signal(), Signal(range(_SLOTS + 1))
        no_room = Signal()  # a word had no slot
        m.d.comb += [
            decoder.o.ready.eq(1),
            crc.start.eq(coming & (place == 0)),
            crc.valid.eq(coming & ~byte.end),
            crc.data.eq(byte.data),
            write.addr.eq(Cat((place - HEADER_BYTES)[2:9], slot)),
            write.data.eq(Cat(word[8:], byte.data)),
            read.addr.eq(Cat(self.word, oldest)),
            self.payload.eq(read.data),
        ]
        with m.If(coming & ~byte.end):
            with m.If(place != _LONGEST + 1):
                m.d.sync += place.eq(place + 1)
            with m.If(place < HEADER_BYTES):
                m.d.sync += header.eq(Cat(header[8:], byte.data))
            with m.Else():
                m.d.sync += word.eq(Cat(word[8:], byte.data))
                with m.If((place[:2] == 3) & (place < _LONGEST - CRC_BYTES)):
                    m.d.comb += write.en.eq(used != _SLOTS)
                    with m.If(used == _SLOTS):
                        m.d.sync += no_room.eq(1)

        whole, carried = Signal(), Signal(range(MAX_WORDS + 1))
        m.d.comb += [
            whole.eq(byte.good & crc.match_detected & (place >= _SHORTEST) & (place <= _LONGEST)
                     & (place[:2] == 0)),
            carried.eq((place - _SHORTEST) >> 2),
            queue.i.p.header.eq(header),
            queue.i.p.carried.eq(carried),
        ]
        m.d.sync += used.eq(used - self.release)
        with m.If(self.release):
            m.d.sync += oldest.eq(~oldest)
        with m.If(coming & byte.end):
            m.d.sync += [place.eq(0), no_room.eq(0)]
            m.d.comb += [
                self.damaged.eq(~whole),
                queue.i.valid.eq(whole & ((carried == 0) | ~no_room)),
            ]
            with m.If(queue.i.valid & queue.i.ready & (carried != 0)):
                m.d.sync += [slot.eq(~slot), used.eq(used + 1 - self.release)]
        return m
