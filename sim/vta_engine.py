"""What executes VTA programs: engines, by level, and what they all take and return.

An engine has the method of :class:`IssEngine`. Engines start from reset: scratchpads hold zeros.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.vta.assembler import from_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import Fault
from sim.golden.vta import Machine, TraceRecord, simulate
from sim.vta_cycles import cycles

__all__ = ["Conditions", "EngineError", "Outcome", "IssEngine", "ENGINES", "engine", "differences"]

# level -> module and class; imported when first asked for, since some need a compiler
ENGINES = {"iss": ("sim.vta_engine", "IssEngine"), "rtl": ("sim.vta_rtl", "RtlEngine"),
           "sequential": ("sim.vta_rtl", "SequentialEngine")}


class EngineError(Exception):
    """What an engine executes did something that no program may make it do; it says what."""


@dataclass(frozen=True)
class Conditions:
    """What surrounds the core: memory latency in cycles, chance of a stalled cycle, seed."""
    latency: int = 16
    stall: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.latency not in range(1, 100_001):
            raise ValueError(f"latency must be 1 to 100000 cycles, not {self.latency!r}")
        if not 0 <= self.stall <= 0.95:
            raise ValueError(f"stall must be 0 to 0.95, not {self.stall!r}")


@dataclass
class Outcome:
    """What a run left behind; ``instruction`` and ``message`` are about an error."""
    status: Fault
    cycles: int
    image: np.ndarray
    scratchpads: dict[str, np.ndarray]
    counters: dict[str, int]
    instruction: int | None = None
    message: str = ""
    trace: list[TraceRecord] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)


class IssEngine:
    """The instruction-set simulator; its cycles are those of :func:`sim.vta_cycles.cycles`.

    A memory that stalls is not modelled; the cycles of a run that stops with an error are 0.
    """

    def __init__(self, config: VtaConfig):
        self.config = config

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int, conditions: Conditions, *,
            order: str | int = "program", trace: bool = False,
            reads: Sequence[slice] | None = None) -> Outcome:
        """Execute the stream in ``image`` (uint8, left as it is) from reset.

        ``order`` is that of :func:`sim.golden.vta.simulate`. ``reads``: bytes of DRAM that anybody
        looks at afterwards, a later launch included; an engine far away may leave the others as
        they were. None: all that is stored.
        """
        dram, machine = image.copy(), Machine(self.config)
        words = from_binary(image[insn_addr:insn_addr + 16 * insn_count].tobytes())
        result = simulate(machine, words, dram, order=order, trace=trace, insn_addr=insn_addr)
        notes = {"races": [str(race) for race in result.races],
                 "unwritten": [str(read) for read in result.unwritten],
                 "late": [f"instruction {index} may execute after FINISH"
                          for index in result.late]}
        counters = result.counters
        if result.status == Fault.DONE:
            counters = counters | cycles(self.config, words, image, insn_addr=insn_addr,
                                         latency=conditions.latency).counters
        return Outcome(result.status, counters.get("cycles", 0), dram, machine.scratchpads(),
                       counters, result.instruction, result.message, result.trace, notes)


def engine(level: str, config: VtaConfig):
    """The engine of ``level`` for ``config``."""
    if level not in ENGINES:
        raise ValueError(f"level must be {' or '.join(ENGINES)}, not {level!r}")
    module, name = ENGINES[level]
    return getattr(importlib.import_module(module), name)(config)


def differences(expected: Outcome, actual: Outcome) -> str | None:
    """One sentence about the first difference of status, DRAM or scratchpads; or none."""
    if actual.status != expected.status:
        return f"status is {actual.status.status}, not {expected.status.status}"
    memories = [("dram", expected.image, actual.image)]
    memories += [(name, expected.scratchpads[name], actual.scratchpads[name])
                 for name in expected.scratchpads]
    for name, right, got in memories:
        where = np.argwhere(right != got)
        if len(where):
            at = tuple(int(i) for i in where[0])
            return (f"{name}[{', '.join(map(str, at))}] is {got[at]}, not {right[at]}, and "
                    f"{len(where) - 1} more differ")
    return None
