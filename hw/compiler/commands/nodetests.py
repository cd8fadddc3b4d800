"""``nodetests``: ONNX's own tests of single nodes, compiled and run at the operator rung."""

import json
import sys
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper
from rich.console import Console
from rich.progress import track

from hw.compiler.front import Front, load
from hw.compiler.operators import Host
from hw.compiler.types import Refusal

__all__ = ["options", "run", "OPERATORS", "Outcome", "collect", "attempt"]

# The operator set, and which inputs of each are data; the others are bound to the case's values
# as constants, as a trained model has them (weights, shapes, scales, bounds).
OPERATORS = {
    "Conv": 1, "Gemm": 1, "MatMul": 1, "Add": 2, "Mul": 1, "Relu": 1, "Clip": 1, "MaxPool": 1,
    "AveragePool": 1, "GlobalAveragePool": 1, "Flatten": 1, "Reshape": 1, "Transpose": 1,
    "Concat": 9, "Pad": 1, "Softmax": 1, "QuantizeLinear": 1, "DequantizeLinear": 1,
    "QLinearConv": 1, "QLinearMatMul": 1,
}
# Quantised by their own inputs, float cases may be off by this share of the result's range.
QUANTISED_BOUND = 0.05


@dataclass(frozen=True)
class Outcome:
    """What became of a case: ``place`` is core, host, refused or outside (of the set)."""
    name: str
    place: str
    passed: bool = False
    reason: str = ""


def collect() -> list:
    """All of ONNX's node test cases; building them takes some seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they provoke overflows on purpose
        return collect_testcases(None)


def attempt(case, quantised: bool = False) -> Outcome:
    """The case compiled and run; ``quantised``: float ones quantised, with their own bound."""
    outside = sorted({n.op_type for n in case.model.graph.node} - OPERATORS.keys())
    if outside:
        return Outcome(case.name, "outside", reason=f"{', '.join(outside)} is outside of the set")
    inputs, expected = case.data_sets[0]
    try:
        model, feeds = _bound(case.model, inputs)
        front = load(model, quantised=quantised, checked=True,
                     calibration=[feeds] if quantised else ())
    except Refusal as refusal:
        return Outcome(case.name, "refused", reason=str(refusal))
    results = _results(front, feeds)
    core = any(not isinstance(s, Host) for s in front.network.steps)
    place = "core" if core else "host"
    for want, got in zip(expected, results):
        wrong = _wrong(case, _array(want), got, quantised)
        if wrong:
            return Outcome(case.name, place, False, wrong)
    return Outcome(case.name, place, True)


def _bound(model: onnx.ModelProto, inputs) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Parameters of the case as constants, and what is left as inputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    node = made.graph.node[0]
    data = set(node.input[:OPERATORS[node.op_type]])
    feeds = {}
    for value, array in zip(list(made.graph.input), inputs):
        if value.name in data:
            feeds[value.name] = _array(array)
            continue
        tensor = array if isinstance(array, onnx.TensorProto) else \
            numpy_helper.from_array(np.asarray(array))
        made.graph.initializer.add().CopyFrom(tensor)
        made.graph.initializer[-1].name = value.name
        made.graph.input.remove(value)
    return made, feeds


def _array(value) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else \
        np.asarray(value)


def _results(front: Front, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    from sim import rungs  # the edge may reach across

    stacked = {k: np.stack([feeds[k]]) for k in front.graph.inputs}
    made = rungs.operators(front, stacked)
    return [made[o][0] for o in front.graph.outputs]


def _wrong(case, want: np.ndarray, got: np.ndarray, quantised: bool) -> str:
    """Why ``got`` is not ``want``, or ""."""
    if want.dtype != got.dtype or want.shape != got.shape:
        return f"{got.dtype}{list(got.shape)} is not {want.dtype}{list(want.shape)}"
    if quantised and want.dtype.kind == "f":
        span = float(np.ptp(want)) or float(np.abs(want).max()) or 1.0
        off = float(np.abs(want - got).max()) / span
        return "" if off <= QUANTISED_BOUND else f"{100 * off:.1f} % of the range off"
    try:
        np.testing.assert_allclose(got, want, case.rtol, case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return ""


def options(parser) -> None:
    parser.add_argument("--quantised", action="store_true",
                        help="quantise the float cases too, with their own inputs, and allow "
                        f"{100 * QUANTISED_BOUND:g} %% of the result's range")
    parser.add_argument("--reasons", action="store_true",
                        help="print each case's place and reason")


def run(options) -> int:
    """Prints "N of M pass" and why the others are not accepted; then one JSON line.

    M are all cases whose operators are in the set; accepted are those that are not refused.
    Parameters (weights, shapes, scales) are bound to the case's own values as constants. Exit
    code 1 when an accepted case fails.
    """
    console = Console(stderr=True)
    cases = collect()
    outcomes = [attempt(case, options.quantised) for case in track(
        cases, "cases", console=console, disable=not console.is_terminal)]
    inside = [o for o in outcomes if o.place != "outside"]
    accepted = [o for o in inside if o.place != "refused"]
    passed = [o for o in accepted if o.passed]
    for outcome in outcomes if options.reasons else [o for o in inside if not o.passed]:
        print(f"{outcome.name}: {outcome.place}" + (f": {outcome.reason}" if outcome.reason
                                                    else ""), file=sys.stderr)
    print(f"{len(passed)} of {len(inside)} pass", file=sys.stderr)
    places = Counter(o.place for o in outcomes)
    print(json.dumps({"total": len(outcomes), "inside": len(inside), "accepted": len(accepted),
                      "passed": len(passed), "core": places["core"], "host": places["host"],
                      "refused": places["refused"], "outside": places["outside"],
                      "quantised": options.quantised}))
    return 0 if len(passed) == len(accepted) else 1
