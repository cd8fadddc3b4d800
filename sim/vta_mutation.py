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
    programs += [_long_rows(), _full_queues()]
    for number, program in enumerate(programs):
        add(np.frombuffer(bytes(program.image()), np.uint8), program.insn_addr, program.words,
            *_CONDITIONS[number % 2])
    for seed in range(_PROGRAMS):
        program = fuzz_program(CONFIG, seed)
        add(program.image, program.insn_addr, program.words, *_CONDITIONS[seed % 4])
    for words, fault, number in wrong_programs(CONFIG).values():
        image = np.zeros(8192, np.uint8)
        image[4096:4096 + 16 * len(words)] = np.frombuffer(to_binary(words), np.uint8)
        cases.append((image, 4096, len(words), 5, 0.2, fault, number, None, None))
    return cases


def _long_rows() -> Program:
    """Rows of many bursts across 4 KiB, from and to addresses that no beat begins at."""
    rng = np.random.default_rng(3)
    with Program(CONFIG) as p:
        depth = {name: CONFIG.depth(name) for name in ("inp", "wgt", "acc")}
        x = p.buffer("x", Memory.INP, rng.integers(-128, 128, (2600, 4)).astype(np.int8))
        a = p.buffer("a", Memory.ACC, rng.integers(-1 << 31, 1 << 31, (600, 4)).astype(np.int32))
        w = p.buffer("w", Memory.WGT, rng.integers(-128, 128, (700, 16)).astype(np.int8))
        y = p.buffer("y", Memory.OUT, 2600)
        p.load(x, x=depth["inp"] - 1, dram=1001, sram=1)
        p.load(w, x=depth["wgt"], dram=240)
        p.load(w, y=3, x=5, stride=193, sram=2, dram=1, pad=(1, 0, 2, 1))
        p.load(a, x=depth["acc"], dram=215, push="g2s")
        p.store(y, x=depth["acc"], dram=1001, pop="g2s")
        p.store(y, y=7, x=9, stride=301, dram=2, saturate=True)
        p.store(y, y=2, x=20, stride=23, dram=2501, sram=3, sram_skip=2, sram_stride=31)
        p.store(y, y=3, x=3, stride=1, dram=2560, sram=100, push="s2g")
        p.load(Memory.ACC_8BIT, dram=y.base + 1003, x=77, sram=5, pop="s2g")
        p.load(Memory.ACC_8BIT, dram=a.base * 4, y=2, x=31, stride=33, sram=85, pad=(0, 1, 1, 0))
        p.finish()
    return p


def _full_queues() -> Program:
    """More tokens than a queue holds, each way: the poster has to wait."""
    with Program(CONFIG) as p:
        for _ in range(18):
            p.sync(Memory.INP, push="l2g")
        for _ in range(3):
            p.sync(Memory.UOP, pop="l2g", push="g2l g2s")
        for _ in range(15):
            p.sync(Memory.UOP, pop="l2g", push="g2l g2s")
        for _ in range(18):
            p.sync(Memory.OUT, pop="g2s", push="s2g")
            p.sync(Memory.INP, pop="g2l")
        for _ in range(18):
            p.sync(Memory.UOP, pop="s2g")
        p.finish()
    return p


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
