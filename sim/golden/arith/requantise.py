"""Model of the way from sums of integer products back to narrow integers."""

import numpy as np

from hw.formats import INT8, IntFormat

__all__ = ["requantise"]


def requantise(acc: np.ndarray, bias, multiplier, shift, zero_point=0, low=None, high=None,
               result: IntFormat = INT8) -> np.ndarray:
    """Model of :class:`hw.arith.requantise.Requantise`, bit for bit.

    ``min(max((((acc + bias) * multiplier + half) >> shift) + zero_point, low), high)``, with
    ``half = 2**(shift - 1)``, or 0 when ``shift`` is 0. All arguments broadcast; ``acc`` and
    ``bias`` hold int32, ``multiplier`` 0 to ``2**32 - 1``, ``shift`` 0 to 63. ``low`` and ``high``
    are the limits of ``result`` unless given. Returns int64.
    """
    acc, multiplier = np.asarray(acc, np.int64), np.asarray(multiplier, np.int64)
    shift = np.asarray(shift, np.int64)
    # 33 bits times 32 bits would not fit: two halves of the sum, and floor division of each.
    total = acc + np.asarray(bias, np.int64)
    upper, lower = total >> 16, total & 0xffff  # total = upper * 2**16 + lower
    upper, lower = upper * multiplier, lower * multiplier
    upper, lower = upper + (lower >> 16), lower & 0xffff  # the product again, lower < 2**16
    # (x + 2**(s-1)) >> s is (x >> s) plus bit s-1 of x; bit -1 of x is 0.
    near, far = np.minimum(shift, 16), np.maximum(shift - 16, 0)
    small = shift <= 16
    rest = np.where(small, 16 - near, 0)
    # Beyond 2**40 the clamp decides, whatever the exact value is.
    bounded = np.clip(upper, -(1 << 40), 1 << 40)
    value = np.where(small, (bounded << rest) + (lower >> near), upper >> far)
    before = np.maximum(shift - 1, 0)
    half_bit = np.where(before < 16, lower >> np.minimum(before, 15) >> (before > 15),
                        upper >> np.maximum(before - 16, 0)) & 1
    value = value + np.where(shift > 0, half_bit, 0) + zero_point
    low = result.min if low is None else low
    high = result.max if high is None else high
    return np.minimum(np.maximum(value, low), high)
