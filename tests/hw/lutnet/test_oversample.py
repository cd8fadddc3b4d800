# amaranth: UnusedElaboratable=no
"""Modulator, network and counters against the golden model."""

import json

import numpy as np
import pytest

from hw.lutnet import data as datasets
from hw.lutnet.config import NetworkConfig
from hw.lutnet.data import Dataset
from hw.lutnet.oversample import Modulator, OversampledNetwork
from hw.lutnet.settings import TrainConfig
from hw.lutnet.train_frames import FrameTrainer
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
    """scikit-learn's diabetes: RTL as golden, and the more passes, the smaller the error."""
    assert oversample.main([]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line["equal_to_model"] and line["n"] == 88 for line in lines)
    assert [line["interval"] for line in lines] == [1.0, 2.0, 4.0, 8.0]
    errors = [line["mse"] for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0] and lines[-1]["r2"] > 0.4


def test_settings_are_chosen_without_the_test_part(capsys, monkeypatch):
    data = datasets.load("diabetes")
    blind = Dataset(data.name, data.x_train, data.y_train, data.x_test * 0, data.y_test * 0)
    seen = []
    for known in (data, blind):
        monkeypatch.setattr(oversample.datasets, "load", lambda _, known=known: known)
        assert oversample.main(["--held-out", "--epochs", "2", "--frames", "3", "--passes", "1",
                                "3", "--seeds", "4"]) == 0
        seen.append(capsys.readouterr().out)
    lines = [json.loads(line) for line in seen[0].splitlines()]
    assert seen[0] == seen[1]
    assert [(line["passes"], line["n"]) for line in lines] == [(1, 354), (3, 354)]


@pytest.mark.parametrize("classes", [1, 3])
def test_the_loss_is_that_of_the_mean_of_a_samples_frames(classes):
    """The gradient of the sums (classes, frames x samples) against differences."""
    rng, frames, samples = np.random.default_rng(classes), 4, 5
    y = rng.normal(size=samples) if classes == 1 else np.arange(samples) % classes
    data = Dataset("frames", rng.integers(0, 2, (frames * samples, 6)).astype(float),
                   np.tile(y, frames), np.zeros((1, 6)), y[:1])
    config = TrainConfig(nodes=(12,), inputs=2, encoder="bit", validation=0.0, tau=2.0)
    trainer = FrameTrainer(data, config, frames)
    sums = rng.integers(0, 12 // classes, (classes, frames * samples)).astype(np.float32)
    target = trainer._targets(np.arange(samples))
    loss, _, grad = trainer._head(sums, target)
    same = sums.reshape(classes, frames, samples).mean(1)
    assert loss == pytest.approx(trainer._head(np.tile(same, frames), target)[0], rel=1e-5)
    for c, column in ((0, 0), (classes - 1, 7), (0, 19)):
        moved = np.zeros_like(sums)
        moved[c, column] = 0.5
        slope = trainer._head(sums + moved, target)[0] - trainer._head(sums - moved, target)[0]
        assert grad[c, column] == pytest.approx(slope, rel=0.02, abs=1e-4)


#   arguments                                   message
WRONG = [
    (["--passes", "256"],                       "passes must be 1 to 255 with codes of 8 bits, "
                                                "not 256"),
    (["--frames", "0"],                         "frames must be 1 to 255 with codes of 8 bits, "
                                                "not 0"),
    (["--held-out", "--data", "digits"],        "held-out needs data with real targets, not "
                                                "digits"),
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
