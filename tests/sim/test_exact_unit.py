"""Sums one after another: beats in their places, and results only in theirs.

The unit itself runs in test_numeric.py.
"""

import numpy as np

from hw.arith.exact import ExactSum
from sim.exact_unit import exact_sums

LAYOUT = ExactSum()
K, SUMS, LANES = 5, 6, 2
PERIOD = K + LAYOUT.words


class Recorder:
    """Stands for the engine; has results ready that may come too late, too often or not at all."""

    lanes = LANES

    def __init__(self, change=lambda valid: None):
        self.valid = np.zeros((SUMS // LANES, PERIOD, LANES), np.uint8)
        self.valid[:, K] = 1
        change(self.valid)

    def pipe(self, inputs, outputs):
        assert outputs == ["valid", "y"]
        self.inputs = inputs
        return self.valid.ravel(), np.arange(self.valid.size, dtype=np.uint32)


A, W = np.random.default_rng(0).integers(0, 1 << 16, (2, SUMS, K), np.uint16)
EXPECTED = [(period * PERIOD + K) * LANES + lane
            for period in range(SUMS // LANES) for lane in range(LANES)]


def test_beats():
    engine = Recorder()
    assert exact_sums(engine, LAYOUT, A, W).tolist() == EXPECTED
    a = engine.inputs["a"].reshape(-1, PERIOD, LANES)
    np.testing.assert_array_equal(a[:, :K].swapaxes(1, 2).reshape(SUMS, K), A)
    drains = [LAYOUT.drain_operands(word) for word in range(LAYOUT.words)]
    w = engine.inputs["w"].reshape(-1, PERIOD, LANES)
    for lane in range(LANES):
        assert list(zip(a[1, K:, lane].tolist(), w[1, K:, lane].tolist())) == drains
    beat = [1] * K + [0] * LAYOUT.words
    assert engine.inputs["product"].tolist() == beat * (SUMS // LANES)
    assert engine.inputs["drain"].tolist() == [1 - product for product in beat] * (SUMS // LANES)
    assert np.flatnonzero(engine.inputs["first"]).tolist() == [K, PERIOD + K, 2 * PERIOD + K]


def test_results_in_the_wrong_cycle():
    def change(valid):
        valid[0, K, 1] = 0   # sum 1 never comes
        valid[1, 3, 0] = 1   # sum 2 comes twice
        valid[2, K:K + 2, 1] = 0, 1  # sum 5 comes late

    words = exact_sums(Recorder(change), LAYOUT, A, W).tolist()
    assert [word == 0xffffffff for word in words] == [False, True, True, False, False, True]
    assert [words[n] for n in (0, 3, 4)] == [EXPECTED[n] for n in (0, 3, 4)]
