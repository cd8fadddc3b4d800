"""AXI4-Lite for registers of 32 bits."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AxiLite", "AxiLiteSlave"]


class AxiLite(wiring.Signature):
    """The five channels of AXI4-Lite, 32 bits of data, seen from the master."""

    def __init__(self, *, address_width: int):
        super().__init__({
            "awaddr": Out(address_width), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_width), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


class AxiLiteSlave(wiring.Component):
    """Turns accesses into single cycles of a plain register port. All answers are OKAY.

    Members
    -------
    axi : ``In(AxiLite(...))``
    write_en : ``Out(1)``
        For one cycle, with ``write_address``, ``write_data`` and ``write_strobe``.
    read_address : ``Out``; read_data : ``In(32)``
        ``read_data`` is combinational from ``read_address``.

    Timing
    ------
    A write takes place when address and data have both come, in any order; one per 2 cycles. A
    register is read in the cycle after its address came, as many are far away; one per 3 cycles.
    """

    def __init__(self, *, address_width: int):
        super().__init__({
            "axi":           In(AxiLite(address_width=address_width)),
            "write_en":      Out(1),
            "write_address": Out(address_width),
            "write_data":    Out(32),
            "write_strobe":  Out(4),
            "read_address":  Out(address_width),
            "read_data":     In(32),
        })

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        reading = Signal()
        m.d.comb += [
            self.write_en.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(self.write_en), axi.wready.eq(self.write_en),
            self.write_address.eq(axi.awaddr), self.write_data.eq(axi.wdata),
            self.write_strobe.eq(axi.wstrb),
            axi.arready.eq(axi.arvalid & ~reading & ~axi.rvalid),
        ]
        with m.If(self.write_en):
            m.d.sync += axi.bvalid.eq(1)
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        m.d.sync += reading.eq(axi.arready)
        with m.If(axi.arready):
            m.d.sync += self.read_address.eq(axi.araddr)
        with m.If(reading):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(self.read_data)]
        with m.Elif(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        return m
