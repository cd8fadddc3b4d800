"""The check of the VTA core for :mod:`sim.mutate`: what its tests look at, in a few seconds.

Random programs, the corners of :mod:`sim.vta_traps`, wrong programs, and the timing that the data
sheets promise, on a core so small that every bit of an index counts.
"""

from functools import cache

import numpy as np

from hw.vta.assembler import Program, to_binary
from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from hw.vta.isa import AluOp, Fault, Memory
from sim.golden.vta import Machine, simulate
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

#             latency  stall
_CONDITIONS = ((1, 0.0), (3, 0.5), (40, 0.0), (16, 0.3))


def core() -> VtaCore:
    """The core that is injured."""
    return VtaCore(CONFIG)


@cache
def _cases() -> list[tuple]:
    """Image, address and count of a program, conditions, and what it must leave behind."""
    cases = []

    def add(image, insn_addr, words, latency, stall):
        machine, dram = Machine(CONFIG), image.copy()
        result = simulate(machine, words, dram, insn_addr=insn_addr)
        cases.append((image, insn_addr, len(words), latency, stall, result.status,
                      result.instruction, dram, machine.scratchpads()))

    programs = [trap(name, CONFIG)[0] for name in TRAPS]
    programs += [program for _, program in storms(CONFIG)]
    for number, program in enumerate(programs):
        add(np.frombuffer(bytes(program.image()), np.uint8), program.insn_addr, program.words,
            *_CONDITIONS[number % 2])
    for seed in range(_PROGRAMS):
        program = fuzz_program(CONFIG, seed)
        add(program.image, program.insn_addr, program.words, *_CONDITIONS[seed % 4])
    wrong = [*wrong_programs(CONFIG).values(), *((words, fault, 0) for words, fault
                                                 in refused(CONFIG))]
    for words, fault, number in wrong:
        image = np.zeros(8192, np.uint8)
        image[4096:4096 + 16 * len(words)] = np.frombuffer(to_binary(words), np.uint8)
        cases.append((image, 4096, len(words), 5, 0.2, fault, number, None, None))
    return cases


# Timing -----------------------------------------------------------------------------------------

def _alu(operation, uop, **options):
    return lambda count: lambda p: p.alu(operation, p.kernel([uop]), (count, 1, 1), **options)


def _gemm(factor):
    return lambda count: lambda p: p.gemm(p.kernel([(0, 0, 0)]), (count, factor, 0))


def _load(kind):
    return lambda count: lambda p: p.load(p.buffer("x", kind, count))


def _store(count):
    return lambda p: p.store(p.buffer("y", Memory.OUT, count))


# What the second half of 64 micro-operations, or elements, takes.
_RATES = {
    "gemm":      (_gemm(1), 32), "gemm same": (_gemm(0), 32),
    "add imm":   (_alu(AluOp.ADD, (0, 0), imm=1), 32), "add src": (_alu(AluOp.ADD, (0, 64)), 32),
    "max same":  (_alu(AluOp.MAX, (0, 0)), 32), "mul src": (_alu(AluOp.MUL, (0, 64)), 32),
    "load inp":  (_load(Memory.INP), 16), "load wgt": (_load(Memory.WGT), 64),
    "load acc":  (_load(Memory.ACC), 64), "load acc_8bit": (_load(Memory.ACC_8BIT), 16),
    "store":     (_store, 16),
}


@cache
def _timed() -> list[tuple]:
    timed = []
    for name, (program, cycles) in _RATES.items():
        pair = []
        for count in (32, 64):
            with Program(CONFIG) as p:
                program(count)(p)
                p.finish()
            pair.append((np.frombuffer(bytes(p.image()), np.uint8), p.insn_addr, p.insn_count))
        timed.append((name, pair, cycles))
    return timed


def check_core(engine) -> bool:
    """Whether every result, every cause of an error and every rate is right."""
    try:
        core = VtaRtl(CONFIG, engine=engine)
        return _results(core) and _rates(core)
    except (EngineError, RuntimeError):
        return False


def _results(core) -> bool:
    for image, insn_addr, count, latency, stall, status, number, dram, pads in _cases():
        core.restart()
        got = image.copy()
        result = core.run(got, insn_addr, count, latency=latency, stall=stall, seed=1,
                          timeout=40_000, watchdog=_WATCHDOG)
        if (result.status, result.instruction) != (status, number):
            return False
        if status == Fault.DONE:
            found = core.scratchpads()
            if not np.array_equal(got, dram) or any(
                    not np.array_equal(found[name], pads[name]) for name in pads):
                return False
    return True


def _rates(core) -> bool:
    for _, pair, cycles in _timed():
        took = []
        for image, insn_addr, count in pair:
            core.restart()
            took.append(core.run(image.copy(), insn_addr, count, latency=1, timeout=40_000,
                                 watchdog=_WATCHDOG).cycles)
        if took[1] - took[0] != cycles:
            return False
    return True
