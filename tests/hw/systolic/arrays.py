"""Arrays that the tests share; each is built once and kept for the session."""

from functools import cache

import numpy as np

from hw.systolic.config import ArrayConfig
from sim.gemm import golden
from sim.systolic import ArrayDriver, Gemm

CELLS = {
    "fma":     {"format": "bf16", "contract": "fma"},
    "exact":   {"format": "bf16", "contract": "exact"},
    "int8_ws": {"format": "int8", "dataflow": "ws"},
    "int8_os": {"format": "int8", "dataflow": "os"},
}
SIZES = [(1, 1), (3, 5), (5, 2)]  # the smallest, and two that no swapped index survives


@cache
def driver(cell: str, rows: int, cols: int, depth: int = 32, result: str = "",
           segment: int = 2) -> ArrayDriver:
    return ArrayDriver(ArrayConfig(rows=rows, cols=cols, depth=depth, result=result,
                                   segment=segment, **CELLS[cell]))


def any_bits(config: ArrayConfig, rng: np.random.Generator, m: int, k: int, n: int) -> Gemm:
    """Operands of every kind: NaN, infinities, subnormals and both zeros among them."""
    def draw(*shape):
        words = rng.integers(0, 1 << 16, shape, np.uint16)
        special = np.array([0, 0x8000, 1, 0x8001, 0x7f80, 0xff80, 0x7fc0, 0x0080, 0x7f7f],
                           np.uint16)
        return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), words)
    return Gemm(draw(m, k), draw(k, n))


def assert_exact(array: ArrayDriver, gemms: list[Gemm], said: str = "", **how) -> int:
    """All results equal the golden model in all bits; returns the cycles."""
    run = array.run(gemms, **how)
    for gemm, result in zip(gemms, run.results):
        np.testing.assert_array_equal(result, golden(array.config, gemm), said)
    if not how.get("stall"):
        assert run.cycles == run.formula_cycles, said
    return run.cycles
