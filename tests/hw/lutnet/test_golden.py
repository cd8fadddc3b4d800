"""The golden model against answers worked out by hand."""

import numpy as np

from hw.lutnet.model import Encoder, Layer, Model
from sim.golden import lutnet as golden

# Two features of 2 bits; bits: x0 > 0, x0 > 2, x1 > 1. Nodes: and, or, xor, the first bit alone.
ENCODER = Encoder(2, [0.0, 0.0], [1.0, 1.0], [0, 0, 1], [0, 2, 1])
LAYER = Layer([[0, 2], [1, 2], [0, 2], [0, -1]],
              [[0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]])
MODEL = Model(ENCODER, (LAYER,), [0, 0, 1, 1], 2)

#   codes      bits       nodes         sums    label
CASES = [
    ([0, 0],   [0, 0, 0], [0, 0, 0, 0], [0, 0], 0),  # a tie: the lowest
    ([1, 0],   [1, 0, 0], [0, 0, 1, 1], [0, 2], 1),
    ([3, 3],   [1, 1, 1], [1, 1, 0, 1], [2, 1], 0),
    ([0, 2],   [0, 0, 1], [0, 1, 1, 0], [1, 1], 0),  # a tie again
    ([2, 1],   [1, 0, 0], [0, 0, 1, 1], [0, 2], 1),
]


def test_by_hand():
    codes, bits, nodes, sums, label = (list(column) for column in zip(*CASES))
    trace = golden.run(MODEL, np.array(codes, np.uint8))
    assert trace.bits.astype(int).tolist() == bits
    assert trace.outputs[0].astype(int).tolist() == nodes
    assert trace.sums.tolist() == sums
    assert trace.result.tolist() == label


def test_regression_is_a_scaled_sum():
    model = Model(ENCODER, (LAYER,), [0, 0, 0, 0], 1, scale=0.5, bias=-3.0)
    trace = golden.run(model, np.array([[3, 3], [0, 0]]))
    assert trace.result.tolist() == [3, 0]
    assert golden.regress(model, trace.result).tolist() == [-1.5, -3.0]
