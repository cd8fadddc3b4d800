"""Cycles of well-known shapes, what is predicted of them, and the choice of schedules."""

import json

import pytest

from hw.compiler.__main__ import main
from hw.compiler.commands.bench import bench
from hw.vta.config import preset


def check(report):
    """Predictions are within 5 %; of layers that take less than 1,000 cycles, within 50 cycles."""
    for layer in report["layers"]:
        error = abs(layer["predicted_cycles"] - layer["cycles"])
        assert error <= max(0.05 * layer["cycles"], 50), layer


def test_resnet8(capsys):
    assert main(["bench", "resnet8"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cycles"] < 64_000
    assert report["cycles"] >= report["ideal_cycles"] == 48_834
    assert report["utilisation"] == round(48_834.5 / report["cycles"], 4)
    check(report)
    assert len(report["layers"]) == 11
    # Alone, each has its own beginning and end.
    assert report["cycles"] < sum(layer["cycles"] for layer in report["layers"])


@pytest.mark.parametrize("name, limit", [
    ("mobilenet", 3_500_000),
    ("resnet18", 6_950_000),
    pytest.param("resnet50", 17_500_000, marks=pytest.mark.slow)])
def test_imagenet(name, limit):
    report = bench(name, preset("default"))
    assert report["cycles"] < limit
    check(report)
    for layer in report["layers"]:
        if layer["kernel"] == (3, 3) and name != "mobilenet":  # there they are depthwise
            assert layer["utilisation"] > 0.9, layer


@pytest.mark.slow
def test_choice_is_near_the_best():
    report = bench("resnet8", preset("default"), alternatives=60)
    large = [layer for layer in report["layers"] if layer["alternatives"] >= 50]
    assert len(large) >= 5
    for layer in report["layers"]:
        assert layer["cycles"] <= 1.05 * layer["best_cycles"], layer


@pytest.mark.slow
def test_bits_in_hardware():
    report = bench("resnet8", preset("default"), level="rtl")
    assert report["bits"] == "equal"
    assert report["cycles"] == bench("resnet8", preset("default"))["cycles"]
