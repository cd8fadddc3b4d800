"""Trained networks on simulated boards: one after the other, through the serial line.

The folder that NPUGEN_SHARED names holds ``models`` and ``data``; without it the tests of those
networks are skipped.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from boards.engine import BoardEngine
from boards.host import VtaHost, main
from boards.link import Link
from boards.selftest import selftest
from boards.simulated import SimulatedBoard, of_board, served
from hw.bus.uart import BITS
from hw.compiler.api import compile
from hw.compiler.builder import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from hw.compiler.front import load
from hw.compiler.link import compile_network
from hw.compiler.program import Launch
from hw.vta.config import preset
from hw.vta.core import VtaCore
from sim import pictures

CONFIG = preset("block8")
SHARED = Path(os.environ.get("NPUGEN_SHARED", "absent"))
pytestmark = pytest.mark.slow
needs_models = pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="NPUGEN_SHARED must "
                                  "name the folder with models and data")


@pytest.fixture(scope="module")
def board():
    """The board with its real clock and chip; only the line has 4 cycles a bit instead of 50."""
    return SimulatedBoard(VtaCore(CONFIG), **of_board("ulx3s_85f") | {"baud": 12_500_000})


@pytest.fixture
def url(board):
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


@needs_models
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


@needs_models
def test_mnist_on_the_smallest_board(tmp_path, capsys):
    """The sequential core in RAM blocks with one port, and the line at its own 1 Mbaud."""
    model, x, labels, options = mnist(tmp_path)
    url = "sim:vta?preset=block4&core=sequential&board=icebreaker"
    assert main([url, "run", str(model), "--input", str(x), "--compare", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    print(said)
    assert said["equal"] and said["labels"] == labels
    assert said["image_bytes"] < of_board("icebreaker")["memory"]


def small_network():
    """Two convolutions, a pool and a dense layer, with random weights."""
    return load(Sequential((2, 8, 8), [Conv2D(6, 3), ReLU(), MaxPool(2), Conv2D(5, 3), ReLU(),
                                       Flatten(), Dense(4)]).graph(), checked=False)


def test_the_line_at_its_own_speed():
    """1 Mbaud at 50 MHz: 50 cycles a bit, and nothing between the bytes of a burst."""
    board = SimulatedBoard(VtaCore(CONFIG), **of_board("ulx3s_85f"))
    host = VtaHost(Link(board))
    assert host.shell["clock_hz"] / host.shell["baud"] == board.divisor == 50
    tally = host.link.tally
    rng = np.random.default_rng(0)
    model = compile(small_network(), CONFIG, checked=False)
    x = rng.standard_normal((2, 2, 8, 8)).astype(np.float32)
    before, out, back = board.cycles, tally.bytes_out, tally.bytes_in
    np.testing.assert_array_equal(model.run(x, engine=BoardEngine(host)), model.run(x))
    print({"bytes_out": tally.bytes_out - out, "bytes_in": tally.bytes_in - back,
           "milliseconds": (board.cycles - before) / 50e3})
    data, before = rng.integers(0, 256, 8192, np.uint8), board.cycles
    host.write(1 << 20, data)
    share = len(data) * BITS * board.divisor / (board.cycles - before)
    print({"payload": round(share, 3)})
    assert 0.9 <= share < 1
    np.testing.assert_array_equal(host.read(1 << 20, len(data)), data)
    assert tally.again == tally.timeouts == 0


def test_selftest_of_a_chip_that_forgets(board):
    """A bit of one layer's result turns in the SDRAM; the layer is named, and no other is run."""
    front = small_network()
    program = compile_network(front.network, CONFIG, keep=True, split=True)
    launches = [step for step in program.steps if isinstance(step, Launch)]
    host = VtaHost(Link(board))
    assert selftest(BoardEngine(host), front)["first"] is None
    memory = board.chip.memory.view(np.uint8)
    for number, launch in enumerate(launches):
        runs, execute = [], host.execute

        def forgetful(*args, number=number, launch=launch, runs=runs, execute=execute, **options):
            ended = execute(*args, **options)
            if len(runs) == number:
                memory[program._slice(program.network.tensors[launch.results[0]]).start] ^= 1
            runs.append(number)
            return ended

        engine = BoardEngine(host)
        host.execute = forgetful
        first = selftest(engine, front)["first"]
        host.execute = execute
        assert (first["tensor"], first["wrong"]) == (launch.results[0], 1)
        assert len(runs) == number + 1
