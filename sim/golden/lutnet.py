"""Model of the LUT networks: codes to bits, bits to maps and nodes, sums, label."""

from dataclasses import dataclass

import numpy as np

from hw.lutnet.layers import Convolution, Pooling
from hw.lutnet.model import Model

__all__ = ["Trace", "run", "encode", "convolve", "pool", "layer", "sums", "label", "regress",
           "modulate", "oversample"]


@dataclass(frozen=True)
class Trace:
    """What a network computes on a batch.

    ``bits``: bool (samples, encoder bits), of all pixels with a front; ``maps``: bool (samples,
    channels, height, width) of each of its stages; ``outputs``: bool (samples, nodes) of each
    layer; ``sums``: int64 (samples, classes); ``result``: int64 labels, or the sum of a regression.
    """

    bits: np.ndarray
    outputs: tuple[np.ndarray, ...]
    sums: np.ndarray
    result: np.ndarray
    maps: tuple[np.ndarray, ...] = ()


def encode(codes: np.ndarray, feature: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """``bit[s, e] = codes[s, feature[e]] > threshold[e]``."""
    return codes[:, feature].astype(np.int64) > threshold


def convolve(bits: np.ndarray, stage: Convolution) -> np.ndarray:
    """bool (samples, nodes, rows, columns) from (samples, channels, height, width)."""
    if stage.border:
        bits = np.pad(bits, ((0, 0), (0, 0), (stage.height - 1, 0), (stage.width - 1, 0)))
    rows, columns = bits.shape[2] - stage.height + 1, bits.shape[3] - stage.width + 1
    out = np.empty((len(bits), stage.layer.nodes, rows, columns), np.bool_)
    for j, (pins, table) in enumerate(zip(stage.layer.pins.tolist(), stage.layer.tables)):
        address = np.zeros((len(bits), rows, columns), np.uint8)
        for i, pin in enumerate(pins):
            if pin >= 0:
                k, y, x = np.unravel_index(pin, (bits.shape[1], stage.height, stage.width))
                address |= bits[:, k, y:y + rows, x:x + columns].astype(np.uint8) << i
        out[:, j] = table[address]
    return out


def pool(bits: np.ndarray, stage: Pooling) -> np.ndarray:
    """bool (samples, channels, rows, columns): the OR of each tile."""
    samples, channels, height, width = bits.shape
    rows, columns = height // stage.height, width // stage.width
    tiles = bits[:, :, :rows * stage.height, :columns * stage.width]
    tiles = tiles.reshape(samples, channels, rows, stage.height, columns, stage.width)
    return np.logical_or.reduce(tiles, axis=(3, 5))


def layer(inputs: np.ndarray, pins: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """``out[s, j] = tables[j, sum_i inputs[s, pins[j, i]] << i]``; pin -1 reads 0."""
    address = np.zeros((len(inputs), len(pins)), np.int64)
    for i in range(pins.shape[1]):
        value = np.where(pins[:, i] >= 0, inputs[:, pins[:, i]], False)
        address |= value.astype(np.int64) << i
    return tables[np.arange(len(pins)), address]


def sums(outputs: np.ndarray, group: np.ndarray, classes: int, shift: np.ndarray) -> np.ndarray:
    """Sum of ``2**shift`` over the nodes of each group that are 1."""
    return np.stack([outputs[:, group == c] @ (np.int64(1) << shift[group == c].astype(np.int64))
                     for c in range(classes)], axis=1)


def label(total: np.ndarray) -> np.ndarray:
    """Index of the largest sum, the lowest of equals."""
    return total.argmax(1).astype(np.int64)


def regress(model: Model, total: np.ndarray) -> np.ndarray:
    """Value of a regression from its sum (samples,)."""
    return total * model.scale + model.bias


def modulate(codes: np.ndarray, width: int, passes: int) -> np.ndarray:
    """uint8 (passes, samples, features): in pass m a feature is ``code > cut[m]``.

    The cuts are at equal distances over the codes of ``width`` bits, ascending:
    ``cut[m] = (m + 1) * 2**width // (passes + 1) - 1``. What is 1 more often was larger.
    """
    cuts = np.arange(1, passes + 1) * 2 ** width // (passes + 1) - 1
    return (codes > cuts[:, None, None]).astype(np.uint8)


def oversample(model: Model, codes: np.ndarray, width: int, passes: int) -> np.ndarray:
    """Labels, or sums of a regression, from the sums of all passes over modulated codes."""
    total = np.sum([run(model, frame).sums for frame in modulate(codes, width, passes)], axis=0)
    return label(total) if model.classes > 1 else total[:, 0]


def run(model: Model, codes: np.ndarray) -> Trace:
    """The network on codes (samples, features), unsigned."""
    front, encoder, maps = model.front, model.encoder, []
    if front:
        encoder = encoder.tiled(front.height * front.width)
    bits = value = encode(codes, encoder.feature, encoder.threshold)
    if front:
        value = value.reshape(len(codes), -1, front.height, front.width)
        for stage in front.stages:
            value = convolve(value, stage) if isinstance(stage, Convolution) else pool(value, stage)
            maps.append(value)
        value = value.reshape(len(codes), -1)
    outputs = []
    for part in model.layers:
        value = layer(value, part.pins, part.tables)
        outputs.append(value)
    total = sums(value, model.group, model.classes, model.shift)
    return Trace(bits, tuple(outputs), total, label(total) if model.classes > 1 else total[:, 0],
                 tuple(maps))
