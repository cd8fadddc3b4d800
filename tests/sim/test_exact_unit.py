"""Sums one after another: beats in their places, and results only in theirs.

The unit itself runs in test_numeric.py.
"""

import numpy as np

from hw.arith.exact import ExactSum
from sim.exact_unit import exact_sums

LAYOUT = ExactSum()
K, SUMS, LANES = 5, 6, 2
PERIOD = LAYOUT.words + 1


class Recorder:
    """Stands for the engine; has results ready that may come too late, too often or not at all."""

    lanes = LANES

    def __init__(self, change=lambda valid: None):
        self.valid = np.zeros((SUMS // LANES + 1, PERIOD, LANES), np.uint8)
        self.valid[1:, 1] = 1
        change(self.valid)

    def pipe(self, inputs, outputs):
        assert outputs == ["valid", "y"]
        self.inputs = inputs
        return self.valid.ravel(), np.arange(self.valid.size, dtype=np.uint32)


A, W = np.random.default_rng(0).integers(0, 1 << 16, (2, SUMS, K), np.uint16)
EXPECTED = [(period * PERIOD + 1) * LANES + lane
            for period in range(1, SUMS // LANES + 1) for lane in range(LANES)]


def test_beats():
    engine = Recorder()
    assert exact_sums(engine, LAYOUT, A, W).tolist() == EXPECTED
    a = engine.inputs["a"].reshape(-1, PERIOD, LANES)
    np.testing.assert_array_equal(a[:-1, :K].swapaxes(1, 2).reshape(SUMS, K), A)
    turns = {name: engine.inputs[name].reshape(-1, PERIOD).tolist()
             for name in ("product", "bank", "drain", "word", "first")}
    grows, rests = [1] * K + [0] * (PERIOD - K), [0] * PERIOD
    assert turns["product"] == [grows] * 3 + [rests]
    assert turns["bank"] == [[n % 2] * PERIOD for n in range(4)]
    # The beat that changes the bank drains nothing.
    goes = [0] + [1] * LAYOUT.words
    assert turns["drain"] == [rests] + [goes] * 3
    assert turns["word"] == [rests] + [[0, *range(LAYOUT.words)]] * 3
    assert turns["first"] == [rests] + [[0, 1] + [0] * (PERIOD - 2)] * 3


def test_results_in_the_wrong_cycle():
    def change(valid):
        valid[1, 1, 1] = 0   # sum 1 never comes
        valid[2, 3, 0] = 1   # sum 2 comes twice
        valid[3, 1:3, 1] = 0, 1  # sum 5 comes late

    words = exact_sums(Recorder(change), LAYOUT, A, W).tolist()
    assert [word == 0xffffffff for word in words] == [False, True, True, False, False, True]
    assert [words[n] for n in (0, 3, 4)] == [EXPECTED[n] for n in (0, 3, 4)]
