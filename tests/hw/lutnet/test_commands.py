"""The command lines: what they print, and one sentence and code 2 for what is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from hw import build
from hw.lutnet import __main__ as lutnet
from hw.lutnet.design import LutnetConfig, lutnet_facts
from hw.lutnet.design import lutnet as make
from hw.lutnet.model import save
from hw.lutnet.picture import picture as draw
from hw.options import command
from hw.verilog import to_verilog
from sim import lutnet as simulate

from .networks import random_model


def _train(folder, *options):
    assert lutnet.main(["train", "--nodes", "40", "--epochs", "3", "--candidates", "16",
                        "-o", str(folder), *options]) == 0


def test_train_then_simulate(tmp_path, capsys):
    _train(tmp_path, "--seed", "5", "--narrow", "0.5")
    trained = json.loads(capsys.readouterr().out)
    assert trained["n"] == 359 and trained["nodes"] == [40] and trained["seed"] == 5
    assert simulate.main(["--model", str(tmp_path / "model.npz"), "--stall", "0.3"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["equal_to_model"] is True
    assert line["accuracy"] == pytest.approx(trained["test"])
    assert line["n"] == 359
    assert simulate.main(["--model", str(tmp_path / "model.npz"), "--stream",
                          "--netlist", "100"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["latency_cycles"], line["interval"]) == (3, 1.0)
    assert (line["netlist_n"], line["netlist_equal"]) == (100, True)
    assert simulate.main(["--model", str(tmp_path / "model.npz"), "--serial"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["equal_to_model"], line["latency_cycles"], line["interval"]) == (True, 4, 64.0)


def test_convolution_from_training_to_netlist(tmp_path, capsys):
    _train(tmp_path, "--stages", "conv6:3b,pool2", "--encoder", "uniform", "--levels", "1")
    trained = json.loads(capsys.readouterr().out)
    model = str(tmp_path / "model.npz")
    assert simulate.main(["--model", model, "--netlist", "50"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["accuracy"] == pytest.approx(trained["test"])
    assert (line["equal_to_model"], line["netlist_equal"]) == (True, True)
    component = make(LutnetConfig(model=model))
    assert "module lutnet" in to_verilog(component, "lutnet")
    facts = lutnet_facts(component)
    assert (line["latency_cycles"], line["interval"]) == (facts["latency"], 64.0)
    assert (facts["latency"], facts["interval"], facts["deciding"]) == (7, 64, 63)
    assert facts["maps"] == [(1, 8, 8), (6, 8, 8), (6, 4, 4)]
    with pytest.raises(ValueError, match="^form must be stream for a network of pictures"):
        make(LutnetConfig(model=model, form="bare"))


def test_resume_continues(tmp_path, capsys):
    _train(tmp_path, "--checkpoint", "3")
    capsys.readouterr()
    _train(tmp_path, "--resume")
    assert json.loads(capsys.readouterr().out)["epochs"] == 3


def _complaint(run, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command(run)(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    return said


#   arguments                                              message
WRONG_TRAINING = [
    (["train", "--data", "nowhere"],     "data must be digits, diabetes, a folder with the four "
                                         "IDX files of MNIST, an .npz file, or openml:NAME, "
                                         "not 'nowhere'"),
    (["train", "--inputs", "9"],         "inputs must be 2 to 6, not 9"),
    (["train", "--nodes", "3"],          "nodes of the last layer must be at least one for each of "
                                         "the 10 classes, not 3"),
    (["train", "--checkpoint", "-1"],    "checkpoint must be 0 or more, not -1"),
    (["scale", "--nodes", "9"],          "nodes must be 10 to 100000, not 9"),
    (["table", "--goal", "M99"],         "goal must be one of "),
]


@pytest.mark.parametrize("arguments, message", WRONG_TRAINING)
def test_wrong_arguments(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _complaint(lutnet.main, arguments, capsys).startswith(f"error: {message}")


def test_wrong_files(tmp_path, capsys):
    missing = str(tmp_path / "none.npz")
    assert _complaint(simulate.main, ["--model", missing], capsys) == \
        "error: none.npz does not exist"
    save(tmp_path / "m.npz", random_model(1))
    assert _complaint(simulate.main, ["--model", str(tmp_path / "m.npz")], capsys) == \
        "error: data must have 13 columns, not 64"
    np.savez(tmp_path / "d.npz", X=np.full((9, 13), np.nan), y=np.arange(9))
    said = _complaint(simulate.main, ["--model", str(tmp_path / "m.npz"), "--data",
                                      str(tmp_path / "d.npz")], capsys)
    assert said.startswith("error: d: every feature must be a finite number, not nan")
    assert _complaint(simulate.main, ["--model", str(tmp_path / "m.npz"), "--stall", "1"],
                      capsys) == "error: stall must be at least 0 and below 1, not 1.0"


def test_a_program_ends_with_code_2():
    done = subprocess.run([sys.executable, "-m", "hw.lutnet", "train", "--tau", "-1"],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: tau must be 0 to 1000, not -1.0\n")


def test_default_design():
    component = make(LutnetConfig())
    facts = lutnet_facts(component)
    assert facts["latency"] == component.latency == 3
    assert facts["features"] == 64 and facts["classes"] == 10
    assert "module lutnet" in to_verilog(component, "lutnet")


#   options                  message
WRONG_DESIGNS = [
    ({"form": "pipe"},       "form must be one of stream, bare, not 'pipe'"),
    ({"registers": "foo"},   "registers must be among encode, layers, sums, label, not 'foo'"),
    ({"fabric": "asic"},     "fabric must be one of xc7, ecp5, ice40, not 'asic'"),
]


@pytest.mark.parametrize("options, message", WRONG_DESIGNS)
def test_wrong_design(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        LutnetConfig(**options)


def test_table_measures_and_draws(tmp_path, capsys):
    picture = tmp_path / "points.svg"
    assert lutnet.main(["table", "--data", "digits", "--goal", "digits", "--picture",
                        str(picture)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["goal"] == "digits" and line["n"] == 359 and line["accuracy"] > 0.95
    assert line["lut_total"] == line["lut_core"] + line["lut_encoder"]
    assert picture.read_text().startswith("<svg")
    assert lutnet.main(["table", "--goal", "digits"]) == 0
    assert capsys.readouterr().err == "skipped digits: --data must name digits\n"


def test_picture_has_every_point_inside_its_frame():
    text = draw([("M3", 690, 97.2, False), ("M4", 2200, 97.9, True), ("far", 90_000, 97.0, True)])
    assert text.count('fill="#06c"') == 2 and "far" not in text
    assert text.count("NeuraLUT-Assemble") == 1


def test_build_reports_core_encoder_and_total(tmp_path, capsys):
    save(tmp_path / "m.npz", random_model(5))
    assert build.main(["lutnet", "--model", str(tmp_path / "m.npz"), "-o", str(tmp_path),
                       "--report"]) == 0
    core, encoder, total, *_, tool, _, _, _ = capsys.readouterr().out.splitlines()
    figures = json.loads((tmp_path / "lutnet.report.json").read_text())
    assert [line.split() for line in (core, encoder, total)] == [
        ["core", str(figures["lut_core"]), "LUT"],
        ["encoder", str(figures["lut_encoder"]), "LUT"],
        ["total", str(figures["lut_core"] + figures["lut_encoder"]), "LUT"]]
    assert tool.startswith("xc7: yosys 0.") and "synth_xilinx -family xc7" in tool


def test_time_of_a_large_network(capsys):
    assert lutnet.main(["scale", "--nodes", "30", "--fabric", "ice40"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["inputs"] == 4 and line["cells"]["SB_LUT4"] >= 30
    assert 0 < line["generation_seconds"] and 0 < line["synthesis_cpu_seconds"]
