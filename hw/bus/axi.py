"""AXI4: rows of a memory become bursts, several of them outstanding; readers share one port."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.stream import Queue, RegisterSlice

__all__ = ["Axi4", "Row", "Burst", "ReadBeat", "Bursts", "RowReader", "ReadPort"]

_PAGE = 4096  # bytes; no burst crosses a multiple of it
INCR, OKAY = 1, 0


class Axi4(wiring.Signature):
    """The five channels of AXI4, seen from the master. All identifiers are 0: answers in order."""

    def __init__(self, *, address_width: int, data_width: int):
        self.address_width, self.data_width = address_width, data_width
        members = {}
        for channel in ("aw", "ar"):
            members |= {
                f"{channel}id":    Out(1), f"{channel}addr":  Out(address_width),
                f"{channel}len":   Out(8), f"{channel}size":  Out(3),
                f"{channel}burst": Out(2), f"{channel}valid": Out(1), f"{channel}ready": In(1),
            }
        super().__init__(members | {
            "wdata": Out(data_width), "wstrb": Out(data_width // 8), "wlast": Out(1),
            "wvalid": Out(1), "wready": In(1),
            "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "rid": In(1), "rdata": In(data_width), "rresp": In(2), "rlast": In(1),
            "rvalid": In(1), "rready": Out(1),
        })


class Row(data.StructLayout):
    """``beats`` (at least 1) consecutive beats from ``beat`` on; ``tag`` stays with the last one.

    Addresses count beats: the byte address is ``beat * bytes of a beat``.
    """

    def __init__(self, *, beat_width: int, count_width: int):
        super().__init__({"beat": beat_width, "beats": count_width, "tag": 1})


class Burst(data.StructLayout):
    """1 to 256 beats that do not cross 4 KiB; ``tag``: the last burst of a row with a tag."""

    def __init__(self, *, beat_width: int):
        super().__init__({"beat": beat_width, "beats": 9, "tag": 1})


class ReadBeat(data.StructLayout):
    """A beat that was read; ``error``: the bus answered with one."""

    def __init__(self, data_width: int):
        super().__init__({"data": data_width, "error": 1})


class Bursts(wiring.Component):
    """Cut rows at multiples of ``block`` beats: 4 KiB or less, a power of two, at most ``longest``.

    So only the first and the last burst of a row are shorter, and no burst crosses 4 KiB.

    Members
    -------
    i : ``In(stream.Signature(Row(...)))``
    o : ``Out(stream.Signature(Burst(...)))``
    halt : ``In(1)``
        Nothing more is offered; a burst that is being offered stays.
    busy : ``Out(1)``
        Part of a row is still here.

    Timing
    ------
    Latency: 2 cycles. Throughput: a burst per cycle.
    """

    def __init__(self, *, beat_width: int, count_width: int, beat_bytes: int, longest: int):
        self.beat_width, self.count_width = beat_width, count_width
        self.page_beats, self.longest = _PAGE // beat_bytes, longest
        self.block = 1 << min(self.page_beats, longest).bit_length() - 1
        # `some` are left, `most` to the end of the block; it is the last one (`fits`), or `others`
        # follow. Registers, since much hangs on `i.ready`.
        self.left = Signal(count_width, reset_less=True)
        self.some, self.most, self.fits = Signal(), Signal(9), Signal()
        self.others = Signal(count_width)
        super().__init__({
            "i":    In(stream.Signature(Row(beat_width=beat_width, count_width=count_width))),
            "o":    Out(stream.Signature(Burst(beat_width=beat_width))),
            "halt": In(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        beat = Signal(self.beat_width, reset_less=True)
        tag, step = Signal(), Signal()
        log_block = exact_log2(self.block)
        left, some, most, fits, others = self.left, self.some, self.most, self.fits, self.others
        place = Signal(max(self.count_width, log_block) + 1)  # of the last beat, from the block on
        m.d.comb += [
            place.eq(self.i.p.beat[:log_block] + self.i.p.beats - 1),
            step.eq(some & (~self.o.valid | self.o.ready) & ~self.halt),
            self.i.ready.eq(~some | (step & fits)),
            self.busy.eq(some | self.o.valid),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.p.beat.eq(beat),
                self.o.p.beats.eq(Mux(fits, left, most)),
                self.o.p.tag.eq(tag & fits),
                beat.eq(((beat >> log_block) + 1) << log_block),
                left.eq(left - most),
                most.eq(self.block),
                some.eq(~fits),
                others.eq(others - 1),
                fits.eq(others == 1),
            ]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [
                beat.eq(self.i.p.beat), left.eq(self.i.p.beats), tag.eq(self.i.p.tag),
                most.eq(self.block - self.i.p.beat[:log_block]), some.eq(self.i.p.beats != 0),
                others.eq(place >> log_block), fits.eq(place[log_block:] == 0),
            ]
        return m


class RowReader(wiring.Component):
    """Read rows; a burst is asked for only when there is room for all of it.

    So a reader that is not listened to never blocks the bus for the others.

    Members
    -------
    i : ``In(stream.Signature(Row(...)))``
    o : ``Out(stream.Signature(ReadBeat(data_width)))``
        All beats of all rows.
    ar : ``Out(stream.Signature(Burst(...)))``, to :class:`ReadPort`
    r_valid, r_data : ``In``
        Beats of these bursts, taken at once.
    halt : ``In(1)``
        No further burst is asked for.
    busy : ``Out(1)``
        A row has not been asked for in full.

    Timing
    ------
    One beat per cycle, 3 cycles after it came. A burst is asked for 3 cycles after its row came.
    The buffer has two bursts of the longest kind, at least 16 beats.
    """

    def __init__(self, *, beat_width: int, count_width: int, data_width: int, longest: int):
        beat_bytes = data_width // 8
        self.data_width = data_width
        self.depth = max(2 * min(longest, _PAGE // beat_bytes), 16)
        self._bursts = Bursts(beat_width=beat_width, count_width=count_width,
                              beat_bytes=beat_bytes, longest=longest)
        super().__init__({
            "i":       In(self._bursts.i.signature.flip()),
            "o":       Out(stream.Signature(ReadBeat(data_width))),
            "ar":      Out(stream.Signature(Burst(beat_width=beat_width))),
            "r_valid": In(1),
            "r_data":  In(ReadBeat(data_width)),
            "halt":    In(1),
            "busy":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = self._bursts
        m.submodules.buffer = buffer = Queue(self.o.payload.shape(), depth=self.depth, block=True)
        # Registers on both sides: the arbiter of the bus, and the block RAM, are slow enough.
        m.submodules.ask = ask = RegisterSlice(bursts.o.payload.shape())
        m.submodules.give = give = RegisterSlice(self.o.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), bursts.i)
        wiring.connect(m, ask.o, wiring.flipped(self.ar))
        wiring.connect(m, buffer.o, give.i)
        wiring.connect(m, give.o, wiring.flipped(self.o))
        free = Signal(range(self.depth + 1), init=self.depth)
        room = Signal()
        m.d.comb += [
            bursts.halt.eq(self.halt),
            self.busy.eq(bursts.busy | ask.o.valid),
            room.eq(free >= bursts.o.p.beats),
            ask.i.payload.eq(bursts.o.payload),
            ask.i.valid.eq(bursts.o.valid & room),
            bursts.o.ready.eq(ask.i.ready & room),
            buffer.i.valid.eq(self.r_valid),
            buffer.i.payload.eq(self.r_data),
        ]
        asked = Mux(ask.i.valid & ask.i.ready, bursts.o.p.beats, 0)
        m.d.sync += free.eq(free - asked + (give.i.valid & give.i.ready))
        return m


class ReadPort(wiring.Component):
    """The read channels of an AXI4 port, shared by several readers in turn.

    Parameters
    ----------
    clients : :class:`int`
    reads : :class:`int`
        Bursts outstanding.

    Members
    -------
    ar : array of ``In(stream.Signature(Burst(...)))``
    r_valid : ``Out(clients)``
        The beat ``r_data`` is for this client. It has to take it.
    halt : ``In(1)``
        No further burst begins; ``axi.arvalid`` stays if it is high.
    busy : ``Out(1)``
        Something is outstanding.
    axi : ``Out(Axi4(...))``; the write channels are not used.

    Timing
    ------
    Latency of AR: 1 cycle, of R: none. A burst and a beat per cycle. ``rready`` is always high.
    """

    def __init__(self, clients: int, *, beat_width: int, address_width: int, data_width: int,
                 reads: int):
        self.clients, self.reads = clients, reads
        self.data_width, self.address_width = data_width, address_width
        members = {
            "ar":      In(stream.Signature(Burst(beat_width=beat_width))).array(clients),
            "r_valid": Out(clients),
            "r_data":  Out(ReadBeat(data_width)),
            "halt":    In(1),
            "busy":    Out(1),
        }
        axi = Axi4(address_width=address_width, data_width=data_width).members
        members |= {name: axi[name] for name in axi if name[0] == "r" or name[:2] == "ar"}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.owners = owners = SyncFIFO(width=range(self.clients).stop.bit_length(),
                                                depth=self.reads)
        size = exact_log2(self.data_width // 8)
        m.d.comb += [self.arid.eq(0), self.arsize.eq(size), self.arburst.eq(INCR),
                     self.rready.eq(1)]

        # In turn: the one after the last one is looked at first.
        last, chosen, found = Signal(range(self.clients)), Signal(range(self.clients)), Signal()
        with m.Switch(last):
            for previous in range(self.clients):
                with m.Case(previous):
                    for step in reversed(range(1, self.clients + 1)):
                        client = (previous + step) % self.clients
                        with m.If(self.ar[client].valid):
                            m.d.comb += [chosen.eq(client), found.eq(1)]
        free = (~self.arvalid | self.arready) & owners.w_rdy & ~self.halt
        with m.If(self.arready):
            m.d.sync += self.arvalid.eq(0)
        for client, ar in enumerate(self.ar):
            with m.If(free & found & (chosen == client)):
                m.d.comb += [ar.ready.eq(1), owners.w_en.eq(1), owners.w_data.eq(client)]
                m.d.sync += [
                    self.arvalid.eq(1),
                    self.araddr.eq(ar.p.beat << size),
                    self.arlen.eq(ar.p.beats - 1),
                    last.eq(client),
                ]

        m.d.comb += [
            self.r_data.data.eq(self.rdata),
            self.r_data.error.eq(self.rresp != OKAY),
            owners.r_en.eq(self.rvalid & self.rlast),
            self.busy.eq(self.arvalid | owners.r_rdy),
        ]
        for client in range(self.clients):
            m.d.comb += self.r_valid[client].eq(
                self.rvalid & owners.r_rdy & (owners.r_data == client))
        return m
