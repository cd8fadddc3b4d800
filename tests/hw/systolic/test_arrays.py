import dataclasses

import numpy as np
import pytest

from hw.formats import BFLOAT16, FLOAT32
from hw.systolic.config import ArrayConfig
from hw.systolic.sequence import ArrayError
from hw.systolic.timing import OsTiming
from sim.gemm import golden, random_gemm
from sim.golden.formats import convert, encode
from sim.systolic import Gemm, predicted_cycles
from sim.verilated import StreamTimeout

from .arrays import CELLS, SIZES, any_bits, assert_exact, driver

SHAPES = 67  # for each of the three sizes: 200 for each cell


@pytest.mark.parametrize("rows, cols", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_random_shapes_match_model_and_formula(cell, rows, cols):
    array = driver(cell, rows, cols)
    for seed in range(SHAPES):
        rng = np.random.default_rng([seed, rows, cols])
        m, k, n = rng.integers(1, (40, 30, 24))
        gemm = random_gemm(array.config, m, k, n, rng,
                           bias=bool(seed & 1), relu=bool(seed & 2))
        assert_exact(array, [gemm], f"seed {seed}: {m} x {k} x {n}",
                     stall=[0.0, 0.3, 0.8][seed % 3], seed=seed)


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("cell", CELLS)
def test_queued_products_follow_without_a_bubble(cell, stall):
    array, rng = driver(cell, 3, 5), np.random.default_rng(7)
    gemms = [random_gemm(array.config, *rng.integers(1, 20, 3), rng, bias=n % 3 > 0,
                         relu=bool(n & 1)) for n in range(6)]
    assert_exact(array, gemms, stall=stall, seed=3)


#    rows, cols, segment
TALL = [
    (5, 2, 1),   # each row a way out of its own
    (9, 1, 4),   # the last segment has one row
    (17, 1, 2),  # nine segments: results come over a longer time than a segment takes
    (6, 2, 16),  # one segment, larger than the array
]


@pytest.mark.parametrize("rows, cols, segment", TALL)
def test_segments_of_exact_columns(rows, cols, segment):
    """Sums long and short of what a tile takes on its way out, queued."""
    array = driver("exact", rows, cols, segment=segment)
    for seed in range(9):
        rng = np.random.default_rng([seed, rows])
        gemms = [random_gemm(array.config, *rng.integers(1, (3 * rows, k, 3 * cols)), rng,
                             bias=bool(seed & 1)) for k in (9, 60, 140)]
        assert_exact(array, gemms, f"seed {seed}", stall=[0.0, 0.3, 0.8][seed % 3], seed=seed)


def test_no_two_results_of_a_column_meet():
    """And none comes later than the buffer asks for it, in arrays of any height."""
    for rows in range(1, 65):
        for segment in (1, 2, 4, 8, 16, 32, 64):
            timing = OsTiming(ArrayConfig(rows=rows, contract="exact", segment=segment))
            written = [timing.written(row) for row in range(rows)]
            assert len(set(written)) == rows
            assert max(written) < timing.gap
            assert all(at <= timing.release + row for row, at in enumerate(written))


@pytest.mark.parametrize("cell", ["fma", "exact"])
def test_every_kind_of_number(cell):
    array = driver(cell, 3, 5)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        assert_exact(array, [any_bits(array.config, rng, 7, 1 + seed % 9, 11)], f"seed {seed}")


@pytest.mark.parametrize("cell", ["fma", "exact"])
def test_results_in_bfloat16(cell):
    array, rng = driver(cell, 3, 5, result="bfloat16"), np.random.default_rng(1)
    assert_exact(array, [random_gemm(array.config, 9, 14, 7, rng)])


def test_fma_is_the_same_for_every_array_and_tile():
    rng = np.random.default_rng(2)
    arrays = [driver("fma", *size) for size in SIZES] + [driver("fma", 3, 5, depth=16)]
    gemm = random_gemm(arrays[0].config, 21, 17, 12, rng, bias=True)
    first, *others = (array.run([gemm]).results[0] for array in arrays)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_fma_order_matters():
    """What the test before this one would not notice: that another order is another sum."""
    config = driver("fma", 3, 5).config
    gemm = random_gemm(config, 8, 64, 8, np.random.default_rng(3))
    backwards = dataclasses.replace(gemm, a=gemm.a[:, ::-1], w=gemm.w[::-1])
    assert (golden(config, gemm) != golden(config, backwards)).any()


@pytest.mark.parametrize("cell", ["exact", "int8_os"])
def test_any_order_and_any_split_of_k_is_the_same_sum(cell):
    array, rng = driver(cell, 3, 5), np.random.default_rng(4)
    gemm = random_gemm(array.config, 7, 40, 8, rng, bias=True)
    expected = array.run([gemm]).results[0]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        order = rng.permutation(40)
        cuts = np.sort(rng.choice(np.arange(1, 40), rng.integers(0, 5), replace=False))
        passes = tuple(np.diff([0, *cuts, 40]).tolist())
        other = Gemm(gemm.a[:, order], gemm.w[order], gemm.bias, passes=passes)
        np.testing.assert_array_equal(array.run([other]).results[0], expected, f"seed {seed}")


def test_exact_sum_that_cancels():
    """1e30 + 1 - 1e30: the rounded chain loses the 1, the exact sum does not."""
    a = encode(np.array([[1e30, 1.0, -1e30]]), BFLOAT16)
    w = encode(np.ones((3, 1)), BFLOAT16)
    one = encode(np.array([[1.0]]), FLOAT32)
    assert driver("exact", 3, 5).run([Gemm(a, w)]).results[0] == one
    assert driver("fma", 3, 5).run([Gemm(a, w)]).results[0] == 0


def test_exact_rounds_once():
    """bfloat16 of the exact sum, not of its float32: 1 + 2**-8 + 2**-30 lies above a tie."""
    a = encode(np.array([[1.0, 2.0**-8, 2.0**-30]]), BFLOAT16)
    w = encode(np.ones((3, 1)), BFLOAT16)
    once = driver("exact", 3, 5, result="bfloat16").run([Gemm(a, w)]).results[0]
    twice = convert(driver("exact", 3, 5).run([Gemm(a, w)]).results[0], FLOAT32, BFLOAT16)
    assert (once, twice) == (0x3f81, 0x3f80)


#   cell       command (see GemmCommand, OsCommand)          what it is
WRONG = [
    ("int8_ws", 0 | 1 << 16 | 1 << 32,      ArrayError.EMPTY),     # no rows
    ("int8_ws", 1 | 0 << 16 | 1 << 32,      ArrayError.EMPTY),     # no columns
    ("int8_ws", 1 | 1 << 16 | 0 << 32,      ArrayError.EMPTY),     # no products
    ("int8_ws", 33 | 1 << 16 | 2 << 32,     ArrayError.CAPACITY),  # 33 sums, 32 accumulators
    ("int8_os", 0 | 1 << 16,                ArrayError.EMPTY),
    ("int8_os", 1 | 0 << 16,                ArrayError.EMPTY),
    ("int8_os", 2 | 1 << 16 | 1 << 33,      ArrayError.CAPACITY),  # two tiles cannot be kept
    ("exact",   1 | 4129 << 16,             ArrayError.CAPACITY),  # longer than k_max
]


@pytest.mark.parametrize("cell, command, error", WRONG)
def test_wrong_command_stops_the_array_and_reset_starts_it(cell, command, error):
    array = driver(cell, 3, 5)
    rng = np.random.default_rng(5)
    good = random_gemm(array.config, 4, 5, 6, rng)
    beats = {name: np.zeros((40, 2) if array.engine.ports[f"{name}__payload"].words > 1 else 40,
                            np.uint64) for name in ("i_weights", "i_activations")}
    array.engine.reset()
    with pytest.raises(StreamTimeout):
        array.engine.run_streams({"i_command": np.array([command] * 2, np.uint64), **beats},
                                 {"o": 1000}, timeout=600)
    assert array.engine.get("error") == error.value
    array.engine.reset()
    assert array.engine.get("error") == ArrayError.NONE.value
    assert_exact(array, [good])


@pytest.mark.parametrize("cycles", [3, 17, 60, 61, 62, 63, 130])
@pytest.mark.parametrize("cell", CELLS)
def test_reset_in_mid_product_leaves_nothing_behind(cell, cycles):
    array, rng = driver(cell, 3, 5), np.random.default_rng(6)
    gemm = random_gemm(array.config, 30, 31, 20, rng)
    with pytest.raises(StreamTimeout):
        array.run([gemm], timeout=cycles)
    array.engine.reset()
    assert_exact(array, [gemm, random_gemm(array.config, 3, 4, 5, rng)])


@pytest.mark.parametrize("count, size, least", [
    (1, 256, 0.995), (1, 1024, 0.999), (1, 64, 0.84), (16, 64, 0.985),
])
@pytest.mark.parametrize("cell", CELLS)
def test_utilisation_by_the_formula(cell, count, size, least):
    """On 16 x 16. That the simulation counts what the formula says, the other tests show."""
    cycles = predicted_cycles(ArrayConfig(rows=16, cols=16, **CELLS[cell]), size, size, size, count)
    assert size**3 * count / (256 * cycles) >= least
