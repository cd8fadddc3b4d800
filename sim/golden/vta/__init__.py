"""Model of :mod:`hw.vta`: an instruction-set simulator, exact to the bit, with its checkers."""

from sim.golden.vta.machine import Access, Effect, Machine, VtaError
from sim.golden.vta.races import Race, RaceChecker
from sim.golden.vta.simulate import Result, Unwritten, replay, schedules, simulate
from sim.golden.vta.trace import TraceRecord, first_divergence, read_trace, write_trace

__all__ = ["Access", "Effect", "Machine", "VtaError", "Race", "RaceChecker", "Result",
           "Unwritten", "simulate", "replay", "schedules", "TraceRecord", "first_divergence",
           "read_trace", "write_trace"]
