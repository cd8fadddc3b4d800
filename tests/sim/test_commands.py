"""What the commands say when they are used wrongly: one sentence, code 2, nothing half-written."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import hw.build
import sim.gemm
import sim.perceptron.__main__ as perceptron
from hw.options import command
from hw.systolic.config import ArrayConfig
from sim.gemm import max_abs_error
from sim.perceptron.model import Perceptron, load, save
from sim.systolic import Gemm


def run(main, *arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        command(main)([str(argument) for argument in arguments])
    return stop.value.code


@pytest.mark.parametrize("main, arguments, message", [
    (sim.gemm.main, ["--rows", 0], "rows must be 1 to 64, not 0"),
    (sim.gemm.main, ["--cols", -3], "cols must be 1 to 64, not -3"),
    (sim.gemm.main, ["--m", 0], "m must be 1 to 1048576, not 0"),
    (sim.gemm.main, ["--k", -1], "k must be 1 to 1048576, not -1"),
    (sim.gemm.main, ["--format", "bf17"], "format must be bf16 or int8, not 'bf17'"),
    (sim.gemm.main, ["--contract", "exact", "--k", 5000],
     "k must be 1 to 4128 for exact, not 5000"),
    (sim.gemm.main, ["--contract", "exact", "--k", 4128, "--bias"],
     "k must be 1 to 4127 for exact with a bias, not 4128"),
    (sim.gemm.main, ["--contract", "exact", "--dataflow", "ws"],
     "format, contract and dataflow must be one of bf16 fma ws; bf16 exact os; int8 int ws; "
     "int8 int os; not bf16 exact ws"),
    (sim.gemm.main, ["--depth", 100], "depth must be a power of two, 16 to 4096, not 100"),
    (sim.gemm.main, ["--segment", 3], "segment must be 1, 2, 4, 8, 16, 32 or 64, not 3"),
    (sim.gemm.main, ["--result", "int8"],
     "result must be float32 or bfloat16, not 'int8'"),
    (sim.gemm.main, ["--stall", 1], "stall must be at least 0 and below 1, not 1.0"),
    (sim.gemm.main, ["--seed", -1], "seed must be 0 or more, not -1"),
    (hw.build.main, ["systolic", "--rows", 65], "rows must be 1 to 64, not 65"),
    (hw.build.main, ["fma", "--operand", "posit"], "format must be one of bfloat16, "),
    (hw.build.main, ["systolic", "-o", "/proc/nowhere"],
     "output must be a folder that can be written, not '/proc/nowhere'"),
    (perceptron.main, ["-o", "/proc/nowhere"],
     "output must be a folder that can be written, not '/proc/nowhere'"),
    (perceptron.main, ["--rows", 0], "rows must be 1 to 64, not 0"),
    (perceptron.main, ["--hidden", 0], "hidden must be 1 to 4096, not 0"),
    (perceptron.main, ["--epochs", -1], "epochs must be 1 to 1000, not -1"),
])
def test_wrong_value(main, arguments, message, capsys):
    assert run(main, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


@pytest.mark.parametrize("main, arguments, message", [
    (sim.gemm.main, ["--rows", "x"], "argument --rows: invalid int value: 'x'"),
    (sim.gemm.main, ["--colour", "red"], "unrecognized arguments: --colour red"),
    (hw.build.main, ["toaster"], "argument DESIGN: invalid choice: 'toaster'"),
    (hw.build.main, [], "a design is needed: one of systolic"),
])
def test_wrong_option(main, arguments, message, capsys):
    assert run(main, *arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("cell", [
    "--contract fma", "--contract exact --segment 2", "--format int8",
    "--format int8 --dataflow os",
])
def test_gemm_with_bias_and_relu(cell, capsys):
    options = f"{cell} --rows 3 --cols 5 --depth 32 --m 7 --k 11 --n 6 --seed 2 --bias --relu"
    lines = {}
    for name in ("", "--bias", "--bias --relu"):
        assert run(sim.gemm.main, *options.replace("--bias --relu", name).split()) == 0
        lines[name] = json.loads(capsys.readouterr().out)
        assert lines[name]["bit_exact"] and lines[name]["cycles"] == lines[name]["formula_cycles"]
        assert lines[name]["max_abs_error"] < 1e-4
    assert set(lines[""]) == {"bit_exact", "cycles", "formula_cycles", "utilisation",
                              "max_abs_error", "seed"}


def test_gemm_says_how_far_off_a_result_is():
    """Of what is printed, the one figure that the golden model does not give."""
    config = ArrayConfig(format="int8")
    product = Gemm(np.array([[1, -2]], np.int8), np.array([[3], [4]], np.int8),
                   np.array([-7], np.int32))
    for relu, result, error in ((False, -12, 0), (False, -10, 2), (True, 0, 0), (True, 3, 3)):
        asked = dataclasses.replace(product, relu=relu)
        assert max_abs_error(config, asked, np.array([[result]], np.int32)) == error


def test_build_is_reproducible(tmp_path, capsys):
    for folder in ("a", "b"):
        assert run(hw.build.main, "systolic", "--rows", 2, "--cols", 3,
                   "-o", tmp_path / folder) == 0
    for name in ("systolic.sv", "systolic.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    facts = json.loads((tmp_path / "a" / "systolic.json").read_text())
    assert facts["config"]["rows"] == 2 and len(facts["config_hash"]) == 12
    assert {"name": "error", "direction": "out", "width": 2} in facts["ports"]
    # Behind the bottom of the column: a cycle to pack, three columns, two in the result buffer.
    assert facts["latency"] == facts["turnaround"] - 1 + 1 + 3 + 2
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["systolic.json", "systolic.sv"]


def test_missing_compiler(tmp_path):
    """In a process of its own: nothing of this one may be cached."""
    program = "import sim.gemm; from hw.options import command; command(sim.gemm.main)([])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={"PATH": str(tmp_path), "NPUGEN_CACHE": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == ("error: g++ not found, which the simulator is built with: "
                           "apt-get install g++\n")


# Weights ----------------------------------------------------------------------------------------

GOOD = {"w1": np.zeros((64, 5)), "b1": np.zeros(5), "w2": np.zeros((5, 10)), "b2": np.zeros(10)}


@pytest.mark.parametrize("wrong, message", [
    ({"b1": np.zeros(4)}, r"b1 must have shape \(5,\) to fit w2 of shape \(5, 10\), not \(4,\)"),
    ({"w1": np.zeros((64, 6))},
     r"w1 must have shape \(64, 5\) to fit w2 of shape \(5, 10\), not \(64, 6\)"),
    ({"w2": np.full((5, 10), np.nan)}, "w2 must have finite numbers only, not nan"),
    ({"b2": np.full(10, np.inf)}, "b2 must have finite numbers only, not inf"),
    ({"w1": np.zeros(64)}, r"w1 must be a matrix of floats, not float64 of shape \(64,\)"),
    ({"w1": np.zeros((64, 5), int)},
     r"w1 must be a matrix of floats, not int64 of shape \(64, 5\)"),
])
def test_wrong_weights(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Perceptron(**GOOD | wrong)


@pytest.mark.parametrize("wrong, message", [
    ({"w1": np.zeros((63, 5))}, "w1 must have 64 rows, one for each feature of the data, not 63"),
    ({"b1": np.zeros(4)}, "b1 must have shape (5,) to fit w2 of shape (5, 10), not (4,)"),
    ({"w2": np.full((5, 10), np.nan)}, "w2 must have finite numbers only, not nan"),
    ({"w1": np.array([object()])}, "FILE must hold plain arrays, not pickled objects"),
])
def test_wrong_weight_file(wrong, message, tmp_path, capsys):
    np.savez(tmp_path / "w.npz", **GOOD | wrong)
    assert run(perceptron.main, "--weights", tmp_path / "w.npz", "-o", tmp_path / "out") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {message}\n".replace("FILE", str(tmp_path / "w.npz"))
    assert not (tmp_path / "out").exists()


def test_weight_files(tmp_path):
    path = tmp_path / "w.npz"
    save(path, Perceptron(**GOOD))
    np.testing.assert_array_equal(load(path).w2, GOOD["w2"])
    np.savez(path, **GOOD | {"w1": np.array([object()])})
    with pytest.raises(ValueError, match="must hold plain arrays, not pickled objects$"):
        load(path)
    np.savez(path, w1=GOOD["w1"])
    with pytest.raises(ValueError, match="w1, b1, w2, b2, but has no b1, w2, b2$"):
        load(path)
    path.write_text("weights")
    with pytest.raises(ValueError, match="must be an .npz archive$|must hold plain arrays"):
        load(path)
