"""LOAD: reads rows of elements from DRAM, and writes them with their padding to a scratchpad."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.multiply import multiplier
from hw.bus.axi import Burst, ReadBeat, RowReader
from hw.memory import LaneWrite
from hw.vta.config import VtaConfig
from hw.vta.isa import Fault, Isa, Memory, Opcode

__all__ = ["Transfer", "LoadCommand", "LoadDone", "LaneUse", "LoadRange", "Loader",
           "write_lanes"]

_LANE_BITS = {"uop": 32, "wgt": 8, "inp": 8, "acc": 32}


@dataclass(frozen=True)
class Transfer:
    """How elements of one memory type lie in the beats of the bus; all are powers of two."""

    element_bytes: int
    beats: int      # of one element
    elements: int   # of one beat

    @classmethod
    def of(cls, config: VtaConfig, memory: Memory) -> "Transfer":
        size, beat = config.element_bytes(memory.dram_element), config.bus_width // 8
        return cls(size, max(1, size // beat), max(1, beat // size))


def write_lanes(config: VtaConfig, scratchpad: str) -> LaneWrite:
    """The port through which a :class:`Loader` fills ``scratchpad``."""
    transfers = [Transfer.of(config, kind) for kind in Memory
                 if kind.scratchpad == scratchpad and kind != Memory.OUT]
    return LaneWrite(width=_element_bits(config, scratchpad), depth=config.depth(scratchpad),
                     lanes=max(transfer.elements for transfer in transfers),
                     chunks=max(transfer.beats for transfer in transfers))


class LaneUse(data.StructLayout):
    """Elements ``address`` to ``address + count - 1`` of ``scratchpad``, if ``valid``."""

    def __init__(self, config: VtaConfig, scratchpad: str):
        lanes = write_lanes(config, scratchpad).members["data"].shape.length
        super().__init__({"valid": 1, "address": range(config.depth(scratchpad)),
                          "count": range(lanes + 1)})


def _element_bits(config, scratchpad):
    return 8 * config.element_bytes(scratchpad)


class LoadCommand(data.StructLayout):
    """An instruction on its way through the loader; ``cookie`` comes back with its completion.

    With ``skip`` it only passes through, in order, and brings ``fault`` back.
    """

    def __init__(self, cookie: int):
        super().__init__({"word": 128, "skip": 1, "fault": Fault, "cookie": cookie})


class LoadDone(data.StructLayout):
    """An instruction has completed; ``fault`` is why it could not, or ``DONE``."""

    def __init__(self, cookie: int):
        super().__init__({"valid": 1, "fault": Fault, "cookie": cookie})


class LoadRange(data.Struct):
    """Elements ``first`` to ``last`` are what the instruction accepted last writes."""

    valid: 1
    first: 16
    last:  16


class _Plan(data.StructLayout):
    """What the writer has to know of an instruction. Runs of padding are counted in elements.

    ``depth``: elements of the largest scratchpad; nothing that is written is longer. ``elements``:
    the most that a beat has. If ``skip``, only ``fault`` and ``cookie`` count.
    """

    def __init__(self, depth: int, elements: int, cookie: int):
        count, offset = range(depth + 1), range(elements)
        super().__init__({
            "memory": Memory, "pad": 8, "position": range(depth), "x_size": count, "y_size": count,
            "first_pad": count, "row_pad": 5, "last_pad": count,
            "offset": offset, "stride": offset, "skip": 1, "fault": Fault, "cookie": cookie,
        })


class Loader(wiring.Component):
    """Executes LOAD and LOAD_PAD of the memory types it is made for.

    The next instructions are read from DRAM while one is being written. Before anything is read,
    the range of the scratchpad and the addresses are checked.

    Parameters
    ----------
    config : :class:`VtaConfig`
    memories : tuple of :class:`Memory`
    cookie : :class:`int`
        Bits of the label of an instruction.

    Members
    -------
    i : ``In(stream.Signature(LoadCommand(cookie)))``
    base_<memory> : ``In(address_width)``
        Byte address of element 0; a multiple of the bytes of a beat.
    range : ``Out(LoadRange)``
        ``valid`` for one cycle for each instruction without ``skip``, before it writes.
    head : ``Out(cookie)``
    go : ``In(1)``
        The instruction with the label ``head`` may write.
    write_<scratchpad> : ``Out(LaneWrite(...))``
    coming_<scratchpad> : ``Out(LaneUse(...))``
        What it will offer in the next cycle.
    done : ``Out(LoadDone(cookie))``
        In the cycle of the last write; in order.
    busy : ``Out(1)``
    starved : ``Out(1)``
        The writer waits for the bus.
    moves : ``Out(1)``
        The writer writes.
    ar, r_valid, r_data
        To :class:`hw.bus.axi.ReadPort`.

    Timing
    ------
    One beat per cycle, or the padding of one cycle: as many elements of it as a beat has, at least
    one. No cycle is lost from row to row, one from instruction to instruction. The first burst is
    asked for 13 cycles after an instruction was accepted.
    """

    def __init__(self, config: VtaConfig, memories: tuple[Memory, ...], *, cookie: int):
        self.config, self.memories, self.cookie = config, memories, cookie
        self.isa = Isa(config)
        self.scratchpads = tuple(dict.fromkeys(kind.scratchpad for kind in memories))
        self.transfers = {kind: Transfer.of(config, kind) for kind in memories}
        depth = max(config.depth(pad) for pad in self.scratchpads)
        self._plan = _Plan(depth, max(transfer.elements for transfer in self.transfers.values()),
                           cookie)
        chunks = max(transfer.beats for transfer in self.transfers.values())
        self._chunk_width = exact_log2(chunks)
        beat_width = config.address_width - exact_log2(config.bus_width // 8)
        self._reader = RowReader(beat_width=beat_width,
                                 count_width=(depth * chunks).bit_length(),
                                 data_width=config.bus_width, longest=config.burst_beats)
        super().__init__({
            "i":       In(stream.Signature(LoadCommand(cookie))),
            "range":   Out(LoadRange),
            "head":    Out(cookie),
            "go":      In(1),
            "done":    Out(LoadDone(cookie)),
            "busy":    Out(1),
            "starved": Out(1),
            "moves":   Out(1),
            "ar":      Out(stream.Signature(Burst(beat_width=beat_width))),
            "r_valid": In(1),
            "r_data":  In(ReadBeat(config.bus_width)),
            **{f"base_{kind.name.lower()}": In(config.address_width) for kind in memories},
            **{f"write_{pad}": Out(write_lanes(config, pad)) for pad in self.scratchpads},
            **{f"coming_{pad}": Out(LaneUse(config, pad)) for pad in self.scratchpads},
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self._reader
        m.submodules.plans = plans = SyncFIFO(width=self._plan.size, depth=4)
        wiring.connect(m, wiring.flipped(self.ar), reader.ar)
        m.d.comb += [reader.r_valid.eq(self.r_valid), reader.r_data.eq(self.r_data)]
        preparing, writing = Signal(), Signal()
        self._prepare(m, reader, plans, preparing)
        self._write(m, reader, plans, writing)
        m.d.comb += self.busy.eq(preparing | plans.r_rdy | writing)
        return m

    def _prepare(self, m, reader, plans, busy):
        """Check an instruction, plan its writes, ask for its rows."""
        config = self.config
        command = Signal(LoadCommand(self.cookie), reset_less=True)
        load = data.View(self.isa.layouts[Opcode.LOAD], command.word)
        padded = data.View(self.isa.layouts[Opcode.LOAD_PAD], command.word)
        is_padded = Signal()
        y_size, pad = Signal(16), Signal(8)
        m.d.comb += [
            is_padded.eq(load.opcode == Opcode.LOAD_PAD),
            y_size.eq(Mux(is_padded, padded.y_size, load.y_size)),
            pad.eq(Mux(is_padded, padded.pad_value, 0)),
        ]
        width, height = Signal(17), Signal(17)

        # One multiplier, used in turn: its result is there two cycles after its factors.
        m.submodules.multiply = multiply = multiplier(17, 17)
        a, b, product = multiply.a, multiply.b, multiply.p
        # What belongs to a range that is wrong may be cut off: it is not looked at.
        plan = Signal(self._plan)
        longest = max(transfer.element_bytes for transfer in self.transfers.values())
        past_width = max(33 + exact_log2(longest), config.address_width) + 1
        top, bottom, end, last_row, reach, past = (
            Signal(shape, name=name, reset_less=True) for name, shape in
            (("top", plan.x_size.shape()), ("bottom", plan.x_size.shape()), ("end", 33),
             ("last_row", 33), ("reach", 33), ("past", past_width)))
        outside, too_long, range_last = Signal(), Signal(), Signal.like(plan.position)
        first_pad, last_pad, no_rows = Signal.like(top), Signal.like(top), Signal()

        # Of each memory type: base, bytes, depth, and how elements lie in beats.
        base, log_size, depth = Signal(config.address_width), Signal(4), Signal(17)
        range_fault, log_beats, log_elements = Signal(Fault), Signal(4), Signal(3)
        with m.Switch(load.memory_type):
            for kind, transfer in self.transfers.items():
                with m.Case(kind):
                    m.d.sync += [
                        base.eq(getattr(self, f"base_{kind.name.lower()}")),
                        log_size.eq(exact_log2(transfer.element_bytes)),
                        depth.eq(config.depth(kind.scratchpad)),
                        range_fault.eq(Fault[f"{kind.scratchpad.upper()}_RANGE"]),
                        log_beats.eq(exact_log2(transfer.beats)),
                        log_elements.eq(exact_log2(transfer.elements)),
                    ]

        rows, in_beat = Signal.like(plan.y_size), Signal.like(plan.offset)
        byte, pitch = (Signal(config.address_width, name=name, reset_less=True)
                       for name in ("byte", "pitch"))
        log_bus = exact_log2(config.bus_width // 8)
        in_beat_mask = ((1 << log_elements) - 1)[:len(in_beat)]
        m.d.comb += [
            busy.eq(1),
            plans.w_data.eq(plan),
            reader.i.p.beat.eq(byte >> log_bus),
            reader.i.p.beats.eq(Mux(log_beats != 0, load.x_size << log_beats,
                                    (load.x_size + in_beat + in_beat_mask) >> log_elements)),
        ]
        with m.FSM(name="prepare"):
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), busy.eq(0)]
                m.d.sync += command.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "SIZES"
            with m.State("SIZES"):
                m.d.comb += [a.eq(y_size - 1), b.eq(load.x_stride)]
                m.d.sync += [
                    width.eq(load.x_pad_0 + load.x_size + load.x_pad_1),
                    height.eq(load.y_pad_0 + y_size + load.y_pad_1),
                    rows.eq(y_size), no_rows.eq(y_size == 0),
                ]
                m.next = "TOP"
            with m.State("TOP"):
                m.d.comb += [a.eq(width), b.eq(load.y_pad_0)]
                m.d.sync += [
                    byte.eq(load.dram_base << log_size), pitch.eq(load.x_stride << log_size),
                    in_beat.eq(load.dram_base & in_beat_mask),
                ]
                m.next = "BOTTOM"
            with m.State("BOTTOM"):
                m.d.comb += [a.eq(width), b.eq(load.y_pad_1)]
                m.d.sync += [byte.eq(byte + base), last_row.eq(product + load.dram_base)]
                m.next = "ALL"
            with m.State("ALL"):
                m.d.comb += [a.eq(width), b.eq(height)]
                m.d.sync += [top.eq(product), reach.eq(last_row + load.x_size)]
                m.next = "PAST"
            with m.State("PAST"):
                m.d.sync += [bottom.eq(product), past.eq((reach << log_size) + base)]
                m.next = "END"
            with m.State("END"):
                # A row behind the last address is not there.
                m.d.sync += [end.eq(product + load.sram_base),
                             outside.eq((past > 1 << config.address_width) & ~no_rows)]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    too_long.eq(end > depth), range_last.eq(end - 1),
                    first_pad.eq(top + Mux(no_rows, bottom, load.x_pad_0)),
                    last_pad.eq(bottom + load.x_pad_1),
                ]
                m.next = "PLAN"
            with m.State("PLAN"):
                m.d.comb += plans.w_en.eq(1)
                with m.If(plans.w_rdy):
                    with m.If(plan.skip | no_rows):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "ROWS"
                    m.d.comb += self.range.valid.eq(~command.skip)
            with m.State("ROWS"):
                m.d.comb += reader.i.valid.eq(1)
                with m.If(reader.i.ready):
                    m.d.sync += [
                        byte.eq(byte + pitch), rows.eq(rows - 1),
                        in_beat.eq((in_beat + load.x_stride) & in_beat_mask),
                    ]
                    with m.If(rows == 1):
                        m.next = "IDLE"

        m.d.comb += [
            self.range.first.eq(load.sram_base),
            self.range.last.eq(range_last),
            plan.memory.eq(load.memory_type),
            plan.pad.eq(pad),
            plan.position.eq(load.sram_base),
            plan.x_size.eq(load.x_size),
            plan.y_size.eq(y_size),
            plan.first_pad.eq(first_pad),
            plan.row_pad.eq(load.x_pad_0 + load.x_pad_1),
            plan.last_pad.eq(last_pad),
            plan.offset.eq(in_beat),
            plan.stride.eq(load.x_stride),
            plan.skip.eq(command.skip | too_long | outside),
            plan.cookie.eq(command.cookie),
        ]
        with m.If(command.skip):
            m.d.comb += plan.fault.eq(command.fault)
        with m.Elif(too_long):
            m.d.comb += plan.fault.eq(range_fault)
        with m.Elif(outside):
            m.d.comb += plan.fault.eq(Fault.BUS_ERROR)

    def _write(self, m, reader, plans, busy):
        """Runs of padding and of data, one after the other, each cycle one write.

        A write, and the completion that goes with the last one, is put into a register first.
        """
        active = Signal()
        plan = Signal(self._plan, reset_less=True)
        coming = data.View(self._plan, plans.r_data)
        is_pad = Signal()
        position, left, rows = (Signal.like(plan.position), Signal.like(plan.x_size),
                                Signal.like(plan.y_size))
        chunk = Signal(self._chunk_width)
        offset, row_offset = Signal.like(plan.offset), Signal.like(plan.offset)
        failed = Signal()

        want, fire, last_chunk = Signal(), Signal(), Signal()
        most = max(max(len(getattr(self, f"write_{kind.scratchpad}").data), transfer.elements)
                   for kind, transfer in self.transfers.items())
        # Elements of this write; there are no more in the run.
        count, is_rest = Signal(range(most + 1)), Signal()
        free = Signal()
        done = Signal(LoadDone(self.cookie))
        writes = {}
        for pad in self.scratchpads:
            port = getattr(self, f"write_{pad}")
            fields = {name: getattr(port, name) for name in ("address", "offset", "count", "mask",
                                                             "data")}
            incoming, held = ({name: Signal.like(field, name=f"{pad}_{stage}_{name}",
                                                   reset_less=True)
                               for name, field in fields.items()} for stage in ("next", "held"))
            selected = Signal(name=f"{pad}_selected")
            writes[pad] = selected, incoming
            m.d.comb += [field.eq(held[name]) for name, field in fields.items()]
            use = getattr(self, f"coming_{pad}")
            m.d.comb += [
                use.valid.eq(Mux(free, fire & selected, port.valid)),
                *(use[name].eq(Mux(free, incoming[name], held[name]))
                  for name in ("address", "count")),
            ]
            m.d.sync += port.valid.eq(use.valid)
            with m.If(free):
                m.d.sync += [held[name].eq(incoming[name]) for name in fields]
        m.d.comb += [
            free.eq(~Cat(port.valid & ~port.ready for port in
                         (getattr(self, f"write_{pad}") for pad in self.scratchpads)).any()),
            want.eq(active & (is_pad | reader.o.valid)),
            fire.eq(want & free),
            self.starved.eq(active & ~is_pad & ~reader.o.valid),
            reader.o.ready.eq(fire & ~is_pad),
            self.moves.eq(fire),
        ]
        with m.Switch(plan.memory):
            for kind, transfer in self.transfers.items():
                with m.Case(kind):
                    selected, write = writes[kind.scratchpad]
                    m.d.comb += selected.eq(1)
                    self._lanes(m, kind, transfer, reader.o.p.data, plan.pad, is_pad, position,
                                left, chunk, offset, count, is_rest, last_chunk, write)

        # What comes after this run; a run of padding may be empty, one of data never is. Only the
        # enables of the registers depend on `fire` and `start`, not what they take.
        finished, start = Signal(), Signal()
        ends = last_chunk & is_rest
        nothing = (coming.y_size == 0) & (coming.first_pad == 0)
        m.d.comb += [
            start.eq(~active & plans.r_rdy & self.go & free), plans.r_en.eq(start),
            finished.eq(fire & ends & Mux(is_pad, rows == 0, (rows == 1) & (plan.last_pad == 0))),
            busy.eq(active | done.valid), self.head.eq(coming.cookie),
            self.done.eq(done), self.done.valid.eq(done.valid & free),
        ]
        with m.If(free):
            m.d.sync += [
                done.valid.eq(finished | (start & (coming.skip | nothing))),
                done.cookie.eq(Mux(active, plan.cookie, coming.cookie)),
                done.fault.eq(Mux(~active, coming.fault,
                                  Mux(failed | (reader.o.p.error & ~is_pad), Fault.BUS_ERROR,
                                      Fault.DONE))),
            ]
        with m.If(active):
            with m.If(fire):
                with m.If(last_chunk):
                    m.d.sync += [position.eq(position + count), left.eq(left - count), chunk.eq(0)]
                with m.Else():
                    m.d.sync += chunk.eq(chunk + 1)
                with m.If(~is_pad):
                    m.d.sync += offset.eq(0)
                    with m.If(reader.o.p.error):
                        m.d.sync += failed.eq(1)
                with m.If(ends & ~is_pad):
                    m.d.sync += rows.eq(rows - 1)
                    with m.If(rows == 1):
                        m.d.sync += [left.eq(plan.last_pad), is_pad.eq(1)]
                    with m.Elif(plan.row_pad != 0):
                        m.d.sync += [left.eq(plan.row_pad), is_pad.eq(1)]
                    with m.Else():
                        self._begin_row(m, plan, left, is_pad, offset, row_offset)
                with m.Elif(ends & (rows != 0)):
                    self._begin_row(m, plan, left, is_pad, offset, row_offset)
            with m.If(finished):
                m.d.sync += [active.eq(0), failed.eq(0)]
        with m.Elif(start):
            m.d.sync += [
                plan.eq(coming), position.eq(coming.position), chunk.eq(0),
                active.eq(~(coming.skip | nothing)),
                rows.eq(coming.y_size),
                is_pad.eq(coming.first_pad != 0),
                left.eq(Mux(coming.first_pad != 0, coming.first_pad, coming.x_size)),
                offset.eq(coming.offset),
                row_offset.eq(coming.offset + Mux(coming.first_pad != 0, 0, coming.stride)),
            ]

    def _begin_row(self, m, plan, left, is_pad, offset, row_offset):
        m.d.sync += [
            is_pad.eq(0), left.eq(plan.x_size), offset.eq(row_offset),
            row_offset.eq(row_offset + plan.stride),
        ]

    def _lanes(self, m, kind, transfer, beat, pad, is_pad, position, left, chunk, offset, count,
               is_rest, last_chunk, write):
        """One write of memory type ``kind``."""
        lanes, chunks = len(write["data"]), len(write["mask"])
        width = len(write["data"][0])
        bits = _LANE_BITS[kind.scratchpad]
        m.d.comb += write["address"].eq(position)
        pads = Cat(pad.as_signed()[k] if k < 8 else pad[7] for k in range(bits))
        pad_data = Cat(*[pads] * (width // bits))
        # The elements of a beat, each with all lanes; a part of an element is repeated.
        raw = 8 * transfer.element_bytes // transfer.beats
        parts = [beat[k * raw:(k + 1) * raw] for k in range(transfer.elements)]
        if kind == Memory.ACC_8BIT:
            parts = [Cat(*(Cat(part[8 * k:8 * k + 8], part[8 * k + 7].replicate(24))
                           for k in range(raw // 8))) for part in parts]
        elements = [Cat(*[part] * (width // len(part))) for part in parts]
        per_beat = transfer.elements
        within = chunk[:exact_log2(transfer.beats)] if transfer.beats > 1 else Const(0, 1)
        for lane in range(lanes):
            m.d.comb += write["data"][lane].eq(Mux(is_pad, pad_data, elements[lane % per_beat]))
        start = offset[:exact_log2(per_beat)] if per_beat > 1 else 0
        if max(lanes, per_beat) == 1:
            room = Const(1)
        else:
            room = Signal(range(max(lanes, per_beat) + 1), name=f"room_{kind.name.lower()}")
            m.d.comb += room.eq(Mux(is_pad, lanes, per_beat - start))
        m.d.comb += [
            is_rest.eq(~left[len(room):].any() & (left[:len(room)] <= room)),
            count.eq(Mux(is_rest, left, room)),
            write["count"].eq(count),
            write["offset"].eq(Mux(is_pad, 0, start)),
            last_chunk.eq(is_pad | (within == transfer.beats - 1)),
        ]
        covers = chunks // transfer.beats
        for k in range(transfer.beats):
            with m.If(is_pad | (within == k)):
                m.d.comb += write["mask"][k * covers:(k + 1) * covers].eq(-1)
