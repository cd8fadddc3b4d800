"""Real scales as the integers of the core's requantise."""

import numpy as np

__all__ = ["scale_to_fixed"]


def scale_to_fixed(scale, multiplier_bits: int = 16, shift_max: int = 47):
    """``(multiplier, shift)``, integers, whose ``multiplier / 2**shift`` is nearest to ``scale``.

    ``scale``: positive, any shape. The multiplier has its top bit set unless ``scale`` is too small
    for ``shift_max``. Too large a scale, ``2**multiplier_bits`` or more, is a :exc:`ValueError`.
    """
    scale = np.asarray(scale, np.float64)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError("scale must be positive and finite")
    shift = np.minimum(multiplier_bits - np.frexp(scale)[1], shift_max)
    multiplier = np.rint(np.ldexp(scale, shift))
    carried = multiplier == 2.0 ** multiplier_bits
    shift = shift - carried
    multiplier = np.where(carried, multiplier / 2, multiplier)
    if (shift < 0).any():
        raise ValueError(f"scale must be below {2**multiplier_bits - 0.5}, not {scale.max()!r}")
    return multiplier.astype(np.int64), shift.astype(np.int64)
