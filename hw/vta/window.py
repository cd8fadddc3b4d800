"""The window: instructions of the compute unit that are under way, and who waits for whom."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.vta.config import VtaConfig
from hw.vta.fetch import NUMBER_WIDTH, Engine
from hw.vta.gemm import Done
from hw.vta.isa import Fault

__all__ = ["Entry", "Ranges", "Window"]


class Span(data.StructLayout):
    """Elements ``first`` to ``last``, if ``valid``."""

    def __init__(self, width: int):
        super().__init__({"valid": 1, "first": width, "last": width})


class Ranges(data.StructLayout):
    """What an instruction uses: accumulators it writes (and may read), others it only reads,
    micro-operations it reads, or writes if ``writes_uop``."""

    def __init__(self, config: VtaConfig):
        acc, uop = Span(config.log_acc_depth), Span(config.log_uop_depth)
        super().__init__({"writes": acc, "reads": acc, "uops": uop, "writes_uop": 1})


class Entry(data.StructLayout):
    """An instruction that enters the window."""

    def __init__(self):
        super().__init__({
            "engine": Engine, "fault": Fault, "number": NUMBER_WIDTH,
            "push_prev": 1, "push_next": 1, "finish": 1,
        })


class Window(wiring.Component):
    """Instructions enter and leave in program order, and execute in any order that is not seen.

    One that enters waits for all before it on other engines. When its ranges are given, it stops
    waiting for those that do not meet them: one that writes what the other uses.

    Parameters
    ----------
    config : :class:`VtaConfig`
    size : :class:`int`
        Entries.

    Members
    -------
    enter : ``In(1)``; entry : ``In(Entry())``; tail : ``Out``; full : ``Out(1)``
        ``tail`` is the label that the one entering gets. Not to be used while ``full``.
    give : ``In(1)``; given : ``In``; ranges : ``In(Ranges(config))``
        The ranges of the instruction ``given``; the youngest, and only once.
    probe : ``In(Ranges(config))``; pending : ``Out(1)``
        Whether one that is under way will write micro-operations of ``probe.uops``, as they were
        a cycle ago. Ranges count from 2 cycles after they were given.
    ready : ``Out(size)``
        Instructions that wait for no other one.
    done : array of ``In(Done(size))``
        Completions, from all engines.
    leave : ``In(1)``; oldest : ``Out(Entry())``; leaving : ``Out(1)``
        ``oldest`` is complete while ``leaving``; ``leave`` takes it out.
    count : ``Out``
        Entries in use.
    """

    def __init__(self, config: VtaConfig, *, size: int = 8):
        self.config, self.size = config, size
        self.entries = Array(Signal(Entry(), name=f"entry_{n}", reset_less=True)
                             for n in range(size))
        self.head = Signal(range(size))  # of them, the oldest
        super().__init__({
            "enter": In(1), "entry": In(Entry()), "tail": Out(range(size)), "full": Out(1),
            "give": In(1), "given": In(range(size)), "ranges": In(Ranges(config)),
            "probe": In(Ranges(config)), "pending": Out(1),
            "ready": Out(size),
            "done": In(Done(size)).array(3),
            "leave": In(1), "oldest": Out(Entry()), "leaving": Out(1),
            "count": Out(range(size + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        size = self.size
        entries, head = self.entries, self.head
        ranges = [Signal(Ranges(self.config), name=f"ranges_{n}") for n in range(size)]
        waits = [Signal(size, name=f"waits_{n}") for n in range(size)]
        running = Signal(size)  # entered, and not complete

        completed = Signal(size)
        for done in self.done:
            with m.If(done.valid):
                m.d.comb += completed.bit_select(done.entry, 1).eq(1)
        m.d.comb += [
            self.oldest.eq(entries[head]),
            self.leaving.eq((self.count != 0) & ~running.bit_select(head, 1)),
        ]
        m.d.sync += [
            self.count.eq(self.count + self.enter - self.leave),
            self.full.eq(~self.leave & Mux(self.enter, self.count == size - 1, self.full)),
            running.eq(running & ~completed),
        ]
        with m.If(self.leave):
            m.d.sync += head.eq(_after(head, size))
        with m.If(self.enter):
            m.d.sync += self.tail.eq(_after(self.tail, size))

        # Ranges are compared as they are given, and count from the next cycle on.
        give, given = Signal(), Signal.like(self.given)
        new = Signal.like(self.ranges, reset_less=True)
        meets, others = Signal(size), Signal(size)
        m.d.sync += [give.eq(self.give), given.eq(self.given), new.eq(self.ranges),
                     meets.eq(Cat(_meet(self.ranges, other) for other in ranges))]
        m.d.comb += others.eq(Cat((entry.engine != self.entry.engine) for entry in entries))
        at_once = self.entry.engine == Engine.NONE
        first = Signal(size)  # whom one that enters waits for
        m.d.comb += first.eq(Mux(at_once, 0, running & others & ~completed))
        pending = []
        for n in range(size):
            # Who waits for whom; a completion ends it.
            enters, gives = Signal(name=f"enters_{n}"), Signal(name=f"gives_{n}")
            left = Signal(size, name=f"left_{n}")
            m.d.comb += [
                enters.eq(self.enter & (self.tail == n)), gives.eq(give & (given == n)),
                left.eq(waits[n] & (meets | ~gives.replicate(size)) & ~completed),
            ]
            m.d.sync += [waits[n].eq(Mux(enters, first, left)),
                         self.ready[n].eq(Mux(enters, ~first.any(), ~left.any()))]
            with m.If(enters & ~at_once):
                m.d.sync += running[n].eq(1)
            with m.If(~self.full & (self.tail == n)):  # if nothing enters, that is not looked at
                m.d.sync += [ranges[n].eq(0), entries[n].eq(self.entry)]
            with m.Elif(gives):
                m.d.sync += ranges[n].eq(new)
            for done in self.done:
                with m.If(done.valid & (done.entry == n)):
                    m.d.sync += entries[n].fault.eq(done.fault)
            pending.append(running[n] & ranges[n].writes_uop
                           & _overlap(ranges[n].uops, self.probe.uops))
        m.d.sync += self.pending.eq(Cat(*pending).any())
        return m


def _after(index, size):
    return Mux(index == size - 1, 0, index + 1)


def _overlap(a, b):
    return a.valid & b.valid & (a.first <= b.last) & (b.first <= a.last)


def _meet(a, b):
    """Whether the order of two instructions can be seen."""
    return (_overlap(a.writes, b.writes) | _overlap(a.writes, b.reads) | _overlap(a.reads, b.writes)
            | (_overlap(a.uops, b.uops) & (a.writes_uop | b.writes_uop)))
