"""On-chip memory behind an AXI4 port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from hw.bus.axi import OKAY, Axi4

__all__ = ["AxiNothing", "AxiRam", "AxiSinglePortRam"]

_ERROR = 2  # SLVERR


def _check(size: int, address_width: int, data_width: int) -> None:
    if size <= 0 or size % (data_width // 8):
        raise ValueError(f"size must be a multiple of {data_width // 8} bytes, not {size!r}")
    if size > 1 << address_width:
        raise ValueError(f"size must be at most 2**{address_width} bytes, not {size!r}")


class AxiRam(wiring.Component):
    """``size`` bytes of block RAM from address 0 on; contents start as 0 and outlive a reset.

    Bursts increment and have beats of the full width. What lies beyond ``size`` is answered with
    SLVERR, and not written.

    Parameters
    ----------
    size : :class:`int`
        Bytes, a multiple of the beat.
    address_width, data_width : :class:`int`

    Members
    -------
    axi : ``In(Axi4(...))``

    Timing
    ------
    A read burst of ``n`` beats takes ``n + 1`` cycles from its address to its last beat, a write
    burst ``n + 1`` from its address to its answer. Reads and writes do not wait for each other.
    """

    def __init__(self, size: int, *, address_width: int, data_width: int):
        _check(size, address_width, data_width)
        self.size, self.address_width, self.data_width = size, address_width, data_width
        super().__init__({
            "axi": In(Axi4(address_width=address_width, data_width=data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        depth = self.size // (self.data_width // 8)
        low = exact_log2(self.data_width // 8)
        m.submodules.memory = memory = Memory(shape=self.data_width, depth=depth, init=[])
        write, read = memory.write_port(granularity=8), memory.read_port()
        m.d.comb += [axi.bid.eq(0), axi.rid.eq(0)]

        # Write: the address, then the beats, then the answer.
        target, open, failed = Signal(self.address_width - low), Signal(), Signal()
        inside = target < depth
        m.d.comb += [
            axi.awready.eq(~open & ~axi.bvalid), axi.wready.eq(open),
            write.addr.eq(target), write.data.eq(axi.wdata),
            axi.bresp.eq(Mux(failed, _ERROR, OKAY)),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [target.eq(axi.awaddr[low:]), open.eq(1), failed.eq(0)]
        with m.If(axi.wvalid & axi.wready):
            m.d.comb += write.en.eq(Mux(inside, axi.wstrb, 0))
            m.d.sync += [target.eq(target + 1), failed.eq(failed | ~inside)]
            with m.If(axi.wlast):
                m.d.sync += [open.eq(0), axi.bvalid.eq(1)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        # Read: `source` is the beat that is fetched while the one before it is offered.
        source, left = Signal(self.address_width - low), Signal(9)
        fetch = Signal()
        m.d.comb += [
            axi.arready.eq(left == 0),
            fetch.eq((left != 0) & (~axi.rvalid | axi.rready)),
            read.addr.eq(source), read.en.eq(fetch), axi.rdata.eq(read.data),
        ]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(fetch):
            m.d.sync += [source.eq(source + 1), left.eq(left - 1), axi.rvalid.eq(1),
                         axi.rlast.eq(left == 1), axi.rresp.eq(Mux(source < depth, OKAY, _ERROR))]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [source.eq(axi.araddr[low:]), left.eq(axi.arlen + 1)]
        return m


class AxiSinglePortRam(AxiRam):
    """The same of a memory with one port, which reads or writes: iCE40 UP5K has 128 KiB of it.

    Members and parameters are those of :class:`AxiRam`. The memory is called ``spram``, by which
    synthesis knows what it is to be made of; it holds anything at power-on.

    Timing
    ------
    A read burst of ``n`` beats takes ``2 * n`` cycles from its address to its last beat, a write
    burst ``n + 1`` from its address to its answer; one burst at a time, reads and writes in turn.
    """

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        depth = self.size // (self.data_width // 8)
        low = exact_log2(self.data_width // 8)
        m.submodules.spram = memory = Memory(shape=self.data_width, depth=depth, init=[])
        write, read = memory.write_port(granularity=8), memory.read_port()
        place, left, failed = Signal(self.address_width - low), Signal(9), Signal()
        wrote = Signal()  # last
        inside = place < depth
        m.d.comb += [
            write.addr.eq(place), read.addr.eq(place), write.data.eq(axi.wdata), read.en.eq(0),
            axi.rdata.eq(read.data), axi.rlast.eq(left == 0), axi.bid.eq(0), axi.rid.eq(0),
            axi.rresp.eq(Mux(failed, _ERROR, OKAY)), axi.bresp.eq(axi.rresp),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += failed.eq(0)
                with m.If(axi.awvalid & ~(axi.arvalid & wrote)):
                    m.d.comb += axi.awready.eq(1)
                    m.d.sync += [place.eq(axi.awaddr[low:]), wrote.eq(1)]
                    m.next = "WRITE"
                with m.Elif(axi.arvalid):
                    m.d.comb += axi.arready.eq(1)
                    m.d.sync += [place.eq(axi.araddr[low:]), left.eq(axi.arlen + 1), wrote.eq(0)]
                    m.next = "READ"
            with m.State("WRITE"):
                m.d.comb += axi.wready.eq(1)
                with m.If(axi.wvalid):
                    m.d.comb += write.en.eq(Mux(inside, axi.wstrb, 0))
                    m.d.sync += [place.eq(place + 1), failed.eq(failed | ~inside)]
                    with m.If(axi.wlast):
                        m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "IDLE"
            with m.State("READ"):
                m.d.comb += read.en.eq(1)
                m.d.sync += [place.eq(place + 1), left.eq(left - 1), failed.eq(~inside)]
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += axi.rvalid.eq(1)
                with m.If(axi.rready):
                    m.next = "READ"
                    with m.If(left == 0):
                        m.next = "IDLE"
        return m


class AxiNothing(wiring.Component):
    """Where no memory is: every burst is answered with SLVERR.

    Members
    -------
    axi : ``In(Axi4(...))``
    """

    def __init__(self, *, address_width: int, data_width: int):
        super().__init__({
            "axi": In(Axi4(address_width=address_width, data_width=data_width)),
        })

    def elaborate(self, platform):
        m = Module()
        axi, left, open = self.axi, Signal(9), Signal()
        m.d.comb += [
            axi.bresp.eq(_ERROR), axi.rresp.eq(_ERROR),
            axi.arready.eq(left == 0), axi.rvalid.eq(left != 0), axi.rlast.eq(left == 1),
            axi.awready.eq(~open & ~axi.bvalid), axi.wready.eq(open),
        ]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += left.eq(axi.arlen + 1)
        with m.Elif(axi.rvalid & axi.rready):
            m.d.sync += left.eq(left - 1)
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += open.eq(1)
        with m.If(axi.wvalid & axi.wready & axi.wlast):
            m.d.sync += [open.eq(0), axi.bvalid.eq(1)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        return m
