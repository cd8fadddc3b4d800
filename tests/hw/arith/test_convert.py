# amaranth: UnusedElaboratable=no
"""Rounding from format to format: hand-worked vectors, an independent library, and the circuit."""

import ml_dtypes
import numpy as np
import pytest

from hw.arith.convert import Convert
from hw.formats import BFLOAT16, FLOAT8_E4M3, FLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.convert import convert
from sim.verilated import Engine

#    float32     bfloat16
VECTORS = [
    (0x3f800000, 0x3f80),
    (0x3f808000, 0x3f80),  # a tie, to even
    (0x3f818000, 0x3f82),  # a tie, up to even
    (0x3f808001, 0x3f81),  # just above a tie
    (0x3f817fff, 0x3f81),  # just below one
    (0x3fffffff, 0x4000),  # the carry reaches the exponent
    (0x7f7f7fff, 0x7f7f),  # the largest
    (0x7f7f8000, 0x7f80),  # a tie with infinity
    (0xff7fffff, 0xff80),
    (0x7f800000, 0x7f80),
    (0xff800000, 0xff80),
    (0xffc00000, 0x7fc0),  # every NaN is the one NaN
    (0x7f800001, 0x7fc0),  # also one whose payload would be rounded away
    (0x00800000, 0x0080),  # the smallest
    (0x007fffff, 0x0000),  # subnormal, though it would round to the smallest
    (0x80000001, 0x8000),
    (0x80000000, 0x8000),
]

PAIRS = [
    (FLOAT32, BFLOAT16),
    (FLOAT32, FLOAT8_E4M3),
    (FLOAT16, FLOAT32),
    (FloatFormat("x", 5, 6), FloatFormat("y", 4, 3)),
]


def run(source, target, words):
    return Engine(Convert(source, target), "convert").pipe(
        {"i": words}, ["o"], latency=Convert.latency)["o"]


def words_of(source):
    """All words, or all upper halves with random lower ones and some on either side of a tie."""
    if source.width <= 16:
        return np.arange(1 << source.width)
    rng, high = np.random.default_rng(0), np.arange(1 << 16) << 16
    return np.concatenate([high | low for low in (
        0, 1, 0x7fff, 0x8000, 0x8001, *rng.integers(0, 1 << 16, (5, 1 << 16)))])


@pytest.mark.parametrize("word, expected", VECTORS)
def test_model(word, expected):
    assert f"{convert(np.array(word)):04x}" == f"{expected:04x}"


@pytest.mark.parametrize("target, dtype", [
    (BFLOAT16, ml_dtypes.bfloat16), (FLOAT16, np.float16),
    (FLOAT8_E4M3, ml_dtypes.float8_e4m3fn)])
def test_model_agrees_with_others(target, dtype):
    """Where the result is a normal number or a zero of which the contract says the same."""
    words = words_of(FLOAT32).astype(np.uint32)
    values = words.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        others = values.astype(dtype)
    expected = others.view(f"u{others.itemsize}")
    expected = np.where(np.isnan(values), target.nan, expected)
    normal = (expected & (target.sign_mask - 1)) >> target.fraction != 0
    # ml_dtypes gives a NaN the sign of what overflowed.
    expected = np.where(np.isnan(others.astype(np.float64)), target.nan, expected)
    # Half a unit below the smallest normal number, the units of subnormals round differently.
    smallest = 2.0 ** target.min_exponent
    normal &= np.abs(values) >= smallest
    np.testing.assert_array_equal(convert(words, FLOAT32, target)[normal], expected[normal])
    assert normal.sum() > len(words) // 20


def test_vectors():
    words, expected = np.array(VECTORS).T
    np.testing.assert_array_equal(run(FLOAT32, BFLOAT16, words), expected)


@pytest.mark.parametrize("source, target", PAIRS, ids=[f"{s.name}-{t.name}" for s, t in PAIRS])
def test_circuit(source, target):
    words = words_of(source)
    np.testing.assert_array_equal(run(source, target, words), convert(words, source, target))


def test_latency_is_as_documented():
    words = np.full(20, 0x3f800000)
    words[10] = 0x40000000
    assert np.flatnonzero(run(FLOAT32, BFLOAT16, words) == 0x4000).tolist() == [10]


def test_wrong_source():
    with pytest.raises(ValueError,
                       match="^source must have an infinity, not be 'float8_e4m3'$"):
        Convert(FLOAT8_E4M3, FLOAT32)
