"""The compute unit: instructions in order in, side by side wherever nobody can tell."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import Burst, ReadBeat
from hw.memory import Scratchpad, connect_lanes, read_element
from hw.stream import RegisterSlice
from hw.vta.accumulators import Accumulators, LaneRead
from hw.vta.alu import AluEngine, AluFlags, alu_command
from hw.vta.config import VtaConfig
from hw.vta.fetch import Dispatched, Engine
from hw.vta.gemm import GemmEngine, GemmFlags, gemm_command
from hw.vta.isa import Fault, Isa, Memory, Opcode
from hw.vta.load import Loader
from hw.vta.load_unit import Stopped, UnitStatus
from hw.vta.loops import LoopCommand
from hw.vta.scan import UopScan
from hw.vta.tokens import TokenPorts
from hw.vta.window import Window

__all__ = ["ComputeUnit"]

_WINDOW = 8  # instructions under way


class ComputeUnit(wiring.Component):
    """Executes GEMM, DEPTHWISE, ALU, FINISH, and LOAD of UOP, ACC and ACC_8BIT.

    Instructions take their tokens in order. Then each goes to its engine: the loader, GEMM or ALU;
    an engine executes in order. One waits for an earlier one on another engine only while their
    ranges of accumulators or micro-operations meet, or are not known: those of GEMM and ALU are
    the smallest and largest index that their micro-operations can reach, which are read for that
    ahead of time. Tokens are posted, and faults reported, in program order again.

    Members
    -------
    i : ``In(stream.Signature(Dispatched))``
    tokens : ``Out(TokenPorts())``
    halt : ``In(1)``
    stopped : ``Out(Stopped)``
    status : ``Out(UnitStatus)``
    finished : ``Out(1)``
        FINISH has been executed, in this cycle.
    inp_en, inp_address, inp, wgt_en, wgt_address, wgt
        Read ports of inputs and weights.
    store : ``In(LaneRead(config))``
    base_uop, base_acc, base_acc_8bit, ar, r_valid, r_data
        As in :class:`hw.vta.load.Loader`.
    gemm_event, alu_event, gemm_busy, alu_busy, alu_waits, load_busy, load_moves : ``Out(1)``
        For the counters.

    Timing
    ------
    An instruction per 2 cycles at most without micro-operations; those of GEMM and ALU every
    ``7 + log2(lanes) + n / lanes`` cycles, at least 10, for ``n`` micro-operations and ``lanes`` of
    them in a beat of the bus, while the engines execute those before.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.window = Window(config, size=_WINDOW)
        self.accumulators = Accumulators(config)
        self.loader = Loader(config, (Memory.UOP, Memory.ACC, Memory.ACC_8BIT),
                             cookie=len(self.window.tail))
        log_banks = self.accumulators.log_banks
        self.gemm = GemmEngine(config, entries=_WINDOW, log_banks=log_banks)
        self.alu = AluEngine(config, entries=_WINDOW, log_banks=log_banks)
        beat_width = config.address_width - exact_log2(config.bus_width // 8)
        super().__init__({
            "i":             In(stream.Signature(Dispatched)),
            "tokens":        Out(TokenPorts()),
            "halt":          In(1),
            "stopped":       Out(Stopped),
            "status":        Out(UnitStatus),
            "finished":      Out(1),
            "inp_en":        Out(1),
            "inp_address":   Out(config.log_inp_depth),
            "inp":           In(8 * config.element_bytes("inp")),
            "wgt_en":        Out(1),
            "wgt_address":   Out(config.log_wgt_depth),
            "wgt":           In(8 * config.element_bytes("wgt")),
            "store":         In(LaneRead(config)),
            "base_uop":      In(config.address_width),
            "base_acc":      In(config.address_width),
            "base_acc_8bit": In(config.address_width),
            "ar":            Out(stream.Signature(Burst(beat_width=beat_width))),
            "r_valid":       In(1),
            "r_data":        In(ReadBeat(config.bus_width)),
            **{name: Out(1) for name in ("gemm_event", "alu_event", "gemm_busy", "alu_busy",
                                         "alu_waits", "load_busy", "load_moves")},
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.window = window = self.window
        m.submodules.accumulators = accumulators = self.accumulators
        m.submodules.loader = loader = self.loader
        m.submodules.gemm = gemm = self.gemm
        m.submodules.alu = alu = self.alu
        m.submodules.scan = scan = UopScan(config)

        m.submodules.uop_memory = uops = Scratchpad(32, config.depth("uop"), banks=scan.lanes,
                                                    reads=3)
        connect_lanes(m, loader.write_uop, uops.write)
        m.d.comb += [
            loader.write_uop.ready.eq(1),
            gemm.uop.eq(read_element(m, uops.read[0], gemm.uop_address, gemm.uop_en)),
            alu.uop.eq(read_element(m, uops.read[1], alu.uop_address, alu.uop_en)),
        ]
        for lane, port in enumerate(uops.read[2]):
            m.d.comb += [port.en.eq(scan.row_en), port.address.eq(scan.row),
                         scan.uops[lane].eq(port.data)]

        self._connect(m, loader, gemm, alu, accumulators)
        take = self._issue(m, window, loader, gemm, alu, scan)
        for n, done in enumerate((gemm.done, alu.done)):
            m.d.comb += window.done[n].eq(done)
        # Its completion comes late in its cycle, behind the ports of the accumulators.
        m.d.sync += [
            window.done[2].valid.eq(loader.done.valid),
            window.done[2].entry.eq(loader.done.cookie),
            window.done[2].fault.eq(loader.done.fault),
        ]
        m.d.comb += loader.go.eq(window.ready.bit_select(loader.head, 1))

        # Leave in order.
        blocked, oldest = Signal(), window.oldest
        m.d.comb += blocked.eq((oldest.push_prev & self.tokens.full_prev)
                               | (oldest.push_next & self.tokens.full_next))
        with m.If(window.leaving & ~self.stopped.valid):
            with m.If(oldest.fault != Fault.DONE):
                m.d.sync += [
                    self.stopped.valid.eq(1), self.stopped.fault.eq(oldest.fault),
                    self.stopped.number.eq(oldest.number),
                ]
            with m.Elif(~blocked):
                m.d.comb += [
                    window.leave.eq(1),
                    self.tokens.push_prev.eq(oldest.push_prev),
                    self.tokens.push_next.eq(oldest.push_next),
                    self.finished.eq(oldest.finish),
                ]
        m.d.comb += [
            self.status.busy.eq(((window.count != 0) & ~(window.leaving & blocked)
                                 & ~self.stopped.valid) | take),
            self.status.memory.eq(loader.starved), self.status.empty.eq(window.count == 0),
            self.gemm_event.eq(gemm.event), self.alu_event.eq(alu.event),
            self.gemm_busy.eq(gemm.busy), self.alu_busy.eq(alu.busy),
            self.alu_waits.eq(alu.waits), self.load_busy.eq(loader.busy),
            self.load_moves.eq(loader.moves),
        ]
        with m.If(window.leaving & blocked):
            m.d.comb += [
                self.status.wait_prev.eq(oldest.push_prev & self.tokens.full_prev),
                self.status.wait_next.eq(oldest.push_next & self.tokens.full_next),
            ]
        return m

    def _connect(self, m, loader, gemm, alu, accumulators):
        """Engines to the memories."""
        wiring.connect(m, loader.write_acc, accumulators.load)
        m.d.comb += accumulators.load_coming.eq(loader.coming_acc)
        wiring.connect(m, wiring.flipped(self.ar), loader.ar)
        wiring.connect(m, wiring.flipped(self.store), accumulators.store)
        m.d.comb += [
            loader.r_valid.eq(self.r_valid), loader.r_data.eq(self.r_data),
            loader.base_uop.eq(self.base_uop), loader.base_acc.eq(self.base_acc),
            loader.base_acc_8bit.eq(self.base_acc_8bit),
            self.inp_en.eq(gemm.inp_en), self.inp_address.eq(gemm.inp_address),
            self.wgt_en.eq(gemm.wgt_en), self.wgt_address.eq(gemm.wgt_address),
            gemm.inp.eq(self.inp), gemm.wgt.eq(self.wgt),
            accumulators.gemm_read_en.eq(gemm.read_en),
            accumulators.gemm_read_address.eq(gemm.read_address),
            gemm.read_data.eq(accumulators.gemm_read_data),
            alu.short_uses.eq(gemm.short_uses), alu.short_bank.eq(gemm.short_bank),
            alu.long_uses.eq(gemm.long_uses), alu.long_bank.eq(gemm.long_bank),
            alu.grant.eq(accumulators.alu_grant),
        ]
        for name in ("request", "dst", "src", "bias", "src_banks"):
            m.d.comb += getattr(accumulators, f"alu_{name}").eq(getattr(alu, name))
        for name in ("dst_data", "src_data", "bias_data"):
            m.d.comb += getattr(alu, name).eq(getattr(accumulators, f"alu_{name}"))
        for name, engine in (("gemm", gemm), ("alu", alu)):
            for part in ("write_en", "write_address", "write_data", "coming"):
                m.d.comb += getattr(accumulators, f"{name}_{part}").eq(getattr(engine, part))

    def _issue(self, m, window, loader, gemm, alu, scan):
        """Take the next instruction, with its tokens, to its engine and into the window."""
        config = self.config
        layouts = Isa(config).layouts
        word = self.i.p.word
        head = data.View(layouts[Opcode.FINISH], word)
        load = data.View(layouts[Opcode.LOAD], word)

        engine = self.i.p.engine  # without one, an instruction is complete at once

        # Queues in front of GEMM and ALU; their heads begin when the window lets them.
        accepts = {}
        for name, unit, flags, command in (
            ("gemm", gemm, GemmFlags(_WINDOW), gemm_command),
            ("alu", alu, AluFlags(_WINDOW), alu_command),
        ):
            layout = LoopCommand(config, unit.operands, flags)
            # A register slice holds two.
            m.submodules[f"{name}_queue"] = queue = RegisterSlice(layout)
            command(m, config, word, window.tail, queue.i.payload)
            outgoing = queue.o.payload
            allowed = window.ready.bit_select(outgoing.flags.entry, 1)
            m.d.comb += [
                unit.i.payload.eq(outgoing),
                unit.i.valid.eq(queue.o.valid & allowed),
                queue.o.ready.eq(unit.i.ready & allowed),
            ]
            accepts[name] = queue
        room = Signal()
        with m.Switch(engine):
            with m.Case(Engine.MOVE):
                m.d.comb += room.eq(loader.i.ready)
            with m.Case(Engine.GEMM):
                m.d.comb += room.eq(accepts["gemm"].i.ready)
            with m.Case(Engine.ALU):
                m.d.comb += room.eq(accepts["alu"].i.ready)
            with m.Default():
                m.d.comb += room.eq(1)

        missing_prev = head.pop_prev & ~self.tokens.available_prev
        missing_next = head.pop_next & ~self.tokens.available_next
        idle, take = Signal(), Signal()
        m.d.comb += [
            take.eq(idle & self.i.valid & ~missing_prev & ~missing_next & ~self.halt & room
                    & ~window.full),
            self.i.ready.eq(take),
            self.tokens.pop_prev.eq(take & head.pop_prev),
            self.tokens.pop_next.eq(take & head.pop_next),
            window.enter.eq(take),
            window.entry.engine.eq(engine),
            window.entry.fault.eq(self.i.p.fault),
            window.entry.number.eq(self.i.p.number),
            window.entry.push_prev.eq(head.push_prev),
            window.entry.push_next.eq(head.push_next),
            window.entry.finish.eq(head.opcode == Opcode.FINISH),
            loader.i.valid.eq(take & (engine == Engine.MOVE)),
            loader.i.p.word.eq(word),
            loader.i.p.cookie.eq(window.tail),
            accepts["gemm"].i.valid.eq(take & (engine == Engine.GEMM)),
            accepts["alu"].i.valid.eq(take & (engine == Engine.ALU)),
            self.status.wait_prev.eq(idle & self.i.valid & missing_prev),
            self.status.wait_next.eq(idle & self.i.valid & missing_next),
        ]

        # Its ranges follow: from the loader, or from its micro-operations.
        given = Signal.like(window.tail)
        m.d.comb += [
            window.given.eq(given),
            window.probe.uops.eq(scan.ranges.uops),
            scan.start.eq(take & ((engine == Engine.GEMM) | (engine == Engine.ALU))),
            scan.word.eq(word),
            scan.wait.eq(window.pending),
        ]
        to_uop = Signal()
        with m.If(take):
            m.d.sync += [given.eq(window.tail), to_uop.eq(load.memory_type == Memory.UOP)]
        with m.FSM(name="issue"):
            with m.State("TAKE"):
                m.d.comb += idle.eq(1)
                with m.If(take):
                    with m.Switch(engine):
                        with m.Case(Engine.MOVE):
                            m.next = "LOAD"
                        with m.Case(Engine.GEMM, Engine.ALU):
                            m.next = "SCAN"
            with m.State("LOAD"):
                m.d.comb += [
                    window.give.eq(loader.range.valid),
                    window.ranges.writes_uop.eq(to_uop),
                    window.ranges.uops.valid.eq(to_uop),
                    window.ranges.writes.valid.eq(~to_uop),
                    window.ranges.uops.first.eq(loader.range.first),
                    window.ranges.uops.last.eq(loader.range.last),
                    window.ranges.writes.first.eq(loader.range.first),
                    window.ranges.writes.last.eq(loader.range.last),
                ]
                with m.If(loader.range.valid):
                    m.next = "TAKE"
            with m.State("SCAN"):
                m.d.comb += [window.ranges.eq(scan.ranges), window.give.eq(scan.done)]
                with m.If(scan.done):
                    m.next = "TAKE"
        return take
