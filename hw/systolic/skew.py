"""Delays of whole operands: what an array puts in front of its rows and behind its columns."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]


class DelayLine(wiring.Component):
    """A fixed delay: ``o`` is what ``i`` was ``delay`` cycles ago.

    Parameters
    ----------
    flags : :class:`int`
        Bits that say something is there (valid, swap, ...), 0 or more. They are 0 on the way out
        until ``delay`` cycles after reset, so nothing from before a reset ever comes out.
    shape : ShapeLike
        What travels with them; not reset.
    delay : :class:`int`
        Cycles, 0 or more. Up to 3 they are registers, beyond that a memory with one behind it: on
        the ECP5, a block RAM's clock-to-output takes 5.6 ns, which leaves nothing for logic.

    Members
    -------
    i, o : layouts of ``flags`` and ``payload``

    Timing
    ------
    Latency: ``delay`` cycles. Throughput: 1 per cycle, always.
    """

    def __init__(self, flags: int, shape, delay: int):
        if delay < 0:
            raise ValueError(f"delay must be 0 or more cycles, not {delay!r}")
        self.layout = data.StructLayout({"flags": flags, "payload": shape})
        self.delay = self.latency = delay
        super().__init__({"i": In(self.layout), "o": Out(self.layout)})

    def elaborate(self, platform):
        m = Module()
        if self.delay <= 3:
            flags, payload = self.i.flags, self.i.payload
            for n in range(self.delay):
                next_flags   = Signal.like(flags, name=f"s{n + 1}_flags")
                next_payload = Signal.like(payload, name=f"s{n + 1}_payload", reset_less=True)
                m.d.sync += [next_flags.eq(flags), next_payload.eq(payload)]
                flags, payload = next_flags, next_payload
            m.d.comb += [self.o.flags.eq(flags), self.o.payload.eq(payload)]
            return m

        # A ring: the word read is the next one to be overwritten, so the two ports never meet.
        depth = self.delay - 1
        m.submodules.ring = ring = Memory(shape=self.layout.size, depth=depth, init=[],
                                          attrs={"no_rw_check": True})
        write, read = ring.write_port(), ring.read_port()
        here, ahead = Signal(range(depth)), Signal(range(depth), init=1)
        full = Signal()
        m.d.sync += [here.eq(ahead), ahead.eq(Mux(ahead == depth - 1, 0, ahead + 1))]
        with m.If(here == depth - 1):
            m.d.sync += full.eq(1)
        out     = data.View(self.layout, read.data)
        flags   = Signal.like(self.o.flags)
        payload = Signal.like(self.o.payload, reset_less=True)
        m.d.sync += [flags.eq(out.flags & full.replicate(len(flags))), payload.eq(out.payload)]
        m.d.comb += [
            write.en.eq(1),
            write.addr.eq(here),
            write.data.eq(self.i.as_value()),
            read.addr.eq(ahead),
            self.o.payload.eq(payload),
            self.o.flags.eq(flags),
        ]
        return m

