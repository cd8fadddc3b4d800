"""Trained networks up the whole ladder on real inputs, on the default core.

The folder that NPUGEN_SHARED names holds ``models``; without it these tests are skipped.
"""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from hw.compiler.api import LEVELS, compile
from hw.vta.config import preset
from sim.vta_rtl import RtlEngine

SHARED = Path(os.environ.get("NPUGEN_SHARED", "absent"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not (SHARED / "models").is_dir(),
    reason="NPUGEN_SHARED must name the folder with models and data")]

COUNT = 2  # samples of each


@functools.cache
def engine():
    return RtlEngine(preset("default"))


@pytest.mark.parametrize("name", ["ad", "kws", "resnet8", "sww", "vww"])
def test_mlperf_tiny(name):
    folder = SHARED / "models" / f"mlperf_tiny_{name}"
    model = compile(folder / "model_int8_qdq.onnx", preset("default"))
    with np.load(folder / "io.npz") as io:
        x = io["input_int8"][:COUNT, None]
    results = {level: model.run(x, level=level, engine=engine() if level == "rtl" else None)
               for level in LEVELS}
    for level, result in results.items():
        np.testing.assert_array_equal(result, results["graph"], level)
    predicted = [timing.cycles for timing in model.timings()]
    assert all(measured == predicted for measured in model.cycles)
    print(f"{name}: {sum(predicted):,} cycles")
