"""Runs a program: three units, four token queues, any order the tokens allow."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import Fault, Instruction, Isa, Opcode, Token, Unit
from sim.golden.vta.machine import GRANULE, Effect, Machine, VtaError
from sim.golden.vta.races import POSTER, Race, RaceChecker
from sim.golden.vta.trace import TraceRecord, record

__all__ = ["Result", "Unwritten", "simulate", "replay", "schedules"]

Order = str | int | random.Random | Sequence[Unit]


@dataclass(frozen=True)
class Unwritten:
    """Instruction ``index`` read ``element`` of ``memory``, and ``count - 1`` others, too early."""
    index: int
    memory: str
    element: int
    count: int

    def __str__(self):
        more = f" and {self.count - 1} more" if self.count > 1 else ""
        return (f"instruction {self.index} reads {self.memory}[{self.element}]{more}, "
                f"which nothing has written")


@dataclass
class Result:
    """How a run ended.

    Attributes
    ----------
    status : :class:`Fault`
        ``DONE``, or why it stopped.
    instruction : :class:`int` or None
        The offending instruction; of a deadlock, the first that waits.
    message : :class:`str`
        One sentence about it; empty when done.
    executed : list of :class:`int`
        Instructions in the order in which they executed.
    races, unwritten, trace : list
        What the checkers found, and a record per instruction in program order.
    late : list of :class:`int`
        Instructions that may execute after FINISH, one per unit; upstream's simulator hangs then.
    counters : dict of name to :class:`int`
    """
    status: Fault = Fault.DONE
    instruction: int | None = None
    message: str = ""
    executed: list[int] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)
    unwritten: list[Unwritten] = field(default_factory=list)
    trace: list[TraceRecord] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


def simulate(machine: Machine, words: Sequence[int], dram: np.ndarray, *,
             bases: Mapping[str, int] | None = None, order: Order = "program",
             races: bool = True, trace: bool = False, insn_addr: int | None = None,
             observer: Callable[[int, Instruction, Effect], None] | None = None) -> Result:
    """Execute ``words`` on ``machine`` with ``dram`` (uint8, changed in place).

    Parameters
    ----------
    order : which unit goes on when several could
        ``"program"``: the one whose instruction comes first in the program; a sequence of units:
        the first of them; an integer or :class:`random.Random`: chance. A list of instruction
        indices (:func:`schedules`) is followed exactly.
    races, trace : :class:`bool`
        Whether to check for races, and to record what each instruction wrote.
    insn_addr : :class:`int`
        Where the instructions are in ``dram``, if they are: storing into them is a race.
    observer : function
        Called after each instruction with its index, itself and its effect.

    After an error, what was written before is kept, the offending instruction has no effect, and
    the tokens left over stay in ``machine``.
    """
    insns = [machine.isa.decode(word) for word in words]
    queues = {unit: [i for i, insn in enumerate(insns) if insn.unit == unit] for unit in Unit}
    heads = dict.fromkeys(Unit, 0)
    tokens = {token: machine.tokens.get(token, 0) for token in Token}
    result = Result(counters=_fresh_counters())
    checker = None
    if races:
        depths = {name: len(array) for name, array in machine.scratchpads().items()}
        depths["dram"] = len(dram) // GRANULE + 1
        bgn = 0 if insn_addr is None else insn_addr
        checker = RaceChecker(depths, range(bgn, bgn + (16 * len(words) if insn_addr is not None
                                                        else 0)))
        for token, count in tokens.items():
            checker.seed(token, count)
    choose = _chooser(order)
    finished = False

    while True:
        ready = [queues[unit][heads[unit]] for unit in Unit if heads[unit] < len(queues[unit])
                 and all(tokens[t] for t in insns[queues[unit][heads[unit]]].pops)]
        if not ready:
            break
        index = choose(ready, insns)
        insn = insns[index]
        try:
            effect = machine.execute(insn, dram, bases)
        except VtaError as error:
            result.status, result.instruction = error.fault, index
            result.message = (f"instruction {index} ({machine.isa.disassemble(words[index])}) "
                              f"stops the core, {error}")
            break
        heads[insn.unit] += 1
        for token in insn.pops:
            tokens[token] -= 1
        for token in insn.pushes:
            tokens[token] += 1
        result.executed.append(index)
        finished |= insn.opcode == Opcode.FINISH
        _count(result.counters, insn, effect)
        result.unwritten += [Unwritten(index, a.memory, int(a.elements[0]), len(a.elements))
                             for a in effect.unwritten]
        if checker is not None:
            checker.step(insn.unit, index, insn.pops, insn.pushes, effect)
            if insn.opcode == Opcode.FINISH:
                checker.finished()
        if observer is not None:
            observer(index, insn, effect)
        if trace:
            result.trace.append(_record(machine, index, insn, effect, dram))

    machine.tokens = tokens
    result.trace.sort(key=lambda item: item.index)
    if checker is not None:
        result.races = sorted(checker.races.values(), key=lambda r: (r.second, r.first))
        result.late = checker.late()
    if result.status == Fault.DONE:
        waiting = {unit: queue[heads[unit]] for unit, queue in queues.items()
                   if heads[unit] < len(queue)}
        if waiting:
            result.status, result.instruction = Fault.DEADLOCK, min(waiting.values())
            result.message = _deadlock(machine.isa, words, insns, waiting, tokens)
        elif not finished:
            result.status = Fault.NO_FINISH
            result.message = "every instruction has executed, and none was FINISH"
    return result


def replay(machine: Machine, words: Sequence[int], dram: np.ndarray, orders: Sequence[Order], *,
           bases: Mapping[str, int] | None = None, insn_addr: int | None = None
           ) -> tuple[Result, list[Race] | None]:
    """Run under every order of ``orders``; ``machine`` and ``dram`` are left as they were.

    Returns the first run's result, and none if all end in the same state: status, scratchpads,
    DRAM. Otherwise the races that explain the difference: the instructions that collide.
    """
    outcomes, results = [], []
    for order in orders:
        copy, image = machine.copy(), dram.copy()
        results.append(simulate(copy, words, image, bases=bases, order=order,
                                insn_addr=insn_addr))
        outcomes.append((results[-1].status, image.tobytes(),
                         *(array.tobytes() for array in copy.scratchpads().values())))
    return results[0], (None if len(set(outcomes)) == 1 else
                        max((r.races for r in results), key=len))


def schedules(config: VtaConfig, words: Sequence[int],
              tokens: Mapping[Token, int] | None = None) -> Iterator[list[int]]:
    """Every order in which the units can execute the program, as far as the tokens let it go.

    There may be very many; take some with :func:`itertools.islice`.
    """
    insns = [Isa(config).decode(word) for word in words]
    queues = {unit: [i for i, insn in enumerate(insns) if insn.unit == unit] for unit in Unit}

    def extend(path, heads, counts):
        stuck = True
        for unit in Unit:
            if heads[unit] == len(queues[unit]):
                continue
            index = queues[unit][heads[unit]]
            if all(counts[token] for token in insns[index].pops):
                stuck = False
                after = list(counts)
                for token in insns[index].pops:
                    after[token] -= 1
                for token in insns[index].pushes:
                    after[token] += 1
                moved = [head + (u == unit) for u, head in enumerate(heads)]
                yield from extend([*path, index], moved, after)
        if stuck:
            yield path

    start = [(tokens or {}).get(token, 0) for token in Token]
    yield from extend([], [0] * len(Unit), start)


def all_priorities() -> list[tuple[Unit, ...]]:
    """The six orders in which one unit always goes before another."""
    return list(itertools.permutations(Unit))


def _chooser(order: Order):
    if isinstance(order, str):
        if order != "program":
            raise ValueError(f"order must be 'program', units, a seed or indices, not {order!r}")
        return lambda ready, insns: min(ready)
    if isinstance(order, int):
        order = random.Random(order)
    if isinstance(order, random.Random):
        return lambda ready, insns: order.choice(ready)
    if order and isinstance(order[0], Unit):
        rank = {unit: place for place, unit in enumerate(order)}
        return lambda ready, insns: min(ready, key=lambda index: rank[insns[index].unit])
    steps = iter(order)
    return lambda ready, insns: next(step for step in steps if step in ready)


def _deadlock(isa: Isa, words, insns: Sequence[Instruction], waiting, tokens) -> str:
    parts = []
    for unit, index in waiting.items():
        for token in insns[index].pops:
            if not tokens[token]:
                poster = POSTER[token]
                why = ("which waits, too" if poster in waiting
                       else "which has executed all its instructions")
                parts.append(f"{unit.name} waits for a token {token.name.lower()} from "
                             f"{poster.name}, {why}, at instruction {index} "
                             f"({isa.disassemble(words[index])})")
    return "; ".join(parts)


def _fresh_counters() -> dict[str, int]:
    names = [f"{unit.name.lower()}_instructions" for unit in Unit]
    names += [f"{opcode.name.lower()}_micro_operations"
              for opcode in (Opcode.GEMM, Opcode.DEPTHWISE, Opcode.ALU)]
    return dict.fromkeys([*names, "load_bytes", "store_bytes"], 0)


def _count(counters, insn: Instruction, effect: Effect):
    counters[f"{insn.unit.name.lower()}_instructions"] += 1
    if effect.micro_operations:
        counters[f"{insn.opcode.name.lower()}_micro_operations"] += effect.micro_operations
    if insn.is_memory:
        name = "store_bytes" if insn.opcode == Opcode.STORE else "load_bytes"
        counters[name] += effect.dram_bytes


def _record(machine: Machine, index: int, insn: Instruction, effect: Effect,
            dram: np.ndarray) -> TraceRecord:
    if effect.stored is not None:
        size = machine.config.element_bytes("out")
        return record(index, insn.unit, "dram", effect.stored,
                      dram[effect.stored[:, None] + np.arange(size)])
    for access in effect.writes:
        return record(index, insn.unit, access.memory, access.elements,
                      machine.scratchpads()[access.memory][access.elements])
    return record(index, insn.unit)
