import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data

from hw.formats import BFLOAT16
from sim.payload import from_ints, pack, to_ints, unpack

BEATS = 100
LAYOUT = data.StructLayout({
    "matrix": data.ArrayLayout(data.ArrayLayout(signed(9), 3), 5),
    "number": BFLOAT16.layout,
    "pairs":  data.ArrayLayout(data.StructLayout({"x": 3, "y": signed(5)}), 2),
    "big":    70,
    "word":   64,
    "last":   1,
})


def random_fields():
    rng = np.random.default_rng(1)
    return {
        "matrix": rng.integers(-256, 256, (BEATS, 5, 3)),
        "number": rng.integers(0, 2**16, BEATS, np.uint16),
        "pairs":  {"x": rng.integers(0, 8, (BEATS, 2)), "y": rng.integers(-16, 16, (BEATS, 2))},
        "big":    np.stack([rng.integers(0, 2**64, BEATS, np.uint64),
                            rng.integers(0, 2**6, BEATS, np.uint64)], axis=1),
        "word":   rng.integers(0, 2**64, BEATS, np.uint64),
        "last":   rng.integers(0, 2, BEATS).astype(bool),
    }


def test_agrees_with_amaranth():
    fields = random_fields()
    for n, word in enumerate(to_ints(pack(LAYOUT, fields))):
        assert word == LAYOUT.const({
            "matrix": fields["matrix"][n].tolist(),
            "number": BFLOAT16.layout.from_bits(int(fields["number"][n])),
            "pairs":  [{"x": int(fields["pairs"]["x"][n, k]), "y": int(fields["pairs"]["y"][n, k])}
                       for k in range(2)],
            "big":    to_ints(fields["big"])[n],
            "word":   int(fields["word"][n]),
            "last":   int(fields["last"][n]),
        }).as_bits()


def test_there_and_back():
    fields = random_fields()
    back = unpack(LAYOUT, pack(LAYOUT, fields))
    pairs, expected = back.pop("pairs"), fields.pop("pairs")
    for name in fields:
        np.testing.assert_array_equal(back[name], fields[name])
    np.testing.assert_array_equal(pairs["x"], expected["x"])
    np.testing.assert_array_equal(pairs["y"], expected["y"])


def test_narrow_payloads_have_one_axis():
    beats = pack(data.ArrayLayout(signed(4), 3), [[1, -1, 7], [-8, 0, 2]])
    assert beats.tolist() == [0x7f1, 0x208]
    assert unpack(data.ArrayLayout(signed(4), 3), beats).tolist() == [[1, -1, 7], [-8, 0, 2]]
    assert unpack(signed(12), np.array([0x7ff, 0x800])).tolist() == [2047, -2048]
    assert pack(8, [255]).tolist() == [255]


def test_ints():
    values = [0, 1, 2**99 + 5, 2**100 - 1]
    assert to_ints(from_ints(values, 100)) == values
    assert to_ints(from_ints([-1, 3], 5)) == [31, 3]


PAIR = data.StructLayout({"x": 3, "y": signed(5)})


@pytest.mark.parametrize("fields, message", [
    ({"x": [8], "y": [0]},    "payload.x must be in 0 to 7, not 8"),
    ({"x": [0], "y": [-17]},  "payload.y must be in -16 to 15, not -17"),
    ({"x": [0]},              "payload must have the fields x, y, not x"),
    ({"x": [0, 1], "y": [0]}, "payload must have one number of beats, not [1, 2]"),
    ({"x": [0.5], "y": [0]},  "payload.x must be an array of integers with an axis of beats and "
                              "0 of elements, not float64 (1,)"),
])
def test_wrong(fields, message):
    with pytest.raises(ValueError) as caught:
        pack(PAIR, fields)
    assert str(caught.value) == message


def test_wrong_length_of_an_array():
    with pytest.raises(ValueError) as caught:
        pack(data.ArrayLayout(8, 3), [[1, 2]])
    assert str(caught.value) == "payload must have 3 elements along axis 1, not shape (1, 2)"
