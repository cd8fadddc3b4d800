"""Directed-random operands for the fused multiply-add: every case that has a name, equally often.

Uniformly random bits almost never align two addends, let alone cancel or tie them. Each class here
is constructed so that its members are what its name says, for any pair of formats; classes that a
pair of formats cannot reach are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hw.formats import BFLOAT16, FLOAT32, FloatFormat

__all__ = ["class_names", "directed"]


def class_names(operand: FloatFormat = BFLOAT16, sum: FloatFormat = FLOAT32) -> list[str]:
    """Names of the classes; a class id is an index of this list."""
    return list(_classes(operand, sum))


def directed(rng: np.random.Generator, n: int, operand: FloatFormat = BFLOAT16,
             sum: FloatFormat = FLOAT32) -> tuple[np.ndarray, ...]:
    """``(a, b, c, class_ids)``, each of ``n`` rows: words of ``operand``, of ``sum``, and uint16.

    Classes take turns in blocks of nearly equal size, so all occur if ``n`` is at least their
    number. The same generator state gives the same rows.
    """
    classes = _classes(operand, sum)
    bounds = np.linspace(0, n, len(classes) + 1).astype(np.int64)
    a, b, c = (np.empty(n, np.uint64) for _ in range(3))
    ids = np.repeat(np.arange(len(classes), dtype=np.uint16), np.diff(bounds))
    for build, low, high in zip(classes.values(), bounds[:-1], bounds[1:]):
        part = slice(low, high)
        a[part], b[part], c[part] = build(_Draw(rng, high - low, operand, sum))
    return (a.astype(_storage(operand)), b.astype(_storage(operand)), c.astype(_storage(sum)), ids)


def _storage(fmt: FloatFormat) -> type[np.unsignedinteger]:
    return next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64)
                if fmt.width <= 8 * np.dtype(t).itemsize)


@dataclass
class _Draw:
    """Random fields of ``n`` triples; exponents are those of values, significands are integers."""

    rng: np.random.Generator
    n: int
    operand: FloatFormat
    sum: FloatFormat

    def bits(self, width: int) -> np.ndarray:
        kind = np.uint32 if width <= 32 else np.uint64
        return self.rng.integers(0, 1 << width, self.n, kind).astype(np.int64)

    def between(self, low, high) -> np.ndarray:
        """Scaled from 31 bits: a multiplication, where a rejection would take several times longer.

        Ranges are below 2**32; a little unevenness does no harm here.
        """
        return low + (self.bits(31) * (high - low + 1) >> 31)

    def any_word(self, fmt: FloatFormat) -> np.ndarray:
        return self.bits(fmt.width)

    def normal(self, fmt: FloatFormat) -> np.ndarray:
        return _word(fmt, self.bits(1), self.between(fmt.min_exponent, fmt.max_exponent - 1),
                     self.bits(fmt.fraction))

    def subnormal(self, fmt: FloatFormat) -> np.ndarray:
        return self.bits(1) << (fmt.width - 1) | self.between(1, (1 << fmt.fraction) - 1)

    def signed(self, fmt: FloatFormat, magnitude: int) -> np.ndarray:
        return self.bits(1) << (fmt.width - 1) | magnitude

    def factors(self, exponent, a_significand, b_significand,
                sign) -> tuple[np.ndarray, np.ndarray]:
        """Words whose exponents add up to ``exponent``, and whose signs multiply to ``sign``."""
        fmt = self.operand
        low, high = (limit // 2 for limit in _finite_products(fmt))
        low, high = np.maximum(low, exponent - high), np.minimum(high, exponent - low)
        a_exponent = self.between(low, high)
        a_sign = self.bits(1)
        return (_word(fmt, a_sign, a_exponent, a_significand),
                _word(fmt, a_sign ^ sign, exponent - a_exponent, b_significand))


def _word(fmt: FloatFormat, sign, exponent, significand) -> np.ndarray:
    """Word of a normal number; only the fraction bits of ``significand`` are used."""
    return (np.asarray(sign, np.int64) << (fmt.width - 1)
            | (np.asarray(exponent, np.int64) + fmt.bias) << fmt.fraction
            | np.asarray(significand, np.int64) & ((1 << fmt.fraction) - 1))


def _finite_products(operand: FloatFormat) -> tuple[int, int]:
    """Sums of two exponents whose significands are free; the top one of `finite` ends in NaN."""
    return 2 * operand.min_exponent, 2 * (operand.max_exponent - operand.finite)


# The classes -------------------------------------------------------------------------------------

_Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


@cache
def _classes(operand: FloatFormat, sum: FloatFormat) -> dict[str, Callable[[_Draw], _Triple]]:
    low, high = _finite_products(operand)
    product_bits = 2 * (operand.fraction + 1)
    reachable = range(low, high + 1)
    table: dict[str, Callable[[_Draw], _Triple]] = {"random bits": _uniform}
    # Distance of the exponents, the sum's minus the product's, until nothing overlaps any more.
    for distance in range(-sum.fraction - 4, product_bits + sum.fraction - operand.fraction + 4):
        if max(low, sum.min_exponent - distance) <= min(high, sum.max_exponent - distance):
            table[f"alignment {distance:+d}"] = partial(_alignment, distance=distance)
    near = range(max(low, sum.min_exponent + 1), min(high, sum.max_exponent - 2) + 1)
    wide = product_bits > sum.fraction + 1  # the last bit would be left to chance
    for depth in range(1, sum.fraction + 1 - wide) if near else ():
        table[f"cancellation of {depth}"] = partial(_cancellation, exponents=near, depth=depth)
    if near and not wide:
        table["cancellation of everything"] = partial(_cancellation, exponents=near, depth=None)
    # Where products as small as half a unit of some sum exist, whatever zeros they end in.
    ties = sum.fraction >= 3 and all(
        max(low, sum.min_exponent - above) <= min(high, sum.max_exponent - above)
        for above in (sum.fraction + 2, sum.fraction + 1 - 2 * operand.fraction))
    for odd in (0, 1) if ties else ():
        for subtract in (0, 1):
            way = f"{'minus' if subtract else 'plus'}, {'odd' if odd else 'even'}"
            table[f"tie, {way}"] = partial(_tie, odd=odd, subtract=subtract)
            for name, offset in (("above", 1), ("below", -1)):
                table[f"just {name} a tie, {way}"] = partial(
                    _near_tie, odd=odd, subtract=subtract, offset=offset)
    half = sum.max_exponent - sum.fraction - 1  # exponent of half a unit of the largest number
    if half in reachable:
        table["overflow by a tie"] = partial(_beside_largest, exponent=half, offset=0)
        table["largest, just below a tie"] = partial(_beside_largest, exponent=half - 1, offset=-1)
    if sum.max_exponent - 1 in reachable:
        table["overflow of the sum"] = _overflow
    if sum.max_exponent + 1 in reachable:
        table["overflow of the product"] = partial(_product_overflow, limit=high)
        table["product overflows, sum does not"] = _product_overflow_undone
    if low <= sum.min_exponent - 3:
        table["underflow of the product"] = partial(_product_underflow, limit=low)
    half = sum.min_exponent - sum.fraction - 2  # of half a unit just below the smallest normal one
    if half in reachable:
        table["smallest, kept by a tie"] = partial(_beside_smallest, exponent=half, offset=0)
        table["smallest, lost just beyond a tie"] = partial(
            _beside_smallest, exponent=half, offset=1)
    if sum.min_exponent in reachable:
        table["underflow of the sum"] = _underflow
    table |= {
        "subnormal operand": lambda d: (d.subnormal(d.operand), d.any_word(d.operand),
                                        d.any_word(d.sum)),
        "subnormal addend":  lambda d: (*_ordinary_factors(d), d.subnormal(d.sum)),
        "zero product":      lambda d: (d.signed(d.operand, 0), d.normal(d.operand),
                                        d.normal(d.sum)),
        "zero addend":       lambda d: (*_ordinary_factors(d), d.signed(d.sum, 0)),
        "zeros":             lambda d: (d.normal(d.operand), d.signed(d.operand, 0),
                                        d.signed(d.sum, 0)),
        "NaN operand":       lambda d: (_nan(d, d.operand), d.any_word(d.operand),
                                        d.any_word(d.sum)),
        "NaN other operand": lambda d: (d.any_word(d.operand), _nan(d, d.operand),
                                        d.any_word(d.sum)),
        "NaN addend":        lambda d: (d.any_word(d.operand), d.any_word(d.operand),
                                        _nan(d, d.sum)),
        "infinite addend":   lambda d: (d.normal(d.operand), d.normal(d.operand),
                                        d.signed(d.sum, d.sum.infinity)),
    }
    if not operand.finite:
        infinite = lambda d: d.signed(d.operand, d.operand.infinity)  # noqa: E731
        table |= {
            "infinite operand":       lambda d: (infinite(d), d.normal(d.operand),
                                                 d.any_word(d.sum)),
            "infinite other operand": lambda d: (d.normal(d.operand), infinite(d),
                                                 d.any_word(d.sum)),
            "infinity times zero":    lambda d: (infinite(d), d.signed(d.operand, 0),
                                                 d.any_word(d.sum)),
            "zero times infinity":    lambda d: (d.subnormal(d.operand), infinite(d),
                                                 d.any_word(d.sum)),
            "infinity and infinity":  lambda d: (infinite(d), d.normal(d.operand),
                                                 d.signed(d.sum, d.sum.infinity)),
        }
    return table


def _uniform(d: _Draw) -> _Triple:
    return d.any_word(d.operand), d.any_word(d.operand), d.any_word(d.sum)


def _nan(d: _Draw, fmt: FloatFormat) -> np.ndarray:
    return d.signed(fmt, fmt.nan) if fmt.finite else (
        d.bits(1) << (fmt.width - 1) | fmt.infinity | d.between(1, (1 << fmt.fraction) - 1))


def _ordinary_factors(d: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Factors of a product that the sum's format holds."""
    low, high = _finite_products(d.operand)
    exponent = d.between(max(low, d.sum.min_exponent), min(high, d.sum.max_exponent - 1))
    fraction = d.operand.fraction
    return d.factors(exponent, d.bits(fraction), d.bits(fraction), d.bits(1))


def _alignment(d: _Draw, distance: int) -> _Triple:
    low, high = _finite_products(d.operand)
    exponent = d.between(max(low, d.sum.min_exponent - distance),
                         min(high, d.sum.max_exponent - distance))
    fraction = d.operand.fraction
    return (*d.factors(exponent, d.bits(fraction), d.bits(fraction), d.bits(1)),
            _word(d.sum, d.bits(1), exponent + distance, d.bits(d.sum.fraction)))


def _cancellation(d: _Draw, exponents: range, depth: int | None) -> _Triple:
    """An addend of the other sign, ``depth`` bits below the product in size of the difference.

    If the sum's fraction is narrower than the product, to within a bit of that.
    """
    operand, sum = d.operand, d.sum
    exponent = d.between(exponents[0], exponents[-1])
    a, b, sign = d.bits(operand.fraction), d.bits(operand.fraction), d.bits(1)
    product = (a | 1 << operand.fraction) * (b | 1 << operand.fraction)
    carry = product >> (2 * operand.fraction + 1)  # the product is 2 or more
    addend = _shift(product, sum.fraction - 2 * operand.fraction - carry)
    if depth is not None:
        unit = 1 << (sum.fraction - depth)
        change = unit | d.bits(sum.fraction) & (unit - 1)
        small = addend - change
        fits = exponent + _magnitude(small) - sum.fraction >= sum.min_exponent
        addend = np.where(fits & (d.bits(1) == 1), small, addend + change)
    up = _magnitude(addend) - sum.fraction  # the addend's leading one is that far above its place
    return (*d.factors(exponent, a, b, sign),
            _word(sum, sign ^ 1, exponent + carry + up, _shift(addend, -up)))


def _magnitude(x: np.ndarray) -> np.ndarray:
    """Position of the leading one."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64) - 1


def _shift(x: np.ndarray, left) -> np.ndarray:
    return np.where(left >= 0, x << np.maximum(left, 0), x >> np.maximum(-left, 0))


def _middle(d: _Draw, odd: int) -> np.ndarray:
    """Fractions of 1.25 to 1.75: a small change stays in the binade."""
    fraction = d.sum.fraction
    return (d.between(1 << (fraction - 2), (3 << (fraction - 2)) - 1) & ~1) | odd


def _tie(d: _Draw, odd: int, subtract: int) -> _Triple:
    """The product's last one is worth half a unit of the addend."""
    operand, sum = d.operand, d.sum
    low, high = _finite_products(operand)
    a, b, sign = d.bits(operand.fraction), d.bits(operand.fraction), d.bits(1)
    if 2 * (operand.fraction + 1) > sum.fraction - 2:  # then the product must be narrower
        kept = min(operand.fraction, sum.fraction - 3)
        a, b = a & 0, b & ~((1 << (operand.fraction - kept)) - 1)
    product = (a | 1 << operand.fraction) * (b | 1 << operand.fraction)
    above = _magnitude(product & -product) - 2 * operand.fraction + sum.fraction + 1
    exponent = d.between(np.maximum(low, sum.min_exponent - above),
                         np.minimum(high, sum.max_exponent - above))
    return (*d.factors(exponent, a, b, sign ^ subtract),
            _word(sum, sign, exponent + above, _middle(d, odd)))


def _beside_one(d: _Draw, offset: int) -> np.ndarray:
    """Significands of 1 (``offset`` 0), 1 + 2**-j, or 2 - 2**-j, with random j."""
    fraction = d.operand.fraction
    if offset > 0:
        return 1 << fraction | 1 << d.between(0, fraction - 1)
    if offset < 0:
        low = 1 << d.between(0, fraction - 1)
        return (2 << fraction) - low
    return np.full(d.n, 1 << fraction)


def _near_tie(d: _Draw, odd: int, subtract: int, offset: int) -> _Triple:
    """The product is half a unit of the addend, and a little more or less."""
    operand, sum = d.operand, d.sum
    low, high = _finite_products(operand)
    above = sum.fraction + 1 + (offset < 0)
    exponent = d.between(max(low, sum.min_exponent - above), min(high, sum.max_exponent - above))
    sign = d.bits(1)
    return (*d.factors(exponent, _beside_one(d, 0), _beside_one(d, offset), sign ^ subtract),
            _word(sum, sign, exponent + above, _middle(d, odd)))


def _beside_largest(d: _Draw, exponent: int, offset: int) -> _Triple:
    """The largest number and about half its unit, ``1`` or ``2 - 2**-j`` times ``2**exponent``."""
    sign = d.bits(1)
    return (*d.factors(np.full(d.n, exponent), _beside_one(d, 0), _beside_one(d, offset), sign),
            _word(d.sum, sign, d.sum.max_exponent, ~0))


def _beside_smallest(d: _Draw, exponent: int, offset: int) -> _Triple:
    """The smallest normal number less about half the unit below it."""
    sign = d.bits(1)
    return (*d.factors(np.full(d.n, exponent), _beside_one(d, 0), _beside_one(d, offset), sign ^ 1),
            _word(d.sum, sign, d.sum.min_exponent, 0))


def _overflow(d: _Draw) -> _Triple:
    """At least 1.5 and 0.5 times the highest power of two."""
    fraction, top, sign = d.operand.fraction, d.sum.max_exponent, d.bits(1)
    return (*d.factors(np.full(d.n, top - 1), d.bits(fraction), d.bits(fraction), sign),
            _word(d.sum, sign, top, d.bits(d.sum.fraction) | 1 << (d.sum.fraction - 1)))


def _product_overflow(d: _Draw, limit: int) -> _Triple:
    fraction, sign = d.operand.fraction, d.bits(1)
    return (*d.factors(d.between(d.sum.max_exponent + 1, limit), d.bits(fraction),
                       d.bits(fraction), sign),
            d.normal(d.sum) & (d.sum.sign_mask - 1) | sign << (d.sum.width - 1))


def _product_overflow_undone(d: _Draw) -> _Triple:
    """From 2 up to 2.5, less 1.5 to 2, times the highest power of two."""
    fraction, top, sign = d.operand.fraction, d.sum.max_exponent, d.bits(1)
    return (*d.factors(np.full(d.n, top + 1), d.bits(fraction) & 0, d.bits(fraction) >> 2, sign),
            _word(d.sum, sign ^ 1, top, d.bits(d.sum.fraction) | 1 << (d.sum.fraction - 1)))


def _product_underflow(d: _Draw, limit: int) -> _Triple:
    fraction = d.operand.fraction
    return (*d.factors(d.between(limit, d.sum.min_exponent - 3), d.bits(fraction),
                       d.bits(fraction), d.bits(1)), d.signed(d.sum, 0))


def _underflow(d: _Draw) -> _Triple:
    """The difference of two numbers in the lowest binade."""
    fraction, low, sign = d.operand.fraction, d.sum.min_exponent, d.bits(1)
    return (*d.factors(np.full(d.n, low), d.bits(fraction), d.bits(fraction) & 0, sign),
            _word(d.sum, sign ^ 1, low, d.bits(d.sum.fraction)))
