"""Model of rounding from one float format to another, without subnormal numbers."""

import numpy as np

from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from sim.golden.formats import decode, storage

__all__ = ["convert", "flush", "round_to"]


def convert(bits: np.ndarray, source: FloatFormat = FLOAT32,
            target: FloatFormat = BFLOAT16) -> np.ndarray:
    """Model of :class:`hw.arith.convert.Convert`, bit for bit; words in, words out."""
    return round_to(flush(decode(bits, source), source), target)


def flush(values: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """``values`` (float64) with those below the smallest normal number of ``fmt`` as signed zero."""
    return np.where(np.abs(values) < 2.0 ** fmt.min_exponent, np.copysign(0.0, values), values)


def round_to(values: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Words of ``fmt`` for ``values`` (float64, none of them subnormal).

    Rounded to nearest even with unbounded exponent; then beyond the largest number infinity (or
    NaN, where the format has none), below the smallest normal number zero, of the value's sign.
    NaN becomes the one NaN.
    """
    bits = np.asarray(values, np.float64).view(np.uint64)
    sign = bits >> np.uint64(63)
    drop = 52 - fmt.fraction
    magnitude = bits & np.uint64((1 << 63) - 1)
    if drop:
        odd = (magnitude >> np.uint64(drop)) & np.uint64(1)
        magnitude = (magnitude + np.uint64((1 << (drop - 1)) - 1) + odd) >> np.uint64(drop)
    # The fields of float64 and of `fmt` now lie alike, but for the bias.
    word = magnitude.astype(np.int64) - ((1023 - fmt.bias) << fmt.fraction)
    beyond = fmt.nan if fmt.finite else fmt.infinity
    word = np.where(word < 1 << fmt.fraction, 0, np.where(word >= beyond, beyond, word))
    word |= sign.astype(np.int64) << (fmt.width - 1)
    if fmt.finite:
        word = np.where(word & (fmt.sign_mask - 1) == fmt.nan, fmt.nan, word)
    word = np.where(np.isnan(values), fmt.nan, word)
    return word.astype(storage(fmt))
