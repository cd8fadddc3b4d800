"""Clocks that are not the oscillator's: settings of the families' PLLs, and their instances.

A setting has ``frequency(in_hz)`` and ``instance(...)``; :data:`PLLS` makes the one that comes
nearest to a clock.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import io

__all__ = ["Ecp5Pll", "Ice40Pll", "PLLS"]

_OFF = 0.002  # the clock may be off by this share; the serial line has room for more


@dataclass(frozen=True)
class Ecp5Pll:
    """``out = in * feedback / divide``, of an oscillator of ``out * output``, 400 to 800 MHz."""

    divide: int
    feedback: int
    output: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * self.feedback / self.divide

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
    """``out = in * (f + 1) / (r + 1) / 2**q``; what is divided by ``2**q`` is 533 to 1066 MHz."""

    r: int
    f: int
    q: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * (self.f + 1) / (self.r + 1) / 2 ** self.q

    @classmethod
    def settings(cls, in_hz: float) -> Iterable["Ice40Pll"]:
        return (cls(r, f, q) for r in range(16) if 10e6 <= in_hz / (r + 1) <= 133e6
                for f in range(128) if 533e6 <= in_hz / (r + 1) * (f + 1) <= 1066e6
                for q in range(1, 7))

    def instance(self, m: Module, port: io.PortLike, clock: Signal, locked: Signal,
                 in_hz: float) -> None:
        """The primitive, which is a part of the clock's pin."""
        detector = in_hz / (self.r + 1)
        m.submodules.pll = Instance(
            "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_DIVR=Const(self.r, 4),
            p_DIVF=Const(self.f, 7), p_DIVQ=Const(self.q, 3),
            p_FILTER_RANGE=Const(1 + sum(detector >= limit for limit in _FILTERS), 3),
            io_PACKAGEPIN=port.io, o_PLLOUTGLOBAL=clock, o_LOCK=locked, i_RESETB=Const(1),
            i_BYPASS=Const(0))


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
PLLS = {"ecp5": _nearest(Ecp5Pll), "ice40": _nearest(Ice40Pll)}
