"""A network on a board, layer by layer, against the golden model of its operators."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from boards.engine import BoardEngine
from hw.compiler.api import Model
from hw.compiler.compare import samples_for
from hw.compiler.front import Front
from hw.compiler.link import compile_network
from hw.compiler.program import Compiled, Launch
from hw.tools import ToolError
from sim.golden.compiler import operators as golden

__all__ = ["WHOLE", "selftest"]

WHOLE = "the program as a whole"  # all layers were right, one by one

_Values = Mapping[str, np.ndarray]


class _Differs(Exception):
    """``found``: what is known of the first difference."""

    def __init__(self, found: dict[str, Any]):
        self.found = found


def selftest(engine: BoardEngine, front: Front, x: Any = None) -> dict[str, Any]:
    """Run ``front`` with a launch for each layer, and then as it is run otherwise.

    A layer is what the core computes between DRAM and DRAM: an operator, and those that only need
    its elements. Each is given what the board itself computed up to there.

    Parameters
    ----------
    engine
        A board, or one of :mod:`sim.vta_engine`.
    x
        Samples as for :meth:`hw.compiler.api.Model.run`; a random one by default.

    Returns
    -------
    dict
        ``layers`` on the core, ``samples``, and ``first``: none, or what is known of the first
        layer that differs: ``layer`` (its operators' names, or :data:`WHOLE`), ``sample``, and
        either why the core stopped (``error``) or the ``tensor``, how many of its ``elements`` are
        ``wrong``, and of the first ``index`` what is ``expected`` and ``got``.
    """
    layered = compile_network(front.network, engine.config, keep=True, split=True)
    launches = [step for step in layered.steps if isinstance(step, Launch)]
    if x is None:
        kinds = {name: front.graph.types[name] for name in front.graph.inputs}
        x = samples_for(kinds)[3]  # a random one
    whole = Model("whole", front, compile_network(front.network, engine.config))
    inputs = whole.inputs(x)
    count = len(next(iter(inputs.values())))
    found = {"layers": len(launches), "samples": count, "first": None}
    for number in range(count):
        sample = {name: array[number] for name, array in inputs.items()}
        expected = golden.run(front.network, sample, front.host())
        try:
            _layers(engine, front, layered, launches, sample, expected)
            _whole(engine, front, whole, sample, expected)
        except _Differs as difference:
            return found | {"first": {**difference.found, "sample": number}}
    return found


def _layers(engine, front: Front, layered: Compiled, launches: list[Launch], sample: _Values,
            expected: _Values) -> None:
    right: list[Launch] = []

    def watch(launch, values):
        for name in launch.results:
            _compare(_name(launch), name, expected[name], values[name])
        right.append(launch)

    try:
        layered.run(sample, engine=engine, host=front.host(), watch=watch)
    except ToolError as error:
        raise _Differs({"layer": _name(launches[len(right)]), "error": str(error)}) from None


def _whole(engine, front: Front, model: Model, sample: _Values, expected: _Values) -> None:
    try:
        values = model.program.run(sample, engine=engine, host=front.host())
    except ToolError as error:
        raise _Differs({"layer": WHOLE, "error": str(error)}) from None
    for name in front.network.outputs:
        _compare(WHOLE, name, expected[name], values[name])


def _compare(layer: str, tensor: str, expected: np.ndarray, got: np.ndarray) -> None:
    got = got.reshape(expected.shape)
    wrong = np.argwhere(expected != got)
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise _Differs({"layer": layer, "tensor": tensor, "elements": expected.size,
                        "wrong": len(wrong), "index": list(at), "expected": expected[at].item(),
                        "got": got[at].item()})


def _name(launch: Launch) -> str:
    return " + ".join(operator.name for plan in launch.plans for operator in plan.visit.operators)
