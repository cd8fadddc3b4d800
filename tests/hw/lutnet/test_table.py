"""The table of goals: medians over seeds, LUTs that all seeds keep to, what is met and what not."""

import json

import numpy as np
import pytest

from hw.lutnet import table
from hw.lutnet.model import save
from hw.lutnet.report import Figures
from sim.golden import lutnet as golden

from .networks import random_codes, random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three networks of one form, and data on which the third one is right in 30 of 40 samples."""
    folder = tmp_path_factory.mktemp("models")
    models = [random_model(seed, nodes=(20,), classes=4) for seed in (1, 2, 3)]
    for seed, model in enumerate(models):
        save(folder / f"s{seed}.npz", model)
    codes = random_codes(models[2], 40)
    y = golden.run(models[2], codes).result.copy()
    y[30:] = (y[30:] + 1) % 4
    x = codes * models[2].encoder.step + models[2].encoder.offset + 0.5 * models[2].encoder.step
    np.savez(folder / "toy.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return folder


def _figures(model, config):
    """What synthesis would count: as many LUTs as there are ones in the tables."""
    core = int(model.layers[0].tables.sum())
    return Figures(config.fabric, core, 7, core + 7, 0, 0, 0, 0, 3, "none")


def _line(folder, monkeypatch, **row):
    row = {"goal": "T", "data": "toy", "fabric": "xc7", "convention": "core",
           "files": ["s2.npz", "s0.npz", "s1.npz"], **row}
    (folder / "models.json").write_text(json.dumps([row]))
    monkeypatch.setattr(table, "MODELS", folder)
    monkeypatch.setattr(table, "figures", _figures)
    line, = table.run("T", [str(folder / "toy.npz")], pnr=False)
    return line


def test_median_and_spread_of_the_seeds(folder, monkeypatch):
    line = _line(folder, monkeypatch)
    assert (line["seeds"], line["n"]) == (3, 40)
    low, high = line["accuracy_spread"]
    assert low <= line["accuracy"] <= high == 0.75
    assert line["model"] in ("s0.npz", "s1.npz")
    least, most = line["lut_spread"]
    assert least < most and least <= line["lut_core"] <= most
    assert line["lut_core"] + line["lut_encoder"] == line["lut_total"]
    assert "met" not in line
    one = _line(folder, monkeypatch, files=["s2.npz"])
    assert (one["accuracy"], one["model"]) == (0.75, "s2.npz")


def test_goals_are_held_against_the_median_and_the_largest_network(folder, monkeypatch):
    known = _line(folder, monkeypatch)
    accuracy, luts = known["accuracy"], known["lut_spread"][1]
    #   goal                                                met
    for goal, met in [
        ({"at_least": accuracy, "at_most": luts},           True),
        ({"at_least": accuracy + 0.01, "at_most": luts},    False),
        ({"at_least": accuracy, "at_most": luts - 1},       False),
    ]:
        assert _line(folder, monkeypatch, **goal)["met"] is met
    assert "met" not in _line(folder, monkeypatch, at_least=0.0, mhz=1)  # no clock was measured


def test_rows_of_the_committed_networks():
    for row in table.rows():
        assert ("files" in row) != ("edges" in row)
        for file in row.get("files", []):
            assert (table.MODELS / file).is_file()
