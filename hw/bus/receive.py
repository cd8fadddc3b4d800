"""From bytes of a line to requests, each checked as a whole before anything is done."""

import enum

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.crc import Processor
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.bus.cobs import CobsDecoder
from hw.bus.protocol import CRC_BYTES, HEADER_BYTES, MAX_WORDS, WINDOW

__all__ = ["FrameReceiver", "Part", "crc32"]

_SLOTS = 2  # payloads: one is worked on while the next one comes
_SHORTEST = HEADER_BYTES + CRC_BYTES
_LONGEST = _SHORTEST + 4 * MAX_WORDS


def crc32() -> Processor:
    """The check sum of frames, a byte per cycle."""
    return Processor(CRC32_ISO_HDLC(data_width=8))


class Part(enum.IntEnum):
    """The words of a request: two of its header, and how many words its payload has."""

    HEAD = 0
    ADDRESS = 1
    CARRIED = 2


class FrameReceiver(wiring.Component):
    """Requests from bytes. Damaged frames are reported, and leave nothing behind.

    A frame that finds no room is dropped, as if it had been lost on the way. Headers lie in block
    RAM like payloads, and are read in parts: as registers they would be a fifth of the bridge.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Always ready.
    waiting : ``Out(1)``
        There is a request.
    part : ``In(Part)``; request : ``Out(32)``
        Parts of the oldest request, a cycle after their number.
    word : ``In(range(MAX_WORDS))``; payload : ``Out(32)``
        Words of the oldest payload, a cycle after their number.
    done, release : ``In(1)``
        The oldest request is not needed any more; nor is the oldest payload.
    damaged : ``Out(1)``
        For one cycle.

    Timing
    ------
    Latency: 2 cycles from the zero at the end of a frame. Throughput: a byte per cycle.
    """

    i:       In(stream.Signature(8))
    waiting: Out(1)
    part:    In(Part)
    request: Out(32)
    word:    In(range(MAX_WORDS))
    payload: Out(32)
    done:    In(1)
    release: In(1)
    damaged: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        # What is written is of a frame that nobody knows of yet, so it is never read meanwhile.
        apart = {"attrs": {"no_rw_check": True}, "init": []}
        m.submodules.requests = requests = Memory(shape=32, depth=4 * WINDOW, **apart)
        m.submodules.memory = memory = Memory(shape=32, depth=_SLOTS * MAX_WORDS, **apart)
        m.submodules.crc = crc = crc32()
        write, read = memory.write_port(), memory.read_port()
        note, recall = requests.write_port(), requests.read_port()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)

        byte, coming = decoder.o.p, decoder.o.valid
        word = Signal(32)
        place = Signal(range(_LONGEST + 2))  # of the byte; stays when there are too many
        last, first, held = Signal(range(WINDOW)), Signal(range(WINDOW)), Signal(range(WINDOW + 1))
        slot, oldest, used = Signal(), Signal(), Signal(range(_SLOTS + 1))
        late, no_room = Signal(), Signal()  # the header had no place, a word had no slot
        whole, carried = Signal(), Signal(range(MAX_WORDS + 1))
        m.d.comb += [
            decoder.o.ready.eq(1),
            crc.start.eq(coming & (place == 0)),
            crc.valid.eq(coming & ~byte.end),
            crc.data.eq(byte.data),
            whole.eq(byte.good & crc.match_detected & (place >= _SHORTEST) & (place <= _LONGEST)
                     & (place[:2] == 0)),
            carried.eq((place - _SHORTEST) >> 2),
            write.addr.eq(Cat((place - HEADER_BYTES)[2:9], slot)),
            write.data.eq(Cat(word[8:], byte.data)),
            note.addr.eq(Cat(Mux(byte.end, Part.CARRIED, place[2]), last)),
            note.data.eq(Mux(byte.end, carried, write.data)),
            read.addr.eq(Cat(self.word, oldest)), self.payload.eq(read.data),
            recall.addr.eq(Cat(self.part, first)), self.request.eq(recall.data),
            self.waiting.eq(held != 0),
        ]
        with m.If(coming & ~byte.end):
            m.d.sync += word.eq(write.data)
            with m.If(place != _LONGEST + 1):
                m.d.sync += place.eq(place + 1)
            with m.If((place[:2] == 3) & (place < HEADER_BYTES)):
                m.d.comb += note.en.eq(held != WINDOW)
                with m.If(held == WINDOW):
                    m.d.sync += late.eq(1)
            with m.Elif((place[:2] == 3) & (place < _LONGEST - CRC_BYTES)):
                m.d.comb += write.en.eq(used != _SLOTS)
                with m.If(used == _SLOTS):
                    m.d.sync += no_room.eq(1)

        taken = Signal()
        m.d.sync += [held.eq(held + taken - self.done), used.eq(used - self.release)]
        with m.If(self.done):
            m.d.sync += first.eq(first + 1)
        with m.If(self.release):
            m.d.sync += oldest.eq(~oldest)
        with m.If(coming & byte.end):
            m.d.sync += [place.eq(0), late.eq(0), no_room.eq(0)]
            m.d.comb += [
                self.damaged.eq(~whole),
                taken.eq(whole & ~late & ((carried == 0) | ~no_room)),
            ]
        with m.If(taken):
            m.d.comb += note.en.eq(1)
            m.d.sync += last.eq(last + 1)
            with m.If(carried != 0):
                m.d.sync += [slot.eq(~slot), used.eq(used + 1 - self.release)]
        return m
