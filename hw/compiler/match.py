"""A QuantizeLinear with the float operators above it, as the builders of integers see it."""

from dataclasses import dataclass

import numpy as np

from hw.compiler.graph import Graph, Node
from hw.compiler.relations import format_of
from hw.compiler.types import Format

__all__ = ["MOVES", "Unable", "Operand", "Match", "format_at", "real_constant"]

MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity")  # no arithmetic


class Unable(Exception):
    """Why the core cannot compute a node, and the nearest that it can."""

    def __init__(self, reason: str, nearest: str = ""):
        super().__init__(reason)
        self.reason, self.nearest = reason, nearest


@dataclass(frozen=True)
class Operand:
    """An int8 value and what it stands for."""
    value: str
    format: Format


class Match:
    """One QuantizeLinear with what is above it."""

    def __init__(self, graph: Graph, producers: dict[str, Node], quantise: Node):
        self.graph, self._producers = graph, producers
        self.y = quantise.outputs[0]
        kind = graph.types[self.y]
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        self.format = kind.format
        self._acts, above = [], producers.get(quantise.inputs[0])
        while above is not None and above.op in ("Relu", "Clip"):
            self._acts.append(above)
            above = producers.get(above.inputs[0])
        self.node = above
        if kind.format is None or kind.format.axis is not None:
            raise Unable("its result is not quantised per tensor with constants")
        if kind.element != "int8":
            raise Unable(f"its result is {kind.element}", "int8 or uint8 activations")
        if above is None:
            raise Unable("its input is float", "int8 or uint8 inputs")

    def clamp(self) -> tuple[int, int]:
        low, high = -np.inf, np.inf
        for act in reversed(self._acts):
            bounds = (0.0, np.inf) if act.op == "Relu" else self._bounds(act)
            low, high = (min(max(v, bounds[0]), bounds[1]) for v in (low, high))
        return tuple(-128 if v == -np.inf else 127 if v == np.inf
                     else self.format.quantise(v, -128, 127) for v in (low, high))

    def _bounds(self, clip: Node) -> tuple[float, float]:
        bounds = []
        for index, default in ((1, -np.inf), (2, np.inf)):
            name = clip.inputs[index] if index < len(clip.inputs) else ""
            if name and name not in self.graph.constants:
                raise Unable("bounds of Clip are computed", "constant bounds")
            bounds.append(self.graph.constants[name].item() if name else default)
        if bounds[0] > bounds[1]:
            raise Unable(f"bounds of Clip are {bounds[0]} to {bounds[1]}", "min at most max")
        return tuple(bounds)

    def producer(self, value: str) -> Node | None:
        return self._producers.get(value)

    def operand(self, value: str) -> Operand:
        """What DequantizeLinear makes ``value`` of."""
        above = self._producers.get(value)
        if above is not None and above.op == "Relu":  # of a dequantised value: a clamp at zero
            inner = self.operand(above.inputs[0])
            result = f"{value}~clamped"
            self.nodes.append(Node(above.name, "npu.Scale", (inner.value,), (result,), {
                "formats": (inner.format,), "format": inner.format,
                "low": inner.format.zero_point[0], "high": 127}))
            return Operand(result, inner.format)
        if above is None or above.op != "DequantizeLinear":
            raise Unable("its operands are float", "int8 operands, by QuantizeLinear and "
                         "DequantizeLinear around it")
        kind = self.graph.types[above.inputs[0]]
        form = format_at(self.graph, above)
        if kind.element != "int8" or form is None or form.axis is not None:
            raise Unable(f"an operand is {kind.element}"
                         + ("" if form is None or form.axis is None else " per channel"),
                         "int8 or uint8 per tensor")
        if not 2 <= kind.rank <= 4:
            raise Unable(f"an operand has rank {kind.rank}", "rank 2 to 4")
        return Operand(above.inputs[0], form)

    def constant(self, value: str) -> np.ndarray | None:
        return real_constant(self.graph, self._producers, value)

    def integers(self, value: str, what: str) -> tuple[np.ndarray, Format]:
        """A quantised constant, its zero point taken off."""
        above = self._producers.get(value)
        if above is None or above.op != "DequantizeLinear" or \
                above.inputs[0] not in self.graph.constants:
            raise Unable(f"its {what} are not quantised constants", f"constant int8 {what}")
        form, q = format_at(self.graph, above), self.graph.constants[above.inputs[0]]
        if form is None or q.dtype not in (np.int8, np.uint8):
            raise Unable(f"its {what} are {q.dtype}", f"int8 {what}")
        centred = q.astype(np.int64) - form.shaped(form.zero_point, q.ndim)
        if centred.min() < -128 or centred.max() > 127:
            raise Unable(f"its {what} less their zero point are {centred.min()} to "
                         f"{centred.max()}", f"symmetric {what}")
        return centred.astype(np.int8), Format(form.scale, (0,) * len(form.scale), form.axis)

    def add(self, op: str, inputs, formats, result: str, form: Format, clamp=(-128, 127),
            **attributes) -> str:
        name = self.node.name if result == self.y else f"{self.node.name}:{result}"
        self.nodes.append(Node(name, op, tuple(inputs), (result,), {
            **attributes, "formats": tuple(formats), "format": form, "low": clamp[0],
            "high": clamp[1]}))
        return result

    def keep(self, suffix: str, value: np.ndarray) -> str:
        name = f"{self.y}~{suffix}"
        self.constants[name] = value
        return name


def format_at(graph: Graph, node: Node) -> Format | None:
    """Format that a QuantizeLinear or DequantizeLinear states, if it does so with constants."""
    parts = [graph.constants.get(i) if i else None for i in node.inputs[1:3]]
    if parts[0] is None or len(node.inputs) > 2 and node.inputs[2] and parts[1] is None \
            or node.attributes.get("block_size", 0):
        return None
    rank = graph.types[node.inputs[0]].rank
    return format_of(parts[0], parts[1] if len(parts) > 1 else None,
                     node.attributes.get("axis", 1), rank)


def real_constant(graph: Graph, producers: dict[str, Node], value: str) -> np.ndarray | None:
    """The real numbers of a constant, quantised or not; None for what is computed."""
    if value in graph.constants:
        return graph.constants[value]
    above = producers.get(value)
    if above is None or above.op != "DequantizeLinear" or above.inputs[0] not in graph.constants:
        return None
    form = format_at(graph, above)
    return None if form is None else form.real(graph.constants[above.inputs[0]])
