"""Convolutions and poolings learn as their nodes would if each stood alone."""

from itertools import product

import numpy as np
import pytest

from hw.lutnet import nodes
from hw.lutnet.settings import TrainConfig
from hw.lutnet.train_front import FrontTrainer
from sim.golden import lutnet as golden

SAMPLES, IMAGE = 3, (5, 6)


def _front(*stages, inputs=4, family="dwn"):
    config = TrainConfig(stages=stages, inputs=inputs, family=family)
    return FrontTrainer(config, IMAGE, 2, np.random.default_rng(1))


def _bits(channels, rng):
    """Bits as the trainer has them, with their row of zeros, and as the golden model has them."""
    bits = rng.integers(0, 2, (channels * IMAGE[0] * IMAGE[1] + 1, SAMPLES)).astype(np.uint8)
    bits[-1] = 0
    return bits, bits[:-1].T.reshape(SAMPLES, channels, *IMAGE).astype(bool)


@pytest.mark.parametrize("stages", [("conv5:3",), ("conv5:2b", "pool2"), ("pool2", "conv3:2")])
def test_bits_are_those_of_the_golden_model(stages):
    front = _front(*stages)
    bits, value = _bits(2, np.random.default_rng(0))
    out = front.forward(bits, True, True)
    for stage in front.front().stages:
        value = golden.pool(value, stage) if "Pool" in type(stage).__name__ else \
            golden.convolve(value, stage)
    np.testing.assert_array_equal(out[:-1].T, value.reshape(SAMPLES, -1))
    assert not out[-1].any()


@pytest.mark.parametrize("family", nodes.FAMILIES)
@pytest.mark.parametrize("border", ["", "b"])
def test_convolution_learns_from_every_place(border, family):
    rng = np.random.default_rng(2)
    front = _front(f"conv5:3{border}", family=family)
    stage = front.stages[0]
    state = stage.state
    bits, value = _bits(2, rng)
    front.forward(bits, True, True)
    count, rows, columns = stage.shape
    grad = rng.normal(size=(count, rows, columns * SAMPLES)).astype(np.float32)
    taken = {}
    state.learn = lambda dw, rate, ticks: taken.update(dw=dw)  # the gradient and not a step
    below = stage.backward(grad, SAMPLES, 0.1, 1, True)

    pad = 2 if border else 0
    padded = np.pad(value, ((0, 0), (0, 0), (pad, 0), (pad, 0)))
    total, seen = np.zeros((count, 16)), np.zeros((count, 16))
    places = list(product(range(count), range(rows), range(columns), range(SAMPLES)))
    found = {}
    for j, r, c, s in places:
        window = padded[s, :, r:r + 3, c:c + 3].reshape(-1)
        found[j, r, c, s] = a = int(window[state.pins[j]] @ (1 << np.arange(4)))
        total[j, a] += grad[j, r, c * SAMPLES + s]
        seen[j, a] += 1
    dw, slope, offset = nodes.backward_tables(family, state.w, total, seen)
    np.testing.assert_allclose(taken["dw"], dw, rtol=0, atol=1e-3)
    expected = np.zeros(padded.shape)
    for (j, r, c, s), a in found.items():
        for i in range(4):
            k, y, x = np.unravel_index(state.pins[j, i], (2, 3, 3))
            expected[s, k, r + y, c + x] += (grad[j, r, c * SAMPLES + s] * slope[j, a, i]
                                             + offset[j, a, i])
    expected = expected[:, :, pad:, pad:].transpose(1, 2, 3, 0).reshape(below.shape)
    np.testing.assert_allclose(below, expected, rtol=0, atol=1e-3)


def test_pooling_passes_what_an_or_node_passes():
    rng = np.random.default_rng(3)
    pooling = _front("conv2:1", "pool2").stages[1]
    bits = rng.integers(0, 2, (2, 5, 6 * SAMPLES)).astype(np.uint8)
    pooling.forward(bits, SAMPLES, True, True)
    grad = rng.normal(size=(2, 2, 3 * SAMPLES)).astype(np.float32)
    below = pooling.backward(grad, SAMPLES, 0.1, 1, True).reshape(2, 5, 6, SAMPLES)
    table = np.ones((1, 16), np.float32)
    table[0, 0] = -1
    slope = nodes.backward_tables("dwn", table, np.zeros((1, 16)), np.zeros((1, 16)))[1]
    expected = np.zeros((2, 5, 6, SAMPLES))
    planes, grad = bits.reshape(2, 5, 6, SAMPLES), grad.reshape(2, 2, 3, SAMPLES)
    for k, r, c, s in product(range(2), range(2), range(3), range(SAMPLES)):
        tile = planes[k, 2 * r:2 * r + 2, 2 * c:2 * c + 2, s].reshape(-1)
        parts = grad[k, r, c, s] * slope[0, int(tile @ (1 << np.arange(4))), :4]
        expected[k, 2 * r:2 * r + 2, 2 * c:2 * c + 2, s] = parts.reshape(2, 2)
    np.testing.assert_allclose(below, expected, atol=1e-6)
