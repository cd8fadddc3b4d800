"""The check of the VTA core for :mod:`sim.mutate`: what its tests look at, in a few seconds.

Random programs, the corners of :mod:`sim.vta_traps`, the crowds of :mod:`sim.vta_storms` and wrong
programs, on a core so small that every bit of an index counts. Results are those of the simulator;
where memory does not stall, cycles and counters are those of :mod:`sim.vta_cycles`.
"""

from functools import cache

import numpy as np

from hw.vta.assembler import to_binary
from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from hw.vta.isa import Fault
from sim.golden.vta import Machine, simulate
from sim.vta_cycles import cycles
from sim.vta_engine import EngineError
from sim.vta_faults import wrong_programs
from sim.vta_fuzz import fuzz_program
from sim.vta_rtl import VtaRtl
from sim.vta_storms import refused, storms
from sim.vta_traps import TRAPS, trap

__all__ = ["WITHIN", "core", "check_core"]

# Load, gemm, alu, store and tokens, with what each of them is made of.
WITHIN = tuple(f"hw/vta/{name}.py" for name in (
    "load", "load_unit", "gemm", "loops", "alu", "accumulators", "store", "tokens"))

CONFIG = VtaConfig(log_block=2, log_uop_buff_size=8, log_inp_buff_size=8, log_wgt_buff_size=10,
                   log_acc_buff_size=11, burst_beats=4, reads=2, writes=2, queue_depth=8,
                   token_width=4)
_PROGRAMS = 60
_WATCHDOG = 3000

_LATENCIES = (1, 7, 40)
_STALLS = (0.5, 0.2, 0.8)
_ORIGINS = (0x5A5A_5000, 0xA5A5_A000)  # of DRAM, so that addresses have bits everywhere


def core() -> VtaCore:
    """The core that is injured."""
    return VtaCore(CONFIG)


@cache
def _cases() -> list[tuple]:
    """Image, address and count of a program, conditions, and what it must leave behind."""
    cases = []

    def add(number, image, insn_addr, words):
        machine, dram = Machine(CONFIG), image.copy()
        result = simulate(machine, words, dram, insn_addr=insn_addr)
        latency = _LATENCIES[number % 3]
        exact = cycles(CONFIG, words, image, insn_addr=insn_addr, latency=latency).counters
        for origin, stall, counters in zip(_ORIGINS, (0.0, _STALLS[number % 3]), (exact, None)):
            cases.append((image, insn_addr, len(words), latency, stall, origin, result.status,
                          result.instruction, dram, machine.scratchpads(), counters))

    programs = [trap(name, CONFIG)[0] for name in TRAPS]
    programs += [program for _, program in storms(CONFIG)]
    for number, program in enumerate(programs):
        add(number, np.frombuffer(bytes(program.image()), np.uint8), program.insn_addr,
            program.words)
    for seed in range(_PROGRAMS):
        program = fuzz_program(CONFIG, seed)
        add(seed, program.image, program.insn_addr, program.words)
    wrong = [*wrong_programs(CONFIG).values(), *((words, fault, 0) for words, fault
                                                 in refused(CONFIG))]
    for words, fault, number in wrong:
        image = np.zeros(8192, np.uint8)
        image[4096:4096 + 16 * len(words)] = np.frombuffer(to_binary(words), np.uint8)
        cases.append((image, 4096, len(words), 5, 0.2, 0, fault, number, image, None, None))
    return cases


def check_core(engine) -> bool:
    """Whether every result, every cause of an error and every count is right."""
    try:
        core = VtaRtl(CONFIG, engine=engine)
        return _results(core)
    except (EngineError, RuntimeError):
        return False


def _results(core) -> bool:
    for (image, insn_addr, count, latency, stall, origin, status, number, dram, pads,
         counters) in _cases():
        core.restart()
        got = image.copy()
        result = core.run(got, insn_addr, count, latency=latency, stall=stall, seed=1,
                          timeout=400_000, watchdog=_WATCHDOG, origin=origin)
        if (result.status, result.instruction) != (status, number) \
                or not np.array_equal(got, dram):
            return False
        if status == Fault.DONE:
            found = core.scratchpads()
            if any(not np.array_equal(found[name], pads[name]) for name in pads):
                return False
            if counters and any(result.counters[name] != counters[name]
                                for name in result.counters if name in counters):
                return False
    return True
