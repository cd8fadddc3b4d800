"""Directed-random operands for exact sums: every case that has a name, equally often.

Each class is constructed so that the sums of its rows are what its name says, whatever the order of
their products; that is shuffled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["directed_sums", "sum_class_names"]

_TOP   = 255  # exponent field of infinity and NaN
_BIAS2 = 254  # of a sum of two exponent fields
_LOW, _HIGH = -126, 127  # exponents of products that are added


def sum_class_names() -> list[str]:
    """Names of the classes; a class id is an index of this list."""
    return list(_CLASSES)


def directed_sums(rng: np.random.Generator, n: int, k: int) -> tuple[np.ndarray, ...]:
    """``(a, w, class_ids)``: bfloat16 words of shape (n, k), and uint16 of shape (n,).

    ``k`` is at least 4. Classes take turns in blocks of nearly equal size, so all occur if ``n`` is
    at least their number. The same generator state gives the same rows.
    """
    if k < 4:
        raise ValueError(f"k must be at least 4, not {k!r}")
    bounds = np.linspace(0, n, len(_CLASSES) + 1).astype(np.int64)
    a, w = np.zeros((2, n, k), np.uint16)
    ids = np.repeat(np.arange(len(_CLASSES), dtype=np.uint16), np.diff(bounds))
    for build, low, high in zip(_CLASSES.values(), bounds[:-1], bounds[1:]):
        draw = _Draw(rng, high - low, k)
        build(draw)
        order = np.argsort(rng.random((draw.n, k)), axis=1)
        a[low:high] = np.take_along_axis(draw.a, order, 1)
        w[low:high] = np.take_along_axis(draw.w, order, 1)
    return a, w, ids


@dataclass
class _Draw:
    """Rows being made: ``n`` sums of ``k`` products. Products that nobody sets are 0 * 0."""

    rng: np.random.Generator
    n: int
    k: int

    def __post_init__(self):
        self.a, self.w = np.zeros((2, self.n, self.k), np.int64)

    def bits(self, width: int, count: int) -> np.ndarray:
        return self.rng.integers(0, 1 << width, (self.n, count))

    def between(self, low: int, high: int, count: int = 1) -> np.ndarray:
        return self.rng.integers(low, high + 1, (self.n, count))

    def sign(self) -> np.ndarray:
        return self.bits(1, 1)

    def put(self, start: int, exponent, sign, a=None, w=None, count: int = 1) -> None:
        """Products number ``start`` and on: ``2**exponent`` times two significands of 1 to 2.

        ``a``, ``w``: fraction bits, by default random.
        """
        part = slice(start, start + count)
        exponent = np.broadcast_to(exponent, (self.n, count)) + _BIAS2
        a, w = (self.bits(7, count) if x is None else x for x in (a, w))
        low, high = np.maximum(1, exponent - (_TOP - 1)), np.minimum(_TOP - 1, exponent - 1)
        a_exponent = low + (self.rng.random((self.n, count)) * (high - low + 1)).astype(np.int64)
        a_sign = self.bits(1, count)
        self.a[:, part] = a_sign << 15 | a_exponent << 7 | a
        self.w[:, part] = (a_sign ^ sign) << 15 | exponent - a_exponent << 7 | w

    def fill(self, start: int, exponents: tuple[int, int]) -> None:
        """All products from ``start`` on: of any sign, with exponents in that range."""
        count = self.k - start
        self.put(start, self.between(*exponents, count), self.bits(1, count), count=count)

    def cancel(self, start: int) -> None:
        """Products from ``start`` on in pairs that add to nothing; a last one alone stays zero."""
        half = (self.k - start) // 2
        self.put(start, self.between(_LOW, _HIGH - 1, half), self.bits(1, half), count=half)
        first, second = slice(start, start + half), slice(start + half, start + 2 * half)
        self.a[:, second], self.w[:, second] = self.a[:, first] ^ 1 << 15, self.w[:, first]

    def special(self, fraction) -> np.ndarray:
        return (self.sign() << 15 | _TOP << 7 | fraction)[:, 0]


# The classes -------------------------------------------------------------------------------------

def _random_bits(d: _Draw):
    d.a, d.w = d.bits(16, d.k), d.bits(16, d.k)


def _one_product(d: _Draw):
    d.put(0, d.between(_LOW, _HIGH - 1), d.sign())
    d.cancel(1)


def _tie(offset: int, odd: int) -> Callable[[_Draw], None]:
    """A product, the last of its sum's 24 bits if ``odd``, half of that, and a far little more."""
    def build(d: _Draw):
        sign, exponent, a, w = d.sign(), d.between(_LOW + 60, _HIGH - 1), d.bits(7, 1), d.bits(7, 1)
        d.put(0, exponent, sign, a, w)
        exponent += (a | 128) * (w | 128) >> 15  # a product of 2 to 4
        if odd:
            d.put(1, exponent - 23, sign, a=0, w=0)
        d.put(2, exponent - 24, sign, a=0, w=0)
        if offset:
            d.put(3, exponent - 24 - d.between(2, 36), sign ^ (offset < 0))
    return build


def _overflow(back: bool) -> Callable[[_Draw], None]:
    def build(d: _Draw):
        sign = d.sign()
        for n in range(2):  # 2 to 3 times 2**127
            d.put(n, _HIGH, sign, a=0, w=d.bits(6, 1))
        if back:  # less 1.5 to 2.5 times that
            d.put(2, _HIGH, sign ^ 1, a=0)
            d.put(3, _HIGH - 1, sign ^ 1, a=0, w=0)
    return build


def _beside_largest(offset: int) -> Callable[[_Draw], None]:
    """2**128 less 2**103, halfway from the largest number to 2**128; and a far little more off."""
    def build(d: _Draw):
        sign = d.sign()
        for n in range(2):
            d.put(n, _HIGH, sign, a=0, w=0)
        d.put(2, 103, sign ^ 1, a=0, w=0)
        if offset:
            d.put(3, d.between(_LOW, 101), sign ^ 1)
    return build


def _underflow(d: _Draw):
    """The difference of two products in the lowest binade."""
    sign = d.sign()
    d.put(0, _LOW, sign, a=0, w=d.between(1, 127))
    d.put(1, _LOW, sign ^ 1, a=0, w=0)


def _lost_products(d: _Draw):
    """Products below the smallest normal number count as zero, each by itself."""
    d.put(0, d.between(_LOW - 100, _LOW - 2, d.k), d.sign(), count=d.k)


def _infinite(d: _Draw):
    d.fill(0, (_LOW, _HIGH - 1))
    d.a[:, 0], d.w[:, 0] = d.special(0), d.a[:, 1]


def _beyond(d: _Draw):
    d.fill(0, (_LOW, _HIGH - 1))
    d.put(0, d.between(_HIGH + 1, _HIGH + 100), d.sign())


def _both_infinities(d: _Draw):
    d.fill(0, (_LOW, _HIGH - 1))
    sign = d.sign()
    d.put(0, d.between(_HIGH + 1, _HIGH + 100), sign)
    d.a[:, 1], d.w[:, 1] = _TOP << 7, (sign[:, 0] ^ 1) << 15 | d.between(1, 0x7f80)[:, 0]
    d.w[:, 1] = np.where(d.w[:, 1] & 0x7f80 == 0, d.w[:, 1] | 0x80, d.w[:, 1])


def _infinity_times_zero(d: _Draw):
    d.fill(0, (_LOW, _HIGH - 1))
    d.a[:, 0] = (d.sign() << 15 | d.bits(7, 1))[:, 0]  # zero, or subnormal
    d.w[:, 0] = d.special(0)


def _nan(d: _Draw):
    d.fill(0, (_LOW, _HIGH - 1))
    d.w[:, 0] = d.special(d.between(1, 127))


def _zeros(d: _Draw):
    d.a, d.w = d.bits(1, d.k) << 15 | d.bits(7, d.k), d.bits(16, d.k) & 0xbfff


_CLASSES: dict[str, Callable[[_Draw], None]] = {
    "random bits":                   _random_bits,
    "all in range":                  lambda d: d.fill(0, (_LOW, _HIGH - 1)),
    "exponents close":               lambda d: d.fill(0, (-4, 4)),
    "exponents in one word":         lambda d: d.fill(0, (2, 17)),
    "around the smallest product":   lambda d: d.fill(0, (_LOW - 3, _LOW + 2)),
    "around the largest product":    lambda d: d.fill(0, (_HIGH - 3, _HIGH + 1)),
    "cancellation to one product":   _one_product,
    "cancellation of everything":    lambda d: d.cancel(0),
    "tie, even":                     _tie(0, odd=0),
    "tie, odd":                      _tie(0, odd=1),
    "just above a tie, even":        _tie(1, odd=0),
    "just above a tie, odd":         _tie(1, odd=1),
    "just below a tie, even":        _tie(-1, odd=0),
    "just below a tie, odd":         _tie(-1, odd=1),
    "overflow of the sum":           _overflow(back=False),
    "overflow undone":               _overflow(back=True),
    "overflow by a tie":             _beside_largest(0),
    "largest, just below a tie":     _beside_largest(-1),
    "underflow of the sum":          _underflow,
    "products lost":                 _lost_products,
    "zeros":                         _zeros,
    "infinite operand":              _infinite,
    "product beyond the range":      _beyond,
    "infinities of both signs":      _both_infinities,
    "infinity times zero":           _infinity_times_zero,
    "NaN operand":                   _nan,
}
