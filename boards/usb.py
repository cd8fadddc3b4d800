# amaranth: UnusedElaboratable=no
"""A serial port of USB (CDC-ACM) in the FPGA, for boards whose only plug is USB.

The device is LUNA's, at full speed with the PHY in the fabric. What it carries are the bytes of
:mod:`hw.bus.protocol`, as on a serial line; the operating system shows it as one, of any speed.
"""

import warnings
from typing import Any

from amaranth import *
from amaranth.lib import fifo, io, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.tools import require

__all__ = ["UsbBus", "UsbSerial", "usb_clocks", "usb_pins"]

PIDS = 0x1209, 0x0001  # pid.codes' identification for tests in private
_IO_HZ = 48e6          # of the domain `usb_io`; `usb` is a quarter of it
_DEPTH = 64            # bytes that wait on either side
_PACKET = 64           # the largest of full speed


class UsbBus:
    """The pins as LUNA wants them: ``d_p`` and ``d_n`` with ``i``, ``o`` and ``oe``; ``pullup``."""

    def __init__(self):
        self.d_p, self.d_n = (_Wire(name) for name in ("d_p", "d_n"))
        self.pullup = _Wire("pullup")


class _Wire:
    def __init__(self, name: str):
        self.i, self.o, self.oe = (Signal(name=f"usb_{name}_{way}") for way in ("i", "o", "oe"))


class UsbSerial(wiring.Component):
    """Bytes to and from a host over USB.

    Parameters
    ----------
    bus
        :class:`UsbBus`, or an UTMI interface of LUNA's.

    Members
    -------
    i : ``In(stream.Signature(8))``
        To the host. A packet ends with the zero after a frame, or when it is full.
    o : ``Out(stream.Signature(8))``

    Timing
    ------
    Domains: ``sync``, of the bytes; ``usb``, 12 MHz; ``usb_io``, 48 MHz of the same phase.
    Throughput: up to 1.2 MB/s each way, as the host asks for packets.
    """

    def __init__(self, bus: Any):
        require("luna", "luna-usb", "boards")
        with warnings.catch_warnings():
            # Amaranth's records, which LUNA 0.2 is made of, go with Amaranth 0.6.
            warnings.simplefilter("ignore", DeprecationWarning)
            from luna.gateware.usb.devices.acm import USBSerialDevice

        self.device = USBSerialDevice(bus=bus, idVendor=PIDS[0], idProduct=PIDS[1],
                                      manufacturer_string="npugen", product_string="npugen shell",
                                      max_packet_size=_PACKET)
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.device = device = self.device
        m.submodules.to_host = to_host = fifo.AsyncFIFO(
            width=8, depth=_DEPTH, w_domain="sync", r_domain="usb")
        m.submodules.from_host = from_host = fifo.AsyncFIFO(
            width=8, depth=_DEPTH, w_domain="usb", r_domain="sync")
        wiring.connect(m, wiring.flipped(self.i), to_host.w_stream)
        wiring.connect(m, from_host.r_stream, wiring.flipped(self.o))
        inside = Signal()  # of a frame: the zero that is next ends it
        m.d.comb += [
            device.connect.eq(1),
            device.tx.payload.eq(to_host.r_data), device.tx.valid.eq(to_host.r_rdy),
            to_host.r_en.eq(device.tx.ready & device.tx.valid),
            device.tx.last.eq(inside & (to_host.r_data == 0)),
            from_host.w_data.eq(device.rx.payload), from_host.w_en.eq(device.rx.valid),
            device.rx.ready.eq(from_host.w_rdy),
        ]
        with m.If(to_host.r_en):
            m.d.usb += inside.eq(to_host.r_data != 0)
        return m


def usb_clocks(m: Module, platform: Any, clock: Value, clock_hz: float) -> None:
    """Domains ``usb_io`` and ``usb`` from the oscillator ``clock``, with an ECP5's PLL."""
    if clock_hz != _IO_HZ:
        raise ValueError(f"a board with USB must have an oscillator of {_IO_HZ / 1e6:g} MHz, "
                         f"not {clock_hz / 1e6:g}")
    m.domains.usb = ClockDomain("usb", reset_less=True)
    m.domains.usb_io = ClockDomain("usb_io", reset_less=True)
    fast, slow = Signal(name="clk_usb_io"), Signal(name="clk_usb")
    off = dict.fromkeys(
        ("i_RST", "i_STDBY", "i_PHASESEL0", "i_PHASESEL1", "i_PHASEDIR", "i_PHASESTEP",
         "i_PHASELOADREG", "i_PLLWAKESYNC", "i_ENCLKOP", "i_ENCLKOS"), Const(0))
    m.submodules.usb_pll = Instance(  # an oscillator of 576 MHz
        "EHXPLLL", a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
        a_MFG_GMCREF_SEL="2", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED",
        p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
        p_OUTDIVIDER_MUXB="DIVB", p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=12, p_CLKOP_CPHASE=11,
        p_CLKOP_FPHASE=0, p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=48, p_CLKOS_CPHASE=47,
        p_CLKOS_FPHASE=0, p_CLKI_DIV=1, p_CLKFB_DIV=1, p_FEEDBK_PATH="CLKOP", i_CLKI=clock,
        i_CLKFB=fast, o_CLKOP=fast, o_CLKOS=slow, **off)
    m.d.comb += [ClockSignal("usb_io").eq(fast), ClockSignal("usb").eq(slow)]
    platform.add_clock_constraint(fast, _IO_HZ)
    platform.add_clock_constraint(slow, _IO_HZ / 4)


def usb_pins(m: Module, platform: Any, bus: UsbBus) -> None:
    """Buffers of the platform's resource ``usb``."""
    pins = platform.request("usb", 0, dir={"d_p": "-", "d_n": "-", "pullup": "-"})
    for name in ("d_p", "d_n"):
        wire = getattr(bus, name)
        m.submodules[f"usb_{name}"] = buffer = io.Buffer("io", getattr(pins, name))
        m.d.comb += [wire.i.eq(buffer.i), buffer.o.eq(wire.o), buffer.oe.eq(wire.oe)]
    m.submodules.usb_pullup = pullup = io.Buffer("o", pins.pullup)
    m.d.comb += pullup.o.eq(bus.pullup.o)
