"""Random operators and small networks for the compiler's tests."""

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
