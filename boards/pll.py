"""Clocks that are not the oscillator's: settings of the families' PLLs, and their instances."""

from dataclasses import dataclass

from amaranth import *

__all__ = ["Ecp5Pll", "ecp5_pll", "instance"]

_OFF = 0.002  # the clock may be off by this share; the serial line has room for more


@dataclass(frozen=True)
class Ecp5Pll:
    """``out = in * feedback / divide``, of an oscillator of ``out * output``, 400 to 800 MHz."""

    divide: int
    feedback: int
    output: int

    def frequency(self, in_hz: float) -> float:
        return in_hz * self.feedback / self.divide


def ecp5_pll(in_hz: float, out_hz: float) -> Ecp5Pll:
    """The setting that comes nearest to ``out_hz``; :exc:`ValueError` if none is near."""
    best = min((Ecp5Pll(divide, feedback, output)
                for divide in range(1, 129) if in_hz / divide >= 3.125e6
                for feedback in range(1, 81)
                for output in [round(600e6 * divide / in_hz / feedback)]
                if 1 <= output <= 128
                and 400e6 <= in_hz * feedback / divide * output <= 800e6),
               key=lambda pll: (abs(pll.frequency(in_hz) - out_hz), pll.divide), default=None)
    if best is None or abs(best.frequency(in_hz) / out_hz - 1) > _OFF:
        raise ValueError(f"clock must be one that the PLL makes of {in_hz / 1e6:g} MHz, "
                         f"not {out_hz / 1e6:g}")
    return best


def instance(pll: Ecp5Pll, clk_in: Signal, clk_out: Signal, locked: Signal) -> Instance:
    """The primitive, its output fed back."""
    off = dict.fromkeys(("i_RST", "i_STDBY", "i_PHASESEL0", "i_PHASESEL1", "i_PHASEDIR",
                         "i_PHASESTEP", "i_PHASELOADREG", "i_PLLWAKESYNC", "i_ENCLKOP"), Const(0))
    return Instance(
        "EHXPLLL", a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
        a_MFG_GMCREF_SEL="2", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED",
        p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=pll.output, p_CLKOP_CPHASE=pll.output - 1,
        p_CLKOP_FPHASE=0, p_CLKI_DIV=pll.divide, p_CLKFB_DIV=pll.feedback, p_FEEDBK_PATH="CLKOP",
        i_CLKI=clk_in, i_CLKFB=clk_out, o_CLKOP=clk_out, o_LOCK=locked, **off)
