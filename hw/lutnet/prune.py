"""Smaller networks from trained ones: nodes whose removal costs least are taken out.

Each node of a one-layer network adds its bit to one sum. Without it the sums change, by a known
amount for every training sample, and so does the cross-entropy of the softmax; the node with the
smallest loss goes. What a node costs depends on the counters: with carry chains a class is cheapest
with one wide node more than narrow ones, so nodes are taken out by kind, too.
"""

from dataclasses import replace

import numpy as np

from . import kernels
from .model import Layer, Model

__all__ = ["prune"]


def _outputs(model: Model, codes: np.ndarray) -> np.ndarray:
    """uint8 (nodes, samples): the bits of the layer."""
    encoder, layer = model.encoder, model.layers[0]
    bits = np.empty((encoder.bits + 1, len(codes)), np.uint8)
    kernels.encode(np.ascontiguousarray(codes.T), encoder.feature, encoder.threshold, bits)
    packed = np.zeros((layer.nodes, 8), np.uint8)
    raw = np.packbits(layer.tables, axis=1, bitorder="little")
    packed[:, :raw.shape[1]] = raw
    addr, out = np.empty((2, layer.nodes, len(codes)), np.uint8)
    pins = np.where(layer.pins < 0, encoder.bits, layer.pins).astype(np.int32)
    kernels.forward(bits, pins, packed.view(np.uint64)[:, 0], addr, out)
    return out


def _losses(out, group, sums, y, tau):
    """Cross-entropy without each node."""
    z = sums / np.float32(tau)
    z -= z.max(0)
    e = np.exp(z)
    total = e.sum(0)
    right = z[y, np.arange(len(y))]
    less = np.float32(np.exp(-1 / tau))
    losses = np.empty(len(out))
    for j, c in enumerate(group):
        on = out[j].astype(np.float32)
        after = total - on * e[c] * (1 - less)  # e[c] shrinks where the node was 1
        losses[j] = (np.log(after) - right + on * (y == c) / tau).mean()
    return losses


def prune(model: Model, codes: np.ndarray, y: np.ndarray, count: int, tau: float, *,
          classes: list[int] | None = None, narrow: bool | None = None) -> Model:
    """``model`` without ``count`` nodes of each of ``classes`` (all), chosen on training samples.

    codes: (samples, features); y: labels; tau: as in training; narrow: only nodes with an open pin,
    or only those without; None for both. One layer, a classifier.
    """
    if len(model.layers) != 1 or model.classes < 2 or model.shift.any():
        raise ValueError("model must have one layer, at least two classes and nodes that count 1")
    chosen = list(range(model.classes)) if classes is None else classes
    open_pin = (model.layers[0].pins < 0).any(1)
    kind = np.ones_like(open_pin) if narrow is None else open_pin == narrow
    fewest = min(int((kind & (model.group == c)).sum()) for c in chosen)
    if count not in range(1, fewest):
        raise ValueError(f"count must be 1 to {fewest - 1}, not {count!r}")
    out, group = _outputs(model, codes), model.group.copy()
    alive = np.arange(len(group))
    sums = np.zeros((model.classes, len(y)), np.float32)
    kernels.group_sums(out, group, sums)
    for _ in range(count):
        losses = _losses(out[alive], group[alive], sums, y, tau)
        losses[~kind[alive]] = np.inf
        gone = [alive[group[alive] == c][losses[group[alive] == c].argmin()] for c in chosen]
        for j in gone:
            sums[group[j]] -= out[j]
        alive = np.setdiff1d(alive, gone)
    layer = model.layers[0]
    return replace(model, layers=(Layer(layer.pins[alive], layer.tables[alive]),),
                   group=group[alive], shift=model.shift[alive])
