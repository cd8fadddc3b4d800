"""Models of the number formats: bits to values and back, to nearest even."""

import numpy as np

from hw.formats import FloatFormat

__all__ = ["decode", "encode", "convert", "storage"]


def storage(fmt: FloatFormat) -> type[np.unsignedinteger]:
    """The NumPy type that holds one word of ``fmt``."""
    return next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64)
                if fmt.width <= 8 * np.dtype(t).itemsize)


def decode(bits: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Values of the words ``bits`` (unsigned, any shape) as float64; exact."""
    bits = np.asarray(bits).astype(np.uint64)
    fraction = (bits & np.uint64((1 << fmt.fraction) - 1)).astype(np.float64)
    exponent = (bits >> np.uint64(fmt.fraction)).astype(np.int64) & ((1 << fmt.exponent) - 1)
    normal = exponent != 0
    value = np.ldexp(fraction + normal * 2.0 ** fmt.fraction,
                     np.maximum(exponent, 1) - fmt.bias - fmt.fraction)
    magnitude = bits & np.uint64(fmt.sign_mask - 1)
    if fmt.finite:
        value = np.where(magnitude == fmt.nan, np.nan, value)
    else:
        value = np.where(magnitude == fmt.infinity, np.inf, value)
        value = np.where(magnitude > fmt.infinity, np.nan, value)
    return np.where(bits & np.uint64(fmt.sign_mask), -value, value)


def encode(values: np.ndarray, fmt: FloatFormat) -> np.ndarray:
    """Words of ``fmt`` nearest to ``values`` (float64), ties to even, with gradual underflow.

    Beyond the largest finite number: infinity, or NaN where the format has none. NaN becomes the
    one NaN. Returns :func:`storage`.
    """
    values = np.asarray(values, np.float64)
    magnitude = np.abs(np.where(np.isfinite(values), values, 0.0))
    exponent = np.where(magnitude > 0, np.frexp(magnitude)[1] - 1, fmt.min_exponent)
    exponent = np.maximum(exponent, fmt.min_exponent)
    steps = np.rint(np.ldexp(magnitude, fmt.fraction - exponent))
    # A carry out of the fraction moves on into the exponent field, as the fields lie side by side.
    word = (steps.astype(np.int64)
            + ((exponent - fmt.min_exponent).astype(np.int64) << fmt.fraction)).astype(np.uint64)
    largest = fmt.nan - 1 if fmt.finite else fmt.infinity - 1
    beyond = fmt.nan if fmt.finite else fmt.infinity
    word = np.where(np.isinf(values) | (word > largest), np.uint64(beyond), word)
    word = np.where(np.signbit(values), word | np.uint64(fmt.sign_mask), word)
    if fmt.finite:
        word = np.where(word & np.uint64(fmt.sign_mask - 1) == fmt.nan, np.uint64(fmt.nan), word)
    word = np.where(np.isnan(values), np.uint64(fmt.nan), word)
    return word.astype(storage(fmt))


def convert(bits: np.ndarray, source: FloatFormat, target: FloatFormat) -> np.ndarray:
    """Words of ``source`` as words of ``target``, one rounding to nearest even."""
    return encode(decode(bits, source), target)
