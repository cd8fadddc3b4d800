"""Networks with the shapes of well-known ones, and random contents."""

from collections.abc import Callable

import numpy as np

from hw.compiler.operators import (
    Add,
    Concat,
    Conv,
    MaxPool,
    Network,
    Requantise,
    Scale,
    SumPool,
    Tensor,
    Window,
)

__all__ = ["Builder", "CONVOLUTIONS", "ZOO", "resnet8", "resnet18", "resnet50", "mobilenet"]


class Builder:
    """Adds operators with random contents to a network; tensors are named as who makes them."""

    def __init__(self, seed: int, *inputs: Tensor):
        self.rng = np.random.default_rng(seed)
        self.inputs, self.steps = inputs, []
        self.tensors = {x.name: x for x in inputs}

    def conv(self, x, outputs, kernel=(1, 1), *, stride=(1, 1), dilation=(1, 1),
             pads=(0, 0, 0, 0), groups=1, pad_value=0) -> Tensor:
        window = Window(kernel, stride, dilation, pads)
        y = self._result(outputs, *window.outputs(x.height, x.width))
        shape = (outputs, x.channels // groups, *kernel)
        weights = self.rng.integers(-128, 128, shape).astype(np.int8)
        scale = 40 / (128 * 80 * np.sqrt(np.prod(shape[1:])))
        return self._add(Conv(y.name, x, y, weights, self._requantise(outputs, scale), window,
                              groups, pad_value))

    def add(self, a, b) -> Tensor:
        y = self._result(*a.shape)
        factors = (int(f) for f in self.rng.integers(-300, 300, 2))
        return self._add(Add(y.name, a, b, y, *factors, self._requantise(a.channels, 1 / 400)))

    def scale(self, x) -> Tensor:
        y = self._result(*x.shape)
        return self._add(Scale(y.name, x, y, self._requantise(x.channels, 1)))

    def max_pool(self, x, kernel, *, stride=(1, 1), pads=(0, 0, 0, 0), dilation=(1, 1)) -> Tensor:
        window = Window(kernel, stride, dilation, pads)
        y = self._result(x.channels, *window.outputs(x.height, x.width))
        return self._add(MaxPool(y.name, x, y, window))

    def sum_pool(self, x, kernel, *, stride=(1, 1), pads=(0, 0, 0, 0), pad_value=0) -> Tensor:
        window = Window(kernel, stride, (1, 1), pads)
        y = self._result(x.channels, *window.outputs(x.height, x.width))
        return self._add(SumPool(y.name, x, y, window,
                                 self._requantise(x.channels, 1 / np.prod(kernel)), pad_value))

    def concat(self, *xs) -> Tensor:
        y = self._result(sum(x.channels for x in xs), *xs[0].shape[1:])
        return self._add(Concat(y.name, xs, y))

    def network(self, *outputs: Tensor) -> Network:
        outputs = outputs or (self.steps[-1].y,)
        return Network(tuple(x.name for x in self.inputs), tuple(y.name for y in outputs),
                       self.tensors, tuple(self.steps))

    def values(self, samples: int) -> dict[str, np.ndarray]:
        return {x.name: self.rng.integers(-128, 128, (samples, *x.shape)).astype(np.int8)
                for x in self.inputs}

    def _result(self, *shape) -> Tensor:
        return Tensor(f"t{len(self.steps)}", *shape)

    def _add(self, operator) -> Tensor:
        self.steps.append(operator)
        self.tensors[operator.y.name] = operator.y
        return operator.y

    def _requantise(self, channels, scale) -> Requantise:
        low, high = sorted(int(v) for v in self.rng.integers(-128, 128, 2))
        if high - low < 100:
            low, high = -128, 127
        return Requantise.of_scale(self.rng.uniform(.7, 1.4, channels) * scale,
                                   self.rng.integers(-3000, 3000, channels),
                                   int(self.rng.integers(-40, 40)), low, high)


_SAME = {"pads": (1, 1, 1, 1)}


def _basic(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    """Two 3x3 convolutions, and the input, or a convolution of it, added."""
    y = b.conv(x, channels, (3, 3), stride=(stride, stride), **_SAME)
    y = b.conv(y, channels, (3, 3), **_SAME)
    if stride != 1 or x.channels != channels:
        x = b.conv(x, channels, stride=(stride, stride))
    return b.add(y, x)


def _bottleneck(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    """Version 2: scale and ReLU come first, and the sum stays as it is."""
    y = b.scale(x)
    if stride != 1 or x.channels != channels:
        x = b.conv(y, channels, stride=(stride, stride))
    y = b.conv(y, channels // 4)
    y = b.conv(y, channels // 4, (3, 3), stride=(stride, stride), **_SAME)
    return b.add(b.conv(y, channels), x)


def _classify(b: Builder, x: Tensor, classes: int) -> Tensor:
    return b.conv(b.sum_pool(x, x.shape[1:]), classes)


def resnet8(seed: int = 0) -> Network:
    """ResNet-8 of MLPerf Tiny: 32x32 pixels, 12.5 million MACs."""
    b = Builder(seed, Tensor("x", 3, 32, 32))
    x = b.conv(b.inputs[0], 16, (3, 3), **_SAME)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        x = _basic(b, x, channels, stride)
    return b.network(_classify(b, x, 10))


def _imagenet(seed: int, convolutions: bool, blocks: Callable) -> Network:
    """Stem, ``blocks`` and classifier; or, of ``convolutions``, the blocks alone."""
    if convolutions:
        b = Builder(seed, Tensor("x", 64, 56, 56))
        return b.network(blocks(b, b.inputs[0]))
    b = Builder(seed, Tensor("x", 3, 224, 224))
    x = b.conv(b.inputs[0], 64, (7, 7), stride=(2, 2), pads=(3, 3, 3, 3))
    x = b.max_pool(x, (3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    return b.network(_classify(b, blocks(b, x), 1000))


def resnet18(seed: int = 0, *, convolutions: bool = False) -> Network:
    """ResNet-18, 224x224 pixels; ``convolutions``: from the first pool to the last sum."""
    def blocks(b, x):
        for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            x = _basic(b, _basic(b, x, channels, stride), channels, 1)
        return x
    return _imagenet(seed, convolutions, blocks)


def resnet50(seed: int = 0, *, convolutions: bool = False) -> Network:
    """ResNet-50 version 2, 224x224 pixels; ``convolutions`` as in :func:`resnet18`."""
    def blocks(b, x):
        for channels, stride, count in ((256, 1, 3), (512, 2, 4), (1024, 2, 6), (2048, 2, 3)):
            for n in range(count):
                x = _bottleneck(b, x, channels, stride if n == 0 else 1)
        return b.scale(x)
    return _imagenet(seed, convolutions, blocks)


def mobilenet(seed: int = 0, *, size: int = 224, width: float = 1.0) -> Network:
    """MobileNet version 1: a depthwise and a 1x1 convolution, again and again."""
    b = Builder(seed, Tensor("x", 3, size, size))
    x = b.conv(b.inputs[0], int(32 * width), (3, 3), stride=(2, 2), **_SAME)
    for channels, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
                             *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        x = b.conv(x, x.channels, (3, 3), stride=(stride, stride), groups=x.channels, **_SAME)
        x = b.conv(x, int(channels * width))
    return b.network(_classify(b, x, 1000))


#: Of these the figures of others leave out the stem and the classifier.
CONVOLUTIONS = ("resnet18", "resnet50")
ZOO: dict[str, Callable[..., Network]] = {
    "resnet8": resnet8, "resnet18": resnet18, "resnet50": resnet50, "mobilenet": mobilenet,
}
