"""Model of the networks of edge tables: look up, add, saturate."""

import numpy as np

from hw.lutnet.edges import EdgeModel

__all__ = ["run"]


def run(model: EdgeModel, codes: np.ndarray) -> np.ndarray:
    """Results (samples, outputs) of unsigned codes (samples, inputs).

    Signed sums, or the unsigned codes of a last layer with limits.
    """
    index = total = np.asarray(codes, np.int64)
    for layer in model.layers:
        inputs = np.arange(index.shape[1])
        total = (layer.tables[inputs, :, index] * layer.edges).sum(1)
        if layer.limits is not None:
            index = total = np.sum([total >= limit for limit in layer.limits.T], axis=0)
            continue
        half = 1 << layer.out_bits - 1
        total = np.clip(total, -half, half - 1)
        index = total + half
    return total
