"""Trained networks on the simulated ULX3S: one after the other, through its serial line.

The folder that NPUGEN_SHARED names holds ``models`` and ``data``; without it these tests are
skipped.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from boards.host import main
from boards.simulated import SimulatedBoard, of_board, served
from hw.vta.config import preset
from hw.vta.core import VtaCore
from sim import pictures

SHARED = Path(os.environ.get("NPUGEN_SHARED", "absent"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not (SHARED / "models").is_dir(),
    reason="NPUGEN_SHARED must name the folder with models and data")]


@pytest.fixture(scope="module")
def url():
    """The board with its real clock and chip; only the line has 4 cycles a bit instead of 50."""
    board = SimulatedBoard(VtaCore(preset("block8")), **of_board("ulx3s_85f") | {
        "baud": 12_500_000})
    with served(board) as url:
        yield url


def mnist(folder):
    """Model, samples, labels, and options."""
    for part, count in (("train", 32), ("test", 2)):
        images, labels = pictures.load(SHARED / "data" / "mnist", part)
        np.save(folder / f"{part}.npy", images[:count].reshape(count, 1, 1, 28, 28).astype("f4"))
    return (SHARED / "models" / "mnist_cntk" / "model.onnx", folder / "test.npy",
            labels[:count].tolist(), ["--calibration", str(folder / "train.npy")])


def mlperf_tiny(name, count):
    def given(folder):
        models = SHARED / "models" / f"mlperf_tiny_{name}"
        with np.load(models / "io.npz") as io:
            np.save(folder / "x.npy", io["input_int8"][:count, None])
            labels = io["output_ort_noopt_int8"][:count].argmax(1).tolist()
        return models / "model_int8_qdq.onnx", folder / "x.npy", labels, []
    return given


@pytest.mark.parametrize("given", [mnist, mlperf_tiny("kws", 1), mlperf_tiny("resnet8", 2)],
                         ids=["mnist", "kws", "resnet8"])
def test_networks(url, given, tmp_path, capsys):
    model, x, labels, options = given(tmp_path)
    assert main([url, "run", str(model), "--input", str(x), "--compare", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    print(said)
    assert said["equal"] and said["labels"] == labels
    if model.parent.name.endswith("resnet8"):
        assert said["image_bytes"] > of_board("ulx3s_85f")["memory"]  # more than on chip
