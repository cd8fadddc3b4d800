"""What a layer remembers while it is trained, and a step of its tables."""

import numpy as np

from . import kernels, nodes
from .model import Layer

__all__ = ["BLOCK", "STATE", "LayerState"]

BLOCK = 16  # nodes that share a pool of candidates and one matrix product
STATE = ("w", "m", "v", "seen", "pins", "scores")  # what a checkpoint holds


class LayerState:
    """Weights, wiring and optimiser of one layer.

    ``useful``: the inputs that may be read; ``features``: how many there are, and the index of the
    constant 0; ``narrow``: bool (count,), nodes whose last pin is the constant.
    """

    def __init__(self, config, count, useful, features, learned, narrow, rng):
        n = config.inputs
        self.family, self.n, self.count, self.features = config.family, n, count, features
        self.w = nodes.initial(config.family, count, n, rng)
        self.m, self.v = np.zeros_like(self.w), np.zeros_like(self.w)
        self.seen = np.ones((count, 2 ** n), np.float32)  # running address counts, for `bb`
        self.narrow = narrow
        self.scores = None
        if learned:
            size = min(config.candidates or len(useful), len(useful))
            starts = range(0, count, BLOCK)
            whole = size == len(useful)
            self.pools = [useful if whole else np.sort(rng.choice(useful, size, False))
                          for _ in starts]
            self.scores = np.zeros((3, len(starts), size, n * BLOCK), np.float32)
            self.scores[0] = rng.random((len(starts), size, n * BLOCK), np.float32)
            self.pins = np.zeros((count, n), np.int32)
            for b in range(len(starts)):
                self.connect(b, self.scores[0, b].argmax(0))
        else:  # every input is read equally often, give or take one
            times = -(-count * n // len(useful))
            drawn = np.concatenate([rng.permutation(useful) for _ in range(times)])
            self.pins = drawn[:count * n].reshape(count, n).astype(np.int32)
            self.pins[self.narrow, n - 1] = features

    def connect(self, block, best):
        first = block * BLOCK
        last = min(first + BLOCK, self.count)
        chosen = self.pools[block][best].reshape(BLOCK, self.n)[:last - first]
        self.pins[first:last] = chosen
        self.pins[self.narrow, self.n - 1] = self.features  # the constant

    def bits(self):
        return nodes.bits_of(self.family, self.w, self.seen)

    def luts(self):
        packed = np.zeros((self.count, 8), np.uint8)
        raw = np.packbits(self.bits(), axis=1, bitorder="little")
        packed[:, :raw.shape[1]] = raw
        return packed.view(np.uint64)[:, 0]

    def watch(self, addr, first):
        """Update the running counts by the addresses ``addr`` (nodes, samples) of a batch."""
        zero = np.zeros((1, addr.shape[1]), np.float32)
        total, count = np.empty_like(self.w), np.empty(self.w.shape, np.int32)
        kernels.address_sums(addr, np.zeros(self.count, np.int32), zero, total, count)
        if first:
            self.seen = count.astype(np.float32)
        self.seen = (0.9 * self.seen + 0.1 * count).astype(np.float32)

    def backward(self, addr, rows, grad, want_slope):
        """Gradient of the tables, and the parts of :func:`nodes.backward_tables`.

        The gradient of node j's output is ``grad[rows[j]]``, float32 (any, samples).
        """
        total, count = np.empty_like(self.w), np.empty(self.w.shape, np.int32)
        kernels.address_sums(addr, rows, grad, total, count)
        return nodes.backward_tables(self.family, self.w, total, count, want_slope=want_slope)

    def learn(self, dw, rate, ticks):
        """A step of Adam on the tables."""
        low = 0.0 if self.family == "bb" else -1.0
        kernels.adam(self.w.reshape(-1), self.m.reshape(-1), self.v.reshape(-1), dw.reshape(-1),
                     rate, ticks, np.float32(low), np.float32(1))

    def layer(self) -> Layer:
        """As it stands, with Boolean tables."""
        return Layer(np.where(self.pins == self.features, -1, self.pins), self.bits())
