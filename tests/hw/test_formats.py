import ml_dtypes
import numpy as np
import pytest

from hw.formats import (
    BFLOAT16,
    FLOAT8_E4M3,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FORMATS,
    FloatFormat,
    IntFormat,
    format_named,
)
from sim.golden.formats import convert, decode, encode, storage

OTHERS = [
    (BFLOAT16,    ml_dtypes.bfloat16),
    (FLOAT16,     np.float16),
    (FLOAT8_E4M3, ml_dtypes.float8_e4m3fn),
    (FLOAT8_E5M2, ml_dtypes.float8_e5m2),
]
SPECIAL = [sign | bits for sign in (0, 1 << 31) for bits in (
    0, 1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff,
    0x3f808000, 0x3f818000, 0x7f7f8000, 0x7f7f7fff)]  # ties of bfloat16, and overflow by rounding


@pytest.mark.parametrize("fmt, other", OTHERS, ids=lambda x: getattr(x, "name", ""))
def test_every_word_has_the_value_that_others_give_it(fmt, other):
    words = np.arange(1 << fmt.width).astype(storage(fmt))
    with np.errstate(invalid="ignore"):
        theirs = words.view(other).astype(np.float64)
    ours = decode(words, fmt)
    np.testing.assert_array_equal(ours, theirs)
    number = ~np.isnan(ours)
    np.testing.assert_array_equal(np.signbit(ours[number]), np.signbit(theirs[number]))
    np.testing.assert_array_equal(encode(ours[number], fmt), words[number])
    assert (encode(ours[~number], fmt) == fmt.nan).all()


@pytest.mark.parametrize("fmt, other", OTHERS, ids=lambda x: getattr(x, "name", ""))
def test_ten_million_float32_round_as_others_round_them(fmt, other):
    rng = np.random.default_rng(0)
    for _ in range(10):
        words = rng.integers(0, 1 << 32, 1_000_000, np.uint32)
        # Uniform bits are mostly out of range of the small formats: half of them near 1.
        words[::2] = words[::2] & 0x8fffffff | rng.integers(0x30, 0x48, 500_000, np.uint32) << 24
        words[:len(SPECIAL)] = SPECIAL
        with np.errstate(all="ignore"):
            theirs = words.view(np.float32).astype(other).view(storage(fmt))
        ours = convert(words, FLOAT32, fmt)
        nan = np.isnan(decode(theirs, fmt))
        np.testing.assert_array_equal(ours[~nan], theirs[~nan])
        assert (ours[nan] == fmt.nan).all() and nan.any()


def test_float32_is_numpys():
    words = np.random.default_rng(1).integers(0, 1 << 32, 1_000_000, np.uint32)
    words[:len(SPECIAL)] = SPECIAL
    with np.errstate(invalid="ignore"):
        values = words.view(np.float32).astype(np.float64)
    np.testing.assert_array_equal(decode(words, FLOAT32), values)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(encode(values[number], FLOAT32), words[number])


#   format       width  bias  max                   nan
FACTS = [
    (BFLOAT16,    16,   127,  3.3895313892515355e38, 0x7fc0),
    (FLOAT32,     32,   127,  3.4028234663852886e38, 0x7fc00000),
    (FLOAT16,     16,   15,   65504.0,               0x7e00),
    (FLOAT8_E4M3, 8,    7,    448.0,                 0x7f),
    (FLOAT8_E5M2, 8,    15,   57344.0,               0x7e),
]


@pytest.mark.parametrize("fmt, width, bias, largest, nan", FACTS, ids=lambda x: "")
def test_facts(fmt, width, bias, largest, nan):
    assert (fmt.width, fmt.bias, fmt.max, fmt.nan) == (width, bias, largest, nan)
    assert fmt.layout.size == width
    assert decode(np.array([nan]), fmt) != decode(np.array([nan]), fmt)


def test_names():
    assert format_named("bf16") is BFLOAT16
    assert all(format_named(name) is fmt for name, fmt in FORMATS.items())
    with pytest.raises(ValueError, match=r"^format must be one of bfloat16, .*, not 'bf17'$"):
        format_named("bf17")


@pytest.mark.parametrize("make, message", [
    (lambda: FloatFormat("f", 1, 3),  "exponent must be 2 to 11 bits, not 1"),
    (lambda: FloatFormat("f", 8, 0),  "fraction must be 1 to 52 bits, not 0"),
    (lambda: IntFormat("i", 0),       "width must be 1 to 64 bits, not 0"),
    (lambda: FLOAT8_E4M3.infinity,    "float8_e4m3 has no infinity"),
])
def test_wrong(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
