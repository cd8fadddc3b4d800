# amaranth: UnusedElaboratable=no
"""Modulator, network and counters against the golden model."""

import json

import numpy as np
import pytest

from hw.lutnet.config import NetworkConfig
from hw.lutnet.oversample import Modulator, OversampledNetwork
from hw.options import command
from sim import oversample
from sim.golden import lutnet as golden
from sim.lutnet import payload
from sim.verilated import Engine

from .networks import random_model, random_picture_model


def test_cuts_are_equally_far_apart():
    codes = np.arange(8)[None]
    assert golden.modulate(codes, 3, 1)[:, 0].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert golden.modulate(codes, 3, 7).sum(0)[0].tolist() == list(range(8))


#   width, passes, model
CASES = [
    (3, 1, {"nodes": (30,), "classes": 4}),
    (4, 5, {"nodes": (31,), "classes": 3, "features": 9, "bits": 9}),
    (3, 7, {"nodes": (19,), "classes": 1}),                            # a regression
]


@pytest.mark.parametrize("width, passes, shape", CASES)
def test_rtl_equals_golden(width, passes, shape):
    model = random_model(5, width=1, **shape)
    codes = np.random.default_rng(1).integers(0, 2 ** width, (60, model.features))\
        .astype(np.uint8)
    network = OversampledNetwork(model, width, passes, NetworkConfig(sum_levels=1))
    expected = golden.oversample(model, codes, width, passes)
    assert len(set(expected)) > 1
    with Engine(network, "oversampled") as engine:
        for stall in (0.0, 0.5):
            engine.restart()
            run = engine.run_streams({"i": payload(codes, width)}, {"o": 60}, stall=stall,
                                     linger=40)
            np.testing.assert_array_equal(run.outputs["o"], expected)
            if not stall:
                assert (run.cycles["o"] - run.cycles["i"] == network.latency).all()
                assert (np.diff(run.cycles["o"]) == passes).all()


def test_wrong_oversampling():
    with pytest.raises(ValueError, match="^passes must be 1 to 7 with codes of 3 bits, not 8$"):
        Modulator(4, 3, 8)
    for model in (random_model(width=3), random_picture_model(width=1)):
        with pytest.raises(ValueError, match="^model must have features of one bit and no front"):
            OversampledNetwork(model, 3, 2)


def test_error_falls_with_passes(capsys):
    """scikit-learn's diabetes: RTL as golden, and passes 1, 2, 8 in the order of their errors."""
    assert oversample.main(["--passes", "1", "2", "8"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line["equal_to_model"] and line["n"] == 88 for line in lines)
    assert [line["interval"] for line in lines] == [1.0, 2.0, 8.0]
    one, two, eight = (line["mse"] for line in lines)
    assert max(two, eight) < 0.85 * one
    assert lines[2]["r2"] > 0.3 > lines[0]["r2"]


#   arguments                                   message
WRONG = [
    (["--passes", "256"],                       "passes must be 1 to 255 with codes of 8 bits, "
                                                "not 256"),
    (["--frames", "0"],                         "frames must be 1 to 255 with codes of 8 bits, "
                                                "not 0"),
    (["--width", "1"],                          "width must be 2 to 16, not 1"),
    (["--data", "nothing"],                     "data must be digits, diabetes, a folder with the "
     "four IDX files of MNIST, an .npz file, or openml:NAME, not 'nothing'"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command(oversample.main)(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"
