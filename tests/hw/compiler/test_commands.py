"""Commands on small models: tables, JSON lines, data sets, exit codes."""

import importlib
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hw.compiler.__main__ import COMMANDS, main
from hw.compiler.commands import nodetests
from hw.compiler.front import load
from hw.compiler.onnx_io import to_onnx
from hw.compiler.operators import Network
from hw.options import command
from sim import pictures, rungs
from sim.rungs import wilson

from .models import qdq, small_resnet


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "resnet.onnx"
    path.write_bytes(to_onnx(small_resnet().graph()).SerializeToString())
    return path


def test_check_prints_every_step(resnet, capsys):
    assert main(["check", str(resnet)]) == 0
    out = capsys.readouterr().out
    assert "14 on the core" in out and "3 on the host" in out
    assert out.count("core") >= 14 and "Softmax to float32[1, 5]" in out
    assert "calibrated with 32 standard normal inputs, seed 0" in out


def test_check_shows_every_unknown_operator(tmp_path, capsys):
    m = qdq()
    m.inputs["x"] = ("float32", (1, 2))
    m.node("Frobnicate", ["x"], "a")
    m.node("Defenestrate", ["a"], "y")
    (tmp_path / "m.onnx").write_bytes(m.output("y", (1, 2)).SerializeToString())
    with pytest.raises(SystemExit):
        command(main)(["check", str(tmp_path / "m.onnx")])
    out = capsys.readouterr().out
    assert "Frobnicate" in out and "Defenestrate" in out and out.count("refused") == 2


def test_every_command_explains_itself(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
    with pytest.raises(SystemExit) as stop:
        main(["frobnicate"])
    assert stop.value.code == 2 and "choose from" in capsys.readouterr().err


def picture_archive(path, count=12, training=0):
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w:xz") as archive:
        for index in range(count + training):
            part = "test" if index < count else "train"
            kind = "dark" if index % 2 else "light"
            content = io.BytesIO()
            pixels = rng.integers(0, 100, (12, 10, 3)) + (0 if index % 2 else 150)
            Image.fromarray(pixels.astype(np.uint8)).save(content, "png")
            info = tarfile.TarInfo(f"set/{part}/{kind}/{index:04}.png")
            info.size = content.tell()
            content.seek(0)
            archive.addfile(info, content)


@pytest.mark.parametrize("training, counted", [(0, 8), (5, 12)])
def test_accuracy_on_pictures(resnet, tmp_path, capsys, training, counted):
    picture_archive(tmp_path / "set.tar.xz", training=training)
    assert main(["accuracy", str(resnet), "--data", str(tmp_path / "set.tar.xz"), "--calibrate",
                 "4", "--factor", "0.01"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["n"] == counted and set(line) >= {"operators", "reference", "float", "labels_agree"}
    assert max(layer["worst_lsb"] for layer in line["layers"].values()) <= 1
    low, high = line["operators"]["interval_95"]
    assert low <= line["operators"]["accuracy"] <= high


@pytest.mark.parametrize("options, message", [
    (["--calibrate", "12"], "calibrate must be 0 to 11, not 12"),
    (["--images", "13"], "images must be 1 to 12, not 13"),
    (["--calibrate", "2", "--calibration", "x.npy"],
     "calibrate and calibration exclude each other"),
])
def test_accuracy_refuses(resnet, tmp_path, options, message):
    picture_archive(tmp_path / "set.tar.xz")
    with pytest.raises(ValueError, match=message):
        main(["accuracy", str(resnet), "--data", str(tmp_path / "set.tar.xz"), *options])


@pytest.mark.parametrize("content, message", [
    ({}, "data must be a folder of IDX files, a folder or tar archive of test/CLASS/PICTURE"),
    ({"train/a/0.png": b""}, "must hold pictures as test/CLASS/NAME.jpg or .png"),
])
def test_data_that_is_none(tmp_path, content, message):
    for name, each in content.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(each)
    with pytest.raises(ValueError, match=message):
        pictures.load(tmp_path if content else tmp_path / "absent")


def test_wilson_of_a_textbook():
    """Newcombe 1998: 81 of 263 is 0.2553 to 0.3662; 15 of 148 is 0.0624 to 0.1605."""
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson(15, 148), (0.0624, 0.1605), atol=5e-5)
    assert wilson(0, 20)[0] == pytest.approx(0, abs=1e-12)


def test_layers_show_a_wrong_operator(resnet):
    """The comparison by layers is one that can fail: a changed bias is seen, and only there."""
    front = load(resnet)
    steps = list(front.network.steps)
    index = next(i for i, s in enumerate(steps) if type(s).__name__ == "Add")
    wrong = replace(steps[index].requantise, bias=steps[index].requantise.bias + 70000)
    steps[index] = replace(steps[index], requantise=wrong)
    network = Network(front.network.inputs, front.network.outputs, front.network.tensors,
                      tuple(steps))
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 10)).astype(np.float32)
    found = rungs.layers(replace(front, network=network), [{"x": x}])
    assert [layer.name for layer in found if layer.worst > 1] == [steps[index].name]


def cases_of(*modules):
    """Node tests of some of ONNX's modules: to make all takes longer than a test should."""
    from onnx.backend.test.case import node

    for module in modules:
        importlib.import_module(f"{node.__name__}.{module}")
    ops = {module.lower() for module in modules}
    return [case for case in node._NodeTestCases
            if case.model.graph.node[0].op_type.lower() in ops]


@pytest.mark.parametrize("quantised", [False, True])
def test_node_tests_of_some_operators(quantised):
    cases = cases_of("maxpool", "gemm", "qlinearmatmul", "flatten", "conv")
    assert len(cases) > 40
    outcomes = [nodetests.attempt(case, quantised) for case in cases]
    assert not [o for o in outcomes if not o.passed]
    assert sum(o.place == "core" for o in outcomes) >= (15 if quantised else 1)


def test_node_tests_can_fail(monkeypatch):
    case = cases_of("relu")[0]
    assert nodetests.attempt(case).passed
    wrong = replace(case, data_sets=[(case.data_sets[0][0], [case.data_sets[0][1][0] + 1])])
    assert not nodetests.attempt(wrong).passed
    monkeypatch.delitem(nodetests.OPERATORS, "Relu")
    assert nodetests.attempt(case).reason == "Relu is outside of the set"
