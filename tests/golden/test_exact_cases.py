"""The directed exact sums are what their classes are called."""

from fractions import Fraction

import numpy as np
import pytest

from hw.formats import BFLOAT16, FLOAT32
from sim.golden.arith.exact import exact_dot
from sim.golden.arith.exact_cases import directed_sums, sum_class_names
from sim.golden.formats import decode

NAN, INFINITY, LARGEST, ZERO = 0x7fc00000, 0x7f800000, 0x7f7fffff, 0

# The magnitudes that all results of a class have.
RESULTS = {
    "cancellation of everything": ZERO,
    "overflow of the sum":        INFINITY,
    "overflow by a tie":          INFINITY,
    "largest, just below a tie":  LARGEST,
    "underflow of the sum":       ZERO,
    "products lost":              ZERO,
    "zeros":                      ZERO,
    "infinite operand":           INFINITY,
    "product beyond the range":   INFINITY,
    "infinities of both signs":   NAN,
    "infinity times zero":        NAN,
    "NaN operand":                NAN,
}


@pytest.mark.parametrize("k", [4, 5, 12, 61])
def test_classes(k):
    names = sum_class_names()
    a, w, ids = directed_sums(np.random.default_rng(k), 40 * len(names), k)
    assert np.bincount(ids).tolist() == [40] * len(names)
    results = exact_dot(a, w, BFLOAT16, FLOAT32)
    values = [[(Fraction(x), Fraction(y)) for x, y in zip(*row)]
              for row in zip(decode(np.where(np.isfinite(decode(a, BFLOAT16)), a, 0), BFLOAT16),
                             decode(np.where(np.isfinite(decode(w, BFLOAT16)), w, 0), BFLOAT16))]
    for row, result, name in zip(values, results, (names[i] for i in ids)):
        magnitude = int(result) & 0x7fffffff
        products = [x * y for x, y in row]
        total = sum(products)
        if name in RESULTS:
            assert magnitude == RESULTS[name], name
        elif name not in ("random bits", "around the largest product"):
            assert magnitude < INFINITY, name
        if name == "cancellation to one product":
            assert total and total in products
        if name == "overflow undone":  # one sign's products alone are beyond
            assert max(abs(sum(x for x in products if x * sign > 0)) for sign in (1, -1)) >= 2**128
        if "tie, " in name and name.split(", ")[1] in ("even", "odd"):
            below = np.uint32(result - 1)  # a neighbour of the result on either side
            steps = abs(total) / abs(Fraction(float(below.view(np.float32)))
                                     - Fraction(float(result.view(np.float32))))
            rest = steps % 1 - Fraction(1, 2)
            assert (rest > 0) - (rest < 0) == ("above" in name) - ("below" in name), name
            assert int(steps) % 2 == ("odd" in name)


def test_the_smallest_products_meet_the_bound_from_both_sides():
    a, w, ids = directed_sums(np.random.default_rng(0), 40 * len(sum_class_names()), 8)
    rows = ids == sum_class_names().index("around the smallest product")
    size = np.abs(decode(a[rows], BFLOAT16) * decode(w[rows], BFLOAT16))
    assert (size < 2.0**-126).any() and (size >= 2.0**-126).any()


def test_repeats():
    first, second = (directed_sums(np.random.default_rng(4), 300, 5) for _ in range(2))
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


def test_too_short():
    with pytest.raises(ValueError, match="^k must be at least 4, not 3$"):
        directed_sums(np.random.default_rng(0), 30, 3)
