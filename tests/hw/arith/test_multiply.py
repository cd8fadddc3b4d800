# amaranth: UnusedElaboratable=no
"""Products: of integers, their replacement by a multiplier block, and of floats."""

import re
from fractions import Fraction

import numpy as np
import pytest
from amaranth import Shape, signed, unsigned

from hw.arith.ecp5 import ecp5_multiplier
from hw.arith.multiply import FloatMultiply, IntegerMultiply
from hw.formats import BFLOAT16, FLOAT8_E4M3, FLOAT16, FLOAT32, FloatFormat
from hw.verilog import to_verilog
from sim.golden.arith.multiply import multiply
from sim.golden.formats import decode
from sim.verilated import Engine

#     a       b       product
VECTORS = [
    (0x3f80, 0x4000, 0x40000000),
    (0x3fff, 0x3fff, 0x407e0100),  # (2 - 2**-7)**2
    (0xbf80, 0x3f80, 0xbf800000),
    (0x2000, 0x2000, 0x00800000),  # 2**-126, the smallest
    (0x2000, 0x1fff, 0x00000000),  # just below it
    (0xa000, 0x1fff, 0x80000000),
    (0x007f, 0x7f7f, 0x00000000),  # a subnormal operand
    (0x807f, 0x7f7f, 0x80000000),
    (0x5f80, 0x5f7f, 0x7f7f0000),  # below 2**128
    (0x5f80, 0x5f80, 0x7f800000),  # 2**128
    (0xdf80, 0x5f80, 0xff800000),
    (0x7f80, 0x8080, 0xff800000),
    (0x7f80, 0x8000, 0x7fc00000),  # infinity * 0
    (0x0001, 0xff80, 0x7fc00000),
    (0xffff, 0x3f80, 0x7fc00000),
]

TINY8 = FloatFormat("tiny8", exponent=4, fraction=3)
PAIRS = [
    (TINY8, FloatFormat("exact", exponent=5, fraction=7)),
    (TINY8, FloatFormat("rounded", exponent=3, fraction=4)),
    (FLOAT8_E4M3, FLOAT16),
]


def run(operand, product, a, b):
    dut = FloatMultiply(operand, product)
    return Engine(dut, "multiply").pipe({"a": a, "b": b}, ["y"], latency=dut.latency)["y"]


# Integers ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("a_shape, b_shape", [(unsigned(8), unsigned(5)), (signed(4), signed(6))])
def test_integers(a_shape, b_shape):
    dut = IntegerMultiply(a_shape, b_shape)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(*_limits(shape), 5000) for shape in (a_shape, b_shape))
    p = Engine(dut, "multiply").pipe({"a": a, "b": b}, ["p"], latency=dut.latency)["p"]
    np.testing.assert_array_equal(p, a * b & (1 << a_shape.width + b_shape.width) - 1)


def _limits(shape: Shape) -> tuple[int, int]:
    low = -(1 << (shape.width - 1)) if shape.signed else 0
    return low, low + (1 << shape.width)


@pytest.mark.parametrize("shape, name", [(unsigned(8), "dsp_8x8_u"), (signed(8), "dsp_8x8_s")])
def test_module_has_the_ports_of_its_replacement(shape, name):
    assert IntegerMultiply(shape, shape).name == name
    ports = "a", "b", "p"
    ours = re.search(rf"^module {name}\(([^)]*)\)",
                     to_verilog(IntegerMultiply(shape, shape), name), re.MULTILINE)[1].split(", ")
    assert {"clk", *ports} <= set(ours) <= {"clk", "rst", *ports}
    block = ecp5_multiplier(8, 8, shape.signed)
    assert block.startswith(f"module {name} (") and "output [15:0] p" in block
    # Nine bits up to the port's 18 are zero, or the sign.
    assert block.count("(a[7])") == (11 if shape.signed else 1)
    assert block.count("MULT18X18D") == 1


def test_wrong_integers():
    with pytest.raises(ValueError, match="^a_shape and b_shape must be both signed or both "
                                         r"unsigned, not signed\(8\) and unsigned\(8\)$"):
        IntegerMultiply(signed(8), unsigned(8))
    with pytest.raises(ValueError, match="^b_width must be 1 to 18, not 19$"):
        ecp5_multiplier(18, 19, False)


# Floats ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("a, b, expected", VECTORS)
def test_model(a, b, expected):
    assert f"{multiply(np.array(a), np.array(b)):08x}" == f"{expected:08x}"


def test_model_agrees_with_the_processor():
    """float32 multiplication is exact for these operands, where it stays in range."""
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 1 << 16, (2, 1 << 20), np.uint32)
    with np.errstate(all="ignore"):
        product = (a << 16).view(np.float32) * (b << 16).view(np.float32)
    ordinary = np.isfinite(product) & (np.abs(product) >= np.float32(2.0**-126))
    ordinary &= (a & 0x7f80 != 0) & (b & 0x7f80 != 0)
    np.testing.assert_array_equal(multiply(a, b)[ordinary], product.view(np.uint32)[ordinary])
    assert ordinary.sum() > len(a) // 2


def test_model_rounds_once():
    """Every product of two small floats is the nearest number, and the even one of two."""
    operand, product = PAIRS[1]
    words = np.arange(256)
    results = multiply(words[:, None], words, operand, product)
    values, x = decode(results, product), decode(words, operand)
    unit = Fraction(1, 1 << product.fraction)
    for i, j in np.random.default_rng(2).integers(0, 256, (3000, 2)):
        got = values[i, j]
        if np.isfinite(got) and got != 0:
            binade = Fraction(2) ** int(np.frexp(got)[1] - 1)
            error = abs(Fraction(x[i]) * Fraction(x[j]) - Fraction(got)) / (unit * binade)
            even = int(results[i, j]) % 2 == 0
            assert error < Fraction(1, 2) or error == Fraction(1, 2) and even


def test_model_refuses_what_float64_cannot_hold():
    with pytest.raises(ValueError, match="^x is too wide for float64 to be exact$"):
        multiply(np.array(0), np.array(0), FloatFormat("x", 8, 26), FLOAT32)


def test_vectors():
    a, b, expected = np.array(VECTORS).T
    np.testing.assert_array_equal(run(BFLOAT16, FLOAT32, a, b), expected)


def test_bfloat16():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 1 << 16, (2, 1 << 20))
    np.testing.assert_array_equal(run(BFLOAT16, FLOAT32, a, b), multiply(a, b))


@pytest.mark.parametrize("operand, product", PAIRS, ids=[p.name for _, p in PAIRS])
def test_every_pair_of_a_small_format(operand, product):
    n = np.arange(1 << 2 * operand.width)
    a, b = n >> operand.width, n & (1 << operand.width) - 1
    np.testing.assert_array_equal(run(operand, product, a, b), multiply(a, b, operand, product))


@pytest.mark.parametrize("operand, product, latency", [
    (BFLOAT16, FLOAT32, 3), (TINY8, PAIRS[1][1], 4)])
def test_latency_is_as_documented(operand, product, latency):
    assert FloatMultiply(operand, product).latency == latency
    one = operand.bias << operand.fraction
    a = np.full(20, one)
    a[10] = one + (1 << operand.fraction)
    y = run(operand, product, a, np.full(20, one))
    assert np.flatnonzero(y == (product.bias + 1) << product.fraction).tolist() == [10]


def test_wrong_product():
    with pytest.raises(ValueError, match="^product must have an infinity, not be 'float8_e4m3'$"):
        FloatMultiply(FLOAT8_E4M3, FLOAT8_E4M3)
