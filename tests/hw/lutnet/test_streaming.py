# amaranth: UnusedElaboratable=no
"""Networks for pictures: the circuit against the golden model, timing, and the golden model."""

import numpy as np
import pytest

from hw.lutnet import report
from hw.lutnet.config import NetworkConfig
from hw.lutnet.layers import Convolution, Front, Layer, Pooling
from hw.lutnet.model import load, save
from hw.lutnet.streaming import StreamingNetwork
from sim.golden import lutnet as golden
from sim.lutnet import payload
from sim.verilated import Engine

from .networks import random_codes, random_model, random_picture_model

# seed, picture, stages; the seeds are such that labels differ
CASES = [
    (6, {"stages": [(5, 3, 3, False), (2, 2)]}),
    (4, {"stages": [(5, 3, 3, True), (2, 2), (7, 2, 3, True), (2, 2)]}),     # two blocks
    (1, {"stages": [(3, 2, 2, False), (4, 1, 1, False), (3, 3)], "picture": (7, 11)}),  # a stack
    (1, {"stages": [(4, 5, 2, False)], "picture": (5, 7), "colours": 3, "bits": 5}),  # a row of map
    (8, {"stages": [(4, 1, 3, True), (1, 2)], "picture": (1, 9)}),           # a single line
    (8, {"stages": [(4, 3, 1, True), (2, 1)], "picture": (9, 1)}),           # a single column
    (0, {"stages": [(4, 3, 3, True), (1, 1)], "picture": (1, 1)}),           # a single pixel
    (0, {"stages": [(4, 2, 2, False), (3, 2)], "picture": (9, 8)}),          # what is left over
    (4, {"stages": [(4, 3, 3, True), (4, 5)], "picture": (6, 8)}),           # one tile in a row
    (9, {"stages": [(2, 2), (5, 2, 2, False)]}),                             # pooled first
    (7, {"stages": []}),                                                     # only collected
]


@pytest.mark.parametrize("seed, shape", CASES)
def test_rtl_equals_golden(seed, shape):
    model = random_picture_model(seed, **shape)
    count, size = 25, model.front.height * model.front.width
    codes = random_codes(model, count)
    expected = golden.run(model, codes).result
    assert len(set(expected)) > 1
    network = StreamingNetwork(model)
    pixels = payload(codes.reshape(-1, model.encoder.features), model.encoder.width)
    with Engine(network, "lutnet") as engine:
        for stall in (0.0, 0.3, 0.8):
            engine.restart()
            run = engine.run_streams({"i": pixels}, {"o": count}, stall=stall, linger=40)
            np.testing.assert_array_equal(run.outputs["o"], expected)
            if not stall:
                last = run.cycles["i"][network.deciding::size]
                assert (run.cycles["o"] - last == network.latency).all()
                assert (np.diff(run.cycles["i"]) == 1).all()  # pixel after pixel, without a pause


def test_latency_is_kept_when_pixels_come_late():
    model = random_picture_model(3, **CASES[1][1])
    network = StreamingNetwork(model)
    codes = random_codes(model, 20)
    with Engine(network, "lutnet") as engine:
        run = engine.run_streams({"i": payload(codes.reshape(-1, 1), 2)}, {"o": 20},
                                 stall={"i": 0.7})
    assert (run.cycles["o"] - run.cycles["i"][network.deciding::72] == network.latency).all()


@pytest.mark.parametrize("fabric", ["xc7", "ecp5", "ice40"])
def test_netlist_equals_golden(fabric):
    model = random_picture_model(4, **CASES[1][1])
    count = 40
    codes = random_codes(model, count)
    config = NetworkConfig(fabric=fabric)
    with Engine(report.netlist(model, config), "lutnet") as engine:
        run = engine.run_streams({"i": payload(codes.reshape(-1, 1), 2)}, {"o": count}, stall=0.2)
    np.testing.assert_array_equal(run.outputs["o"], golden.run(model, codes).result)


def test_convolution_by_hand():
    # One node: the left neighbour and not the pixel itself.
    stage = Convolution(1, 2, True, Layer([[0, 1]], [[0, 1, 0, 0]]))
    bits = np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool)[None, None]
    assert golden.convolve(bits, stage)[0, 0].tolist() == [[0, 0, 1, 0], [0, 0, 0, 1]]
    inside = Convolution(1, 2, False, stage.layer)
    assert golden.convolve(bits, inside)[0, 0].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_pooling_by_hand():
    bits = np.array([[1, 0, 0, 0, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool)[None, None]
    assert golden.pool(bits, Pooling(2, 2))[0, 0].tolist() == [[1, 0]]
    assert golden.pool(bits, Pooling(3, 1))[0, 0].tolist() == [[1, 1, 1, 1, 1]]


def test_file_keeps_the_front(tmp_path):
    model = random_picture_model(5, **CASES[2][1])
    save(tmp_path / "m.npz", model)
    again = load(tmp_path / "m.npz")
    codes = random_codes(model, 30)
    np.testing.assert_array_equal(golden.run(again, codes).sums, golden.run(model, codes).sums)
    assert [type(s) for s in again.front.stages] == [Convolution, Convolution, Pooling]


#   array           what it becomes          message
BROKEN = [
    ("tables_stage_0", lambda a: a[:, :1],   r"tables of stage 0 must be 2 bytes for each of 3 "
                                             r"nodes, not of shape \(3, 1\)"),
    ("pins_stage_1", lambda a: a + 3,        r"pins of a convolution must be below 3 x 1, not \d+"),
    ("stages", lambda a: a[:, :2],           r"picture and stages must have 2 values and 3 "
                                             r"columns, not shapes \(2,\) and \(3, 2\)"),
    ("stages", lambda a: a * [[1], [1], [9]], "height of a tile must be 1 to 16, not 27"),
    ("picture", lambda a: a * 0,             "height of a picture must be 1 to 4096, not 0"),
]


@pytest.mark.parametrize("name, change, message", BROKEN)
def test_broken_front(name, change, message, tmp_path):
    save(tmp_path / "m.npz", random_picture_model(5, **CASES[2][1]))
    with np.load(tmp_path / "m.npz") as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(tmp_path / "m.npz", **arrays | {name: change(arrays[name])})
    with pytest.raises(ValueError, match=f"^m.npz: {message}$"):
        load(tmp_path / "m.npz")


LAYER = Layer([[0, 17]], [[0, 1, 1, 0]])
#   what is made                                                  message
WRONG = [
    (lambda: Pooling(0, 2),        "height of a tile must be 1 to 16, not 0"),
    (lambda: Convolution(3, 17, True, LAYER), "width of a window must be 1 to 16, not 17"),
    (lambda: Front(0, 9, ()),      "height of a picture must be 1 to 4096, not 0"),
    (lambda: Front(9, 9, (Convolution(3, 3, True, LAYER),)).shapes(1),
     "pins of a convolution must be below 3 x 3, not 17"),
    (lambda: Front(2, 9, (Convolution(3, 3, False, LAYER),)).shapes(2),
     "a window of 3 x 3 must fit into the map, which has 2 x 9"),
    (lambda: Front(9, 3, (Pooling(2, 4),)).shapes(1),
     "a tile of 2 x 4 must fit into the map, which has 9 x 3"),
    (lambda: StreamingNetwork(random_model()),
     "model must be one for pictures, with convolutions or poolings"),
]


@pytest.mark.parametrize("make, message", WRONG)
def test_wrong_pictures(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
