"""Model of the product of two floats, rounded once."""

import numpy as np

from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.convert import decode_flushed, round_to

__all__ = ["multiply"]


def multiply(a: np.ndarray, b: np.ndarray, operand: FloatFormat = BFLOAT16,
             product: FloatFormat = FLOAT32) -> np.ndarray:
    """Model of :class:`hw.arith.multiply.FloatMultiply`, bit for bit.

    ``a``, ``b``: words of ``operand``. Returns words of ``product``. The exact product must fit
    into float64: at most 26 bits of fraction and 9 of exponent.
    """
    if operand.fraction > 25 or operand.exponent > 9:
        raise ValueError(f"{operand.name} is too wide for float64 to be exact")
    with np.errstate(invalid="ignore"):
        exact = decode_flushed(a, operand) * decode_flushed(b, operand)
    return round_to(exact, product)
