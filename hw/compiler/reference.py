"""What an ``npu`` operator stands for: dequantise, ONNX's operator on floats, quantise, clamp.

The integers of an ``npu`` operator have the formats of its attributes: ``formats`` of the inputs,
``format`` of the result, ``low`` and ``high`` of the clamp. This expansion is the reference that
the core's integer arithmetic is compared with.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hw.compiler.graph import Node
from hw.compiler.types import Format, TensorType

__all__ = ["expand"]

_OWN = {"formats", "format", "low", "high", "factor", "offset", "value"}  # not attributes of ONNX
_INTEGER = {"MaxPool", "Pad"}  # the same on integers, in the format of the input


def expand(nodes: Sequence[Node], types: Mapping[str, TensorType]
           ) -> tuple[list[Node], dict[str, np.ndarray]]:
    """ONNX's nodes for all ``nodes``, and the constants they need."""
    made, constants = [], {}
    for node in nodes:
        if node.op.startswith("npu."):
            _expand(node, made, constants)
        else:
            made.append(node)
    return made, constants


def _expand(node: Node, made: list[Node], constants: dict[str, np.ndarray]) -> None:
    base, y = node.op.removeprefix("npu."), node.outputs[0]
    plain = {k: v for k, v in node.attributes.items() if k not in _OWN}
    low, high = node.attributes["low"], node.attributes["high"]
    clamped = (low, high) != (-128, 127)
    raw = f"{y}~raw" if clamped else y

    def constant(suffix: str, value, dtype) -> str:
        name = f"{y}~{suffix}"
        constants[name] = np.asarray(value, dtype)
        return name

    def linear(op: str, value: str, result: str, form: Format, suffix: str, zero_type) -> None:
        scalar = form.axis is None
        scale = constant(f"{suffix}~scale", form.scale[0] if scalar else form.scale, np.float32)
        zero = constant(f"{suffix}~zero", form.zero_point[0] if scalar else form.zero_point,
                        zero_type)
        axis = {} if scalar else {"axis": form.axis}
        made.append(Node(f"{node.name}~{suffix}", op, (value, scale, zero), (result,), axis))

    if base in _INTEGER:
        inputs = node.inputs
        if base == "Pad":
            begin, end = np.split(np.array(plain.pop("pads")), 2)
            inputs += (constant("pads", [0, 0, *begin, 0, 0, *end], np.int64),
                       constant("value", node.attributes["value"], np.int8))
        made.append(Node(node.name, base, inputs, (raw,), plain))
    else:
        reals = []
        for index, (value, form) in enumerate(zip(node.inputs, node.attributes["formats"])):
            reals.append(f"{y}~real{index}")
            kind = np.int32 if base in ("Conv", "Gemm") and index == 2 else np.int8
            linear("DequantizeLinear", value, reals[-1], form, f"input{index}", kind)
        real = f"{y}~real"
        if base == "Scale":
            real = _affine(node, reals[0], made, constant)
        else:
            made.append(Node(node.name, base, tuple(reals), (real,), plain))
        linear("QuantizeLinear", real, raw, node.attributes["format"], "result", np.int8)
    if clamped:
        bounds = constant("low", low, np.int8), constant("high", high, np.int8)
        made.append(Node(f"{node.name}~clamp", "Clip", (raw, *bounds), (y,)))


def _affine(node: Node, real: str, made: list[Node], constant) -> str:
    """``x * factor + offset``, each left out where it changes nothing."""
    for op, name, neutral in (("Mul", "factor", 1), ("Add", "offset", 0)):
        value = node.attributes.get(name)
        if value is not None and (np.asarray(value) != neutral).any():
            result = f"{node.outputs[0]}~{name}ed"
            made.append(Node(f"{node.name}~{name}", op, (real, constant(name, value, np.float32)),
                             (result,)))
            real = result
    return real
