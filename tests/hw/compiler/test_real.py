"""Trained networks: MLPerf Tiny and the MNIST CNN, from the folder that NPUGEN_SHARED names.

It holds ``models`` and ``data``; without it these tests are skipped.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hw.compiler.__main__ import main
from hw.compiler.front import load
from hw.compiler.operators import Host
from sim import rungs

SHARED = Path(os.environ.get("NPUGEN_SHARED", "absent"))
pytestmark = pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="NPUGEN_SHARED must name "
                                "the folder with models and data")

# What the host has to do: nothing that multiplies, adds or pools.
EDGES = {"Transpose", "Reshape", "QuantizeLinear", "DequantizeLinear", "Softmax"}


def core_macs(front):
    assert {s.node.op for s in front.network.steps if isinstance(s, Host)} <= EDGES
    return sum(s.macs for s in front.network.steps)


# network: MACs, as its README states them, and how many of the samples are run
QUANTISED = {"kws": (2_656_768, 1), "resnet8": (12_501_632, 7), "ad": (264_192, 20),
             "vww": (7_489_664, 4), "sww": (None, 45)}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised(name):
    folder, (macs, count) = SHARED / "models" / f"mlperf_tiny_{name}", QUANTISED[name]
    front = load(folder / "model_int8_qdq.onnx")
    assert macs is None or core_macs(front) == macs
    with np.load(folder / "io.npz") as io:
        x, theirs = io["input_int8"][:count, None], io["output_ort_noopt_int8"][:count]
    (key,) = front.graph.inputs
    for layer in rungs.layers(front, [{key: each} for each in x[:3]]):
        assert layer.worst <= 1, layer
    (ours,) = rungs.operators(front, {key: x}).values()
    (graph,) = rungs.graph(front, {key: x[:5]}).values()
    np.testing.assert_array_equal(graph, ours[:5])
    (reference,) = rungs.reference(front.model, {key: x}).values()
    np.testing.assert_array_equal(reference[:, 0], theirs)  # cleaned, and still the file's bits
    if name != "ad":  # an autoencoder has no labels
        np.testing.assert_array_equal(ours[:, 0].argmax(-1), theirs.argmax(-1))
    else:
        assert np.abs(ours[:, 0].astype(int) - theirs).mean() < 0.5


@pytest.mark.parametrize("file", ["mlperf_tiny_kws/model_float.onnx",
                                  "mlperf_tiny_resnet8/model_float.onnx",
                                  "mlperf_tiny_ad/model_float.onnx",
                                  "mlperf_tiny_vww/model_float.onnx", "mnist_cntk/model.onnx"])
def test_float(file):
    front = load(SHARED / "models" / file)
    assert core_macs(front) > 200_000
    rng = np.random.default_rng(0)
    (key,) = front.graph.inputs
    x = rng.standard_normal((3, *front.graph.types[key].shape)).astype(np.float32)
    for layer in rungs.layers(front, [{key: each} for each in x]):
        assert layer.worst <= 1, layer


@pytest.mark.slow
@pytest.mark.parametrize("options, n, at_least", [
    (["mlperf_tiny_resnet8/model_int8_qdq.onnx", "cifar10_jpeg/cifar10_jpeg.tar.xz"], 10_000, 0.75),
    (["mnist_cntk/model.onnx", "mnist", "--calibrate", "100"], 10_000, 0.98),
])
def test_accuracy(options, n, at_least, capsys):
    model, data, *more = options
    assert main(["accuracy", str(SHARED / "models" / model), "--data", str(SHARED / "data" / data),
                 *more]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["n"] == n and line["operators"]["accuracy"] >= at_least
    assert abs(line["operators"]["accuracy"] - line["reference"]["accuracy"]) <= 0.003
