"""The link's end in the hardware: frames in, accesses to memory and registers, answers out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import Axi4
from hw.bus.cobs import CobsEncoder
from hw.bus.csr import AxiLite
from hw.bus.protocol import (
    ANSWER,
    CRC_BYTES,
    MAX_WORDS,
    VERSION,
    WINDOW,
    Command,
    Header,
    Status,
    line_bytes,
)
from hw.bus.receive import FrameReceiver, Part, crc32
from hw.bus.word import WordAccess

__all__ = ["Bridge"]

_ADDRESS, _BODY, _TAIL, _END = range(4)  # what comes after the bytes that are being sent


class Bridge(wiring.Component):
    """Does what the frames of :mod:`hw.bus.protocol` ask for.

    Nothing of a request is done before its check sum was found right, and a write is done once,
    however often its frame comes. A bus that does not answer ends a request with ``BUS_TIMEOUT``.

    Parameters
    ----------
    address_width, data_width : :class:`int`
        Of the memory port.
    register_width : :class:`int`
        Bits of a register's address.
    patience : :class:`int`
        Cycles that a single access may take.

    Members
    -------
    i, o : ``In``, ``Out(stream.Signature(8))``
        Bytes of the line. ``i`` is always ready.
    memory : ``Out(Axi4(...))``
        Single beats, with the strobes of one word.
    csr : ``Out(AxiLite(...))``

    Timing
    ------
    A request of ``n`` words takes about ``4 * n + 40`` cycles and ``n`` accesses. An answer goes
    out when it is complete; the next request is worked on when its answer has gone.
    Reset: the session is over, and what is under way is lost.
    """

    def __init__(self, *, address_width: int, data_width: int, register_width: int,
                 patience: int = 65_535):
        if data_width < 32 or data_width & (data_width - 1):
            raise ValueError(f"data_width must be a power of two from 32 on, not {data_width!r}")
        for name, width in (("address_width", address_width), ("register_width", register_width)):
            if width not in range(3, 33):
                raise ValueError(f"{name} must be 3 to 32, not {width!r}")
        self.address_width, self.register_width = address_width, register_width
        self.patience = patience
        self._access = WordAccess(address_width=address_width, data_width=data_width,
                                  register_width=register_width)
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(8)),
            "memory": Out(Axi4(address_width=address_width, data_width=data_width)),
            "csr": Out(AxiLite(address_width=register_width)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.access = access = self._access
        m.submodules.encoder = encoder = CobsEncoder(line_bytes(MAX_WORDS))
        m.submodules.crc = crc = crc32()
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        wiring.connect(m, access.memory, wiring.flipped(self.memory))
        wiring.connect(m, access.csr, wiring.flipped(self.csr))

        # The head of the request that is worked on: the receiver shows it but for a few cycles.
        request = Signal(data.StructLayout(
            {name: field.shape for name, field in Header.as_shape() if name != "address"}))
        carried = Signal(range(MAX_WORDS + 1))
        m.d.comb += Value.cast(request).eq(receiver.request)
        # Session, and how the last writes ended.
        opened, session, expected = Signal(), Signal(32), Signal(8)
        ends = Array(Signal(Status, name=f"end_{n}") for n in range(WINDOW))
        refused = Signal()  # and not in order again since
        damaged = Signal()  # a frame, and nobody was told yet
        with m.If(receiver.damaged):
            m.d.sync += damaged.eq(1)

        # The request that is worked on.
        new, reading, writing, fits = Signal(), Signal(), Signal(), Signal()
        age = Signal(8)
        words_left, place = Signal(8), Signal(range(MAX_WORDS))
        address = Signal(32)
        status = Signal(Status)
        answer = Signal.like(request)
        held = Signal()      # it is at the receiver, not a damaged one
        refusing = Signal()  # it has no place in the order
        outside = Signal()   # the bus has no such address
        time = Signal(range(self.patience + 1))
        m.d.comb += [
            outside.eq(Mux(access.registers, address[self.register_width:].any(),
                           address[self.address_width:].any())),
            reading.eq((request.command == Command.READ)
                       | (request.command == Command.READ_REGISTERS)),
            writing.eq((request.command == Command.WRITE)
                       | (request.command == Command.WRITE_REGISTERS)),
            age.eq(expected - request.sequence),
            fits.eq((request.note == VERSION) & (reading | writing) & (request.words != 0)
                    & (request.words <= MAX_WORDS) & (address[:2] == 0)
                    & (carried == Mux(writing, request.words, 0))),
            access.registers.eq((request.command == Command.READ_REGISTERS)
                                | (request.command == Command.WRITE_REGISTERS)),
            access.write.eq(writing),
            access.address.eq(address), access.data.eq(receiver.payload),
            receiver.word.eq(place),
            answer.command.eq(Mux(refusing, Command.REFUSED, request.command) | ANSWER),
            answer.sequence.eq(Mux(refusing, expected, request.sequence)),
            answer.words.eq(Mux(~refusing & reading & (status == Status.DONE), request.words, 0)),
            answer.note.eq(status),
        ]

        # Bytes of an answer, from the lowest on.
        out, left = Signal(32), Signal(range(5))
        after, body = Signal(2), Signal()
        m.d.comb += [
            encoder.i.p.data.eq(out[:8]), encoder.i.p.last.eq((after == _END) & (left == 1)),
            crc.data.eq(out[:8]), crc.valid.eq(encoder.i.valid & encoder.i.ready),
        ]

        def refuse(reason):
            """Answer what has no place in the order, unless one such answer has gone already."""
            m.d.sync += [refused.eq(1), status.eq(reason), refusing.eq(1)]
            m.next = "HEADER"
            with m.If(refused):
                m.next = "DONE"

        def finish(how):
            """Nothing is left to do but to answer."""
            m.d.sync += status.eq(how)
            with m.If(new):
                m.d.sync += [expected.eq(request.sequence + 1), ends[request.sequence[
                    :exact_log2(WINDOW)]].eq(how)]
            m.next = "HEADER"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [held.eq(receiver.waiting), refusing.eq(0), new.eq(0), place.eq(0),
                             time.eq(0), status.eq(Status.DONE)]
                m.d.comb += receiver.part.eq(Part.ADDRESS)
                with m.If(receiver.waiting):
                    m.next = "ADDRESS"
                with m.Elif(damaged):
                    m.d.sync += damaged.eq(receiver.damaged)
                    refuse(Status.DAMAGED)
            with m.State("ADDRESS"):
                m.d.comb += receiver.part.eq(Part.CARRIED)
                m.d.sync += address.eq(receiver.request)
                m.next = "CARRIED"
            with m.State("CARRIED"):
                m.d.sync += carried.eq(receiver.request)
                m.next = "ORDER"
            with m.State("ORDER"):
                m.d.sync += words_left.eq(request.words)
                with m.If(request.command == Command.SYNC):
                    m.next = "HEADER"
                    with m.If((request.note != VERSION) | (carried != 0)):
                        m.d.sync += status.eq(Status.BAD_REQUEST)
                    with m.Else():
                        m.d.sync += refused.eq(0)
                        with m.If(~opened | (session != address)):
                            m.d.sync += [opened.eq(1), session.eq(address),
                                         expected.eq(request.sequence + 1)]
                with m.Elif(~opened):
                    refuse(Status.NO_SESSION)
                with m.Elif(age > WINDOW):
                    refuse(Status.OUT_OF_TURN)
                with m.Else():
                    m.d.sync += [refused.eq(0), new.eq(age == 0)]
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                with m.If(~fits):
                    finish(Status.BAD_REQUEST)
                with m.Elif(writing & ~new):
                    m.d.sync += status.eq(ends[request.sequence[:exact_log2(WINDOW)]])
                    m.next = "HEADER"
                with m.Elif(writing):
                    m.next = "ACCESS"
                with m.Else():
                    m.next = "HEADER"

            # Words, one after the other.
            with m.State("ACCESS"):
                m.d.sync += time.eq(time + 1)
                m.d.comb += access.start.eq(~outside)
                with m.If(outside):
                    m.next = "ERROR"
                with m.Elif(~access.busy):
                    m.next = "WAIT"
                with m.Elif(time == self.patience):
                    m.next = "TIMEOUT"
            with m.State("WAIT"):
                m.d.sync += time.eq(time + 1)
                with m.If(access.done):
                    m.d.sync += [time.eq(0), address.eq(address + 4), place.eq(place + 1),
                                 words_left.eq(words_left - 1)]
                    with m.If(access.error):
                        m.next = "ERROR"
                    with m.Elif(reading):
                        m.d.sync += [out.eq(access.result), left.eq(4), after.eq(
                            Mux(words_left == 1, _TAIL, _BODY))]
                        m.next = "SEND"
                    with m.Elif(words_left == 1):
                        finish(Status.DONE)
                    with m.Else():
                        m.next = "FETCH"
                with m.Elif(time == self.patience):
                    m.next = "TIMEOUT"
            with m.State("FETCH"):  # the next word of the payload
                m.next = "ACCESS"
            with m.State("ERROR"):
                m.d.comb += encoder.drop.eq(1)
                m.d.sync += time.eq(0)
                finish(Status.BUS_ERROR)
            with m.State("TIMEOUT"):
                m.d.comb += encoder.drop.eq(1)
                m.d.sync += time.eq(0)
                finish(Status.BUS_TIMEOUT)

            # The answer: header, words, check sum.
            with m.State("HEADER"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [out.eq(answer), left.eq(4), after.eq(_ADDRESS),
                             body.eq(answer.words != 0)]
                m.next = "SEND"
            with m.State("ADDRESS_BACK"):
                m.d.sync += [out.eq(Mux(refusing, 0, receiver.request)), left.eq(4),
                             after.eq(Mux(body, _BODY, _TAIL))]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += encoder.i.valid.eq(1)
                with m.If(after == _ADDRESS):
                    m.d.comb += receiver.part.eq(Part.ADDRESS)
                with m.If(encoder.i.ready):
                    m.d.sync += [out.eq(out >> 8), left.eq(left - 1)]
                    with m.If(left == 1):
                        with m.Switch(after):
                            with m.Case(_ADDRESS):
                                m.next = "ADDRESS_BACK"
                            with m.Case(_BODY):
                                m.next = "ACCESS"
                            with m.Case(_TAIL):
                                m.next = "TAIL"
                            with m.Case(_END):
                                m.next = "DONE"
            with m.State("TAIL"):
                m.d.sync += [out.eq(crc.crc), left.eq(CRC_BYTES), after.eq(_END)]
                with m.If(new):  # a read is done
                    m.d.sync += expected.eq(request.sequence + 1)
                m.next = "SEND"
            with m.State("DONE"):
                with m.If(held):
                    m.d.comb += [receiver.done.eq(1), receiver.release.eq(carried != 0)]
                m.next = "IDLE"
        return m
