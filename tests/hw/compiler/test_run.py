"""``compile`` and ``run``: from files to files; bad input is one sentence, and leaves nothing."""

import json

import numpy as np
import onnx
import pytest

from hw.compiler.__main__ import main
from hw.compiler.api import compile
from hw.compiler.builder import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from hw.compiler.folder import new_folder, write_whole
from hw.compiler.front import load
from hw.options import command
from hw.vta.config import VtaConfig, preset


def network():
    return Sequential((2, 8, 8), [Conv2D(6, 3, padding="same"), ReLU(), MaxPool(2), Flatten(),
                                  Dense(4)])


@pytest.fixture(scope="module")
def front():
    return load(network().graph(), checked=False)


@pytest.fixture
def files(tmp_path, front):
    """An ONNX file, quantised, and three samples with labels."""
    onnx.save(front.model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2]))
    np.savez(tmp_path / "objects.npz", x=np.array([object()]))
    return tmp_path


def call(capsys, *words):
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as end:
        command(main)([str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_compile(files, capsys):
    folder = files / "made" / "program"
    words = ("compile", files / "model.onnx", "-o", folder, "--config", "block4", "--unchecked")
    code, out, _ = call(capsys, *words)
    line = json.loads(out)
    assert code == 0 and line["launches"] == 1 and not line["proved"]
    manifest = json.loads((folder / "manifest.json").read_text())
    image = np.fromfile(folder / manifest["image"], np.uint8)
    assert len(image) == manifest["image_bytes"] == line["image_bytes"]
    assert VtaConfig.from_dict(manifest["config"]) == preset("block4")
    core = [step for step in manifest["steps"] if step["place"] == "core"]
    assert core[0]["insn_count"] == line["instructions"]
    assert core[0]["insn_addr"] + 16 * core[0]["insn_count"] == len(image)
    assert manifest["inputs"] == [{"name": "x", "element": "float32", "shape": [1, 2, 8, 8]}]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["program"]
    call(capsys, *words)  # what was written here may be replaced
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "program.bin",
                                                              "reference.onnx"]
    np.testing.assert_array_equal(np.fromfile(folder / "program.bin", np.uint8), image)


def test_run(files, capsys):
    made, outputs = [], []
    for level in ("operator", "iss"):
        out = files / f"{level}.npy"
        code, text, _ = call(
            capsys, "run", files / "model.onnx", "--input", files / "x.npy", "--level", level,
            "--out", out, "--config", "block4", "--unchecked", "--report", files / "report",
            "--labels", files / "labels.npy", "--clock", "25", "--latency", "40")
        assert code == 0
        made.append(json.loads(text))
        outputs.append(np.load(out))
    assert outputs[0].shape[0] == 3
    np.testing.assert_array_equal(*outputs)
    assert made[0]["accuracy"] == made[1]["accuracy"]
    assert made[0]["cycles"] == made[1]["cycles"]  # predicted without and with the data
    kept = json.loads((files / "report" / "report.json").read_text())
    assert kept["cycles"] == made[0]["cycles"] and kept["clock_mhz"] == 25
    assert kept["memory"]["latency"] == 40 and kept["accuracy"]["n"] == 3
    assert {"operators", "reference", "n"} == set(kept["accuracy"])
    assert (files / "report" / "index.html").read_text().startswith("<!doctype html>")


#   words that replace or follow the good ones          what is said
BAD = [
    (["--config", "none"], "error: config must be default, batch2, "),
    (["--input", "{x}/none.npy"], "error: input must be an .npy or .npz file of numbers, not "),
    (["--input", "{x}/model.onnx"], "error: input must be an .npy or .npz file of numbers, not "),
    (["--input", "{x}/objects.npz"], "error: input must be an .npy or .npz file of numbers, not "),
    (["--input", "{x}/labels.npy"], "error: input 'x' must be float32 samples of shape "
                                    "[1, 2, 8, 8], not int64 [3]"),
    (["--labels", "{x}/x.npy"], "error: labels must be 3 integers, one for each sample, not "),
    (["--latency", "0"], "error: latency must be 1 to 100000 cycles, not 0"),
    (["--clock", "0"], "error: clock must be above 0 MHz, not 0.0"),
    (["--report", "{x}"], "error: output must be a new or an empty folder, or one with "),
    (["--report", "{x}/x.npy"], "error: output must be a folder, not the file "),
    (["--level", "gates"], "python -m hw.compiler run: argument --level: invalid choice: 'gates'"),
]


@pytest.mark.parametrize("words, message", BAD, ids=lambda value: str(value)[:30])
def test_bad_input_is_one_sentence(files, capsys, words, message):
    before = sorted(files.iterdir())
    code, out, err = call(
        capsys, "run", files / "model.onnx", "--input", files / "x.npy", "--unchecked", "--config",
        "block4", "--out", files / "y.npy", *[word.format(x=files) for word in words])
    assert (code, out) == (2, "")
    assert err.startswith(message) and err.count("\n") == 1, err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("model, folder, message", [
    ("model.onnx", "x.npy",        "error: output must be a folder, not the file "),
    ("model.onnx", "x.npy/folder", "error: output must be a folder that can be written, not "),
    ("model.onnx", ".",            "error: output must be a new or an empty folder, or one with "),
    ("short.onnx", "made",         "error: short.onnx is no ONNX model: "),
    ("none.onnx",  "made",         "error: model must be a file, not "),
])
def test_bad_output_leaves_nothing(files, capsys, model, folder, message):
    (files / "short.onnx").write_bytes((files / "model.onnx").read_bytes()[:100])
    before = sorted(files.iterdir())
    code, out, err = call(capsys, "compile", files / model, "-o", files / folder)
    assert (code, out) == (2, "")
    assert err.startswith(message) and err.count("\n") == 1, err
    assert sorted(files.iterdir()) == before


def test_model_in_python(front):
    model = compile(front, preset("block4"))  # with all checks of the streams
    x = np.random.default_rng(0).standard_normal((2, 8, 8)).astype(np.float32)
    one, two = model.run(x[None]), model.run(np.stack([x, x]), level="operator")
    np.testing.assert_array_equal(one[0], two[1])
    assert len(model.cycles) == 1
    with pytest.raises(ValueError, match="level must be one of graph, operator, iss, rtl, not 'x'"):
        model.run(x[None], level="x")
    with pytest.raises(ValueError, match="input must have x, not z"):
        model.run({"z": x})


def test_a_folder_is_there_as_a_whole(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "a" / "b") as made:
        (made / "file").write_text("half")
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", "text")
    assert not (tmp_path / "file").exists()
