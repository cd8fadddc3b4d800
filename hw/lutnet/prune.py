"""Smaller networks from trained ones: nodes whose removal costs least are taken out.

Each node of a one-layer network adds its bit to one sum. Without it the sums change, by a known
amount for every training sample, and so does the cross-entropy of the softmax; the node with the
smallest loss goes. What a node costs depends on the counters: with carry chains a class is cheapest
with one wide node more than narrow ones, so nodes are taken out by kind, too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hw.options import output_folder

from . import data as datasets
from . import kernels
from .model import Layer, Model, load, note_of, save

__all__ = ["prune", "run", "trim"]


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


def _sums(model: Model, out: np.ndarray) -> np.ndarray:
    """float32 (classes, samples): the sums of the bits ``out``."""
    sums = np.zeros((model.classes, out.shape[1]), np.float32)
    kernels.group_sums(out, model.group, sums)
    return sums


def _loss(model: Model, codes: np.ndarray, y: np.ndarray, tau: float) -> float:
    """Cross-entropy on samples."""
    z = _sums(model, _outputs(model, codes)) / np.float32(tau)
    z -= z.max(0)
    return float((np.log(np.exp(z).sum(0)) - z[y, np.arange(len(y))]).mean())


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
    sums = _sums(model, out)
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


def trim(model: Model, codes: np.ndarray, y: np.ndarray, pairs: int, tau: float) -> Model:
    """``model`` without a node with an open pin and one without in each of ``pairs`` classes.

    A carry chain's cells take such pairs, so that one node less of a class often saves nothing. The
    classes are those whose loss on the samples grows least.
    """
    if pairs not in range(1, model.classes + 1):
        raise ValueError(f"pairs must be 1 to {model.classes}, not {pairs!r}")

    def smaller(model: Model, classes: list[int]) -> Model:
        for narrow in (True, False):
            model = prune(model, codes, y, 1, tau, classes=classes, narrow=narrow)
        return model

    growth = [_loss(smaller(model, [c]), codes, y, tau) for c in range(model.classes)]
    return smaller(model, sorted(np.argsort(growth, kind="stable")[:pairs].tolist()))


def run(options) -> dict:
    """Trim a model file by the whole training part; the line that is printed."""
    if not 0 < options.tau <= 1000:
        raise ValueError(f"tau must be above 0 and up to 1000, not {options.tau}")
    model, data = load(options.model), datasets.load(options.data)
    small = trim(model, model.codes(data.x_train), data.y_train, options.pairs, options.tau)
    path = output_folder(options.output) / "model.npz"
    save(path, small, f"{note_of(options.model)}; python -m hw.lutnet prune "
         f"{Path(options.model).name} --data {data.name} --pairs {options.pairs} "
         f"--tau {options.tau:g}")
    sums = _sums(small, _outputs(small, small.codes(data.x_test)))
    return {"data": data.name, "test": float((sums.argmax(0) == data.y_test).mean()),
            "n": len(data.y_test), "nodes": small.layers[0].nodes, "model": str(path)}
