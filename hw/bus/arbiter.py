"""Several masters of AXI4 share one slave."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bus.axi import Axi4
from hw.stream import Queue

__all__ = ["AxiArbiter"]


class AxiArbiter(wiring.Component):
    """Bursts of ``masters`` go to one slave, in turn; reads and writes are apart.

    The slave answers in order. A master takes the beats of its reads, and gives those of its
    writes, sooner or later; others wait for it meanwhile.

    Members
    -------
    masters : array of ``In(Axi4(...))``
    slave : ``Out(Axi4(...))``

    Timing
    ------
    Addresses take 1 cycle, everything else none; an address is taken every 2 cycles, so that the
    masters' ``ready`` does not hang on the slave's. Up to ``depth`` bursts of each kind are
    outstanding.
    """

    def __init__(self, masters: int, *, address_width: int, data_width: int, depth: int = 8):
        if masters < 1:
            raise ValueError(f"masters must be at least 1, not {masters!r}")
        self.count, self.depth = masters, depth
        port = Axi4(address_width=address_width, data_width=data_width)
        super().__init__({"masters": In(port).array(masters), "slave": Out(port)})

    def elaborate(self, platform):
        m = Module()
        slave = self.slave

        def queue(name):
            m.submodules[name] = owners = Queue(range(self.count), depth=self.depth, block=False)
            return owners

        def request(channel, *owners):
            """Take a burst in turn, note its master in all of ``owners``, and offer it."""
            names = [f"{channel}{field}" for field in ("id", "addr", "len", "size", "burst")]
            valid, ready = getattr(slave, f"{channel}valid"), getattr(slave, f"{channel}ready")
            last = Signal(range(self.count), name=f"{channel}_last")
            free = ~valid & Cat(each.i.ready for each in owners).all()
            with m.If(ready):
                m.d.sync += valid.eq(0)
            with m.Switch(last):
                for before in range(self.count):
                    with m.Case(before):
                        taken = Const(0)
                        for step in range(1, self.count + 1):
                            index = (before + step) % self.count
                            master = self.masters[index]
                            offers = getattr(master, f"{channel}valid")
                            with m.If(free & offers & ~taken):
                                m.d.comb += getattr(master, f"{channel}ready").eq(1)
                                m.d.comb += [assign for each in owners for assign in (
                                    each.i.valid.eq(1), each.i.payload.eq(index))]
                                m.d.sync += [valid.eq(1), last.eq(index)]
                                m.d.sync += [getattr(slave, name).eq(getattr(master, name))
                                             for name in names]
                            taken = taken | offers

        reads, writes, answers = queue("reads"), queue("writes"), queue("answers")
        request("ar", reads)
        request("aw", writes, answers)
        for index, master in enumerate(self.masters):
            m.d.comb += [getattr(master, name).eq(getattr(slave, name))
                         for name in ("rid", "rdata", "rresp", "rlast", "bid", "bresp")]
            with m.If(reads.o.valid & (reads.o.payload == index)):
                m.d.comb += [master.rvalid.eq(slave.rvalid), slave.rready.eq(master.rready)]
            with m.If(answers.o.valid & (answers.o.payload == index)):
                m.d.comb += [master.bvalid.eq(slave.bvalid), slave.bready.eq(master.bready)]
            with m.If(writes.o.valid & (writes.o.payload == index)):
                m.d.comb += [
                    slave.wvalid.eq(master.wvalid), master.wready.eq(slave.wready),
                    slave.wdata.eq(master.wdata), slave.wstrb.eq(master.wstrb),
                    slave.wlast.eq(master.wlast),
                ]
        m.d.comb += [
            reads.o.ready.eq(slave.rvalid & slave.rready & slave.rlast),
            answers.o.ready.eq(slave.bvalid & slave.bready),
            writes.o.ready.eq(slave.wvalid & slave.wready & slave.wlast),
        ]
        return m
