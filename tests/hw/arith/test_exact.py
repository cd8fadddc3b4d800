# amaranth: UnusedElaboratable=no
"""Exact sums: the model against fractions, and the cell alone, word by word."""

from fractions import Fraction

import numpy as np
import pytest

from hw.arith.exact import Accumulate, ExactSum
from hw.formats import BFLOAT16, FLOAT8_E4M3, FLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.exact import exact_dot, exact_matmul
from sim.verilated import Engine

TINY  = FloatFormat("tiny6", exponent=4, fraction=1)
TINY9 = FloatFormat("tiny9", exponent=4, fraction=4)
ONE, NAN, INF = 0x3f80, 0x7fc0, 0x7f80


def power(n: int, sign: int = 0) -> int:
    """bfloat16 of ``2**n``."""
    return sign << 15 | n + 127 << 7


#    a                           w                       float32
VECTORS = [
    ([ONE],                      [ONE],                  0x3f800000),
    ([0x8000],                   [ONE],                  0x00000000),  # an exact zero is +0
    ([ONE, ONE],                 [ONE, 0xbf80],          0x00000000),
    ([0x0001],                   [power(100)],           0x00000000),  # a subnormal operand is zero
    ([power(-63)],               [power(-63)],           0x00800000),  # 2**-126 counts
    ([power(-63)],               [0x2000 - 1],           0x00000000),  # just below it does not
    ([power(-63), power(-63)],   [0x2000 - 1, power(-63)], 0x00800000),  # so it adds nothing
    ([power(64)],                [power(63)],            0x7f000000),
    ([power(64)],                [power(64)],            0x7f800000),  # 2**128 is infinite
    ([power(64), power(64, 1)],  [power(64), power(64)], 0x7fc00000),  # twice, of both signs
    ([power(64), power(64)],     [power(63), power(63)], 0x7f800000),  # the sum is beyond
    ([power(64), power(64), power(64, 1)], [power(63)] * 3, 0x7f000000),  # it was, and comes back
    ([power(127), ONE, power(127, 1)], [ONE] * 3,        0x3f800000),  # nothing is lost beside it
    ([power(127), power(-126)],  [ONE, ONE],             0x7f000000),
    ([power(-63), power(-63, 1)], [power(-63), 0x2001],  0x80000000),  # -2**-133 flushes to -0
    ([NAN],                      [ONE],                  0x7fc00000),
    ([0xffc1],                   [0x0000],               0x7fc00000),  # one NaN only
    ([INF],                      [0x8000],               0x7fc00000),
    ([INF, ONE],                 [0xbf80, ONE],          0xff800000),
    ([INF, INF],                 [ONE, 0xbf80],          0x7fc00000),
    ([ONE, ONE],                 [ONE, power(-24)],      0x3f800000),  # a tie, to even
    ([ONE, 0x3f80, ONE],         [ONE, power(-24), power(-100)], 0x3f800001),  # above the tie
    ([ONE, 0x3f80, ONE],         [ONE, power(-24), power(-100, 1)], 0x3f800000),  # below
    ([0xbf80, 0xbf80, ONE],      [ONE, power(-24), power(-100)], 0xbf800000),  # the same mirrored
    ([0xbf80, 0xbf80, 0xbf80],   [ONE, power(-24), power(-100)], 0xbf800001),
    ([ONE, ONE, ONE],            [ONE, power(-23), power(-24)], 0x3f800002),  # a tie, up to even
    ([power(1), ONE],            [ONE, power(-24, 1)],   0x40000000),  # a carry into the exponent
]


def by_fractions(a, w, operand: FloatFormat, result: FloatFormat) -> int:
    """The contract, one number at a time."""
    def number(word):
        sign = -1 if word & operand.sign_mask else 1
        exponent = word >> operand.fraction & (1 << operand.exponent) - 1
        fraction = word & (1 << operand.fraction) - 1
        if exponent == (1 << operand.exponent) - 1:
            return sign, None, "nan" if fraction else "infinity"
        scale = Fraction(2) ** (exponent - operand.bias - operand.fraction)
        return sign, sign * (fraction + (1 << operand.fraction)) * scale * (exponent > 0), ""

    total, flags = Fraction(0), set()
    for x, y in zip(a.tolist(), w.tolist()):
        (x_sign, x, x_kind), (y_sign, y, y_kind) = number(x), number(y)
        if "nan" in (x_kind, y_kind) or "infinity" in (x_kind, y_kind) and 0 in (x, y):
            flags.add("nan")
        elif x is None or y is None:
            flags.add(x_sign * y_sign)
        elif abs(x * y) >= Fraction(2) ** (operand.max_exponent + 1):
            flags.add(x_sign * y_sign)
        elif abs(x * y) >= Fraction(2) ** operand.min_exponent:
            total += x * y
    if "nan" in flags or {1, -1} <= flags:
        return result.nan
    if flags:
        return result.infinity | (result.sign_mask if -1 in flags else 0)
    if not total:
        return 0
    sign, size = result.sign_mask if total < 0 else 0, abs(total)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > size
    steps = round(size / Fraction(2) ** (exponent - result.fraction))  # ties to even
    exponent += steps >> result.fraction + 1
    if exponent < result.min_exponent:
        return sign
    if exponent > result.max_exponent:
        return sign | result.infinity
    return sign | (exponent + result.bias << result.fraction
                   ) + (steps & (1 << result.fraction) - 1)


@pytest.mark.parametrize("a, w, expected", VECTORS)
def test_model_vectors(a, w, expected):
    a, w = np.array(a), np.array(w)
    assert hex(exact_dot(a, w, BFLOAT16)) == hex(expected)
    assert hex(exact_dot(a[::-1], w[::-1], BFLOAT16)) == hex(expected)


SPANS = [(0, 256), (100, 150), (60, 68), (186, 195), (120, 124)]


@pytest.mark.parametrize("result", [FLOAT32, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("span", SPANS)
def test_model_is_the_contract(span, result):
    rng = np.random.default_rng(span)
    for n in range(60):
        k = int(rng.integers(1, 9))
        a, w = (rng.integers(0, 1 << 16, (2, k)) & 0x807f | rng.integers(*span, (2, k)) << 7)
        if n % 3 == 0 and k > 2:
            a[k // 2], w[k // 2] = a[0] ^ 0x8000, w[0]
        assert hex(exact_dot(a, w, BFLOAT16, result)) == hex(by_fractions(a, w, BFLOAT16, result))


@pytest.mark.parametrize("span", [*SPANS, (1, 255)])
def test_matrix_product_is_its_dot_products(span):
    rng = np.random.default_rng(span)
    a, w = (rng.integers(0, 1 << 16, shape) & 0x807f | rng.integers(*span, shape) << 7
            for shape in ((21, 30), (30, 17)))
    np.testing.assert_array_equal(exact_matmul(a, w, BFLOAT16),
                                  exact_dot(a[:, None], w.T, BFLOAT16))


def test_words_of_the_cell():
    """Sums of the small format, as words, before anything is rounded."""
    layout = ExactSum(TINY, 16)
    cell = Accumulate(layout)
    rng = np.random.default_rng(0)
    finite = [n for n in range(64) if (n >> 1 & 15) not in (0, 15)]
    rows, expected, at = [], [], []
    for n in range(300):
        # Some sums are shorter than the way out of the one before; some use one word only.
        total, drain = 0, [0] + list(range(1, layout.words + 1))  # what goes out meanwhile
        pairs = rng.choice(finite[:4] if n % 3 == 0 else finite, (int(rng.integers(1, 30)), 2))
        for k in range(max(len(pairs), len(drain))):
            a, w = pairs[k].tolist() if k < len(pairs) else rng.choice(finite, 2).tolist()
            out = drain[k] if k < len(drain) else 0
            rows.append((*_unpacked(a), *_unpacked(w), int(k < len(pairs)), n & 1, int(out > 0),
                         max(out - 1, 0)))
            if out:
                at.append(len(rows) - 1)
            place, product = _product(a, w)
            if k < len(pairs) and 1 << layout.radix <= abs(product) << place \
                    < 1 << layout.radix + 14:
                total += product << place
        expected.append(total)
    # The first way out is that of what the memories began with.
    at, expected = at[layout.words:], expected[:-1]
    columns = np.array(rows + [(0,) * 12] * 20, np.int64).T
    with Engine(cell, "cell") as engine:
        packed = {name: _pack(columns[4 * n:4 * n + 4]) for n, name in enumerate(("a", "w"))}
        out = engine.pipe({**packed, "product": columns[8], "bank": columns[9],
                           "drain": columns[10], "word": columns[11]}, ["chain_o"],
                          latency=cell.latency)["chain_o"]
    word, start = np.zeros(len(at), np.int64), 0
    for n, bits in enumerate(layout.parts):  # part n comes n cycles later
        word |= (out[np.array(at) + n] >> start & (1 << bits) - 1).astype(np.int64) << start
        start += bits
    word = np.where(word >> layout.width - 1, word - (1 << layout.width), word)
    sums = (word.reshape(-1, layout.words) << layout.radix * np.arange(layout.words)).sum(1)
    assert sums.tolist() == expected


def _unpacked(word: int) -> tuple[int, int, int, int]:
    """``significand``, ``place``, ``sign`` and ``special`` of a finite operand of TINY."""
    exponent, sign = word >> 1 & 15, word >> 5
    significand = (2 | word & 1) if exponent else 0
    return (-significand if sign else significand), exponent + 1, sign, int(exponent > 0)


def _product(a: int, w: int) -> tuple[int, int]:
    x, y = _unpacked(a), _unpacked(w)
    place = x[1] + y[1] - 8
    return max(place, 0), x[0] * y[0] if place >= 0 else 0


def _pack(fields: np.ndarray) -> np.ndarray:
    significand, place, sign, special = fields
    return significand & 7 | place << 3 | sign << 7 | special << 8


def test_published_numbers():
    layout = ExactSum()
    assert (layout.radix, layout.words, layout.scale) == (16, 16, -142)
    largest = 255 * 255 << 15
    assert layout.k_max == 4128
    assert layout.k_max * largest < 1 << 43 <= (layout.k_max + 1) * largest
    # Bit `radix` is the smallest normal number; the last word's products end below 2**128.
    assert layout.radix + layout.scale == BFLOAT16.min_exponent


@pytest.mark.parametrize("parameters, message", [
    ({"operand": FLOAT16}, "operand must be a format with infinities and 1, 3 or 7 fraction bits, "
                           "not 'float16'"),
    ({"operand": FLOAT8_E4M3}, "operand must be a format with infinities and 1, 3 or 7 fraction "
                               "bits, not 'float8_e4m3'"),
    ({"operand": FloatFormat("short", 4, 7)}, "operand must have at least 5 exponent bits, not 4"),
    ({"width": 32}, "width must be 33 to 128, not 32"),
])
def test_wrong(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ExactSum(**parameters)
