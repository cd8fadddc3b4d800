"""The compiled network as an ONNX model of integer operators: the same bits, on any runtime.

This is the graph's rung of the ladder, a second implementation of what the operators mean beside
:mod:`sim.golden.compiler.operators`: convolutions are ConvInteger, and the requantisation is
computed in float64, where every product of 32 by 16 bits is exact.
"""

from collections.abc import Callable

import numpy as np
import onnx

from hw.compiler.graph import Graph, Node
from hw.compiler.onnx_io import to_onnx
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
)

__all__ = ["integer_graph", "integer_model"]


class _Writer:
    """Nodes and constants of the integer graph under construction."""

    def __init__(self, graph: Graph):
        self.types = graph.types
        self.nodes: list[Node] = []
        self.constants = dict(graph.constants)

    def constant(self, name: str, value, dtype) -> str:
        self.constants[name] = np.asarray(value, dtype)
        return name

    def add(self, op: str, inputs, result: str, **attributes) -> str:
        self.nodes.append(Node(f"{result}:{op}", op, tuple(inputs), (result,), attributes))
        return result

    def reshape(self, value: str, result: str, shape) -> str:
        return self.add("Reshape", (value, self.constant(f"{result}~shape", shape, np.int64)),
                        result)

    def read(self, x: Tensor, y: str) -> str:
        """Tensor ``x`` for the operator that makes ``y``, as (batch, channels, height, width)."""
        shape = self.types[x.name].shape
        wanted = (shape[0], *x.shape)
        return x.name if shape == wanted else self.reshape(x.name, f"{y}~{x.name}", wanted)

    def write(self, value: str, y: Tensor) -> None:
        self.reshape(value, y.name, self.types[y.name].shape)

    def requantise(self, t: str, y: Tensor, r: Requantise, bias=0) -> None:
        """``t``: float64, integers; ``bias``: what it still lacks, besides that of ``r``."""
        half = np.where(r.shift > 0, np.exp2(r.shift - 1.0), 0)
        scaled, steps = t, (("biased", "Add", r.bias + bias), ("scaled", "Mul", r.multiplier),
                            ("rounded", "Add", half), ("shifted", "Mul", np.exp2(-1.0 * r.shift)))
        for step, op, value in steps:
            name = self.constant(f"{y.name}~{step}~value",
                                 np.asarray(value, np.float64).reshape(-1, 1, 1), np.float64)
            scaled = self.add(op, (scaled, name), f"{y.name}~{step}")
        floor = self.add("Floor", (scaled,), f"{y.name}~floor")
        zero = self.constant(f"{y.name}~zero", r.zero_point, np.float64)
        moved = self.add("Add", (floor, zero), f"{y.name}~moved")
        low, high = (self.constant(f"{y.name}~{name}", value, np.float64)
                     for name, value in (("low", r.low), ("high", r.high)))
        clamped = self.add("Clip", (moved, low, high), f"{y.name}~clamped")
        self.write(self.add("Cast", (clamped,), f"{y.name}~int8", to=onnx.TensorProto.INT8), y)

    def real(self, value: str, result: str) -> str:
        return self.add("Cast", (value,), result, to=onnx.TensorProto.DOUBLE)

    def convolve(self, x: Tensor, y: Tensor, weights: np.ndarray, window, groups: int,
                 pad_value: int, r: Requantise) -> None:
        """ConvInteger takes the padding's value off each element: its share comes back as bias."""
        total = self.add("ConvInteger", (
            self.read(x, y.name), self.constant(f"{y.name}~weights8", weights, np.int8),
            self.constant(f"{y.name}~pad", pad_value, np.int8)), f"{y.name}~sum", group=groups,
            kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
            pads=window.pads)
        bias = pad_value * weights.astype(np.int64).sum((1, 2, 3))
        self.requantise(self.real(total, f"{y.name}~real"), y, r, bias)


def _conv(w: _Writer, c: Conv) -> None:
    w.convolve(c.x, c.y, c.weights, c.window, c.groups, c.pad_value, c.requantise)


def _sum_pool(w: _Writer, c: SumPool) -> None:
    ones = np.ones((c.x.channels, 1, *c.window.kernel), np.int8)
    w.convolve(c.x, c.y, ones, c.window, c.x.channels, c.pad_value, c.requantise)


def _add(w: _Writer, c: Add) -> None:
    parts = []
    for side, x, factor in (("a", c.a, c.factor_a), ("b", c.b, c.factor_b)):
        name = f"{c.y.name}~{side}"
        value = w.real(w.read(x, name), f"{name}~real")
        parts.append(w.add("Mul", (value, w.constant(f"{name}~factor", factor, np.float64)),
                           f"{name}~product"))
    w.requantise(w.add("Add", parts, f"{c.y.name}~sum"), c.y, c.requantise)


def _scale(w: _Writer, c: Scale) -> None:
    w.requantise(w.real(w.read(c.x, c.y.name), f"{c.y.name}~real"), c.y, c.requantise)


def _max_pool(w: _Writer, c: MaxPool) -> None:
    window = c.window
    pooled = w.add("MaxPool", (w.read(c.x, c.y.name),), f"{c.y.name}~pooled",
                   kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
                   pads=window.pads)
    w.write(pooled, c.y)


def _concat(w: _Writer, c: Concat) -> None:
    parts = [w.read(x, f"{c.y.name}~{index}") for index, x in enumerate(c.xs)]
    w.write(w.add("Concat", parts, f"{c.y.name}~joined", axis=1), c.y)


_WRITERS: dict[type, Callable[[_Writer, Operator], None]] = {
    Conv: _conv, SumPool: _sum_pool, Add: _add, Scale: _scale, MaxPool: _max_pool,
    Concat: _concat}


def integer_graph(graph: Graph, network: Network) -> Graph:
    """``network``, the operators of the integer ``graph``, as ONNX's own operators."""
    writer = _Writer(graph)
    for step in network.steps:
        if isinstance(step, Host):
            names = dict(zip((i for i in step.node.inputs if i and i not in graph.constants),
                             step.xs))
            reads = []
            for value in step.node.inputs:
                source = names.get(value, value)
                if source != value:  # the core's view of the same elements
                    source = writer.reshape(source, f"{step.name}~{value}",
                                            graph.types[value].shape)
                reads.append(source)
            writer.nodes.append(Node(step.name, step.node.op, tuple(reads), step.node.outputs,
                                     step.node.attributes))
        else:
            _WRITERS[type(step)](writer, step)
    return Graph.of(graph.name, {i: graph.types[i] for i in graph.inputs}, graph.outputs,
                    writer.nodes, writer.constants)


def integer_model(graph: Graph, network: Network) -> onnx.ModelProto:
    """:func:`integer_graph` as a model."""
    return to_onnx(integer_graph(graph, network))
