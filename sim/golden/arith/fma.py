"""Model of the fused multiply-add, contract ``fma``."""

import numpy as np

from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.convert import decode_flushed, round_to
from sim.golden.formats import storage

__all__ = ["fma"]

_BLOCK = 1 << 14  # rows whose intermediate arrays stay in the processor's cache


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray,
        operand: FloatFormat = BFLOAT16, sum: FloatFormat = FLOAT32) -> np.ndarray:
    """Model of :class:`hw.arith.fma.FusedMultiplyAdd`: ``c + a * b``, bit for bit.

    ``a``, ``b``: words of ``operand``, ``c``: words of ``sum``, of shapes that broadcast.
    Returns words of ``sum`` (:func:`sim.golden.formats.storage`).

    The product must be exact in float64, and the sum's fraction at most 50 bits; float64's exponent
    must hold every product. The addition is then made exact by rounding it to odd: where the
    float64 sum is not the exact one, the last bit of the one nearer to zero is set, and the second
    rounding sees on which side of every tie the exact sum lies.
    """
    if 2 * (operand.fraction + 1) > 53 or sum.fraction > 50 or max(
            operand.exponent, sum.exponent) > 9:
        raise ValueError(f"{operand.name} and {sum.name} are too wide for float64 to be exact")
    a, b, c = np.broadcast_arrays(a, b, c)
    shape, a, b, c = a.shape, a.ravel(), b.ravel(), c.ravel()
    result = np.empty(a.size, storage(sum))
    for start in range(0, a.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, rightly
            product = decode_flushed(a[part], operand) * decode_flushed(b[part], operand)
            exact = _add_to_odd(product, decode_flushed(c[part], sum))
        result[part] = round_to(exact, sum)
    return result.reshape(shape)


def _add_to_odd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x + y`` if float64 has it, otherwise the neighbour of odd significand."""
    total = x + y
    virtual = total - x  # Knuth's two-sum: total + error is the exact sum
    error = (x - (total - virtual)) + (y - virtual)
    bits = total.view(np.int64)
    # Towards zero, if the error is on that side; then the last bit is set, which moves away again.
    inexact = np.isfinite(total) & (error != 0)
    beyond = inexact & (np.signbit(error) != np.signbit(total))
    return np.where(inexact, (bits - beyond) | 1, bits).view(np.float64)
