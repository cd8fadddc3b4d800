"""The check of the VTA core for :mod:`sim.mutate`: what its tests look at, in a few seconds.

Random programs, the corners of :mod:`sim.vta_traps` and :mod:`sim.vta_corners`, the crowds of
:mod:`sim.vta_storms`, and what must be refused, :mod:`sim.vta_limits`, on a core so small that
every bit of an index counts. Results are those of the simulator; where memory does not stall,
cycles and counters are those of :mod:`sim.vta_cycles`.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from sim.golden.vta import Machine, simulate
from sim.vta_corners import corners
from sim.vta_cycles import cycles
from sim.vta_engine import EngineError
from sim.vta_fuzz import fuzz_program
from sim.vta_limits import Limit, attempt, last_addresses, limits
from sim.vta_rtl import VtaRtl
from sim.vta_storms import storms
from sim.vta_traps import TRAPS, trap

__all__ = ["WITHIN", "core", "check_core"]

# Load, gemm, alu, store and tokens, with what each of them is made of.
WITHIN = tuple(f"hw/vta/{name}.py" for name in (
    "load", "load_unit", "gemm", "loops", "alu", "alu_long", "accumulators", "store",
    "tokens"))

CONFIG = VtaConfig(log_block=2, log_uop_buff_size=8, log_inp_buff_size=8, log_wgt_buff_size=10,
                   log_acc_buff_size=11, burst_beats=4, reads=2, writes=2, queue_depth=8,
                   token_width=4)
_PROGRAMS = 60
_WATCHDOG = 1000

_LATENCIES = (1, 7, 40)
_STALLS = (0.5, 0.2, 0.8)
_ORIGINS = (0x5A5A_5000, 0xA5A5_A000)  # of DRAM, so that addresses have bits everywhere


def core() -> VtaCore:
    """The core that is injured."""
    return VtaCore(CONFIG)


@dataclass(frozen=True)
class _Case:
    """A program, the conditions, and what it must leave behind, as far as that is known."""

    limit: Limit
    latency: int
    stall: float
    origin: int = 0
    counters: dict[str, int] | None = None


@cache
def _cases() -> list[_Case]:
    cases = []

    def add(number, image, insn_addr, words):
        machine, dram = Machine(CONFIG), image.copy()
        result = simulate(machine, words, dram, insn_addr=insn_addr)
        latency = _LATENCIES[number % 3]
        exact = cycles(CONFIG, words, image, insn_addr=insn_addr, latency=latency).counters
        limit = Limit(words, result.status, result.instruction, image, dram, insn_addr=insn_addr,
                      scratchpads=machine.scratchpads())
        cases.append(_Case(limit, latency, 0.0, _ORIGINS[0], exact))
        cases.append(_Case(limit, latency, _STALLS[number % 3], _ORIGINS[1]))

    programs = [trap(name, CONFIG)[0] for name in TRAPS]
    programs += [program for _, program in (*corners(CONFIG), *storms(CONFIG))]
    for number, program in enumerate(programs):
        add(number, np.frombuffer(program.image(), np.uint8), program.insn_addr, program.words)
    for seed in range(_PROGRAMS):
        program = fuzz_program(CONFIG, seed)
        add(seed, program.image, program.insn_addr, program.words)
    cases += [_Case(limit, 5, 0.2) for limit in (*last_addresses(CONFIG), *limits(CONFIG))]
    return cases


def check_core(engine) -> bool:
    """Whether every result, every cause of an error and every count is right."""
    try:
        core = VtaRtl(CONFIG, engine=engine)
        return all(_right(core, case) for case in _cases())
    except (EngineError, RuntimeError):
        return False


def _right(core: VtaRtl, case: _Case) -> bool:
    wrong, result = attempt(core, case.limit, latency=case.latency, stall=case.stall, seed=1,
                            timeout=400_000, watchdog=_WATCHDOG, origin=case.origin)
    counters = case.counters or {}
    return not wrong and all(counters.get(name, count) == count
                             for name, count in result.counters.items())
