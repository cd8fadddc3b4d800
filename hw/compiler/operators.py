"""Operators: the middle of the compiler, what is computed, in integers, and nothing of how.

The front end lowers a typed graph to a :class:`Network` of operators; the back end groups them
into visits of the accumulators, and schedules those. What each operator means, bit for bit, is
written once, in :mod:`sim.golden.compiler.operators`. Activations are int8, shaped (channels,
height, width); a zero point is folded into the bias of whoever reads the tensor, and is the value
that pads it.
"""

from dataclasses import dataclass, field

import numpy as np

from hw.compiler.fixed import scale_to_fixed

__all__ = ["Tensor", "Requantise", "Window", "Conv", "Add", "Scale", "MaxPool", "SumPool", "Concat",
           "Host", "Operator", "Network"]


@dataclass(frozen=True)
class Tensor:
    """An int8 activation in DRAM."""
    name: str
    channels: int
    height: int = 1
    width: int = 1

    def __post_init__(self):
        for what in ("channels", "height", "width"):
            if getattr(self, what) < 1:
                raise ValueError(f"{what} of {self.name} must be at least 1, "
                                 f"not {getattr(self, what)!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    def __str__(self):
        return f"{self.name}[{self.channels}x{self.height}x{self.width}]"


@dataclass(frozen=True, eq=False)
class Requantise:
    """From a sum to int8, channel by channel, as the core's RQT does it.

    ``clamp((((t + bias) * multiplier + half) >> shift) + zero_point, low, high)``, with ``half``
    = ``2**(shift - 1)``, or 0 when ``shift`` is 0; ``t + bias`` wraps at 32 bits.

    Attributes
    ----------
    bias, multiplier, shift : array of shape (channels,)
        int32, 0 to 65535, 0 to 47.
    """
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int = 0
    low: int = -128
    high: int = 127

    def __post_init__(self):
        for name, low, high in (("bias", -(1 << 31), (1 << 31) - 1), ("multiplier", 0, 65535),
                                ("shift", 0, 47)):
            value = np.asarray(getattr(self, name))
            if value.ndim != 1 or value.shape != np.shape(self.bias):
                raise ValueError(f"{name} must have shape {np.shape(self.bias)}, "
                                 f"not {value.shape}")
            if value.size and not (low <= value.min() and value.max() <= high):
                raise ValueError(f"{name} must be {low} to {high}, not {value.min()} to "
                                 f"{value.max()}")
            object.__setattr__(self, name, value.astype(np.int64))
        if not -128 <= self.low <= self.high <= 127 or not -128 <= self.zero_point <= 127:
            raise ValueError(f"low, high, zero_point must be int8, low at most high, not "
                             f"{self.low!r}, {self.high!r}, {self.zero_point!r}")

    @classmethod
    def of_scale(cls, scale, bias, zero_point=0, low=-128, high=127) -> "Requantise":
        """With the multiplier and shift nearest to the real ``scale`` (positive, per channel)."""
        bias = np.atleast_1d(np.asarray(bias))
        multiplier, shift = scale_to_fixed(np.broadcast_to(scale, bias.shape))
        return cls(bias, multiplier, shift, int(zero_point), int(low), int(high))


@dataclass(frozen=True)
class Window:
    """Which elements of its input a result looks at; pairs are (vertical, horizontal)."""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right, as in ONNX

    def __post_init__(self):
        for name in ("kernel", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if min(self.pads) < 0:
            raise ValueError(f"pads must be at least 0, not {self.pads!r}")

    def outputs(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result; below 1 where the window does not fit."""
        return tuple(
            (size + self.pads[axis] + self.pads[axis + 2]
             - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1
            for axis, size in enumerate((height, width)))


@dataclass(frozen=True, eq=False)
class Conv:
    """``t[o] = sum of x[i, window] * weights[o, i]`` over the group's inputs, then requantised.

    ``weights``: int8 (outputs, inputs / groups, kernel height, kernel width). Outside the tensor
    ``x`` is ``pad_value``. A dense layer is a 1x1 convolution of a 1x1 tensor.
    """
    name: str
    x: Tensor
    y: Tensor
    weights: np.ndarray
    requantise: Requantise
    window: Window = field(default_factory=Window)
    groups: int = 1
    pad_value: int = 0

    def __post_init__(self):
        w = self.weights
        wanted = (self.y.channels, self.x.channels // self.groups, *self.window.kernel)
        if self.x.channels % self.groups or self.y.channels % self.groups:
            raise ValueError(f"groups of {self.name} must divide {self.x.channels} and "
                             f"{self.y.channels} channels, not {self.groups!r}")
        if w.shape != wanted or w.dtype != np.int8:
            raise ValueError(f"weights of {self.name} must be int8 of shape {wanted}, not "
                             f"{w.dtype} of shape {w.shape}")
        _check_window(self)
        _check_channels(self)

    inputs = property(lambda self: (self.x,))

    @property
    def depthwise(self) -> bool:
        return self.groups == self.x.channels and self.groups > 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the operator asks for."""
        return self.weights[0].size * self.y.channels * self.y.height * self.y.width


@dataclass(frozen=True, eq=False)
class Add:
    """``t = a * factor_a + b * factor_b``, then requantised; the factors are int16."""
    name: str
    a: Tensor
    b: Tensor
    y: Tensor
    factor_a: int
    factor_b: int
    requantise: Requantise

    def __post_init__(self):
        if not self.a.shape == self.b.shape == self.y.shape:
            raise ValueError(f"{self.name} must add tensors of one shape, not {self.a}, {self.b} "
                             f"to {self.y}")
        for factor in (self.factor_a, self.factor_b):
            if not -32768 <= factor <= 32767:
                raise ValueError(f"factors of {self.name} must be -32768 to 32767, not {factor!r}")
        _check_channels(self)

    inputs = property(lambda self: (self.a, self.b))
    macs = 0


@dataclass(frozen=True, eq=False)
class Scale:
    """``t = x``, then requantised: batch norm, products with constants, ReLU, Clip, a new scale."""
    name: str
    x: Tensor
    y: Tensor
    requantise: Requantise

    def __post_init__(self):
        if self.x.shape != self.y.shape:
            raise ValueError(f"{self.name} must keep the shape, not {self.x} to {self.y}")
        _check_channels(self)

    inputs = property(lambda self: (self.x,))
    macs = 0


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The largest element under the window; what lies outside the tensor does not count."""
    name: str
    x: Tensor
    y: Tensor
    window: Window

    def __post_init__(self):
        _check_window(self)
        if self.x.channels != self.y.channels:
            raise ValueError(f"{self.name} must keep the channels, not {self.x} to {self.y}")

    inputs = property(lambda self: (self.x,))
    macs = 0


@dataclass(frozen=True, eq=False)
class SumPool:
    """``t`` = the sum under the window, then requantised: average pooling.

    Outside the tensor ``x`` is ``pad_value``.
    """
    name: str
    x: Tensor
    y: Tensor
    window: Window
    requantise: Requantise
    pad_value: int = 0

    def __post_init__(self):
        _check_window(self)
        if self.x.channels != self.y.channels:
            raise ValueError(f"{self.name} must keep the channels, not {self.x} to {self.y}")
        _check_channels(self)

    inputs = property(lambda self: (self.x,))
    macs = 0


@dataclass(frozen=True, eq=False)
class Concat:
    """Channels of all ``xs``, one after the other; nothing is computed."""
    name: str
    xs: tuple[Tensor, ...]
    y: Tensor

    def __post_init__(self):
        channels = sum(x.channels for x in self.xs)
        if any(x.shape[1:] != self.y.shape[1:] for x in self.xs) or channels != self.y.channels:
            raise ValueError(f"{self.name} must join tensors of one height and width, not "
                             f"{', '.join(map(str, self.xs))} to {self.y}")

    inputs = property(lambda self: self.xs)
    macs = 0


@dataclass(frozen=True, eq=False)
class Host:
    """What the core cannot do: ``node`` of the typed graph, executed by the graph's own rung.

    ``xs`` and ``ys`` name values of the graph; a value that is also a :class:`Tensor` of the
    network is converted at the border (int8, batch first, the graph's shape).
    """
    name: str
    node: object
    xs: tuple[str, ...]
    ys: tuple[str, ...]
    reason: str

    macs = 0


Operator = Conv | Add | Scale | MaxPool | SumPool | Concat


@dataclass(frozen=True, eq=False)
class Network:
    """Operators in an order in which they can run.

    Attributes
    ----------
    inputs, outputs : tuple of :class:`str`
        Values of the graph.
    tensors : dict of name to :class:`Tensor`
        Those that live on the core's side.
    steps : tuple of :class:`Operator` and :class:`Host`
    """
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    steps: tuple[Operator | Host, ...]

    def __post_init__(self):
        known = set(self.inputs)
        for step in self.steps:
            reads = step.xs if isinstance(step, Host) else [x.name for x in step.inputs]
            for name in reads:
                if name not in known:
                    raise ValueError(f"{step.name} reads {name!r}, which nothing before it makes")
            known.update(step.ys if isinstance(step, Host) else [step.y.name])
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"output {name!r} is made by nothing")


def _check_window(operator):
    height, width = operator.window.outputs(operator.x.height, operator.x.width)
    if (height, width) != operator.y.shape[1:] or min(height, width) < 1:
        raise ValueError(f"{operator.name} must make {height}x{width} of {operator.x} with "
                         f"{operator.window}, not {operator.y}")


def _check_channels(operator):
    if len(operator.requantise.bias) != operator.y.channels:
        raise ValueError(f"requantise of {operator.name} must have {operator.y.channels} channels, "
                         f"not {len(operator.requantise.bias)}")
