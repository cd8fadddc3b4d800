"""hw.lutnet.serial.SerialNetwork: the digits' network takes features one by one, gives labels."""

from pathlib import Path

import cocotb
import numpy as np

import hw.lutnet
from hw.lutnet.model import load
from hw.lutnet.serial import SerialNetwork
from sim.benches.agents import exchange, stalls
from sim.golden.lutnet import run

MODEL = Path(hw.lutnet.__file__).parent / "models" / "digits.npz"
SAMPLES = 30


def component():
    return SerialNetwork(load(MODEL))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def labels(dut, stall):
    model = load(MODEL)
    draw = np.random.default_rng(cocotb.RANDOM_SEED)
    codes = draw.integers(0, 1 << model.encoder.width, (SAMPLES, model.features)).astype(np.uint16)
    monitors = await exchange(dut, {"i": codes.ravel()}, {"o": run(model, codes).result},
                              stall=stall)
    if not stall:
        last = monitors["i"].cycles[model.features - 1::model.features]
        assert {b - a for a, b in zip(last, monitors["o"].cycles)} == {component().latency}
