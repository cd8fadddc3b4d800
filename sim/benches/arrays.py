"""What the benches of the systolic arrays share: the array, and products as beats of streams."""

import numpy as np

from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from sim.benches.agents import exchange, rng
from sim.gemm import golden, random_gemm
from sim.payload import to_ints
from sim.systolic import beats

__all__ = ["array", "products"]


def array(config: ArrayConfig):
    return systolic_array(config)


async def products(dut, config: ArrayConfig, stall: float) -> None:
    """Three products, queued; sizes that fill the tiles, so that every result is one of theirs."""
    draw = np.random.default_rng(rng("products").getrandbits(32))
    gemms = [random_gemm(config, config.rows * m, k, config.cols * n, draw, bias=relu,
                         relu=relu)
             for m, k, n, relu in ((2, 5, 2, False), (1, 1, 1, True), (3, 7, 1, False))]
    inputs, outputs = beats(config, gemms, [golden(config, gemm) for gemm in gemms])
    await exchange(dut, {name: to_ints(rows) for name, rows in inputs.items()},
                   {"o": to_ints(outputs)}, stall=stall)
