"""Networks layer by layer, for those who have no file.

::

    model = Sequential((1, 28, 28), [Conv2D(8, 3, padding="same"), ReLU(), MaxPool(2), Flatten(),
                                     Dense(10)])
    front = hw.compiler.front.load(model.graph())

Weights are float arrays as in ONNX; those that are not given are random: normal with variance
``2 / inputs``, by the model's seed. The graph is float, and is quantised like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.compiler.graph import Graph, Node
from hw.compiler.types import TensorType

__all__ = ["Sequential", "Dense", "Conv2D", "DepthwiseConv2D", "BatchNorm", "ReLU", "Clip",
           "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Softmax", "Residual"]

Pair = int | tuple[int, int]


class _Builder:
    """Nodes and constants under construction, and the type of the value at their end."""

    def __init__(self, shape: tuple[int, ...], seed: int):
        self.inputs = {"x": TensorType("float32", (1, *shape))}
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.rng = np.random.default_rng(seed)
        self.value = "x"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value at the end, without its batch."""
        return self.graph().types[self.value].shape[1:]

    def add(self, op: str, inputs: Sequence[str] = (), **attributes) -> None:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(Node(name, op, (self.value, *inputs), (f"{name}.y",), attributes))
        self.value = f"{name}.y"

    def constant(self, suffix: str, value) -> str:
        name = f"{len(self.nodes)}.{suffix}"
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def weights(self, given, shape: tuple[int, ...], what: str) -> np.ndarray:
        if given is None:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
            return self.rng.normal(0, deviation, shape).astype(np.float32)
        given = np.asarray(given, np.float32)
        if given.shape != shape:
            raise ValueError(f"{what} must have shape {shape}, not {given.shape}")
        return given

    def graph(self) -> Graph:
        return Graph.of("sequential", self.inputs, [self.value], self.nodes, self.constants)


@dataclass(frozen=True)
class Sequential:
    """``layers``, one after the other, on an input of ``shape`` (channels, height, width) or (n,).
    """
    shape: tuple[int, ...]
    layers: Sequence
    seed: int = 0

    def graph(self) -> Graph:
        """The typed float graph; :exc:`ValueError` where a layer does not fit."""
        builder = _Builder(tuple(self.shape), self.seed)
        for layer in self.layers:
            layer.build(builder)
        return builder.graph()


@dataclass(frozen=True, eq=False)
class Dense:
    """``y = weights @ x + bias``; ``weights``: (units, inputs)."""
    units: int
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None

    def build(self, b: _Builder) -> None:
        if len(b.shape) != 1:
            raise ValueError(f"Dense must have a vector as its input, not shape {b.shape}: put "
                             "Flatten before it")
        w = b.weights(self.weights, (self.units, *b.shape), "weights of Dense")
        inputs = [b.constant("weights", w)]
        if self.bias is not None:
            inputs.append(b.constant("bias", b.weights(self.bias, (self.units,), "bias of Dense")))
        b.add("Gemm", inputs, transB=1)


@dataclass(frozen=True, eq=False)
class Conv2D:
    """``weights``: (filters, channels / groups, kernel height, kernel width).

    ``padding``: "valid", "same", or (top, left, bottom, right).
    """
    filters: int
    kernel: Pair
    stride: Pair = 1
    padding: str | tuple[int, int, int, int] = "valid"
    dilation: Pair = 1
    groups: int = 1
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None

    def build(self, b: _Builder) -> None:
        if len(b.shape) != 3 or self.groups < 1 or b.shape[0] % self.groups:
            raise ValueError(f"Conv2D must have channels, height and width as its input, the "
                             f"channels a multiple of {self.groups} groups, not shape {b.shape}")
        shape = (self.filters, b.shape[0] // self.groups, *_pair(self.kernel))
        inputs = [b.constant("weights", b.weights(self.weights, shape, "weights of Conv2D"))]
        if self.bias is not None:
            inputs.append(b.constant("bias", b.weights(self.bias, (self.filters,),
                                                       "bias of Conv2D")))
        b.add("Conv", inputs, strides=_pair(self.stride), dilations=_pair(self.dilation),
              group=self.groups, kernel_shape=_pair(self.kernel), **_padding(self.padding))


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D:
    """One filter a channel; ``weights``: (channels, 1, kernel height, kernel width)."""
    kernel: Pair
    stride: Pair = 1
    padding: str | tuple[int, int, int, int] = "valid"
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None

    def build(self, b: _Builder) -> None:
        channels = b.shape[0]
        Conv2D(channels, self.kernel, self.stride, self.padding, groups=channels,
               weights=self.weights, bias=self.bias).build(b)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, each (channels,)."""
    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = 1e-5

    def build(self, b: _Builder) -> None:
        inputs = [b.constant(what, b.weights(getattr(self, what), b.shape[:1],
                                             f"{what} of BatchNorm"))
                  for what in ("scale", "bias", "mean", "variance")]
        b.add("BatchNormalization", inputs, epsilon=self.epsilon)


@dataclass(frozen=True)
class ReLU:
    def build(self, b: _Builder) -> None:
        b.add("Relu")


@dataclass(frozen=True)
class Clip:
    low: float
    high: float

    def build(self, b: _Builder) -> None:
        b.add("Clip", [b.constant("low", self.low), b.constant("high", self.high)])


@dataclass(frozen=True)
class MaxPool:
    kernel: Pair
    stride: Pair | None = None  # the kernel's, unless given
    padding: str | tuple[int, int, int, int] = "valid"

    def build(self, b: _Builder) -> None:
        _pool(self, "MaxPool", b)


@dataclass(frozen=True)
class AveragePool:
    kernel: Pair
    stride: Pair | None = None
    padding: str | tuple[int, int, int, int] = "valid"

    def build(self, b: _Builder) -> None:
        _pool(self, "AveragePool", b)


@dataclass(frozen=True)
class GlobalAveragePool:
    def build(self, b: _Builder) -> None:
        b.add("GlobalAveragePool")


@dataclass(frozen=True)
class Flatten:
    def build(self, b: _Builder) -> None:
        b.add("Flatten", axis=1)


@dataclass(frozen=True)
class Softmax:
    def build(self, b: _Builder) -> None:
        b.add("Softmax", axis=-1)


@dataclass(frozen=True, eq=False)
class Residual:
    """``x`` after ``layers``, plus ``x`` after ``shortcut``."""
    layers: Sequence
    shortcut: Sequence = field(default_factory=list)

    def build(self, b: _Builder) -> None:
        start, ends = b.value, []
        for path in (self.layers, self.shortcut):
            b.value = start
            for layer in path:
                layer.build(b)
            ends.append(b.value)
        b.value = ends[0]
        b.add("Add", [ends[1]])


def _pool(layer, op: str, b: _Builder) -> None:
    kernel = _pair(layer.kernel)
    b.add(op, kernel_shape=kernel, strides=kernel if layer.stride is None else _pair(layer.stride),
          **_padding(layer.padding))


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _padding(padding) -> dict:
    if padding == "same":
        return {"auto_pad": "SAME_UPPER"}
    if padding == "valid":
        return {"pads": (0, 0, 0, 0)}
    if isinstance(padding, str) or len(padding) != 4:
        raise ValueError(f'padding must be "valid", "same" or four numbers, not {padding!r}')
    return {"pads": tuple(padding)}
