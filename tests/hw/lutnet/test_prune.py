"""Pruning: the node that does nothing goes first, and the loss it counts is the real one."""

import numpy as np
import pytest

from hw.lutnet import prune as module
from hw.lutnet.model import Encoder, Layer, Model
from hw.lutnet.prune import prune
from sim.golden import lutnet as golden

from .networks import random_codes, random_model


def _loss(sums, y, tau):
    z = sums / tau
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean())


def test_losses_are_those_of_the_smaller_network():
    model = random_model(3, nodes=(12,), classes=3)
    codes, y = random_codes(model, 200).astype(np.uint8), np.arange(200) % 3
    trace = golden.run(model, codes)
    out = module._outputs(model, codes)
    np.testing.assert_array_equal(out.T, trace.outputs[0])
    losses = module._losses(out, model.group, trace.sums.T.astype(np.float32), y, 2.0)
    for j in range(12):
        sums = trace.sums.copy()
        sums[:, model.group[j]] -= trace.outputs[0][:, j]
        assert losses[j] == pytest.approx(_loss(sums, y, 2.0), rel=1e-4)


def test_the_misleading_nodes_go():
    # Class c is code bit c; per class one node copies it, one is its opposite, one is constant.
    encoder = Encoder(1, [0.0] * 2, [1.0] * 2, [0, 1], [0, 0])
    pins = [[0, -1], [0, -1], [0, -1], [1, -1], [1, -1], [1, -1]]
    copy, opposite, constant = [0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]
    model = Model(encoder, (Layer(pins, [copy, opposite, constant] * 2),), [0, 0, 0, 1, 1, 1], 2)
    codes = np.array([[1, 0], [0, 1]] * 10, np.uint8)
    small = prune(model, codes, np.array([0, 1] * 10), 1, 1.0)
    assert small.layers[0].tables.astype(int).tolist() == [copy, constant] * 2
    assert small.group.tolist() == [0, 0, 1, 1]


def test_wrong():
    model = random_model(3, nodes=(12,), classes=3)
    codes = random_codes(model, 9).astype(np.uint8)
    with pytest.raises(ValueError, match=r"^count must be 1 to \d+, not 99$"):
        prune(model, codes, np.arange(9) % 3, 99, 1.0)
    with pytest.raises(ValueError, match="^model must have one layer, at least two classes "
                                         "and nodes that count 1$"):
        prune(random_model(3, nodes=(12, 9)), codes, np.arange(9) % 3, 1, 1.0)


def test_only_the_named_classes_and_kinds_shrink():
    model = random_model(3, nodes=(40,), classes=3)
    codes = random_codes(model, 60).astype(np.uint8)
    small = prune(model, codes, np.arange(60) % 3, 1, 1.0, classes=[1], narrow=True)
    before, after = (np.stack([np.bincount(m.group, (m.layers[0].pins < 0).any(1) == kind,
                                           minlength=3) for kind in (False, True)])
                     for m in (model, small))
    assert (before - after).tolist() == [[0, 0, 0], [0, 1, 0]]
