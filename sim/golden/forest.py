"""Model of the quantised forests: from leaf to leaf, without tables."""

import numpy as np

from hw.lutnet.forest import Quantised

__all__ = ["sums", "run"]


def sums(forest: Quantised, codes: np.ndarray) -> np.ndarray:
    """int64 (samples, classes) of codes (samples, features)."""
    codes = np.asarray(codes, np.int64)
    rows = np.arange(len(codes))
    total = np.repeat(forest.base[None], len(codes), 0)
    for tree, group in zip(forest.trees, forest.group):
        at = np.zeros(len(codes), np.int64)
        while (inner := tree.feature[at] >= 0).any():
            above = codes[rows, np.maximum(tree.feature[at], 0)] > tree.threshold[at]
            at = np.where(inner, np.where(above, tree.right[at], tree.left[at]), at)
        total[:, group] += tree.value[at]
    return total


def run(forest: Quantised, codes: np.ndarray) -> np.ndarray:
    """Labels, the lowest of equals; of a regression the sums."""
    total = sums(forest, codes)
    return total.argmax(1) if forest.classes > 1 else total[:, 0]
