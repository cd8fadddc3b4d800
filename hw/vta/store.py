"""STORE: narrows accumulators to bytes and writes them to DRAM, several bursts at a time."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.multiply import multiplier
from hw.bus.axi import INCR, Axi4, Bursts
from hw.stream import Queue, RegisterSlice
from hw.vta.accumulators import LaneRead, store_lanes
from hw.vta.config import VtaConfig
from hw.vta.fetch import NUMBER_WIDTH, Dispatched, Engine
from hw.vta.isa import Fault, Isa, Memory, Opcode
from hw.vta.load import Transfer
from hw.vta.load_unit import Stopped, UnitStatus
from hw.vta.tokens import TokenPorts

__all__ = ["StoreUnit", "narrow"]

_ELEMENTS = 16  # entries of the buffer between scratchpad and bus


def narrow(accumulator, saturate):
    """The low 8 bits of each lane, or the lane clamped to int8."""
    result = []
    for k in range(0, len(accumulator), 32):
        lane = accumulator[k:k + 32]
        fits = (lane[7:] == 0) | lane[7:].all()
        clamped = Cat((~lane[31]).replicate(7), lane[31])
        result.append(Mux(saturate & ~fits, clamped, lane[:8]))
    return Cat(*result)


class _Source(data.StructLayout):
    """Elements of one row in the scratchpad, and where the row begins in its first beat.

    Nothing is longer than the scratchpad, of ``depth`` elements. A beat has ``lanes`` of them.
    """

    def __init__(self, depth: int, lanes: int):
        super().__init__({"position": range(depth), "step": 6, "count": range(depth + 1),
                          "offset": range(lanes), "saturate": 1})


class _Label(data.Struct):
    number: NUMBER_WIDTH
    push:   1
    empty:  1  # writes nothing
    fault:  Fault


class StoreUnit(wiring.Component):
    """Executes STORE, in order; the next one begins while the bus still answers for the last.

    Before anything is written, the range of the scratchpad and the addresses are checked. A token
    is posted when the bus has confirmed all that the instruction wrote.

    Members
    -------
    i : ``In(stream.Signature(Dispatched))``
    tokens : ``Out(TokenPorts())``
    halt : ``In(1)``
        No further instruction begins; those that have begun go on.
    stopped : ``Out(Stopped)``
    status : ``Out(UnitStatus)``
    base_out : ``In(address_width)``
        Byte address of element 0; a multiple of the bytes of a beat.
    read : ``Out(LaneRead(config))``
    aw..., w..., b... : write channels of :class:`Axi4`

    Timing
    ------
    One beat per cycle, with elements in sequence; with ``sram_skip`` an element per cycle at most.
    The first burst is announced 13 cycles after the instruction was taken.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.transfer = Transfer.of(config, Memory.OUT)
        self.lanes = store_lanes(config)
        axi = Axi4(address_width=config.address_width, data_width=config.bus_width).members
        super().__init__({
            "i":        In(stream.Signature(Dispatched)),
            "tokens":   Out(TokenPorts()),
            "halt":     In(1),
            "stopped":  Out(Stopped),
            "status":   Out(UnitStatus),
            "base_out": In(config.address_width),
            "read":     Out(LaneRead(config)),
            **{name: member for name, member in axi.items()
               if name[:2] == "aw" or name[0] in "wb"},
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        self._log_bus = exact_log2(config.bus_width // 8)
        m.submodules.bursts = bursts = Bursts(
            beat_width=config.address_width - self._log_bus,
            count_width=(config.depth("acc") * self.transfer.beats).bit_length(),
            beat_bytes=config.bus_width // 8, longest=config.burst_beats)
        self._source = _Source(config.depth("acc"), self.lanes)
        m.submodules.sources = sources = SyncFIFO(width=self._source.size, depth=4)
        m.submodules.labels = labels = SyncFIFO(width=_Label.as_shape().size, depth=8)
        preparing, reading, confirmed = Signal(), Signal(), Signal(4)
        self._prepare(m, bursts, sources, labels, preparing)
        beats = self._read(m, sources, reading)
        writing, complete = self._write(m, bursts, beats)

        # Completion: in order, when the bus has answered for the last burst.
        oldest = data.View(_Label, labels.r_data)
        blocked, error = Signal(), Signal()
        fault = Signal(Fault)
        with m.If(self.bvalid & self.bresp[1]):  # SLVERR, DECERR
            m.d.sync += error.eq(1)
        m.d.comb += [
            blocked.eq(labels.r_rdy & oldest.push & self.tokens.full_prev),
            fault.eq(Mux(error, Fault.BUS_ERROR, oldest.fault)),
        ]
        leave = Signal()
        with m.If(labels.r_rdy & ~self.stopped.valid & (oldest.empty | (confirmed != 0))):
            with m.If(fault != Fault.DONE):
                m.d.sync += [
                    self.stopped.valid.eq(1), self.stopped.fault.eq(fault),
                    self.stopped.number.eq(oldest.number),
                ]
            with m.Elif(~blocked):
                m.d.comb += [leave.eq(1), labels.r_en.eq(1),
                             self.tokens.push_prev.eq(oldest.push)]
        m.d.sync += confirmed.eq(confirmed + complete - (leave & ~oldest.empty))
        m.d.comb += self.status.empty.eq(~(preparing | reading | writing | labels.r_rdy))
        m.d.comb += self.status.busy.eq(
            preparing | reading | writing
            | (labels.r_rdy & ~self.stopped.valid & ~(blocked & (oldest.empty | (confirmed != 0)))))
        with m.If(blocked & (oldest.empty | (confirmed != 0))):
            m.d.comb += self.status.wait_prev.eq(1)
        return m

    def _prepare(self, m, bursts, sources, labels, busy):
        """Check an instruction; give each of its rows to the bus and to the scratchpad."""
        config, transfer = self.config, self.transfer
        layout = Isa(config).layouts[Opcode.STORE]
        waiting = data.View(layout, self.i.p.word)
        word, label = Signal(128, reset_less=True), Signal(_Label, reset_less=True)
        insn = data.View(layout, word)
        skip, saturate, stride = ((insn.sram_skip, insn.saturate, insn.sram_stride)
                                  if config.extensions else (0, 0, 0))
        step = Signal(6)
        m.d.comb += step.eq(skip + 1)
        missing, idle = waiting.pop_prev & ~self.tokens.available_prev, Signal()
        start = Signal()
        m.d.comb += [
            start.eq(idle & self.i.valid & ~missing & ~self.halt),
            self.i.ready.eq(start),
            self.tokens.pop_prev.eq(start & waiting.pop_prev),
            self.status.wait_prev.eq(idle & self.i.valid & missing),
        ]

        # One multiplier, used in turn: its result is there two cycles after its factors.
        # A row that is longer than 17 bits can say is an error by itself.
        m.submodules.multiply = multiply = multiplier(17, 16)
        a, b, product = multiply.a, multiply.b, multiply.p
        log_elements = exact_log2(transfer.elements)
        log_beats = exact_log2(transfer.beats)
        log_size = exact_log2(transfer.element_bytes)
        # What belongs to a range that is wrong may be cut off: it is not looked at.
        source = Signal(self._source)
        rows, position = Signal.like(source.count), Signal.like(source.position)
        element, last_row, reach = Signal(33), Signal(33), Signal(33)
        past, outside = Signal(max(33 + log_size, config.address_width) + 1), Signal()
        in_row, pitch, span = Signal(22), Signal(17), Signal(34)
        byte = Signal(config.address_width)
        in_beat = element[:log_elements] if log_elements else Const(0, 1)
        m.d.comb += [
            busy.eq(~idle | start),
            byte.eq((element << log_size) + self.base_out),
            bursts.i.p.beat.eq(byte >> self._log_bus),
            bursts.i.p.beats.eq(insn.x_size << log_beats if log_elements == 0 else
                                (insn.x_size + in_beat + transfer.elements - 1) >> log_elements),
            bursts.i.p.tag.eq(rows == 1),
            source.position.eq(position), source.step.eq(step), source.count.eq(insn.x_size),
            source.offset.eq(in_beat), source.saturate.eq(saturate),
            sources.w_data.eq(source),
            labels.w_data.eq(label),
        ]
        with m.FSM(name="prepare"):
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                with m.If(start):
                    m.d.sync += [
                        word.eq(self.i.p.word),
                        label.number.eq(self.i.p.number), label.push.eq(waiting.push_prev),
                        label.fault.eq(self.i.p.fault),
                    ]
                    m.d.sync += label.empty.eq(self.i.p.engine == Engine.NONE)
                    m.next = "ROW"
                    with m.If(self.i.p.engine == Engine.NONE):
                        m.next = "LABEL"
            with m.State("ROW"):
                m.d.sync += [rows.eq(insn.y_size), element.eq(insn.dram_base),
                             position.eq(insn.sram_base)]
                m.d.comb += [a.eq(insn.x_size - 1), b.eq(step)]
                m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += [a.eq(insn.y_size - 1), b.eq(insn.x_stride)]
                m.next = "IN_ROW"
            with m.State("IN_ROW"):
                m.d.sync += in_row.eq(product)  # from the first element of a row to its last
                m.next = "STRIDE"
            with m.State("STRIDE"):
                m.d.sync += [last_row.eq(product + insn.dram_base),
                             pitch.eq(Mux(stride != 0, stride, in_row + step))]
                m.next = "PITCH"
            with m.State("PITCH"):
                m.d.comb += [a.eq(pitch), b.eq(insn.y_size - 1)]
                m.d.sync += reach.eq(last_row + insn.x_size)
                m.next = "PAST"
            with m.State("PAST"):
                m.d.sync += past.eq((reach << log_size) + self.base_out)
                m.next = "SPAN"
            with m.State("SPAN"):
                m.d.sync += [span.eq(product + in_row + insn.sram_base),
                             outside.eq(past > 1 << config.address_width)]
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(span >= config.depth("acc")):
                    m.d.sync += [label.fault.eq(Fault.ACC_RANGE), label.empty.eq(1)]
                with m.Elif(outside):
                    m.d.sync += [label.fault.eq(Fault.BUS_ERROR), label.empty.eq(1)]
                m.next = "LABEL"
            with m.State("LABEL"):
                m.d.comb += labels.w_en.eq(1)
                with m.If(labels.w_rdy):
                    m.next = "EMIT"
                    with m.If(label.empty):
                        m.next = "IDLE"
            with m.State("EMIT"):
                m.d.comb += [bursts.i.valid.eq(sources.w_rdy),
                             sources.w_en.eq(bursts.i.ready)]
                with m.If(sources.w_rdy & bursts.i.ready):
                    m.d.sync += [
                        element.eq(element + insn.x_stride), rows.eq(rows - 1),
                        position.eq(position + pitch),
                    ]
                    with m.If(rows == 1):
                        m.next = "IDLE"

    def _read(self, m, sources, busy):
        """Read, narrow, and put where the beat wants it. Returns the buffer of elements."""
        lanes, bits = self.lanes, 8 * self.transfer.element_bytes
        layout = data.StructLayout({"data": lanes * bits, "mask": lanes, "end": 1})
        m.submodules.elements = elements = Queue(layout, depth=_ELEMENTS, block=True)
        row = Signal(self._source, reset_less=True)
        active = Signal()
        free = Signal(range(_ELEMENTS + 1), init=_ELEMENTS)
        count, room = Signal(range(lanes + 1)), Signal(range(lanes + 1))
        offset = row.offset[:exact_log2(lanes)] if lanes > 1 else Const(0, 1)
        take, fire, last = Signal(), Signal(), Signal()
        banks = len(self.read.banks)
        layout_of_request = data.StructLayout({
            "address": row.position.shape(), "banks": banks,
            "count": count.shape(), "offset": offset.shape(), "end": 1, "saturate": 1})
        # Whether the scratchpad is free comes late.
        m.submodules.requests = requests = RegisterSlice(layout_of_request)
        request, asked = requests.o.p, requests.i.p
        m.d.comb += [
            room.eq(lanes - offset),
            count.eq(Mux(row.step != 1, 1, Mux(row.count < room, row.count, room))),
            last.eq(Mux(row.step != 1, row.count == 1, row.count <= room)),
            take.eq(requests.i.valid & requests.i.ready),
            fire.eq(self.read.valid & self.read.ready),
            requests.i.valid.eq(active & (free != 0)),
            asked.address.eq(row.position),
            asked.banks.eq(Cat((bank - row.position)[:exact_log2(banks)] < count
                               for bank in range(banks))),
            asked.count.eq(count), asked.offset.eq(offset), asked.saturate.eq(row.saturate),
            asked.end.eq(last | (offset + count == lanes)),
            self.read.valid.eq(requests.o.valid), requests.o.ready.eq(self.read.ready),
            self.read.address.eq(request.address), self.read.banks.eq(request.banks),
        ]
        with m.If(take):
            m.d.sync += [
                row.position.eq(row.position + Mux(row.step != 1, row.step, count)),
                row.count.eq(row.count - count),
                row.offset.eq(offset + count),
            ]
        with m.If(~active | (take & last)):
            m.d.comb += sources.r_en.eq(1)
            m.d.sync += [active.eq(sources.r_rdy), row.eq(sources.r_data)]

        # The data comes a cycle later; lane n of it belongs to place `offset + n` of the beat.
        s1, s2, s3 = Signal(), Signal(), Signal()
        s1_request, s2_request = Signal(layout_of_request), Signal(layout_of_request)
        s2_data  = Signal.like(self.read.data, reset_less=True)
        s3_item  = Signal(layout, reset_less=True)
        m.d.sync += [s1.eq(fire), s2.eq(s1), s3.eq(s2), s1_request.eq(request),
                     s2_request.eq(s1_request), s2_data.eq(self.read.data),
                     s3_item.end.eq(s2_request.end)]
        narrowed = Array(Signal(bits, name=f"narrowed_{n}") for n in range(lanes))
        for result, accumulator in zip(narrowed, s2_data):
            m.d.comb += result.eq(narrow(accumulator, s2_request.saturate))
        for place in range(lanes):
            if lanes == 1:
                lane, used = 0, 1
            else:
                lane = Signal.like(s2_request.offset, name=f"lane_{place}")
                m.d.comb += lane.eq(place - s2_request.offset)
                used = lane < s2_request.count
            m.d.sync += [
                s3_item.data[place * bits:(place + 1) * bits].eq(Mux(used, narrowed[lane], 0)),
                s3_item.mask[place].eq(used),
            ]
        m.d.comb += [elements.i.valid.eq(s3), elements.i.payload.eq(s3_item)]
        taken = elements.o.valid & elements.o.ready
        m.d.sync += free.eq(free - take + taken)
        m.d.comb += busy.eq(active | sources.r_rdy | (free != _ELEMENTS))
        return elements

    def _write(self, m, bursts, elements):
        """Announce bursts, and send their beats. Returns: busy, and an instruction is complete."""
        config, transfer, lanes = self.config, self.transfer, self.lanes
        bits = 8 * transfer.element_bytes
        length = data.StructLayout({"beats": 9, "tag": 1})
        m.submodules.lengths = lengths = SyncFIFO(width=length.size, depth=config.writes)
        m.submodules.answers = answers = SyncFIFO(width=1, depth=config.writes)

        # AW: as many as may be outstanding.
        go = Signal()
        m.d.comb += [
            self.awid.eq(0), self.awsize.eq(self._log_bus), self.awburst.eq(INCR),
            go.eq(bursts.o.valid & (~self.awvalid | self.awready) & lengths.w_rdy
                  & answers.w_rdy),
            bursts.o.ready.eq(go), lengths.w_en.eq(go), answers.w_en.eq(go),
            lengths.w_data.eq(Cat(bursts.o.p.beats, bursts.o.p.tag)),
            answers.w_data.eq(bursts.o.p.tag),
        ]
        with m.If(self.awready):
            m.d.sync += self.awvalid.eq(0)
        with m.If(go):
            m.d.sync += [
                self.awvalid.eq(1),
                self.awaddr.eq(bursts.o.p.beat << self._log_bus),
                self.awlen.eq(bursts.o.p.beats - 1),
            ]

        # W: a register holds what is offered. Elements that share a beat are gathered first.
        element = elements.o.p
        burst = data.View(length, lengths.r_data)
        sent = Signal(9)
        gathered, mask = Signal(lanes * bits), Signal(lanes)
        free, send, chunk = Signal(), Signal(), Signal(range(max(transfer.beats, 2)))
        last = sent == burst.beats - 1
        m.d.comb += free.eq(~self.wvalid | self.wready)
        with m.If(self.wready):
            m.d.sync += self.wvalid.eq(0)
        with m.If(send):
            m.d.sync += [self.wvalid.eq(1), self.wlast.eq(last),
                         sent.eq(Mux(last, 0, sent + 1))]
            m.d.comb += lengths.r_en.eq(last)
        offered = elements.o.valid & lengths.r_rdy & free
        if lanes == 1:
            end = chunk == transfer.beats - 1
            m.d.comb += [send.eq(offered), elements.o.ready.eq(offered & end)]
            with m.If(send):
                m.d.sync += [
                    self.wdata.eq(element.data.word_select(chunk, config.bus_width)
                                  if transfer.beats > 1 else element.data),
                    self.wstrb.eq(-1),
                    chunk.eq(Mux(end, 0, chunk + 1)),
                ]
        else:
            m.d.comb += [send.eq(offered & element.end),
                         elements.o.ready.eq(elements.o.valid & (~element.end | send))]
            with m.If(elements.o.ready):
                m.d.sync += [gathered.eq(Mux(send, 0, gathered | element.data)),
                             mask.eq(Mux(send, 0, mask | element.mask))]
            with m.If(send):
                bytes_ = transfer.element_bytes
                m.d.sync += [
                    self.wdata.eq(gathered | element.data),
                    self.wstrb.eq(Cat(bit.replicate(bytes_) for bit in mask | element.mask)),
                ]

        # B: in order.
        m.d.comb += [self.bready.eq(1), answers.r_en.eq(self.bvalid),
                     self.status.memory.eq(self.wvalid & ~self.wready)]
        # From the cycle in which a burst is announced its answer is awaited.
        return bursts.busy | answers.r_rdy, self.bvalid & answers.r_rdy & answers.r_data
