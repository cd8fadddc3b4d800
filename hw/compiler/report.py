"""What a compiled network costs: figures per layer and in all, as a dictionary for JSON.

The times of the instructions come from outside (:mod:`sim.vta_cycles` has them without data, a
trace of the core would do as well); all else follows from the program.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from hw.compiler.operators import Host
from hw.compiler.program import Compiled, Launch
from hw.vta.assembler import from_binary
from hw.vta.isa import Instruction, Isa, Memory, Opcode, Unit

__all__ = ["PARTS", "Timing", "report"]

PARTS = ("load", "fill", "gemm", "alu", "store")  # fill: LOADs of the compute unit


class Timing(Protocol):
    """When the instructions of one launch ran; arrays have a cycle for each."""
    cycles: int
    begin: np.ndarray
    done: np.ndarray
    left: np.ndarray
    counters: Mapping[str, int]
    causes: Mapping[str, Mapping[str, int]]


def report(name: str, program: Compiled, timings: Sequence[Timing], *, latency: int,
           clock_mhz: float, level: str, accuracy: Mapping | None = None,
           errors: Mapping[str, Mapping] | None = None, notes: Sequence[str] = ()) -> dict:
    """All figures of ``program``.

    Parameters
    ----------
    timings : one :class:`Timing` for each launch
    latency : :class:`int`
        Of the memory, in cycles; as ``timings`` assume it.
    accuracy : mapping or ``None``
        ``n``, and by way (``operators``, ``reference``, ``float``) ``accuracy`` and
        ``interval_95``.
    errors : mapping of operator to mapping, or ``None``
        ``worst_lsb`` and ``unequal`` against the reference executor on the same input, and
        ``float_ratio``: RMS difference from the float model over the deviation.

    A layer ends with its last product, or with its last instruction if it has none; its cycles are
    those since the end of the layer before it, so they add up to the total. What is loaded ahead
    for the next layer counts for the one during which it is loaded. Utilisation is that of the
    whole array: useful MACs over ``cycles * macs_per_cycle``.
    """
    config, errors = program.config, errors or {}
    if not clock_mhz > 0:
        raise ValueError(f"clock must be above 0 MHz, not {clock_mhz!r}")
    peak = config.batch * config.block ** 2
    layers, timeline, start = [], {part: [] for part in PARTS}, 0
    counters, causes = {}, {}
    launches = iter(timings)
    for step in program.steps:
        if isinstance(step, Host):
            layers.append({"name": step.name, "operators": "Host", "place": "host",
                           "reason": step.reason})
            continue
        timing = next(launches)
        insns = _instructions(program, step)
        _add_layers(layers, step, insns, timing, start, program, peak, errors)
        _add_spans(timeline, insns, timing, start)
        start += timing.cycles
        for key, value in timing.counters.items():
            counters[key] = counters.get(key, 0) + value
        for part, row in timing.causes.items():
            kept = causes.setdefault(part, dict.fromkeys(row, 0))
            for cause, cycles in row.items():
                kept[cause] += cycles
    on_core = [layer for layer in layers if layer["place"] == "core"]
    total = {key: sum(layer[key] for layer in on_core)
             for key in ("macs", "ideal_cycles", "read_bytes", "write_bytes", "instructions")}
    return {
        "model": name, "level": level, "clock_mhz": clock_mhz, "notes": list(notes),
        "config": config.to_dict(), "macs_per_cycle": peak,
        "memory": {"latency": latency, "bus_bits": config.bus_width},
        "cycles": start, "milliseconds": start / clock_mhz / 1e3, **total,
        "utilisation": total["macs"] / (peak * start) if start else 0.0,
        "counters": counters, "causes": causes, "layers": layers, "timeline": timeline,
        "memory_map": _memory_map(program), "accuracy": dict(accuracy) if accuracy else None,
    }


def _instructions(program: Compiled, launch: Launch) -> list[Instruction]:
    isa, end = Isa(program.config), launch.insn_addr + 16 * launch.insn_count
    return [isa.decode(word) for word in from_binary(program.image[launch.insn_addr:end].tobytes())]


def _part(insn: Instruction) -> str | None:
    if insn.is_memory:
        if not insn.x_size:
            return None
        return {Unit.LOAD: "load", Unit.COMPUTE: "fill", Unit.STORE: "store"}[insn.unit]
    if insn.opcode == Opcode.FINISH:
        return None
    return "alu" if insn.opcode == Opcode.ALU else "gemm"


def _bytes(insn: Instruction, config) -> int:
    if not insn.is_memory or not insn.x_size:
        return 0
    return insn.x_size * insn.y_size * config.element_bytes(Memory(insn.memory_type).dram_element)


def _add_layers(layers, launch, insns, timing, start, program, peak, errors):
    config, before, first = program.config, 0, 0
    for number, (plan_, last) in enumerate(zip(launch.plans, launch.ends)):
        mine = slice(first, last + 1 if number < len(launch.ends) - 1 else len(insns))
        end = timing.cycles if mine.stop == len(insns) else \
            max(before, int(timing.done[_last_work(insns, mine)]) + 1)
        operators = plan_.visit.operators
        macs = sum(operator.macs for operator in operators)
        cycles = end - before
        moved = {store: sum(_bytes(insn, config) for insn in insns[mine]
                            if (insn.opcode == Opcode.STORE) == store) for store in (False, True)}
        found = [errors[operator.name] for operator in operators if operator.name in errors]
        layers.append({
            "name": operators[0].name, "place": "core",
            "operators": "+".join(map(_kind, operators)),
            "shape": list(operators[-1].y.shape), "schedule": plan_.schedule.to_dict(),
            "begin": start + before, "end": start + end, "cycles": cycles,
            "instructions": mine.stop - mine.start, "macs": macs,
            "ideal_cycles": -(-macs // peak),
            "utilisation": macs / (peak * cycles) if cycles else 0.0,
            "read_bytes": moved[False], "write_bytes": moved[True],
            "macs_per_byte": macs / max(1, sum(moved.values())),
            **{key: max(each[key] for each in found if key in each)
               for key in dict.fromkeys(key for each in found for key in each)},
        })
        before, first = end, mine.stop


def _kind(operator) -> str:
    return "Depthwise" if getattr(operator, "depthwise", False) else type(operator).__name__


def _last_work(insns, mine: slice) -> int:
    """The last product of a layer, or else its last instruction of the compute unit."""
    kinds = [_part(insn) for insn in insns[mine]]
    for wanted in (("gemm",), ("alu", "fill")):
        found = [mine.start + n for n, kind in enumerate(kinds) if kind in wanted]
        if found:
            return found[-1]
    return mine.stop - 1


def _add_spans(timeline, insns, timing, start):
    """Cycles in which each part works on an instruction: an engine takes one at a time."""
    rows: dict[str, list[list[int]]] = {part: [] for part in PARTS}
    for index, insn in enumerate(insns):
        part = _part(insn)
        if part is not None:
            rows[part].append([int(timing.begin[index]), int(timing.done[index]) + 1, index])
    for part, spans in rows.items():
        for span, following in zip(spans, [*spans[1:], None]):
            end = span[1] if following is None else max(span[0], min(span[1], following[0]))
            timeline[part].append([start + span[0], start + end, span[2]])


def _memory_map(program: Compiled) -> dict:
    """Where the activations are, and from which layer to which they are needed.

    ``bound``: most bytes alive at one layer; no placement needs less.
    """
    number, first, last = 0, {}, {}
    for step in program.steps:
        if isinstance(step, Host):
            groups = [(step.xs, step.ys)]
        else:
            groups = [([x.name for operator in plan_.visit.operators for x in operator.inputs],
                       [tensor.name for tensor in plan_.visit.stores]) for plan_ in step.plans]
        for reads, writes in groups:
            for name in (*reads, *writes):
                if name in program.places:
                    root = program.places[name].root
                    first.setdefault(root, 0 if name in program.network.inputs else number)
                    last[root] = number
            number += 1
    for name in program.network.outputs:
        if name in program.places:
            last[program.places[name].root] = max(0, number - 1)
    size = program.config.element_bytes("out")
    tensors = []
    for name, begin in first.items():
        place = program.places[name]
        tensors.append({"name": name, "address": place.base * size,
                        "size": int(np.prod(place.shape)) * size, "first": begin,
                        "last": last[name]})
    return {"layers": number, "tensors": tensors, "bound": program.bound, "peak": program.peak,
            "constants": program.base}
