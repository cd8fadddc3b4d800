"""Single words read and written on AXI4 and AXI4-Lite."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import INCR, OKAY, Axi4
from hw.bus.csr import AxiLite

__all__ = ["WordAccess"]


class WordAccess(wiring.Component):
    """One access at a time, of 32 bits, to memory or to registers.

    What has begun is completed, whether anybody still waits for it or not.

    Parameters
    ----------
    address_width, data_width : :class:`int`
        Of the memory port; at least 32 bits of data.
    register_width : :class:`int`
        Bits of an address of the register port.

    Members
    -------
    start : ``In(1)``
        Begin; ignored while ``busy``.
    write, registers : ``In(1)``; address, data : ``In(32)``
        What, taken with ``start``. Bits of the address that a port does not have must be 0.
    busy : ``Out(1)``
        No answer yet.
    done, error : ``Out(1)``; result : ``Out(32)``
        For one cycle, at the answer.
    memory : ``Out(Axi4(...))``
    csr : ``Out(AxiLite(...))``

    Timing
    ------
    The request begins 1 cycle after ``start``, ``done`` comes with the answer.
    """

    def __init__(self, *, address_width: int, data_width: int, register_width: int):
        self.address_width, self.data_width = address_width, data_width
        self.register_width = register_width
        super().__init__({
            "start": In(1), "write": In(1), "registers": In(1), "address": In(32), "data": In(32),
            "busy": Out(1), "done": Out(1), "error": Out(1), "result": Out(32),
            "memory": Out(Axi4(address_width=address_width, data_width=data_width)),
            "csr": Out(AxiLite(address_width=register_width)),
        })

    def elaborate(self, platform):
        m = Module()
        memory, csr = self.memory, self.csr
        address, word = Signal(32), Signal(32)
        write, registers = Signal(), Signal()
        size = exact_log2(self.data_width // 8)
        lane = address[2:size]
        aligned = Cat(Const(0, size), address[size:])
        m.d.comb += [
            memory.awaddr.eq(aligned), memory.araddr.eq(aligned),
            memory.awlen.eq(0), memory.arlen.eq(0),
            memory.awsize.eq(size), memory.arsize.eq(size),
            memory.awburst.eq(INCR), memory.arburst.eq(INCR),
            memory.wdata.eq(word.replicate(self.data_width // 32)),
            memory.wstrb.eq(Const(15, 4) << (lane << 2)), memory.wlast.eq(1),
            csr.awaddr.eq(address), csr.araddr.eq(address), csr.wdata.eq(word), csr.wstrb.eq(15),
        ]
        answers = []
        for chosen, port in ((0, memory), (1, csr)):
            m.d.comb += [port.bready.eq(1), port.rready.eq(1)]
            for channel in ("aw", "w", "ar"):
                valid = getattr(port, f"{channel}valid")
                with m.If(getattr(port, f"{channel}ready")):
                    m.d.sync += valid.eq(0)
                with m.If(self.start & ~self.busy & (self.registers == chosen)
                          & (self.write != (channel == "ar"))):
                    m.d.sync += valid.eq(1)
            answers.append((Mux(write, port.bvalid, port.rvalid),
                            Mux(write, port.bresp, port.rresp)))
        with m.If(self.start & ~self.busy):
            m.d.sync += [self.busy.eq(1), address.eq(self.address), word.eq(self.data),
                         write.eq(self.write), registers.eq(self.registers)]
        m.d.comb += [
            self.done.eq(self.busy & Mux(registers, answers[1][0], answers[0][0])),
            self.error.eq(Mux(registers, answers[1][1], answers[0][1]) != OKAY),
            self.result.eq(Mux(registers, csr.rdata, memory.rdata.word_select(lane, 32))),
        ]
        with m.If(self.done):
            m.d.sync += self.busy.eq(0)
        return m
