"""hw.arith.requantise.Requantise: two lanes of int32 to int8, every shift, clamped and not."""

import cocotb
import numpy as np

from hw.arith.requantise import Requantise
from hw.formats import INT8, INT32
from sim.benches.agents import pipeline
from sim.golden.arith.requantise import requantise
from sim.payload import pack

ROWS, LANES = 960, 2


def component():
    return Requantise(LANES)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def matches_model(dut):
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    shape, parts = (ROWS, LANES), component()
    shift = np.stack([np.arange(ROWS) % 48, draw.integers(0, 48, ROWS)], axis=1)
    multiplier = draw.integers(0, 2**16, shape)
    # Sums of every size, so that at every shift some results lie inside the limits.
    acc, bias = (draw.integers(INT32.min, INT32.max + 1, shape) >> draw.integers(0, 32, shape)
                 for _ in range(2))
    zero_point = draw.integers(INT8.min, INT8.max + 1, ROWS)
    low, high = np.full(ROWS, -100), draw.integers(0, INT8.max + 1, ROWS)
    expected = requantise(acc, bias, multiplier, shift, zero_point[:, None], low[:, None],
                          high[:, None])
    arrays = {"acc": acc, "bias": bias, "multiplier": multiplier, "shift": shift}
    await pipeline(
        dut,
        {name: pack(getattr(parts, name).shape(), values) for name, values in arrays.items()}
        | {"zero_point": zero_point, "low": low, "high": high},
        {"y": pack(parts.y.shape(), expected)},
        latency=parts.latency)
