"""What operators compute, bit for bit, on NumPy arrays with a batch in front."""

from collections.abc import Callable, Mapping

import numpy as np

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
    Window,
)
from sim.golden.arith import requantise as golden

__all__ = ["evaluate", "run"]

_EXACT_SUM = {np.float32: 1 << 24, np.float64: 1 << 53}  # integers below are exact, and so are sums


def evaluate(operator: Operator, *xs: np.ndarray) -> np.ndarray:
    """Result of ``operator`` on its inputs: int8 arrays (batch, channels, height, width)."""
    return _MODEL[type(operator)](operator, *xs)


def run(network: Network, values: Mapping[str, np.ndarray],
        host: Callable[[Host, list[np.ndarray]], list[np.ndarray]]) -> dict[str, np.ndarray]:
    """All values of ``network`` on ``values`` of its inputs; ``host`` executes the host's steps.

    Tensors are (batch, channels, height, width); what ``host`` is given and returns has the shape
    of the graph's value.
    """
    values = dict(values)
    for step in network.steps:
        if isinstance(step, Host):
            results = host(step, [values[name] for name in step.xs])
            values.update(zip(step.ys, results, strict=True))
        else:
            xs = [values[x.name].reshape(-1, *x.shape) for x in step.inputs]
            values[step.y.name] = evaluate(step, *xs)
    return values


def _requantise(t: np.ndarray, r: Requantise) -> np.ndarray:
    channel = (slice(None), None, None)
    total = (t + r.bias[channel]).astype(np.int32)  # wraps, as the core's accumulators do
    return golden.requantise(total, 0, r.multiplier[channel], r.shift[channel], r.zero_point, r.low,
                             r.high).astype(np.int8)


def _windows(x: np.ndarray, window: Window, pad_value: int) -> np.ndarray:
    """View (batch, channels, height, width, kernel height, kernel width) of the padded ``x``."""
    top, left, bottom, right = window.pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad_value)
    spans = [d * (k - 1) + 1 for d, k in zip(window.dilation, window.kernel)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, (2, 3))
    (sy, sx), (dy, dx) = window.stride, window.dilation
    return view[:, :, ::sy, ::sx, ::dy, ::dx]


def _conv(c: Conv, x: np.ndarray) -> np.ndarray:
    windows = _windows(x, c.window, c.pad_value)
    batch, _, height, width = windows.shape[:4]
    depth = c.weights[0].size
    real = next(t for t, limit in _EXACT_SUM.items() if depth * 128 * 128 <= limit)
    # (batch, height, width, groups, depth) times (groups, depth, outputs of a group)
    w = c.weights.reshape(c.groups, -1, depth).transpose(0, 2, 1).astype(real)
    columns = windows.transpose(0, 2, 3, 1, 4, 5).astype(real)
    columns = columns.reshape(batch * height * width, c.groups, depth).transpose(1, 0, 2)
    sums = (columns @ w).transpose(1, 0, 2).reshape(batch, height, width, -1)
    return _requantise(sums.transpose(0, 3, 1, 2).astype(np.int64), c.requantise)


def _add(c: Add, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = a.astype(np.int64) * c.factor_a + b.astype(np.int64) * c.factor_b
    return _requantise(total, c.requantise)


def _scale(c: Scale, x: np.ndarray) -> np.ndarray:
    return _requantise(x.astype(np.int64), c.requantise)


def _max_pool(c: MaxPool, x: np.ndarray) -> np.ndarray:
    return _windows(x, c.window, -128).max((4, 5))


def _sum_pool(c: SumPool, x: np.ndarray) -> np.ndarray:
    return _requantise(_windows(x, c.window, c.pad_value).sum((4, 5), np.int64), c.requantise)


def _concat(c: Concat, *xs: np.ndarray) -> np.ndarray:
    return np.concatenate(xs, axis=1)


_MODEL = {Conv: _conv, Add: _add, Scale: _scale, MaxPool: _max_pool, SumPool: _sum_pool,
          Concat: _concat}
