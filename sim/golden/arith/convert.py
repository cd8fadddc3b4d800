"""Model of rounding from one float format to another, without subnormal numbers."""

import numpy as np

from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from sim.golden.formats import storage

__all__ = ["convert", "decode_flushed", "round_to"]

_INFINITY = 0x7ff << 52  # of float64
_NAN      = 0xfff << 51


def convert(bits: np.ndarray, source: FloatFormat = FLOAT32,
            target: FloatFormat = BFLOAT16) -> np.ndarray:
    """Model of :class:`hw.arith.convert.Convert`, bit for bit; words in, words out."""
    return round_to(decode_flushed(bits, source), target)


def decode_flushed(bits: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Values of words of ``fmt`` as float64, subnormal ones as zero of their sign.

    The formats have to fit: at most 10 bits of exponent.
    """
    bits = np.asarray(bits)
    magnitude = bits.astype(np.int64) & (fmt.sign_mask - 1)
    # The fields of float64 lie alike, but for the bias.
    word = (magnitude + ((1023 - fmt.bias) << fmt.fraction)) << (52 - fmt.fraction)
    word = np.where(magnitude >> fmt.fraction, word, 0)
    if fmt.finite:
        word = np.where(magnitude == fmt.nan, _NAN, word)
    else:
        word = np.where(magnitude >= fmt.infinity, np.where(
            magnitude > fmt.infinity, _NAN, _INFINITY), word)
    word |= bits.astype(np.int64) >> (fmt.width - 1) << 63
    return word.view(np.float64)


def round_to(values: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Words of ``fmt`` for ``values`` (float64, none of them subnormal).

    Rounded to nearest even with unbounded exponent; then beyond the largest number infinity (or
    NaN, where the format has none), below the smallest normal number zero, of the value's sign.
    NaN becomes the one NaN.
    """
    bits = np.asarray(values, np.float64).view(np.int64)
    magnitude = bits & (2**63 - 1)
    nan = magnitude > _INFINITY
    drop = 52 - fmt.fraction
    if drop:
        magnitude = (magnitude + ((1 << (drop - 1)) - 1) + (magnitude >> drop & 1)) >> drop
    # The fields of float64 and of `fmt` now lie alike, but for the bias.
    word = magnitude - ((1023 - fmt.bias) << fmt.fraction)
    beyond = fmt.nan if fmt.finite else fmt.infinity
    word = np.where(word < 1 << fmt.fraction, 0, np.minimum(word, beyond))
    word |= (bits >> 63) & fmt.sign_mask
    if fmt.finite:
        nan |= word & (fmt.sign_mask - 1) == fmt.nan
    return np.where(nan, fmt.nan, word).astype(storage(fmt))
