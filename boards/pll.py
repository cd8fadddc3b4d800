"""Clocks that are not the oscillator's: settings of the families' PLLs, and their instances.

A setting has ``frequency(in_hz)`` and ``instance(...)``; :data:`PLLS` makes the one that comes
nearest to a clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import io

__all__ = ["Ecp5Pll", "GowinPll", "Ice40CorePll", "Ice40Pll", "PLLS", "XilinxPll"]

_OFF = 0.002  # the clock may be off by this share; the serial line has room for more


@dataclass(frozen=True)
class _FeedbackPll:
    """``out = in * feedback / divide``, of an oscillator of ``out * output``."""

    divide: int
    feedback: int
    output: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * self.feedback / self.divide


class Ecp5Pll(_FeedbackPll):
    """Oscillator of 400 to 800 MHz."""

    @classmethod
    def settings(cls, in_hz: float) -> Iterable["Ecp5Pll"]:
        return (cls(divide, feedback, output)
                for divide in range(1, 129) if in_hz / divide >= 3.125e6
                for feedback in range(1, 81)
                for output in [round(600e6 * divide / in_hz / feedback)]
                if 1 <= output <= 128
                and 400e6 <= in_hz * feedback / divide * output <= 800e6)

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, behind the buffer of the clock's pin, its output fed back."""
        m.submodules.oscillator = buffer = io.Buffer("i", port)
        off = dict.fromkeys(
            ("i_RST", "i_STDBY", "i_PHASESEL0", "i_PHASESEL1", "i_PHASEDIR", "i_PHASESTEP",
             "i_PHASELOADREG", "i_PLLWAKESYNC", "i_ENCLKOP"), Const(0))
        m.submodules.pll = Instance(
            "EHXPLLL", a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=self.output, p_CLKOP_CPHASE=self.output - 1,
            p_CLKOP_FPHASE=0, p_CLKI_DIV=self.divide, p_CLKFB_DIV=self.feedback,
            p_FEEDBK_PATH="CLKOP", i_CLKI=buffer.i, i_CLKFB=clock, o_CLKOP=clock, o_LOCK=locked,
            **off)


_FILTERS = (17e6, 26e6, 44e6, 66e6, 101e6)  # of the phase detector's clock


@dataclass(frozen=True)
class Ice40Pll:
    """``out = in * (f + 1) / (r + 1) / 2**q``, of an oscillator of ``out * 2**q``, 533 to
    1066 MHz; ``out`` is at least 16 MHz. The clock comes on the pin that the PLL has of its own.
    """

    r: int
    f: int
    q: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * (self.f + 1) / (self.r + 1) / 2 ** self.q

    @classmethod
    def settings(cls, in_hz: float) -> Iterable["Ice40Pll"]:
        return (cls(r, f, q) for r in range(16) if 10e6 <= in_hz / (r + 1) <= 133e6
                for f in range(128) if 533e6 <= in_hz / (r + 1) * (f + 1) <= 1066e6
                for q in range(1, 7)
                if in_hz / (r + 1) * (f + 1) / 2 ** q >= 16e6)

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, which is a part of the clock's pin."""
        self._instance(m, "SB_PLL40_PAD", clock, locked, in_hz, io_PACKAGEPIN=port.io)

    def _instance(self, m, kind, clock, locked, in_hz, **source):
        detector = in_hz / (self.r + 1)
        m.submodules.pll = Instance(
            kind, p_FEEDBACK_PATH="SIMPLE", p_DIVR=Const(self.r, 4),
            p_DIVF=Const(self.f, 7), p_DIVQ=Const(self.q, 3),
            p_FILTER_RANGE=Const(1 + sum(detector >= limit for limit in _FILTERS), 3),
            o_PLLOUTGLOBAL=clock, o_LOCK=locked, i_RESETB=Const(1), i_BYPASS=Const(0), **source)


class Ice40CorePll(Ice40Pll):
    """The same, for a clock that comes on another pin."""

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, behind the buffer of the clock's pin."""
        m.submodules.oscillator = buffer = io.Buffer("i", port)
        self._instance(m, "SB_PLL40_CORE", clock, locked, in_hz, i_REFERENCECLK=buffer.i)


_OUTPUTS = (2, 4, 8, *range(16, 129, 16))


class GowinPll(_FeedbackPll):
    """Oscillator of 400 to 1200 MHz, as the GW1N-9 of speed C6 has it."""

    @classmethod
    def settings(cls, in_hz: float) -> Iterable["GowinPll"]:
        return (cls(divide, feedback, output)
                for divide in range(1, 65) if 3e6 <= in_hz / divide <= 400e6
                for feedback in range(1, 65)
                if 3.125e6 <= in_hz * feedback / divide <= 600e6
                for output in _OUTPUTS
                if 400e6 <= in_hz * feedback / divide * output <= 1200e6)

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, behind the buffer of the clock's pin; it feeds itself back."""
        m.submodules.oscillator = buffer = io.Buffer("i", port)
        off = {f"i_{name}": Const(0, width) for name, width in (
            ("RESET", 1), ("RESET_P", 1), ("CLKFB", 1), ("FBDSEL", 6), ("IDSEL", 6), ("ODSEL", 6),
            ("PSDA", 4), ("DUTYDA", 4), ("FDLY", 4))}
        m.submodules.pll = Instance(
            "rPLL", p_DEVICE="GW1NR-9C", p_FCLKIN=f"{in_hz / 1e6:g}", p_IDIV_SEL=self.divide - 1,
            p_FBDIV_SEL=self.feedback - 1, p_ODIV_SEL=self.output, p_CLKFB_SEL="internal",
            i_CLKIN=buffer.i, o_CLKOUT=clock, o_LOCK=locked, **off)


@dataclass(frozen=True)
class XilinxPll:
    """``out = in * multiply / divide / output``, of an oscillator of ``out * output``, 800 to
    1600 MHz, as the 7-series of speed 1 has it.
    """

    divide: int
    multiply: int
    output: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * self.multiply / self.divide / self.output

    @classmethod
    def settings(cls, in_hz: float) -> Iterable["XilinxPll"]:
        return (cls(divide, multiply, output)
                for divide in range(1, 57) if 19e6 <= in_hz / divide <= 450e6
                for multiply in range(2, 65) if 800e6 <= in_hz / divide * multiply <= 1600e6
                for output in range(1, 129))

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, behind the buffer of the clock's pin, and a global buffer."""
        m.submodules.oscillator = buffer = io.Buffer("i", port)
        feedback, out = Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE", p_DIVCLK_DIVIDE=self.divide, p_CLKFBOUT_MULT=self.multiply,
            p_CLKOUT0_DIVIDE=self.output, p_CLKIN1_PERIOD=1e9 / in_hz, i_CLKIN1=buffer.i,
            i_CLKFBIN=feedback, o_CLKFBOUT=feedback, o_CLKOUT0=out, o_LOCKED=locked,
            i_RST=Const(0), i_PWRDWN=Const(0))
        m.submodules.clock = Instance("BUFG", i_I=out, o_O=clock)


def _nearest(kind: type) -> Callable:
    def choose(in_hz: float, out_hz: float):
        """The setting that comes nearest to ``out_hz``; :exc:`ValueError` if none is near."""
        best = min(kind.settings(in_hz), default=None,
                   key=lambda pll: abs(pll.frequency(in_hz) - out_hz))
        if best is None or abs(best.frequency(in_hz) / out_hz - 1) > _OFF:
            raise ValueError(f"clock must be one that the PLL makes of {in_hz / 1e6:g} MHz, "
                             f"not {out_hz / 1e6:g}")
        return best
    return choose


# By the name that a board's row has.
PLLS = {"ecp5": _nearest(Ecp5Pll), "ice40": _nearest(Ice40Pll),
        "ice40_core": _nearest(Ice40CorePll), "gowin": _nearest(GowinPll),
        "xc7": _nearest(XilinxPll)}
