# amaranth: UnusedElaboratable=no
"""Requantisation: hand-worked vectors, Python integers, and the circuit."""

import numpy as np
import pytest

from hw.arith.requantise import Requantise
from hw.formats import INT8, INT32, IntFormat
from sim.golden.arith.requantise import requantise
from sim.verilated import Engine

UINT8 = IntFormat("uint8", 8, signed=False)
INT32_MAX, INT32_MIN = INT32.max, INT32.min

#     acc        bias  multiplier  shift  zero  low   high  expected
VECTORS = [
    (0,             0,          1,     0,    0, -128,  127,    0),
    (100,           5,          1,     0,    0, -128,  127,  105),
    (127,           1,          1,     0,    0, -128,  127,  127),  # saturates
    (-128,         -1,          1,     0,    0, -128,  127, -128),
    (1,             0,          1,     1,    0, -128,  127,    1),  # a tie goes up
    (-1,            0,          1,     1,    0, -128,  127,    0),  # also below zero
    (-3,            0,          1,     1,    0, -128,  127,   -1),
    (5,             0,          3,     3,    0, -128,  127,    2),  # 15 / 8
    (-5,            0,          3,     3,    0, -128,  127,   -2),
    (300,           0,          1,     0, -100, -128,  127,  127),  # zero point behind the rounding
    (200,           0,          1,     0, -100, -128,  127,  100),  # and before the clamp
    (-200,          0,          1,     0,  100, -128,  127, -100),
    (-5,            0,          1,     0,    3,    3,  127,    3),  # ReLU: low is the zero point
    (99,            0,          1,     0,    0,    0,    6,    6),  # ReLU6
    (9,             0,          1,     0,    0,    5,    4,    4),  # high wins over low
    (INT32_MAX, INT32_MAX, 0xffff,    47,    0, -128,  127,    2),  # 2**33 * 2**16 / 2**48
    (INT32_MIN, INT32_MIN, 0xffff,    47,    0, -128,  127,   -2),
    (INT32_MAX, INT32_MAX, 0xffff,     0,    0, -128,  127,  127),  # does not wrap
    (INT32_MIN, INT32_MIN, 0xffff,     0,    0, -128,  127, -128),
    (INT32_MIN, INT32_MIN, 0xffff,     0,  127, -128,  127, -128),
    (12345,         0,          0,     9,    7, -128,  127,    7),
]


def exactly(acc, bias, multiplier, shift, zero_point, low, high) -> int:
    product = (acc + bias) * multiplier
    half = 1 << shift - 1 if shift else 0
    return min(max((product + half >> shift) + zero_point, low), high)


def draw(count: int, seed: int, multiplier_bits: int, shift_max: int, result: IntFormat) -> list:
    """Rows whose results are mostly within the clamp."""
    rng = np.random.default_rng(seed)
    acc  = rng.integers(INT32_MIN, INT32_MAX + 1, count) >> rng.integers(0, 32, count)
    bias = rng.integers(INT32_MIN, INT32_MAX + 1, count) >> rng.integers(0, 32, count)
    multiplier = (rng.integers(0, 1 << multiplier_bits, count)
                  >> rng.integers(0, multiplier_bits + 1, count))
    length = [int(abs((x + y) * z)).bit_length()
              for x, y, z in zip(acc.tolist(), bias.tolist(), multiplier.tolist())]
    shift = np.clip(np.array(length) - rng.integers(-2, 14, count), 0, shift_max)
    zero = rng.integers(result.min, result.max + 1, count)
    low  = np.where(rng.random(count) < 0.5, result.min, zero)
    high = np.where(rng.random(count) < 0.5, result.max, rng.integers(result.min, result.max + 1,
                                                                     count))
    return [tuple(map(int, row)) for row in zip(acc, bias, multiplier, shift, zero, low, high)]


def test_vectors_by_definition():
    assert [exactly(*row[:-1]) for row in VECTORS] == [row[-1] for row in VECTORS]


@pytest.mark.parametrize("bits, shift_max, result", [
    (16, 47, INT8), (32, 62, INT8), (32, 63, UINT8), (8, 15, IntFormat("int16", 16)),
])
def test_model_is_the_definition(bits, shift_max, result):
    rows = draw(4000, bits, bits, shift_max, result)
    if bits == 16:
        rows += [row[:-1] for row in VECTORS]
    expected = [exactly(*row) for row in rows]
    model = requantise(*np.array(rows).T, result=result)
    np.testing.assert_array_equal(model, expected)
    assert len(set(expected)) > 100  # the clamp does not hide everything


#     lanes  multiplier  shift  result
SHAPES = [
    (1,          16,       47, INT8),
    (3,          16,       47, INT8),
    (2,          32,       62, INT8),   # four limb products, the most accurate
    (1,           8,       15, UINT8),
    (1,          17,       63, IntFormat("int16", 16)),  # limbs of full width
]


def concatenate(values, width: int) -> np.ndarray:
    """Values of all lanes, lane 0 lowest, as one word per beat."""
    rows = [sum((int(v) & (1 << width) - 1) << width * n for n, v in enumerate(row))
            for row in values]
    words = -(-width * values.shape[1] // 64)
    table = np.array([[row >> 64 * n & (1 << 64) - 1 for n in range(words)] for row in rows],
                     np.uint64)
    return table if words > 1 else table[:, 0]


@pytest.mark.parametrize("lanes, bits, shift_max, result", SHAPES)
def test_circuit(lanes, bits, shift_max, result):
    dut = Requantise(lanes, result=result, multiplier_bits=bits, shift_max=shift_max)
    rows = draw(6000, lanes, bits, shift_max, result)
    if bits == 16:
        rows = [row[:-1] for row in VECTORS for _ in range(lanes)] + rows
    rows = np.array(rows[:len(rows) // lanes * lanes]).reshape(-1, lanes, 7)
    rows[:, :, 4:] = rows[:, :1, 4:]  # what the lanes share
    shift_bits = len(dut.shift[0])
    with Engine(dut, "requantise") as engine:
        y = engine.pipe({
            "acc":        concatenate(rows[:, :, 0], 32),
            "bias":       concatenate(rows[:, :, 1], 32),
            "multiplier": concatenate(rows[:, :, 2], bits),
            "shift":      concatenate(rows[:, :, 3], shift_bits),
            **{name: concatenate(rows[:, :1, 4 + n], result.width)
               for n, name in enumerate(("zero_point", "low", "high"))},
        }, ["y"], latency=dut.latency)["y"]
    got = (y[:, None] >> np.arange(lanes, dtype=np.uint64) * np.uint64(result.width)).astype(
        np.int64) & (1 << result.width) - 1
    expected = requantise(*np.moveaxis(rows, 2, 0), result=result) & (1 << result.width) - 1
    np.testing.assert_array_equal(got, expected)


def test_latency():
    dut = Requantise()
    acc = np.zeros(40, np.int64)
    acc[10] = 77
    with Engine(dut, "requantise") as engine:
        engine.set("high", 127)
        engine.set("low", -128)
        engine.set("multiplier", 1)
        y = engine.pipe({"acc": acc}, ["y"])["y"]
    assert np.flatnonzero(y).tolist() == [10 + dut.latency]


@pytest.mark.parametrize("parameters, message", [
    ({"lanes": 0}, "lanes must be at least 1, not 0"),
    ({"acc": UINT8}, "acc must be a signed format, not 'uint8'"),
    ({"result": INT32}, "result must be narrower than int32, not 'int32'"),
    ({"multiplier_bits": 33}, "multiplier_bits must be 1 to 32, not 33"),
    ({"shift_max": 64}, "shift_max must be 1 to 63, not 64"),
])
def test_wrong(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Requantise(**parameters)
