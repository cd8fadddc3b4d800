"""Convolutions and poolings while they are trained: bit planes forward, gradients backward.

The nodes of a convolution draw their wiring at random from the window, each bit equally often, as
BinaryBrain does; their tables learn from all places together. A pooling is a fixed table, the OR,
and its input gradient is that of such a node (:mod:`hw.lutnet.nodes`): with inputs taken as 1/4 and
3/4 the derivative of the OR by one input is the product of ``1 - x`` over the others.
"""

import numpy as np

from . import kernels_front as kernels
from .layers import Convolution, Front, Pooling
from .nodes import FAR, NEAR
from .settings import TrainConfig
from .state import LayerState

__all__ = ["FrontTrainer"]


class _Convolution:
    """Bits forward, gradients backward, through one convolution."""

    def __init__(self, config, shape, count, size, border, rng):
        channels, height, width = shape
        self.window, self.border, self.before = size, border, shape
        self.pad = size - 1 if border else 0
        bits = channels * size * size
        self.state = LayerState(config, count, np.arange(bits), bits, False,
                                np.zeros(count, bool), rng)
        self.shape = self.stage().shape(*shape)

    @property
    def taps(self):
        """int32 (nodes, n, 3): channel and place in the window of each pin."""
        return np.stack(np.unravel_index(self.state.pins, (
            self.before[0], self.window, self.window)), axis=-1).astype(np.int32)

    def forward(self, bits, samples, keep, first):
        if self.pad:
            bits = np.pad(bits, ((0, 0), (self.pad, 0), (self.pad * samples, 0)))
        nodes, rows, columns = self.shape
        self.addr = np.empty((nodes, rows, columns * samples), np.uint8)
        out = np.empty_like(self.addr)
        if keep and self.state.family == "bb":  # its bits depend on the batch
            kernels.convolve(bits, self.taps, np.zeros(nodes, np.uint64), samples, self.addr, out)
            self.state.watch(self.addr.reshape(nodes, -1), first)
        kernels.convolve(bits, self.taps, self.state.luts(), samples, self.addr, out)
        return out

    def backward(self, grad, samples, rate, ticks, wanted):
        nodes = len(grad)
        dw, slope, offset = self.state.backward(
            self.addr.reshape(nodes, -1), np.arange(nodes, dtype=np.int32),
            grad.reshape(nodes, -1), wanted)
        below = None
        if wanted:
            channels, height, width = self.before
            below = np.zeros((channels, height + self.pad, (width + self.pad) * samples),
                             np.float32)
            kernels.convolve_pins(self.addr, grad, slope, offset, self.taps, samples, below)
            below = np.ascontiguousarray(below[:, self.pad:, self.pad * samples:])
        self.state.learn(dw, rate, ticks)
        return below

    def stage(self):
        return Convolution(self.window, self.window, self.border, self.state.layer())


class _Pooling:
    """The same for a pooling; nothing is learned."""

    state = None

    def __init__(self, shape, size):
        self.size = size
        self.shape = self.stage().shape(*shape)
        others = np.arange(size * size)
        self.factor = (NEAR ** (size * size - 1 - others) * FAR ** others).astype(np.float32)

    def forward(self, bits, samples, keep, first):
        channels, rows, columns = self.shape
        self.bits = bits
        self.count = np.empty((channels, rows, columns * samples), np.uint16)
        out = np.empty(self.count.shape, np.uint8)
        kernels.pool(bits, self.size, self.size, samples, self.count, out)
        return out

    def backward(self, grad, samples, rate, ticks, wanted):
        below = np.zeros(self.bits.shape, np.float32)
        kernels.pool_gradient(self.bits, self.count, grad, self.factor, self.size, self.size,
                              samples, below)
        return below

    def stage(self):
        return Pooling(self.size, self.size)


class FrontTrainer:
    """The stages of ``config`` on pictures of size ``image`` with ``channels`` bits per pixel."""

    def __init__(self, config: TrainConfig, image: tuple[int, int], channels: int, rng):
        self.image, self.channels = image, channels
        self.stages = []
        shape = (channels, *image)
        for nodes, size, border in config.parsed_stages():
            stage = _Convolution(config, shape, nodes, size, border, rng) if nodes else \
                _Pooling(shape, size)
            self.stages.append(stage)
            shape = stage.shape
        self.shape = shape

    @property
    def bits(self) -> int:
        """Of the last map."""
        return int(np.prod(self.shape))

    @property
    def states(self) -> list[LayerState]:
        return [stage.state for stage in self.stages if stage.state]

    def forward(self, bits, keep, first):
        """The last map, uint8 (bits + 1, samples) with a row of zeros, from the encoder's bits."""
        samples = bits.shape[1]
        height, width = self.image
        planes = bits[:-1].reshape(self.channels, height, width * samples)
        for stage in self.stages:
            planes = stage.forward(planes, samples, keep, first)
        out = np.zeros((self.bits + 1, samples), np.uint8)
        out[:-1] = planes.reshape(self.bits, samples)
        return out

    def backward(self, grad, rate, ticks):
        """Learn from the gradient of :meth:`forward`'s result, of its shape."""
        samples = grad.shape[1]
        channels, height, width = self.shape
        grad = np.ascontiguousarray(grad[:-1]).reshape(channels, height, width * samples)
        for index, stage in reversed(list(enumerate(self.stages))):
            wanted = any(before.state for before in self.stages[:index])
            grad = stage.backward(grad, samples, rate, ticks, wanted)
            if not wanted:
                break

    def front(self) -> Front:
        """The stages as they stand."""
        return Front(*self.image, tuple(stage.stage() for stage in self.stages))
