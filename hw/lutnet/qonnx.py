"""QONNX networks of 1- to 3-bit layers as tables: each edge's product becomes a table of one code.

A dense layer whose weights and inputs are quantised sums products of few values. Behind it come
operations on each output alone (batch norm, scales, ReLU) and the next quantiser: of the whole sum
they make one of 2 to 8 levels, in order. So the sum is that of integer tables, and where the level
changes is found by computing the operations, in float32 as the source does, for every sum there can
be. What is left are tables and limits: :class:`hw.lutnet.edges.EdgeModel`.

QONNX: Pappalardo et al., arXiv:2206.07527, the operators Quant and BipolarQuant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .edges import EdgeLayer, EdgeModel
from .model import ModelError

__all__ = ["Imported", "from_qonnx", "load"]

Step = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Imported:
    """A network of tables with what is in front of it and behind it.

    ``codes``: the first quantiser, from features (samples, features) to codes; ``results``: from
    the network's results to the source's outputs, float32.
    """

    model: EdgeModel
    codes: Step
    results: Step


@dataclass(frozen=True)
class _Levels:
    """What a quantiser gives: ``scale * (low + code)``, code 0 to ``count - 1``, or bipolar."""

    scale: np.ndarray   # float32, one or one for each column
    values: np.ndarray  # int64, ascending

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes of already quantised x."""
        return np.searchsorted(self.values, np.rint(x / self.scale).astype(np.int64))


_ROUND = {"ROUND": np.round, "FLOOR": np.floor, "CEIL": np.ceil, "ROUND_TO_ZERO": np.trunc,
          "HALF_EVEN": np.round}


def _quant(x, scale, zero, bits, *, signed, narrow, mode):
    """Operator Quant of QONNX in float32."""
    low, high = _range(int(bits), signed, narrow)
    whole = np.clip((x / scale + zero).astype(np.float32), low, high)
    return ((_ROUND[mode](whole) - zero) * scale).astype(np.float32)


def _range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    if signed:
        return -(1 << bits - 1) + narrow, (1 << bits - 1) - 1
    return 0, (1 << bits) - 1 - narrow


class _Reader:
    """The nodes of a graph in order, and its constants."""

    def __init__(self, model):
        from onnx import helper, numpy_helper

        self.graph, self.attribute = model.graph, helper.get_attribute_value
        self.known: dict[str, np.ndarray] = {i.name: numpy_helper.to_array(i)
                                             for i in self.graph.initializer}
        self.levels: dict[str, _Levels] = {}  # of quantised constants
        self.inputs = [i for i in self.graph.input if i.name not in self.known]
        if len(self.inputs) != 1 or len(self.graph.output) != 1:
            raise ModelError(f"the graph must have one input and one output, not "
                             f"{len(self.inputs)} and {len(self.graph.output)}")

    def attributes(self, node) -> dict[str, Any]:
        return {a.name: self.attribute(a) for a in node.attribute}

    def quantiser(self, node) -> tuple[Step, _Levels]:
        """What a Quant or BipolarQuant does to float32, and its levels."""
        parameters = [self.known.get(name) for name in node.input[1:]]
        if any(p is None for p in parameters):
            raise ModelError(f"{node.op_type} {_name(node)} must have constant parameters")
        scale = np.asarray(parameters[0], np.float32)
        if node.op_type == "BipolarQuant":
            return (lambda x: np.where(x >= 0, scale, -scale).astype(np.float32),
                    _Levels(scale, np.array([-1, 1])))
        given = self.attributes(node)
        zero, bits = (np.asarray(p, np.float32) for p in parameters[1:])
        mode = given.get("rounding_mode", b"ROUND").decode().upper()
        signed, narrow = bool(given.get("signed", 1)), bool(given.get("narrow", 0))
        if bits.size != 1 or float(bits.reshape(-1)[0]) not in (1, 2, 3):
            raise ModelError(f"quantisers must have 1 to 3 bits, not "
                             f"{float(bits.max()):g} ({_name(node)})")
        if zero.any():
            raise ModelError(f"quantisers must have the zero point 0, not {zero.max():g} "
                             f"({_name(node)})")
        if mode not in _ROUND:
            raise ModelError(f"rounding_mode must be one of {', '.join(_ROUND)}, not {mode}")
        width = int(bits.reshape(-1)[0])
        low, high = _range(width, signed, narrow)
        return (lambda x: _quant(x, scale, zero, width, signed=signed, narrow=narrow, mode=mode),
                _Levels(scale, np.arange(low, high + 1)))

    def fold(self, node) -> bool:
        """Compute a node that has only constant inputs; the shape of the input is constant."""
        if node.op_type == "Shape" and node.input[0] == self.inputs[0].name:
            dims = [max(d.dim_value, 1) for d in self.inputs[0].type.tensor_type.shape.dim]
            self.known[node.output[0]] = np.array(dims, np.int64)
            return True
        if any(name and name not in self.known for name in node.input):
            return False
        x = [self.known[name] for name in node.input if name]
        given = self.attributes(node)
        if node.op_type in ("Quant", "BipolarQuant"):
            step, levels = self.quantiser(node)
            self.known[node.output[0]] = step(np.asarray(x[0], np.float32))
            self.levels[node.output[0]] = levels
            return True
        if node.op_type not in _FOLDED:
            return False
        self.known[node.output[0]] = np.asarray(_FOLDED[node.op_type](x, given))
        if node.op_type in ("Transpose", "Identity") and node.input[0] in self.levels:
            levels = self.levels[node.input[0]]
            scale = levels.scale.T if node.op_type == "Transpose" else levels.scale
            self.levels[node.output[0]] = _Levels(scale, levels.values)
        return True


def _name(node) -> str:
    return node.name or node.output[0]


_FOLDED: dict[str, Callable[[list, dict], Any]] = {  # of constants
    "Identity": lambda x, a: x[0],
    "Constant": lambda x, a: _constant(a),
    "Transpose": lambda x, a: np.transpose(x[0], a.get("perm")),
    "Gather": lambda x, a: np.take(x[0], x[1], a.get("axis", 0)),
    "Unsqueeze": lambda x, a: np.expand_dims(x[0], tuple(a["axes"] if "axes" in a else x[1])),
    "Concat": lambda x, a: np.concatenate([np.atleast_1d(v) for v in x], a["axis"]),
    "Pow": lambda x, a: np.power(x[0], x[1]).astype(np.float32),
    "Mul": lambda x, a: x[0] * x[1], "Add": lambda x, a: x[0] + x[1],
    "Sub": lambda x, a: x[0] - x[1], "Div": lambda x, a: x[0] / x[1],
    "Reshape": lambda x, a: np.reshape(x[0], x[1]),
}


def _constant(given: dict) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(given["value"])


def _norm(x, scale, bias, mean, var, epsilon=1e-5, **_):
    return scale * ((x - mean) / np.sqrt(var + np.float32(epsilon))) + bias


_EACH: dict[str, Callable[..., np.ndarray]] = {  # on each output alone
    "Mul": lambda x, c: x * c, "Add": lambda x, c: x + c, "Sub": lambda x, c: x - c,
    "Div": lambda x, c: x / c, "Relu": lambda x: np.maximum(x, 0), "Identity": lambda x: x,
    "BatchNormalization": _norm,
}
_SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")


def _each(reader: _Reader, node, data: str) -> Step:
    """A node that works on each output alone."""
    if node.op_type not in _EACH:
        raise ModelError(f"{node.op_type} {_name(node)} is not known between layers: only "
                         f"{', '.join(_EACH)}")
    if node.input[0] != data:
        raise ModelError(f"{node.op_type} {_name(node)} must have its data as the first input")
    constants = [reader.known.get(name) for name in node.input[1:]]
    if any(c is None for c in constants):
        raise ModelError(f"{node.op_type} {_name(node)} must have constants beside its data")
    constants = [np.asarray(c, np.float32).reshape(-1) for c in constants if c is not None]
    given = {k: v for k, v in reader.attributes(node).items() if k == "epsilon"}
    return lambda x: _EACH[node.op_type](x, *constants, **given).astype(np.float32)


def _chain(steps: list[Step]) -> Step:
    def run(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        for step in steps:
            x = step(x)
        return x
    return run


def _dense(reader: _Reader, node, data: str, before: _Levels) -> tuple[np.ndarray, np.ndarray]:
    """Integer weights (inputs, outputs) of a MatMul or Gemm, and the unit of its sums."""
    if node.op_type == "Gemm":
        given = reader.attributes(node)
        if len(node.input) > 2 or any(given.get(k, d) != d for k, d in (
                ("alpha", 1.0), ("beta", 1.0), ("transA", 0))):
            raise ModelError(f"Gemm {_name(node)} must be a product alone")
    name = node.input[1]
    if node.input[0] != data or name not in reader.levels:
        raise ModelError(f"{node.op_type} {_name(node)} must multiply quantised data by quantised "
                         "weights")
    levels, weight = reader.levels[name], reader.known[name]
    scale = levels.scale.reshape(1, -1) if levels.scale.size > 1 else levels.scale.reshape(1, 1)
    if node.op_type == "Gemm" and reader.attributes(node).get("transB", 0):
        weight = weight.T
    if scale.size not in (1, weight.shape[1]) or before.scale.size != 1:
        raise ModelError(f"{node.op_type} {_name(node)} must have one scale of its data and one "
                         "for each output, or for all, of its weights")
    whole = np.rint(weight / scale).astype(np.int64)
    return whole, (scale * before.scale.reshape(1, 1)).astype(np.float32)


def _tables(weights: np.ndarray, before: _Levels, bits: int) -> np.ndarray:
    """int64 (inputs, outputs, 2**bits): products; what is no code repeats the last one."""
    values = before.values[np.minimum(np.arange(1 << bits), len(before.values) - 1)]
    return weights[:, :, None] * values


def _limits(tables: np.ndarray, unit: np.ndarray, after: Step, levels: _Levels, where: str) \
        -> tuple[np.ndarray, np.ndarray]:
    """Signs (outputs,) and limits (outputs, levels - 1) of ``sign * sum``.

    A level that falls as the sum rises makes the sign -1.
    """
    lowest, highest = (f(-1).sum(0) for f in (tables.min, tables.max))
    sums = np.arange(lowest.min(), highest.max() + 1)
    unit = np.broadcast_to(unit, (1, tables.shape[1]))
    codes = levels.codes(after(sums[:, None].astype(np.float32) * unit))
    inside = (sums[:, None] >= lowest) & (sums[:, None] <= highest)
    signs, limits = np.ones(tables.shape[1], np.int64), []
    for j in range(tables.shape[1]):
        s, code = sums[inside[:, j]], codes[inside[:, j], j]
        change = np.diff(code)
        if (change > 0).any() and (change < 0).any():
            raise ModelError(f"the levels behind {where} must rise or fall with output {j}'s sum")
        if (change < 0).any():
            signs[j], s, code = -1, -s[::-1], code[::-1]
        first = np.searchsorted(code, np.arange(1, len(levels.values)))
        limits.append(np.append(s, s[-1] + 1)[first])
    return signs, np.array(limits)


def from_qonnx(graph) -> Imported:
    """The network of an ``onnx.ModelProto``: quantiser, then dense layers with quantisers between.

    :class:`ModelError` says of anything else what is in the way.
    """
    reader = _Reader(graph)
    data, steps = reader.inputs[0].name, []
    levels: _Levels | None = None
    first: Step | None = None
    layers: list[EdgeLayer] = []
    pending: tuple[np.ndarray, np.ndarray, str] | None = None  # tables, unit, where
    for node in reader.graph.node:
        if reader.fold(node):
            continue
        if data not in node.input:
            raise ModelError(f"{node.op_type} {_name(node)} is not on the way from the input")
        if node.op_type in ("Quant", "BipolarQuant"):
            step, after = reader.quantiser(node)
            if after.scale.size != 1:
                raise ModelError(f"{_name(node)} must have one scale for all of its data")
            if pending is None and levels is not None:
                steps.append(step)  # quantised again
            elif pending is None:
                first, levels = _chain([*steps, step, _coder(after)]), after
                start = after
            else:
                tables, unit, where = pending
                signs, limits = _limits(tables, unit, _chain([*steps, step]), after, where)
                layers.append(_layer(tables * signs[:, None], len(after.values), limits))
                levels, pending = after, None
            steps = []
        elif node.op_type in ("MatMul", "Gemm"):
            if levels is None or steps or pending is not None:
                raise ModelError(f"{node.op_type} {_name(node)} must come directly behind a "
                                 "quantiser of 1 to 3 bits")
            weights, unit = _dense(reader, node, data, levels)
            bits = (len(levels.values) - 1).bit_length()
            pending = (_tables(weights, levels, bits), unit, _name(node))
        elif node.op_type not in _SHAPES:
            steps.append(_each(reader, node, data))
        data = node.output[0]
    if first is None or (pending is None and not layers):
        raise ModelError("the graph must hold a quantiser of its input and a dense layer")
    if pending is not None:  # the last layer's sums are the result
        tables, unit, _ = pending
        largest = int(np.abs(np.stack([tables.min(-1).sum(0), tables.max(-1).sum(0)])).max())
        layers.append(_layer(tables, largest.bit_length() + 1))
        results = _chain([lambda s: s * unit, *steps])
    else:
        kept = levels
        results = _chain([lambda c: kept.values[c.astype(np.int64)] * kept.scale, *steps])
    return Imported(EdgeModel(tuple(layers), len(start.values)), first, results)


def _coder(levels: _Levels) -> Step:
    return lambda x: levels.codes(x)


def _layer(tables: np.ndarray, levels: int, limits: np.ndarray | None = None) -> EdgeLayer:
    """``levels``: of the code, or the bits of the sum where there are no limits."""
    bits = levels if limits is None else max((levels - 1).bit_length(), 1)
    edges = tables.any(-1)
    edges[0] |= ~edges.any(0)  # an output that reads nothing reads zeros
    return EdgeLayer(tables, edges, max(bits, 2) if limits is None else bits, limits)


def load(path: str | Path) -> Imported:
    """The network in an ``.onnx`` file."""
    import onnx  # an extra

    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path.name} does not exist")
    try:
        graph = onnx.load(path)
    except Exception as error:  # protobuf's own errors have no common base
        raise ModelError(f"{path.name} cannot be read as ONNX: {error}") from None
    try:
        return from_qonnx(graph)
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from None
