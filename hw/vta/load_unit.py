"""The load unit: a loader of inputs and weights behind its queue, with its tokens."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import Burst, ReadBeat
from hw.vta.config import VtaConfig
from hw.vta.fetch import NUMBER_WIDTH, Dispatched, Engine
from hw.vta.isa import Fault, Isa, Memory, Opcode
from hw.vta.load import Loader, write_lanes
from hw.vta.tokens import TokenPorts

__all__ = ["LoadUnit", "Stopped", "UnitStatus"]


class Stopped(data.Struct):
    """The instruction ``number`` is in error; held until reset."""

    valid:  1
    fault:  Fault
    number: NUMBER_WIDTH


class UnitStatus(data.Struct):
    """What a unit is doing in a cycle.

    ``busy``: it will go on by itself, or when memory answers. ``wait_prev``, ``wait_next``: its
    next instruction waits for a token, or cannot post one. ``memory``: it waits for memory.
    ``empty``: no instruction is in it.
    """

    busy:      1
    wait_prev: 1
    wait_next: 1
    memory:    1
    empty:     1


class _Cookie(data.Struct):
    number: NUMBER_WIDTH
    push:   1


class LoadUnit(wiring.Component):
    """Executes LOAD and LOAD_PAD of INP and WGT, in order.

    Members
    -------
    i : ``In(stream.Signature(Dispatched))``
    tokens : ``Out(TokenPorts())``
    halt : ``In(1)``
        No further instruction begins.
    stopped : ``Out(Stopped)``
    status : ``Out(UnitStatus)``
    load_moves : ``Out(1)``
        An element is written.
    base_inp, base_wgt, write_inp, write_wgt, ar, r_valid, r_data
        As in :class:`hw.vta.load.Loader`.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.loader = Loader(config, (Memory.INP, Memory.WGT), cookie=_Cookie.as_shape().size)
        beat_width = config.address_width - exact_log2(config.bus_width // 8)
        super().__init__({
            "i":         In(stream.Signature(Dispatched)),
            "tokens":    Out(TokenPorts()),
            "halt":      In(1),
            "stopped":   Out(Stopped),
            "status":    Out(UnitStatus),
            "load_moves": Out(1),
            "base_inp":  In(config.address_width),
            "base_wgt":  In(config.address_width),
            "write_inp": Out(write_lanes(config, "inp")),
            "write_wgt": Out(write_lanes(config, "wgt")),
            "ar":        Out(stream.Signature(Burst(beat_width=beat_width))),
            "r_valid":   In(1),
            "r_data":    In(ReadBeat(config.bus_width)),
        })

    def elaborate(self, platform):
        m = Module()
        cookie = _Cookie.as_shape().size
        m.submodules.loader = loader = self.loader
        for name in ("ar", "write_inp", "write_wgt"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(loader, name))
        m.d.comb += [
            loader.r_valid.eq(self.r_valid), loader.r_data.eq(self.r_data),
            loader.base_inp.eq(self.base_inp), loader.base_wgt.eq(self.base_wgt),
        ]

        # Start: with its token, if it takes one.
        insn = data.View(Isa(self.config).layouts[Opcode.LOAD], self.i.p.word)
        missing = insn.pop_next & ~self.tokens.available_next
        start = Signal()
        label = Signal(_Cookie)
        m.d.comb += [
            start.eq(self.i.valid & ~missing & ~self.halt & loader.i.ready),
            self.i.ready.eq(start),
            self.tokens.pop_next.eq(start & insn.pop_next),
            loader.i.valid.eq(self.i.valid & ~missing & ~self.halt),
            label.number.eq(self.i.p.number),
            label.push.eq(insn.push_next),
            loader.i.p.word.eq(self.i.p.word),
            loader.i.p.fault.eq(self.i.p.fault),
            loader.i.p.skip.eq(self.i.p.engine == Engine.NONE),
            loader.i.p.cookie.eq(label),
        ]

        # Completion: in order; a full queue of tokens holds it.
        m.submodules.completed = completed = SyncFIFO(width=cookie + Fault.as_shape().width,
                                                      depth=4)
        oldest = data.View(data.StructLayout({"label": _Cookie, "fault": Fault}),
                           completed.r_data)
        blocked = Signal()
        m.d.comb += [
            # Room for it, and for the one whose completion is on its way.
            loader.go.eq((completed.level <= 2) & ~self.stopped.valid),
            completed.w_en.eq(loader.done.valid),
            completed.w_data.eq(Cat(loader.done.cookie, loader.done.fault)),
            blocked.eq(completed.r_rdy & oldest.label.push & self.tokens.full_next
                       & (oldest.fault == Fault.DONE)),
        ]
        with m.If(completed.r_rdy & ~self.stopped.valid):
            with m.If(oldest.fault != Fault.DONE):
                m.d.sync += [
                    self.stopped.valid.eq(1), self.stopped.fault.eq(oldest.fault),
                    self.stopped.number.eq(oldest.label.number),
                ]
            with m.Elif(~blocked):
                m.d.comb += [completed.r_en.eq(1), self.tokens.push_next.eq(oldest.label.push)]
        m.d.comb += [
            self.status.busy.eq((loader.busy | start | (completed.r_rdy & ~blocked))
                                & ~self.stopped.valid),
            self.status.wait_next.eq((self.i.valid & missing) | blocked),
            self.status.memory.eq(loader.starved),
            self.status.empty.eq(~loader.busy & ~completed.r_rdy),
            self.load_moves.eq(loader.moves),
        ]
        return m
