"""Encoders fitted to data: from features to the bits that the first layer reads.

``uniform``
    ``levels`` thresholds at equal distances over the codes: bit k is ``code > (k + 1) * 2**width
    / (levels + 1) - 1``. One level splits at the middle: the code's top bit, which costs no gate.
``distributive``
    Thresholds at the quantiles of each feature, equal ones merged.
``bit``
    One bit per feature: ``uniform`` with one level on codes of one bit.
"""

import numpy as np

from .model import Encoder

__all__ = ["ENCODERS", "fit", "scaling"]

ENCODERS = ("uniform", "distributive", "bit")


def scaling(x: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Offset and step of each feature so that the codes span its range in ``x``."""
    if x.dtype == np.uint8:  # pixels: the code is the top bits, the same for all
        top = 8 if x.max() > 16 else 4
        if width <= top:
            return np.zeros(x.shape[1]), np.full(x.shape[1], 2.0 ** (top - width))
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    return low, np.maximum((high - low) / 2 ** width, 1e-9)


def fit(x: np.ndarray, kind: str, *, levels: int, width: int) -> Encoder:
    """Encoder of ``kind`` for the training features ``x`` (samples, features)."""
    if kind not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, not {kind!r}")
    if kind == "bit":
        kind, levels, width = "uniform", 1, 1
    if levels not in range(1, 2 ** width):
        raise ValueError(f"levels must be 1 to {2 ** width - 1} with codes of {width} bits, "
                         f"not {levels!r}")
    offset, step = scaling(x, width)
    features = x.shape[1]
    if kind == "uniform":
        cuts = np.arange(1, levels + 1) * 2 ** width // (levels + 1) - 1
        cuts = np.repeat(cuts[None], features, 0)
    else:
        empty = np.zeros(0, np.int32)
        codes = Encoder(width, offset, step, empty, empty).codes(x)
        cuts = np.quantile(codes, np.arange(1, levels + 1) / (levels + 1), axis=0,
                           method="lower").T
    cuts = np.clip(cuts, 0, 2 ** width - 2).astype(np.int32)
    feature, threshold = [], []
    for f in range(features):
        kept = np.unique(cuts[f])
        feature += [f] * len(kept)
        threshold += kept.tolist()
    return Encoder(width, offset, step, np.array(feature, np.int32),
                   np.array(threshold, np.int32))
