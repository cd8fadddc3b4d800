"""Operators: hand-worked values, a loop as an independent model, and what is refused."""

import itertools

import numpy as np
import pytest

from hw.compiler.operators import (
    Add,
    Concat,
    Conv,
    Host,
    MaxPool,
    Network,
    Requantise,
    Scale,
    SumPool,
    Tensor,
    Window,
)
from sim.golden.compiler.operators import evaluate, run


def identity(channels, **limits):
    """A requantise that only clamps."""
    return Requantise(np.zeros(channels), np.ones(channels), np.zeros(channels), **limits)


def looped(conv, x):
    """The convolution as nested loops over Python integers, without batch."""
    (sy, sx), (dy, dx) = conv.window.stride, conv.window.dilation
    top, left = conv.window.pads[:2]
    per_group = conv.y.channels // conv.groups
    r, result = conv.requantise, np.empty(conv.y.shape, np.int8)
    for o, i, j in itertools.product(*map(range, conv.y.shape)):
        t = int(r.bias[o])
        for c, ky, kx in itertools.product(*map(range, conv.weights.shape[1:])):
            row, column = i * sy + ky * dy - top, j * sx + kx * dx - left
            inside = 0 <= row < conv.x.height and 0 <= column < conv.x.width
            channel = o // per_group * conv.weights.shape[1] + c
            value = int(x[channel, row, column]) if inside else conv.pad_value
            t += value * int(conv.weights[o, c, ky, kx])
        shift = int(r.shift[o])
        t = (t * int(r.multiplier[o]) + (1 << shift >> 1)) >> shift
        result[o, i, j] = min(max(t + r.zero_point, r.low), r.high)
    return result


# channels, outputs, groups, size, kernel, stride, dilation, pads
CONVS = [
    (1, 1, 1, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),   # the smallest
    (3, 5, 1, (5, 4), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (4, 6, 2, (7, 5), (3, 2), (2, 3), (1, 1), (0, 1, 2, 0)),   # groups, asymmetric pads
    (4, 4, 4, (6, 6), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),   # depthwise, TFLite's SAME
    (4, 8, 4, (6, 6), (2, 2), (1, 1), (2, 2), (1, 1, 1, 1)),   # two outputs a channel, dilated
    (2, 3, 1, (1, 9), (1, 4), (1, 2), (1, 1), (0, 3, 0, 3)),   # one-dimensional
]


@pytest.mark.parametrize("channels, outputs, groups, size, kernel, stride, dilation, pads", CONVS)
def test_convolution_is_the_loop(channels, outputs, groups, size, kernel, stride, dilation, pads):
    rng = np.random.default_rng(channels + outputs)
    window = Window(kernel, stride, dilation, pads)
    x = Tensor("x", channels, *size)
    y = Tensor("y", outputs, *window.outputs(*size))
    conv = Conv("conv", x, y, rng.integers(-128, 128, (outputs, channels // groups, *kernel),
                                           np.int8),
                Requantise.of_scale(rng.uniform(1e-3, 1e-1, outputs),
                                    rng.integers(-1000, 1000, outputs), -3, -128, 100),
                window, groups, pad_value=-7)
    batch = rng.integers(-128, 128, (2, *x.shape), np.int8)
    np.testing.assert_array_equal(evaluate(conv, batch), [looped(conv, image) for image in batch])


def test_sums_beyond_float32_are_exact():
    n = 4096
    conv = Conv("wide", Tensor("x", n), Tensor("y", 1), np.full((1, n, 1, 1), -128, np.int8),
                Requantise(np.array([1 - n * 128 * 128]), np.ones(1), np.zeros(1)))
    assert evaluate(conv, np.full((1, n, 1, 1), -128, np.int8)).item() == 1


def test_bias_wraps_at_32_bits():
    scale = Scale("s", Tensor("x", 1), Tensor("y", 1),
                  Requantise(np.array([2**31 - 1]), np.ones(1), np.zeros(1)))
    assert evaluate(scale, np.full((1, 1, 1, 1), 1, np.int8)).item() == -128


def test_add_by_hand():
    a, b, y = (Tensor(name, 1, 1, 4) for name in "aby")
    add = Add("add", a, b, y, 3, -2, Requantise(np.array([1]), np.array([1]), np.array([1])))
    result = evaluate(add, np.array([[[[1, 2, 127, -128]]]], np.int8),
                      np.array([[[[0, 4, -128, 127]]]], np.int8))
    assert result.tolist() == [[[[2, 0, 127, -128]]]]  # (3 + 1) / 2; (-2 + 1) / 2: a tie goes up


def test_pools_by_hand():
    x, y = Tensor("x", 1, 2, 3), Tensor("y", 1, 1, 2)
    window = Window((2, 2), (2, 2), pads=(0, 1, 0, 0))
    image = np.array([[[[-5, 7, 1], [-9, 2, 3]]]], np.int8)
    assert evaluate(MaxPool("m", x, y, window), image).tolist() == [[[[-5, 7]]]]
    assert evaluate(SumPool("s", x, y, window, identity(1), pad_value=100),
                    image).tolist() == [[[[127, 13]]]]


def test_run_joins_host_and_core():
    a, b, y = Tensor("a", 1), Tensor("b", 2), Tensor("y", 3)
    network = Network(("a",), ("z",), {"a": a, "b": b, "y": y}, (
        Host("twice", None, ("a",), ("b",), "no such operator"),
        Concat("join", (a, b), y),
        Host("sum", None, ("y",), ("z",), "no such operator")))

    def host(step, xs):
        return [np.repeat(xs[0], 2, axis=1) * 2] if step.name == "twice" else [xs[0].sum()]

    values = run(network, {"a": np.array([[[[5]]]], np.int8)}, host)
    assert values["y"].ravel().tolist() == [5, 10, 10] and values["z"] == 25


X, Y = Tensor("x", 2, 4, 4), Tensor("y", 2, 4, 4)
ONES = np.ones((2, 2, 1, 1), np.int8)


@pytest.mark.parametrize("make, message", [
    (lambda: Tensor("x", 0), "channels of x must be at least 1, not 0"),
    (lambda: Window(kernel=(0, 1)), "kernel must be at least 1, not (0, 1)"),
    (lambda: Window(pads=(0, -1, 0, 0)), "pads must be at least 0, not (0, -1, 0, 0)"),
    (lambda: Requantise(np.zeros(2), np.ones(3), np.zeros(2)),
     "multiplier must have shape (2,), not (3,)"),
    (lambda: Requantise(np.zeros(1), np.array([65536]), np.zeros(1)),
     "multiplier must be 0 to 65535, not 65536 to 65536"),
    (lambda: identity(1, low=3, high=2),
     "low, high, zero_point must be int8, low at most high, not 3, 2, 0"),
    (lambda: Conv("c", X, Y, ONES.astype(np.int16), identity(2)),
     "weights of c must be int8 of shape (2, 2, 1, 1), not int16 of shape (2, 2, 1, 1)"),
    (lambda: Conv("c", X, Y, ONES, identity(2), groups=3),
     "groups of c must divide 2 and 2 channels, not 3"),
    (lambda: Conv("c", X, Tensor("y", 2, 4, 3), ONES, identity(2)),
     "c must make 4x4 of x[2x4x4] with Window(kernel=(1, 1), stride=(1, 1), dilation=(1, 1), "
     "pads=(0, 0, 0, 0)), not y[2x4x3]"),
    (lambda: Conv("c", X, Y, ONES, identity(3)), "requantise of c must have 2 channels, not 3"),
    (lambda: Add("a", X, Y, Tensor("z", 1, 4, 4), 1, 1, identity(1)),
     "a must add tensors of one shape, not x[2x4x4], y[2x4x4] to z[1x4x4]"),
    (lambda: Add("a", X, X, Y, 40000, 1, identity(2)),
     "factors of a must be -32768 to 32767, not 40000"),
    (lambda: Scale("s", X, Tensor("y", 2), identity(2)),
     "s must keep the shape, not x[2x4x4] to y[2x1x1]"),
    (lambda: MaxPool("m", X, Tensor("y", 1, 4, 4), Window()),
     "m must keep the channels, not x[2x4x4] to y[1x4x4]"),
    (lambda: Concat("j", (X, X), Y),
     "j must join tensors of one height and width, not x[2x4x4], x[2x4x4] to y[2x4x4]"),
    (lambda: Network(("x",), ("y",), {}, (Scale("s", Y, X, identity(2)),)),
     "s reads 'y', which nothing before it makes"),
    (lambda: Network(("x",), ("y",), {}, ()), "output 'y' is made by nothing"),
])
def test_wrong(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
