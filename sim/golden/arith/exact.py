"""Model of exact sums: every product in range is added without rounding, then one rounding.

Magnitudes are gathered in limbs of 8 bits' distance, each an int64 for every result, so that whole
matrix products run as a few dense products of small integers.
"""

import numpy as np

from hw.formats import FLOAT32, FloatFormat
from sim.golden.formats import storage

__all__ = ["exact_dot", "exact_matmul"]

_LIMB = 8  # bits from one limb to the next; also the span of exponents that share an operand plane


class _Operand:
    """Fields of an array of words: signed significands, exponents, and what is special."""

    def __init__(self, bits: np.ndarray, fmt: FloatFormat):
        if fmt.finite or 2 * (fmt.fraction + 1) > 24:
            raise ValueError("operand must be a format with infinities and at most 11 fraction "
                             f"bits, not {fmt.name!r}")
        bits = np.asarray(bits).astype(np.int64)
        top = (1 << fmt.exponent) - 1
        fraction = bits & ((1 << fmt.fraction) - 1)
        self.exponent = bits >> fmt.fraction & top
        self.negative = bits >> (fmt.width - 1) & 1 == 1
        self.nan = (self.exponent == top) & (fraction != 0)
        self.infinite = (self.exponent == top) & (fraction == 0)
        self.zero = self.exponent == 0  # subnormal numbers, too
        self.normal = ~self.zero & (self.exponent != top)
        self.significand = np.where(self.normal, fraction | 1 << fmt.fraction, 0)
        self.significand[self.negative] *= -1

    def __getitem__(self, index) -> "_Operand":
        other = object.__new__(_Operand)
        other.__dict__ = {name: array[index] for name, array in self.__dict__.items()}
        return other


def _terms(a: _Operand, w: _Operand, fmt: FloatFormat):
    """Products of matching elements: signed significand, biased exponent, ``+1/-1`` if beyond the
    range, else 0. The value is ``significand * 2**(exponent - 2 * (bias + fraction))``."""
    significand = a.significand * w.significand
    exponent = a.exponent + w.exponent
    # |product| = magnitude * 2**(exponent - 2 bias - 2 fraction), with magnitude in [1, 4) when
    # divided by 2**(2 fraction): 2 or more counts as one more.
    reach = exponent + (np.abs(significand) >= 2 << 2 * fmt.fraction) - 2 * fmt.bias
    beyond = np.where(reach > fmt.max_exponent, np.sign(significand), 0)
    inside = (reach >= fmt.min_exponent) & (reach <= fmt.max_exponent)
    return np.where(inside, significand, 0), exponent, beyond


def _carry(digits: np.ndarray) -> None:
    """Bring all digits but the last into 0 to ``2**_LIMB - 1``."""
    for n in range(len(digits) - 1):
        digits[n + 1] += digits[n] >> _LIMB
        digits[n] &= (1 << _LIMB) - 1


def _round(limbs: np.ndarray, nan, plus, minus, operand: FloatFormat, result: FloatFormat):
    """Words of ``result`` for the sums ``limbs`` (limb, ...), and their flags (...)."""
    if result.finite or result.fraction > 4 * _LIMB - 2:
        raise ValueError(f"result must be a format with infinities and at most {4 * _LIMB - 2} "
                         f"fraction bits, not {result.name!r}")
    # Carries, from limb to limb: digits of the two's complement, then of the magnitude.
    digits = np.concatenate([limbs, np.zeros((8, *limbs.shape[1:]), np.int64)])
    _carry(digits)
    negative = digits[-1] < 0
    digits *= np.where(negative, -1, 1)
    _carry(digits)

    # The highest digit that is not zero, four more, and a one for whatever is below.
    highest = len(digits) - 1 - np.argmax(digits[::-1] != 0, axis=0)
    lowest = np.maximum(highest - 4, 0)
    magnitude = np.zeros(highest.shape, np.int64)
    for n in range(4, -1, -1):
        place = np.minimum(lowest + n, len(digits) - 1)
        magnitude = magnitude << _LIMB | np.take_along_axis(digits, place[None], 0)[0]
    used = np.cumsum(digits != 0, axis=0)
    before = np.take_along_axis(used, np.maximum(lowest - 1, 0)[None], 0)[0]
    sticky = (lowest > 0) & (before > 0)
    magnitude = magnitude << 1 | sticky
    exponent = lowest * _LIMB - 1 - 2 * (operand.bias + operand.fraction)

    # One rounding to nearest even, with unbounded exponent.
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    drop = length - 1 - result.fraction
    left, right = np.maximum(-drop, 0), np.maximum(drop, 0)
    kept = magnitude << left >> right
    rest = magnitude - (kept << right) & (1 << right) - 1
    half = (1 << right) >> 1
    kept += (rest > half) | (rest == half) & (right > 0) & (kept & 1 == 1)
    carried = kept >> (result.fraction + 1)
    kept >>= carried
    exponent = exponent + length - 1 + carried

    word = (exponent + result.bias << result.fraction) + (kept & ((1 << result.fraction) - 1))
    word = np.where((magnitude == 0) | (exponent < result.min_exponent), 0, word)
    word = np.where((magnitude != 0) & (exponent > result.max_exponent), result.infinity, word)
    word = np.where(negative, word | result.sign_mask, word)
    word = np.where(plus, result.infinity, word)
    word = np.where(minus, result.infinity | result.sign_mask, word)
    word = np.where(nan | plus & minus, result.nan, word)
    return word.astype(storage(result))


def _limb_count(fmt: FloatFormat) -> int:
    return (2 << fmt.exponent) // _LIMB + 1


def exact_dot(a_bits: np.ndarray, b_bits: np.ndarray, operand: FloatFormat,
              result: FloatFormat = FLOAT32) -> np.ndarray:
    """``sum(a * b)`` over the last axis, by the contract ``exact``; other axes broadcast.

    Subnormal operands count as zero. A product below the smallest normal number of ``operand``
    counts as zero, one at or above ``2**(max_exponent + 1)``, or infinite, as infinity of its sign;
    the others are summed exactly. The sum is rounded once to nearest even with unbounded exponent,
    then beyond the largest number of ``result`` it becomes infinity, and below its smallest normal
    number zero, with the sum's sign. An exact zero is +0. NaN operands, infinity times zero and
    infinities of both signs give the one NaN.

    Takes words of ``operand``, returns words of ``result``, in unsigned arrays.
    """
    a_bits, b_bits = np.broadcast_arrays(a_bits, b_bits)
    a, b = _Operand(a_bits, operand), _Operand(b_bits, operand)
    significand, exponent, beyond = _terms(a, b, operand)
    shape = significand.shape[:-1]
    limbs = np.zeros((_limb_count(operand), *shape), np.int64)
    limb = exponent // _LIMB
    term = significand << exponent % _LIMB
    for n in np.unique(limb):
        limbs[n, ...] = np.where(limb == n, term, 0).sum(-1)
    nan = a.nan | b.nan | a.infinite & b.zero | b.infinite & a.zero
    infinite = a.infinite | b.infinite
    negative = a.negative ^ b.negative
    plus = (infinite & ~negative | (beyond > 0)).any(-1)
    minus = (infinite & negative | (beyond < 0)).any(-1)
    return _round(limbs, nan.any(-1), plus, minus, operand, result)


def exact_matmul(a_bits: np.ndarray, w_bits: np.ndarray, operand: FloatFormat,
                 result: FloatFormat = FLOAT32) -> np.ndarray:
    """:func:`exact_dot` of every row of ``a_bits`` (m, k) and column of ``w_bits`` (k, n)."""
    a, w = _Operand(a_bits, operand), _Operand(w_bits, operand)
    (rows, depth), cols = a.zero.shape, w.zero.shape[1]
    limbs = np.zeros((_limb_count(operand), rows, cols), np.int64)
    plus, minus = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)

    def meet(left, right):
        """Where some k has ``left[i, k]`` and ``right[k, j]``."""
        if not (left.any() and right.any()):
            return np.zeros((rows, cols), bool)
        return left.astype(np.float32) @ right.astype(np.float32) > 0

    # Planes of operands whose exponents differ in the lowest three bits only, shifted by those:
    # products of two planes share a limb. float64 is exact for sums of such products below 2**53.
    low = _LIMB - 1
    significant = 2 * (operand.fraction + 1 + low)
    chunk = 1 << max(0, 53 - significant)
    a_plane, w_plane = a.exponent // _LIMB, w.exponent // _LIMB
    a_value, w_value = a.significand << (a.exponent & low), w.significand << (w.exponent & low)
    # Products whose biased exponent, the sum of the operands', is in here are in range whatever
    # their significands are; those of one less or one more may be.
    inside = range(operand.min_exponent + 2 * operand.bias,
                   operand.max_exponent + 2 * operand.bias)
    planes = np.arange(_limb_count(operand)) * _LIMB  # smallest exponent of each limb
    within = (planes >= inside.start) & (planes + 2 * low < inside.stop)
    beyond = planes > inside.stop
    at_bounds = ~within & ~beyond & (planes + 2 * low + 1 >= inside.start)
    w_planes = np.unique(w_plane[w.normal])
    w_dense = np.where((w_plane[:, None] == w_planes[:, None]) & w.normal[:, None],
                       w_value[:, None], 0).astype(np.float64)  # k, plane, n
    for p in np.unique(a_plane[a.normal]):
        a_dense = np.where((a_plane == p) & a.normal, a_value, 0).astype(np.float64)
        some = np.flatnonzero(within[p + w_planes])  # neighbours
        for k in range(0, depth if some.size else 0, chunk):
            right = w_dense[k:k + chunk, some[0]:some[-1] + 1]
            parts = (a_dense[:, k:k + chunk] @ right.reshape(len(right), -1)).astype(np.int64)
            limbs[p + w_planes[some]] += parts.reshape(rows, -1, cols).swapaxes(0, 1)
        far = np.where(beyond[p + w_plane] & w.normal, w_value, 0)
        plus  |= meet(a_dense > 0, far > 0) | meet(a_dense < 0, far < 0)
        minus |= meet(a_dense > 0, far < 0) | meet(a_dense < 0, far > 0)

    # At the bounds of the range each product counts by itself.
    for k in range(depth):
        limb = a_plane[:, k, None] + w_plane[k]
        i, j = np.nonzero(at_bounds[limb] & a.normal[:, k, None] & w.normal[k])
        if i.size:
            significand, exponent, over = _terms(a[i, k], w[k, j], operand)
            limbs[limb[i, j], i, j] += significand << exponent - planes[limb[i, j]]
            plus[i, j]  |= over > 0
            minus[i, j] |= over < 0

    a_plus, a_minus = ~a.negative & ~a.zero, a.negative & ~a.zero
    w_plus, w_minus = ~w.negative & ~w.zero, w.negative & ~w.zero
    for left, right, flag in (
            (a_plus, w_plus, plus), (a_minus, w_minus, plus),
            (a_plus, w_minus, minus), (a_minus, w_plus, minus)):
        flag |= meet(left & a.infinite, right) | meet(left, right & w.infinite)
    nan = (a.nan.any(1)[:, None] | w.nan.any(0)
           | meet(a.infinite, w.zero) | meet(a.zero, w.infinite))
    return _round(limbs, nan, plus, minus, operand, result)
