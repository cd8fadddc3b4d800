"""Fetch: reads the program, finds the unit of each instruction and what is wrong with it."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import Burst, ReadBeat, RowReader
from hw.vta.config import VtaConfig
from hw.vta.isa import EXTENSIONS, TOKENS, AluOp, Fault, Isa, Memory, Opcode, Unit

__all__ = ["FETCH_BURST", "NUMBER_WIDTH", "Engine", "Dispatched", "Decoder", "Fetch"]

NUMBER_WIDTH = 32  # of an instruction, counted from 0
_INSN_BYTES = 16
FETCH_BURST = 32  # beats at most: the first LOAD waits for two bursts, and not for a whole program


class Engine(enum.Enum, shape=2):
    """Who executes an instruction: MOVE those between DRAM and scratchpads.

    NONE: it has nothing to do, but for its tokens.
    """

    NONE = 0
    MOVE = 1
    GEMM = 2
    ALU  = 3


class Dispatched(data.Struct):
    """An instruction in the queue of its unit; ``fault`` is what it is in error for, by itself."""

    word:   128
    number: NUMBER_WIDTH
    fault:  Fault
    engine: Engine


class Decoder(wiring.Component):
    """``unit`` and ``fault`` of an instruction ``word``, as :meth:`Isa.fault` has them, ``engine``.

    Members
    -------
    word : ``In(128)``
    unit : ``Out(Unit)``
    fault : ``Out(Fault)``
    engine : ``Out(Engine)``
        ``NONE`` if it is in error, or no element is moved, or no micro-operation executed.

    Combinational.
    """

    word:  In(128)
    unit:  Out(Unit)
    fault: Out(Fault)
    engine: Out(Engine)

    def __init__(self, config: VtaConfig):
        self.config, self.isa = config, Isa(config)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        config = self.config
        head = data.View(self.isa.layouts[Opcode.FINISH], self.word)
        load = data.View(self.isa.layouts[Opcode.LOAD], self.word)
        store = data.View(self.isa.layouts[Opcode.STORE], self.word)
        alu = data.View(self.isa.layouts[Opcode.ALU], self.word)

        known = [opcode for opcode in Opcode
                 if opcode != Opcode.ILLEGAL and (config.extensions or opcode not in EXTENSIONS)]
        loads = [opcode for opcode in (Opcode.LOAD, Opcode.LOAD_PAD) if opcode in known]
        is_load, is_store, legal = Signal(), Signal(), Signal()
        m.d.comb += [
            legal.eq(_any(head.opcode == opcode for opcode in known)),
            is_load.eq(_any(head.opcode == opcode for opcode in loads)),
            is_store.eq(head.opcode == Opcode.STORE),
            self.unit.eq(Unit.COMPUTE),
        ]
        with m.If(is_store):
            m.d.comb += self.unit.eq(Unit.STORE)
        with m.Elif(is_load & ((load.memory_type == Memory.INP)
                               | (load.memory_type == Memory.WGT))):
            m.d.comb += self.unit.eq(Unit.LOAD)

        wrong_flag = Signal()
        with m.Switch(self.unit):
            for unit, flags in TOKENS.items():
                with m.Case(unit):
                    m.d.comb += wrong_flag.eq(_any(
                        head[flag] for flag in ("pop_prev", "pop_next", "push_prev", "push_next")
                        if flag not in flags))

        # LOAD of no rows may still write padding.
        loops = data.View(self.isa.layouts[Opcode.GEMM], self.word)
        moves = (load.x_size != 0) & ~(is_store & (store.y_size == 0))
        executes = ((loops.uop_end > loops.uop_bgn) & (loops.iter_out != 0)
                    & (loops.iter_in != 0))
        with m.If(self.fault == Fault.DONE):
            with m.If(is_load | is_store):
                m.d.comb += self.engine.eq(Mux(moves, Engine.MOVE, Engine.NONE))
            with m.Elif(head.opcode == Opcode.ALU):
                m.d.comb += self.engine.eq(Mux(executes, Engine.ALU, Engine.NONE))
            with m.Elif((head.opcode == Opcode.GEMM) | (head.opcode == Opcode.DEPTHWISE)):
                m.d.comb += self.engine.eq(Mux(executes, Engine.GEMM, Engine.NONE))

        # In the order of `Isa.fault`.
        with m.If(~legal):
            m.d.comb += self.fault.eq(Fault.ILLEGAL_OPCODE)
        with m.Elif(wrong_flag):
            m.d.comb += self.fault.eq(Fault.ILLEGAL_TOKEN)
        with m.Elif(is_load | is_store):
            out = load.memory_type == Memory.OUT
            with m.If(load.x_size == 0):
                m.d.comb += self.fault.eq(Fault.DONE)
            with m.Elif((load.memory_type > Memory.ACC_8BIT) | (out != is_store)):
                m.d.comb += self.fault.eq(Fault.ILLEGAL_MEMORY)
            if not config.extensions:
                with m.Elif(is_store & (store.sram_stride != 0)):
                    m.d.comb += self.fault.eq(Fault.ILLEGAL_FIELD)
        if not config.extensions:
            with m.Elif((head.opcode == Opcode.ALU) & (alu.alu_opcode > AluOp.MUL)):
                m.d.comb += self.fault.eq(Fault.ILLEGAL_OPCODE)
        return m


class Fetch(wiring.Component):
    """Reads ``count`` instructions from ``address`` on and hands each to its unit's queue.

    Members
    -------
    start : ``In(1)``
        Begin; ``address`` (bytes, a multiple of 16) and ``count`` are taken.
    halt : ``In(1)``
        Nothing more is read or handed on.
    o : array of ``Out(stream.Signature(Dispatched))`` by :class:`Unit`
    busy : ``Out(1)``
        Instructions are still to come.
    blocked : ``Out(1)``
        An instruction waits for room in a queue.
    error : ``Out(1)``
        The bus answered with an error for the instruction of this ``number``; held until reset.
    ar, r_valid, r_data
        To :class:`hw.bus.axi.ReadPort`.

    Timing
    ------
    One instruction per cycle, or per ``128 / bus_width`` cycles. In order: an instruction whose
    queue is full holds those behind it.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        beat_bytes = config.bus_width // 8
        self._beat_width = config.address_width - exact_log2(beat_bytes)
        self._reader = RowReader(beat_width=self._beat_width, count_width=NUMBER_WIDTH + 2,
                                 data_width=config.bus_width,
                                 longest=min(config.burst_beats, FETCH_BURST))
        super().__init__({
            "start":   In(1),
            "halt":    In(1),
            "address": In(config.address_width),
            "count":   In(NUMBER_WIDTH),
            "o":       Out(stream.Signature(Dispatched)).array(len(Unit)),
            "busy":    Out(1),
            "blocked": Out(1),
            "error":   Out(1),
            "number":  Out(NUMBER_WIDTH),
            "ar":      Out(stream.Signature(Burst(beat_width=self._beat_width))),
            "r_valid": In(1),
            "r_data":  In(ReadBeat(config.bus_width)),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.config.bus_width
        m.submodules.reader = reader = self._reader
        m.submodules.decoder = decoder = Decoder(self.config)
        wiring.connect(m, wiring.flipped(self.ar), reader.ar)
        m.d.comb += [
            reader.r_valid.eq(self.r_valid), reader.r_data.eq(self.r_data),
            reader.halt.eq(self.halt),
        ]
        log_bytes = exact_log2(width // 8)

        # One row holds the program. On a bus wider than an instruction it may begin inside a beat.
        asking, left = Signal(), Signal(NUMBER_WIDTH)
        place = Signal(range(max(width // 128, 2)))  # of the next instruction in its beat
        first = self.address[4:log_bytes] if width > 128 else 0
        m.d.comb += reader.i.valid.eq(asking)
        with m.If(asking & reader.i.ready):
            m.d.sync += asking.eq(0)
        with m.If(self.start):
            m.d.sync += [
                asking.eq(self.count != 0),
                left.eq(self.count),
                place.eq(first),
                self.number.eq(0),
                reader.i.p.beat.eq(self.address >> log_bytes),
                reader.i.p.beats.eq(
                    ((self.count * _INSN_BYTES) + (first * _INSN_BYTES) + width // 8 - 1)
                    >> log_bytes),
            ]

        # Cut beats into instructions, or join them.
        found, step, failed = Signal(), Signal(), Signal()
        word = Signal(128)
        if width == 64:
            low, low_error, second = Signal(64, reset_less=True), Signal(), Signal()
            m.d.comb += [found.eq(reader.o.valid & second), word.eq(Cat(low, reader.o.p.data)),
                         failed.eq(reader.o.p.error | low_error),
                         reader.o.ready.eq(step | ~second)]
            with m.If(reader.o.valid & reader.o.ready):
                m.d.sync += [second.eq(~second), low.eq(reader.o.p.data),
                             low_error.eq(reader.o.p.error)]
            with m.If(self.start):
                m.d.sync += second.eq(0)
        else:
            last_place = (place == width // 128 - 1) | (left == 1)
            m.d.comb += [
                found.eq(reader.o.valid),
                failed.eq(reader.o.p.error),
                word.eq(reader.o.p.data.word_select(place, 128) if width > 128
                        else reader.o.p.data),
                reader.o.ready.eq(step & last_place),
            ]
            if width > 128:
                with m.If(step):
                    m.d.sync += place.eq(place + 1)

        # Decode, then hand over: one register in between.
        held, unit = Signal(Dispatched, reset_less=True), Signal(Unit)
        valid = Signal()
        taken = Signal()
        m.d.comb += [decoder.word.eq(word), step.eq(found & (~valid | taken) & ~self.error)]
        with m.If(taken):
            m.d.sync += valid.eq(0)
        with m.If(step):
            m.d.sync += [
                held.word.eq(word), held.number.eq(self.number), held.fault.eq(decoder.fault),
                held.engine.eq(decoder.engine), unit.eq(decoder.unit), left.eq(left - 1),
            ]
            with m.If(failed):
                m.d.sync += self.error.eq(1)
            with m.Else():
                m.d.sync += [valid.eq(1), self.number.eq(self.number + 1)]
        with m.Switch(unit):
            for target, o in zip(Unit, self.o):
                with m.Case(target):
                    m.d.comb += [o.valid.eq(valid & ~self.halt),
                                 taken.eq(valid & o.ready & ~self.halt)]
        for o in self.o:
            m.d.comb += o.payload.eq(held)
        m.d.comb += [
            self.busy.eq(asking | (left != 0) | valid),
            self.blocked.eq(valid & ~taken),
        ]
        return m


def _any(conditions):
    return Cat(*conditions).any()
