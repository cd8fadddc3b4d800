"""From the integer graph to operators: formats become multipliers, shifts, biases and pads."""

from collections.abc import Callable

import numpy as np

from hw.compiler.graph import Graph, Node
from hw.compiler.integer import BUILDERS, obstacles
from hw.compiler.match import MOVES
from hw.compiler.operators import (
    Add,
    Concat,
    Conv,
    Host,
    MaxPool,
    Network,
    Operator,
    Requantise,
    Scale,
    SumPool,
    Tensor,
    Window,
)
from hw.compiler.types import TensorType
from hw.compiler.windows import sliding

__all__ = ["lower", "tensor_of"]

_FACTOR = 32767       # largest of an Add
_GAIN = 64            # finer steps for the constant of a sum
_COARSE = 0.02        # of a result's step that a rounded constant may cost
_NOTHING = 2.0 ** -17  # times an int8, no result moves by this
_LARGE = 1 << 30      # a bias that decides alone
_CONSTANT_SHIFT = 10  # result of a channel whose factor is nothing


def tensor_of(name: str, kind: TensorType) -> Tensor:
    """(N, C), (N, C, L) and (N, C, H, W) as channels, height, width."""
    shape = kind.shape[1:]
    channels, *spatial = shape
    height, width = ([1, 1] + spatial)[-2:] if len(spatial) != 1 else (1, spatial[0])
    return Tensor(name, channels, height, width)


class _Lowering:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.tensors: dict[str, Tensor] = {}
        self.same: dict[str, str] = {}  # a value that is another one in the core's memory

    def tensor(self, value: str) -> Tensor:
        value = self.same.get(value, value)
        if value not in self.tensors:
            self.tensors[value] = tensor_of(value, self.graph.types[value])
        return self.tensors[value]

    def requantise(self, node: Node, ratio, bias) -> Requantise:
        a, channels = node.attributes, self.tensor(node.outputs[0]).channels
        return Requantise.of_scale(np.broadcast_to(ratio, (channels,)),
                                   np.broadcast_to(bias, (channels,)),
                                   a["format"].zero_point[0], a["low"], a["high"])

    def window(self, node: Node, x: Tensor, kernel) -> Window:
        rank = self.graph.types[node.inputs[0]].rank
        sizes = (x.height, x.width) if rank == 4 else (x.width,)
        found = sliding(node.attributes, kernel, sizes)
        half = len(sizes)
        end = tuple(np.add(found.pads[half:], found.beyond).tolist())
        begin = found.pads[:half]
        flat = (1,) * (2 - half)
        none = (0,) * (2 - half)
        return Window(flat + found.kernel, flat + found.strides, flat + found.dilations,
                      none + begin + none + end)


def _conv(c: _Lowering, node: Node) -> Operator:
    x, y = c.tensor(node.inputs[0]), c.tensor(node.outputs[0])
    weights = c.graph.constants[node.inputs[1]]
    forms, kernel = node.attributes["formats"], weights.shape[2:]
    zero = forms[0].zero_point[0]
    bias = c.graph.constants[node.inputs[2]].astype(np.int64) if len(node.inputs) > 2 else 0
    bias = bias - zero * weights.astype(np.int64).sum((*range(1, weights.ndim),))
    ratio = np.asarray(forms[1].scale) * forms[0].scale[0] / node.attributes["format"].scale[0]
    window = c.window(node, x, kernel)
    shaped = weights.reshape(*weights.shape[:2], *window.kernel)
    return Conv(node.name, x, y, np.ascontiguousarray(shaped), c.requantise(node, ratio, bias),
                window, node.attributes.get("group", 1), zero)


def _add(c: _Lowering, node: Node) -> Operator:
    """The larger factor is 32767, and its ratio is the multiplier's."""
    a, b = (c.tensor(i) for i in node.inputs)
    forms = node.attributes["formats"]
    scales = [form.scale[0] for form in forms]
    factors = [round(_FACTOR * s / max(scales)) for s in scales]
    bias = -sum(f * form.zero_point[0] for f, form in zip(factors, forms))
    ratio = max(scales) / _FACTOR / node.attributes["format"].scale[0]
    return Add(node.name, a, b, c.tensor(node.outputs[0]), *factors,
               c.requantise(node, ratio, bias))


def _scale(c: _Lowering, node: Node) -> Operator:
    """With a fine enough constant a Scale, else a depthwise convolution of weight 64 or -64."""
    x, y, a = c.tensor(node.inputs[0]), c.tensor(node.outputs[0]), node.attributes
    (form,), out = a["formats"], a["format"]
    factor, offset = (np.broadcast_to(np.asarray(a.get(k, neutral), np.float64).reshape(-1),
                                      (y.channels,)) for k, neutral in (("factor", 1),
                                                                        ("offset", 0)))
    ratio = np.abs(factor) * form.scale[0] / out.scale[0]
    real = ratio > _NOTHING
    sign = np.where(real, np.sign(factor), 0).astype(np.int64)
    ratio = np.where(real, ratio, 2.0 ** -_CONSTANT_SHIFT)
    constant = offset / out.scale[0] / ratio  # in steps of the sum
    zero = form.zero_point[0]
    if (sign == 1).all() and (np.abs(constant - np.rint(constant)) * ratio <= _COARSE).all() \
            and np.abs(constant).max() < _LARGE:
        return Scale(node.name, x, y, c.requantise(node, ratio, np.rint(constant) - zero))
    bias = np.clip(np.rint(constant * _GAIN), -_LARGE, _LARGE) - sign * _GAIN * zero
    weights = (sign * _GAIN).astype(np.int8).reshape(-1, 1, 1, 1)
    return Conv(node.name, x, y, weights, c.requantise(node, ratio / _GAIN, bias),
                groups=x.channels, pad_value=zero)


def _max_pool(c: _Lowering, node: Node) -> Operator:
    x = c.tensor(node.inputs[0])
    window = c.window(node, x, node.attributes["kernel_shape"])
    return MaxPool(node.name, x, c.tensor(node.outputs[0]), window)


def _sum_pool(c: _Lowering, node: Node) -> Operator:
    x, y, form = c.tensor(node.inputs[0]), c.tensor(node.outputs[0]), node.attributes["formats"][0]
    window = Window((x.height, x.width)) if node.op == "npu.GlobalAveragePool" else \
        c.window(node, x, node.attributes["kernel_shape"])
    count = window.kernel[0] * window.kernel[1]
    zero = form.zero_point[0]
    ratio = form.scale[0] / node.attributes["format"].scale[0] / count
    return SumPool(node.name, x, y, window, c.requantise(node, ratio, -zero * count), zero)


def _concat(c: _Lowering, node: Node) -> Operator:
    return Concat(node.name, tuple(c.tensor(i) for i in node.inputs), c.tensor(node.outputs[0]))


def _pad(c: _Lowering, node: Node) -> Operator:
    """A depthwise convolution with weight 1 that does nothing but pad."""
    x, y, a = c.tensor(node.inputs[0]), c.tensor(node.outputs[0]), node.attributes
    half = len(a["pads"]) // 2
    begin, end = ((0, *part)[-2:] for part in (a["pads"][:half], a["pads"][half:]))
    same = Requantise(np.zeros(y.channels), np.ones(y.channels), np.zeros(y.channels))
    return Conv(node.name, x, y, np.ones((y.channels, 1, 1, 1), np.int8), same,
                Window(pads=(*begin, *end)), x.channels, a["value"])


LOWERINGS: dict[str, Callable[[_Lowering, Node], Operator]] = {
    "npu.Conv": _conv, "npu.Add": _add, "npu.Scale": _scale, "npu.MaxPool": _max_pool,
    "npu.AveragePool": _sum_pool, "npu.GlobalAveragePool": _sum_pool, "npu.Concat": _concat,
    "npu.Pad": _pad,
}

# Why the host executes what no pattern is about.
_REASONS = {
    "QuantizeLinear": "a float value enters the integers",
    "DequantizeLinear": "integers leave as a float value",
    "Transpose": "moving elements between layouts is the host's work",
    "Softmax": "exponentials are the host's work",
}


def lower(graph: Graph) -> Network:
    """Operators for all ``npu`` nodes of ``graph``, host steps for the others."""
    c, steps, why = _Lowering(graph), [], obstacles(graph)
    made_here = {o for n in graph.nodes if n.op in LOWERINGS for o in n.outputs}
    for node in graph.nodes:
        # An output that is a mere view: its operator writes it by the output's name.
        if node.op in MOVES and node.outputs[0] in graph.outputs and _in_place(c, node) and \
                node.inputs[0] in made_here and node.inputs[0] not in graph.outputs:
            c.same.setdefault(node.inputs[0], node.outputs[0])
    for node in graph.nodes:
        if node.op in LOWERINGS:
            steps.append(LOWERINGS[node.op](c, node))
            continue
        reads = tuple(c.same.get(i, i) for i in node.inputs if i and i not in graph.constants)
        if node.op in MOVES and _in_place(c, node) and (
                node.outputs[0] not in graph.outputs or reads[0] == node.outputs[0]):
            c.same[node.outputs[0]] = reads[0]
            continue
        reason = why[node.name].reason if node.name in why else _REASONS.get(
            node.op, "moving elements is the host's work" if node.op in MOVES
            else "it is not between quantisers" if node.op in BUILDERS
            else f"{node.op} is not among the core's operators")
        steps.append(Host(node.name, node, reads, tuple(o for o in node.outputs if o), reason))
    return Network(graph.inputs, graph.outputs, c.tensors, tuple(steps))


def _in_place(c: _Lowering, node: Node) -> bool:
    """Whether a Reshape leaves a tensor of the core as it is: the same channels, height, width."""
    graph, x, y = c.graph, node.inputs[0], node.outputs[0]
    kinds = graph.types[x], graph.types[y]
    if node.op == "Transpose" or kinds[0].element != "int8" or \
            any(not 2 <= k.rank <= 4 for k in kinds) or kinds[0].shape[0] != kinds[1].shape[0]:
        return False
    return tensor_of("", kinds[0]).shape == tensor_of("", kinds[1]).shape
