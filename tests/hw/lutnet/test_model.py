"""Model files and data files: what is wrong with one is said in a sentence."""

import gzip

import numpy as np
import pytest

from hw.lutnet import data as datasets
from hw.lutnet import thermometer
from hw.lutnet.data import DataError
from hw.lutnet.model import Encoder, Layer, Model, ModelError, compact, load, note_of, save

from .networks import random_codes, random_model


def test_file_round_trip(tmp_path):
    model = random_model(1, nodes=(40, 20), inputs=3)
    save(tmp_path / "m.npz", model, "made by hand")
    again = load(tmp_path / "m.npz")
    small = compact(model)
    for first, second in zip(again.layers, small.layers):
        np.testing.assert_array_equal(first.pins, second.pins)
        np.testing.assert_array_equal(first.tables, second.tables)
    np.testing.assert_array_equal(again.encoder.threshold, small.encoder.threshold)
    assert note_of(tmp_path / "m.npz") == "made by hand"


def test_codes_are_clipped_steps():
    encoder = Encoder(2, [0.0, -1.0], [0.5, 1.0], [0], [0])
    x = np.array([[-3.0, -1.0], [0.49, -0.01], [0.5, 0.0], [99.0, 99.0]])
    assert encoder.codes(x).tolist() == [[0, 0], [0, 0], [1, 1], [3, 3]]


def test_uniform_thresholds():
    encoder = thermometer.fit(np.arange(256, dtype=np.uint8)[:, None], "uniform", levels=3,
                              width=8)
    assert encoder.threshold.tolist() == [63, 127, 191]
    one = thermometer.fit(np.arange(256, dtype=np.uint8)[:, None], "bit", levels=9, width=8)
    assert (one.width, one.step.tolist(), one.threshold.tolist()) == (1, [128.0], [0])


def test_distributive_thresholds_split_evenly():
    x = np.random.default_rng(0).exponential(size=(4000, 2))
    encoder = thermometer.fit(x, "distributive", levels=3, width=10)
    share = (encoder.codes(x)[:, encoder.feature] > encoder.threshold).mean(0)
    np.testing.assert_allclose(share, [0.75, 0.5, 0.25] * 2, atol=0.02)


def _broken(tmp_path, **changes):
    save(tmp_path / "m.npz", random_model(1, nodes=(30,)))
    with np.load(tmp_path / "m.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        else:
            arrays[name] = change(arrays[name])
    np.savez(tmp_path / "m.npz", **arrays)
    return tmp_path / "m.npz"


def _put(value):
    def change(array):
        array = array.copy()
        array.reshape(-1)[0] = value
        return array
    return change


#   change                                     message
BROKEN = [
    ({"tables_0": lambda t: t[:, :-1]},        r"m.npz: tables of layer 0 must be 8 bytes for each "
                                               r"of 30 nodes, not of shape \(30, 7\)"),
    ({"pins_0": _put(999)},                    r"m.npz: pins of layer 0 must be below \d+, "
                                               "not 999"),
    ({"pins_0": _put(-2)},                     "m.npz: pins must be -1 or an input's index, "
                                               "not -2"),
    ({"offset": _put(np.nan)},                 "m.npz: offset and step must be finite numbers, not "
                                               "NaN or infinity"),
    ({"step": _put(0.0)},                      "m.npz: step must be above 0, not 0.0"),
    ({"feature": _put(50)},                    "m.npz: feature must be 0 to 12, not 50"),
    ({"threshold": _put(7)},                   "m.npz: threshold must be 0 to 6, not 7"),
    ({"group": lambda g: g[1:]},               "m.npz: group must have one value for each of the "
                                               r"30 last nodes, not \(29,\)"),
    ({"group": _put(3)},                       "m.npz: group must be 0 to 2, not 3"),
    ({"step": lambda s: s[1:]},                "m.npz: offset and step must have one value for "
                                               r"each feature, not \(13,\) and \(12,\)"),
    ({"version": _put(9)},                     "m.npz: version must be 1 or 2, not 9"),
    ({"width": _put(0)},                       "m.npz: width must be 1 to 16, not 0"),
    ({"group": None},                          "m.npz must hold the array group"),
]


@pytest.mark.parametrize("changes, message", BROKEN)
def test_broken_model_file(tmp_path, changes, message):
    with pytest.raises(ModelError, match=f"^{message}$"):
        load(_broken(tmp_path, **changes))


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(ModelError, match="^none.npz does not exist$"):
        load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ModelError, match="^text.npz cannot be read as a model: "):
        load(tmp_path / "text.npz")
    with pytest.raises(ModelError, match="^m.npz cannot be read as a model: Object arrays cannot "):
        load(_broken(tmp_path, version=lambda version: np.array([object()])))


def test_features_missing():
    model = random_model(1)
    with pytest.raises(ModelError, match="^data must have 13 columns, not 12$"):
        model.encoder.codes(random_codes(model, 5)[:, :12].astype(float))


def test_layer_and_model_checks():
    with pytest.raises(ModelError, match="^pins must be a matrix of 2 to 6 columns"):
        Layer(np.zeros((3, 7)), np.zeros((3, 128)))
    model = random_model(1)
    with pytest.raises(ModelError, match="^layers must hold at least one layer$"):
        Model(model.encoder, (), [0], 1)
    with pytest.raises(ModelError, match="^classes must be 1 to 256, not 0$"):
        Model(model.encoder, model.layers, model.group, 0)


# Data -------------------------------------------------------------------------------------------

def _idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def _idx_folder(folder):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 10)):
        _idx(folder / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 4, 3)))
        _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", rng.integers(0, 10, count))


def test_idx_folder(tmp_path):
    _idx_folder(tmp_path)
    data = datasets.load(str(tmp_path))
    assert (data.x_train.shape, data.x_test.shape, data.image) == ((20, 12), (10, 12), (4, 3))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="must hold t10k-labels-idx1-ubyte or t10k-labels-idx1-"
                                        "ubyte.gz$"):
        datasets.load(str(tmp_path))


def test_cut_idx_file(tmp_path):
    _idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"\0\0\x08\x01\0\0\0\x09abc")
    with pytest.raises(DataError, match="^train-labels-idx1-ubyte.gz must be an IDX file of "
                                        "unsigned bytes$"):
        datasets.load(str(tmp_path))


#   arrays                                                        message
WRONG = [
    ({"X": np.array([[1.0, np.nan]] * 5), "y": np.arange(5)},     "d: every feature must be a "
     r"finite number, not nan \(train row 0, column 1\)"),
    ({"X": np.zeros((5, 2)), "y": np.arange(4)},                  "d: X must be a matrix with "
     r"one label in y for each row, not \(5, 2\) and \(4,\)"),
    ({"X": np.zeros((5, 2)), "y": -np.arange(5)},                 "labels must be integers from 0 "
     "upward, or real targets"),
    ({"a": np.zeros(3)},                                          "d.npz must hold the arrays X "
     "and y, or x_train, y_train, x_test and y_test, not a"),
    ({"x_train": np.zeros((4, 3)), "y_train": np.zeros(4, int), "x_test": np.zeros((2, 2)),
      "y_test": np.zeros(2, int)}, "d: train has 3 columns, test has 2"),
    ({"X": np.array([object()]), "y": np.arange(1)},              "d.npz cannot be read as a NumPy "
     "archive: Object arrays cannot be loaded when allow_pickle=False"),
]


@pytest.mark.parametrize("arrays, message", WRONG)
def test_wrong_archive(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=f"^{message}$"):
        datasets.load(str(tmp_path / "d.npz"))


def test_unknown_source():
    with pytest.raises(DataError, match="^data must be digits, diabetes, a folder with the four "
                                        "IDX files of MNIST, an .npz file, or openml:NAME, "
                                        "not 'nowhere'$"):
        datasets.load("nowhere")
