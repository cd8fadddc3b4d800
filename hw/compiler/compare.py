"""The checker between two passes: both sides computed, and compared at the class declared.

Every value that both sides have is compared, not only the outputs, so that a difference is named
where it arises. A bounded error is one of a layer: each layer of the new graph is fed with the old
graph's values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw.compiler.evaluate import Evaluator
from hw.compiler.graph import Graph
from hw.compiler.types import TensorType

__all__ = ["Exact", "Bounded", "Accuracy", "Keeps", "Miscompiled", "samples_for", "values_of",
           "compare", "ratio_of"]


@dataclass(frozen=True)
class Exact:
    """The same bits."""

    def __str__(self):
        return "bit-exact"


@dataclass(frozen=True)
class Bounded:
    """At most ``lsb`` of an integer for each layer; ``relative`` to the largest float of an output.
    """
    lsb: int
    relative: float

    def __str__(self):
        return f"within {self.lsb} LSB a layer, floats {self.relative:g} of the largest"


@dataclass(frozen=True)
class Accuracy:
    """The task is still done: RMS of the difference at most ``ratio`` of the outputs' deviation,
    over the calibration inputs."""
    ratio: float

    def __str__(self):
        return f"task accuracy, RMS difference at most {self.ratio:g} of the deviation"


Keeps = Exact | Bounded | Accuracy


class Miscompiled(ValueError):
    """A pass did not keep what it declares."""


def samples_for(inputs: Mapping[str, TensorType], calibration: Sequence[Mapping] = (),
                seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Boundary, random and calibration inputs: least, largest, zeros, two random, two given."""
    rng, made = np.random.default_rng(seed), []
    for kind in ("least", "largest", "zero", "random", "random"):
        made.append({name: _filled(rng, each, kind) for name, each in inputs.items()})
    return made + [dict(each) for each in calibration[:2]]


def _filled(rng: np.random.Generator, kind: TensorType, what: str) -> np.ndarray:
    dtype = np.dtype(kind.element)
    if dtype.kind == "f":
        value = {"least": -4.0, "largest": 4.0, "zero": 0.0}.get(what)
        return np.full(kind.shape, value, dtype) if value is not None else \
            rng.standard_normal(kind.shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, kind.shape).astype(bool)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -128), min(limits.max, 255)
    value = {"least": low, "largest": high, "zero": 0}.get(what)
    return np.full(kind.shape, value, dtype) if value is not None else \
        rng.integers(low, high + 1, kind.shape).astype(dtype)


def values_of(graph: Graph, samples: Sequence[Mapping]) -> list[dict[str, np.ndarray]]:
    """Inputs, outputs and all 8-bit values of ``graph`` on ``samples``."""
    names = tuple(o for n in graph.nodes for o in n.outputs if o and _narrow(graph.types[o]))
    run, made = Evaluator(graph, names), []
    for sample in samples:
        results = run(sample)
        for name, value in results.items():
            kind = graph.types[name]
            if value.shape != kind.shape or value.dtype != kind.element:
                raise Miscompiled(f"type of {name!r}: {value.dtype}{list(value.shape)} computed, "
                                  f"{kind} inferred")
        made.append({**sample, **results})
    return made


def _narrow(kind: TensorType) -> bool:
    return kind.element in ("int8", "uint8")


def compare(name: str, keeps: Keeps, graph: Graph, before: Sequence[Mapping],
            after: Sequence[Mapping], outputs: Sequence[str]) -> None:
    """:exc:`Miscompiled` unless ``after``, the values of ``graph``, keep ``before``."""
    if isinstance(keeps, Bounded):
        after = _by_layers(graph, before)
    if isinstance(keeps, Accuracy):
        _compare_accuracy(name, keeps, before, after, outputs)
        return
    for index, (old, new) in enumerate(zip(before, after)):
        for value in new:
            if value not in old or old[value].dtype != new[value].dtype:
                continue
            a, b = old[value], new[value]
            if a.shape != b.shape:
                raise Miscompiled(f"{name}: {value!r} has shape {a.shape} before, {b.shape} after")
            bound = 0.0
            if isinstance(keeps, Bounded):
                bound = keeps.relative * max(float(np.abs(a).max(initial=0)), 1e-30) \
                    if a.dtype.kind == "f" else keeps.lsb
            same = a == b if a.dtype.kind != "f" else (a == b) | (np.isnan(a) & np.isnan(b))
            worst = np.abs(np.where(same, 0, a.astype(np.float64) - b)).max(initial=0)
            if not worst <= bound:
                raise Miscompiled(f"{name}: {value!r} differs by {worst:g} on input {index}, "
                                  f"declared {keeps}")


def _by_layers(graph: Graph, before: Sequence[Mapping]) -> list[dict[str, np.ndarray]]:
    """Each value that ``before`` has, computed by ``graph`` from those of ``before`` above it."""
    known = set(before[0]) if before else set()
    results: list[dict[str, np.ndarray]] = [{} for _ in before]
    producers = graph.producers()
    for value in dict.fromkeys((*(o for n in graph.nodes for o in n.outputs), *graph.outputs)):
        if value not in known or value not in producers or \
                before[0][value].dtype != graph.types[value].element:
            continue
        needed, cone, inputs = [value], set(), []
        while needed:
            each = needed.pop()
            if each != value and each in known and _matches(before[0][each], graph.types[each]) \
                    or each in graph.inputs:
                inputs.append(each)
            elif each in producers and producers[each].name not in cone:
                cone.add(producers[each].name)
                needed += [i for i in producers[each].inputs if i and i not in graph.constants]
        layer = Graph.of(value, {i: graph.types[i] for i in dict.fromkeys(inputs)}, [value],
                         [n for n in graph.nodes if n.name in cone], graph.constants)
        run = Evaluator(layer)
        for sample, result in zip(before, results):
            result.update(run({i: sample[i] for i in layer.inputs}))
    return results


def _matches(array: np.ndarray, kind: TensorType) -> bool:
    return _narrow(kind) and array.dtype == kind.element and array.shape == kind.shape


def _compare_accuracy(name, keeps, before, after, outputs) -> None:
    for value in outputs:
        ratio = ratio_of([s[value] for s in before], [s[value] for s in after])
        if not ratio <= keeps.ratio:
            raise Miscompiled(f"{name}: {value!r} differs by {ratio:.3g} of its deviation, "
                              f"declared {keeps}")


def ratio_of(old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> float:
    """RMS of the difference over the deviation of ``old``, or a hundredth of its largest element
    where it hardly deviates."""
    old, new = (np.stack(each).astype(np.float64) for each in (old, new))
    deviation = max(float(old.std()), 0.01 * float(np.abs(old).max(initial=0)))
    rms = float(np.sqrt(np.mean((old - new) ** 2)))
    return rms / deviation if deviation > 0 else 0.0 if rms == 0 else float("inf")
