"""A shell on the pins of a board."""

from amaranth import *
from amaranth.build import Subsignal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer

from boards.pll import PLLS
from boards.shell import Shell
from boards.table import FAMILIES, Board
from boards.usb import UsbBus, UsbSerial, usb_clocks, usb_pins

__all__ = ["BoardTop"]


class BoardTop(Elaboratable):
    """Clock, reset, line, and SDRAM where the shell uses it.

    The engine runs on the oscillator, or on a PLL where the shell's clock is another; then it is in
    reset until the PLL has locked. The line is the resource ``uart``, or the USB plug's data pins
    for a shell without bits (``baud`` 0).
    """

    def __init__(self, board: Board, shell: Shell):
        self.board, self.shell = board, shell

    def elaborate(self, platform):
        slow_hz, clock_hz = platform.default_clk_frequency, self.shell.config.clock_hz
        pll = None if clock_hz == slow_hz else PLLS[self.board.pll](slow_hz, clock_hz)

        m = Module()
        m.submodules.shell = shell = self.shell
        if pll is not None:
            m.domains.sync = ClockDomain()
            clock, locked = Signal(name="clk_pll"), Signal()
            pll.instance(m, platform.request(platform.default_clk, 0, dir="-"), clock, locked,
                         slow_hz)
            m.d.comb += ClockSignal().eq(clock)
            if FAMILIES[self.board.family].route:  # Vivado derives it from the PLL
                platform.add_clock_constraint(clock, clock_hz)
            m.submodules.reset = ResetSynchronizer(~locked)
        if shell.config.baud:
            uart = _ports(platform, "uart")
            for name, signal in (("rx", shell.rx), ("tx", shell.tx)):
                way = "i" if name == "rx" else "o"
                m.submodules[name] = buffer = io.Buffer(way, getattr(uart, name))
                m.d.comb += signal.eq(buffer.i) if way == "i" else buffer.o.eq(signal)
        else:
            bus = UsbBus()
            m.submodules.usb = usb = UsbSerial(bus)
            usb_pins(m, platform, bus)
            oscillator = ClockSignal() if pll is None else m.submodules.oscillator.i
            usb_clocks(m, platform, oscillator, slow_hz)
            wiring.connect(m, usb.o, shell.i)
            wiring.connect(m, shell.o, usb.i)
        if shell.config.sdram:
            pins, ram = shell.sdram, _ports(platform, "sdram")
            for name, value in (
                ("clk", ~ClockSignal()), ("clk_en", pins.cke), ("cs", ~pins.cs_n),
                ("ras", ~pins.ras_n), ("cas", ~pins.cas_n), ("we", ~pins.we_n), ("ba", pins.ba),
                ("a", pins.a), ("dqm", pins.dqm),
            ):
                m.submodules[f"sdram_{name}"] = buffer = io.Buffer("o", getattr(ram, name))
                m.d.comb += buffer.o.eq(value)
            m.submodules.sdram_dq = dq = io.Buffer("io", ram.dq)
            m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        return m


def _ports(platform, name):
    """The bare ports of a resource; those that get no buffer are not there."""
    parts = [part.name for part in platform.lookup(name, 0).ios if isinstance(part, Subsignal)]
    return platform.request(name, 0, dir=dict.fromkeys(parts, "-"))
