"""Model of the LUT networks: codes to bits, bits to nodes, sums, label."""

from dataclasses import dataclass

import numpy as np

from hw.lutnet.model import Model

__all__ = ["Trace", "run", "encode", "layer", "sums", "label", "regress"]


@dataclass(frozen=True)
class Trace:
    """What a network computes on a batch.

    ``bits``: bool (samples, encoder bits); ``outputs``: bool (samples, nodes) of each layer;
    ``sums``: int64 (samples, classes); ``result``: int64 labels, or the sum of a regression.
    """

    bits: np.ndarray
    outputs: tuple[np.ndarray, ...]
    sums: np.ndarray
    result: np.ndarray


def encode(codes: np.ndarray, feature: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """``bit[s, e] = codes[s, feature[e]] > threshold[e]``."""
    return codes[:, feature].astype(np.int64) > threshold


def layer(inputs: np.ndarray, pins: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """``out[s, j] = tables[j, sum_i inputs[s, pins[j, i]] << i]``; pin -1 reads 0."""
    address = np.zeros((len(inputs), len(pins)), np.int64)
    for i in range(pins.shape[1]):
        value = np.where(pins[:, i] >= 0, inputs[:, pins[:, i]], False)
        address |= value.astype(np.int64) << i
    return tables[np.arange(len(pins)), address]


def sums(outputs: np.ndarray, group: np.ndarray, classes: int) -> np.ndarray:
    """How many nodes of each group are 1."""
    return np.stack([outputs[:, group == c].sum(1) for c in range(classes)], axis=1)\
        .astype(np.int64)


def label(total: np.ndarray) -> np.ndarray:
    """Index of the largest sum, the lowest of equals."""
    return total.argmax(1).astype(np.int64)


def regress(model: Model, total: np.ndarray) -> np.ndarray:
    """Value of a regression from its sum (samples,)."""
    return total * model.scale + model.bias


def run(model: Model, codes: np.ndarray) -> Trace:
    """The network on codes (samples, features), unsigned."""
    bits = encode(codes, model.encoder.feature, model.encoder.threshold)
    outputs, value = [], bits
    for part in model.layers:
        value = layer(value, part.pins, part.tables)
        outputs.append(value)
    total = sums(value, model.group, model.classes)
    return Trace(bits, tuple(outputs), total, label(total) if model.classes > 1 else total[:, 0])
