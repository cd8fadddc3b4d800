"""Don't-cares of a trained network: addresses that its training samples hardly ever make.

Every node's table is taken with the addresses that fewer than a share of the samples make as
don't-cares; a node that then depends on fewer inputs costs less where tables are narrow.
"""

from dataclasses import replace

import numpy as np

from .decompose import decompose
from .model import Layer, Model

__all__ = ["address_counts", "narrowed"]


def address_counts(layer: Layer, bits: np.ndarray) -> np.ndarray:
    """int64 (nodes, 2**n): how many samples make each address; bits bool (samples, inputs)."""
    counts = np.zeros(layer.tables.shape, np.int64)
    for j, pins in enumerate(layer.pins):
        address = sum(np.where(pin >= 0, bits[:, pin], False).astype(np.int64) << i
                      for i, pin in enumerate(pins))
        counts[j] = np.bincount(address, minlength=counts.shape[1])
    return counts


def narrowed(model: Model, inputs: list[np.ndarray], share: float) -> tuple[Model, list[int]]:
    """The network with rare addresses filled so that nodes need fewer inputs, and how many do.

    inputs: bool (samples, inputs) of each layer, on the training samples; share: 0 to 1, of the
    samples, below which an address is a don't-care. The counts are of each layer's nodes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be 0 to 1, not {share!r}")
    layers, narrower = [], []
    for layer, bits in zip(model.layers, inputs):
        counts = address_counts(layer, bits)
        tables, fewer = layer.tables.copy(), 0
        address = np.arange(1 << layer.n)
        for j in range(layer.nodes):
            care = counts[j] > share * len(bits)
            net = decompose(layer.tables[j], max(layer.n, 3), care)
            tables[j] = net.evaluate()[0][:1 << layer.n]
            before, after = (sum(bool((t ^ t[address ^ 1 << i]).any()) for i in range(layer.n))
                             for t in (layer.tables[j], tables[j]))
            fewer += after < before
        layers.append(Layer(layer.pins, tables))
        narrower.append(fewer)
    return replace(model, layers=tuple(layers)), narrower
