"""The trained node: interpolation, gradients by finite differences, what two inputs can learn."""

import numpy as np
import pytest

from hw.lutnet import kernels, nodes


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_interpolation_on_the_corners_is_the_table(n):
    w = np.random.default_rng(n).random(2 ** n)
    corners = (np.arange(2 ** n)[:, None] >> np.arange(n) & 1).astype(float)
    np.testing.assert_array_equal(nodes.multilinear(w[None], corners), w)


@pytest.mark.parametrize("n", [2, 4, 5, 6])
def test_gradient_of_the_interpolation(n):
    rng = np.random.default_rng(n)
    w, x, step = rng.random((5, 2 ** n)), rng.random((5, n)), 1e-6
    dw, dx = nodes.multilinear_gradient(w, x)
    for column in range(2 ** n):
        moved = w.copy()
        moved[:, column] += step
        np.testing.assert_allclose((nodes.multilinear(moved, x) - nodes.multilinear(w, x)) / step,
                                   dw[:, column], rtol=0, atol=1e-8)
    for i in range(n):
        moved = x.copy()
        moved[:, i] += step
        np.testing.assert_allclose((nodes.multilinear(w, moved) - nodes.multilinear(w, x)) / step,
                                   dx[:, i], rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_matrices_are_the_interpolation_at_quarters(n):
    w = np.random.default_rng(n).random((3, 2 ** n))
    corners = np.arange(2 ** n)[:, None] >> np.arange(n) & 1
    x = np.broadcast_to(0.25 + 0.5 * corners, (3, 2 ** n, n))
    np.testing.assert_allclose(w @ nodes.smoothing(n), nodes.multilinear(w[:, None], x), atol=1e-6)
    slope = (w @ nodes.slopes(n)).reshape(3, 2 ** n, 8)
    _, dx = nodes.multilinear_gradient(np.repeat(w[:, None], 2 ** n, 1), x.copy())
    np.testing.assert_allclose(slope[..., :n], dx, atol=1e-6)
    assert not slope[..., n:].any()


def test_extended_finite_difference_is_half_the_slope():
    # The formula of torch-dwn with its defaults, written out, on all addresses of a 3-input table.
    n, w = 3, np.random.default_rng(0).uniform(-1, 1, (1, 8)).astype(np.float32)
    _, slope, offset = nodes.backward_tables("dwn", w, np.zeros((1, 8)), np.ones((1, 8)))
    for a in range(8):
        for i in range(n):
            want = sum(w[0, b] * (1 if b >> i & 1 else -1) * np.prod(
                [0.75 if (a ^ b) >> k & 1 == 0 else 0.25 for k in range(n) if k != i]) / 2
                for b in range(8))
            assert slope[0, a, i] == pytest.approx(want, abs=1e-6)
    assert not offset.any()


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_gradients_of_the_hybrid_node(n):
    """Those of the loss ``sum_s weight[s] value(w, x[s])``, inputs taken as 1/4 and 3/4."""
    rng = np.random.default_rng(n)
    address, weight, w = rng.integers(0, 2 ** n, 90), rng.normal(size=90), rng.random(2 ** n)
    bits = (address[:, None] >> np.arange(n) & 1).astype(float)

    def values(w, bits):
        return nodes.multilinear(w[None], 0.25 + 0.5 * bits)

    total = np.bincount(address, weight, 2 ** n)[None]
    dw, slope, offset = nodes.backward_tables("hybrid", w[None], total, np.ones((1, 2 ** n)))
    for k in range(2 ** n):
        step = np.eye(2 ** n)[k] * 1e-3
        loss = weight @ (values(w + step, bits) - values(w - step, bits)) / 2e-3
        assert dw[0, k] == pytest.approx(loss, abs=1e-5)
    for i in range(n):
        step = np.eye(n)[i] * 1e-3
        by_input = (values(w, bits + step) - values(w, bits - step)) / 2e-3
        np.testing.assert_allclose(slope[0, address, i], by_input, atol=1e-5)
    assert not offset.any()


def _normed_loss(w, address, weight):
    """Weighted sum of the values of one `bb` node after its batch norm, in float64."""
    n = len(w).bit_length() - 1
    s = (w @ nodes.smoothing(n).astype(np.float64))[address]
    value = (s - s.mean()) / np.sqrt(s.var() + nodes.EPSILON) * nodes.GAMMA + nodes.BETA
    return (weight * np.clip(value, 0, 1)).sum()


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_gradient_through_the_batch_norm(n):
    rng = np.random.default_rng(1)
    address, weight = rng.integers(0, 2 ** n, 50), rng.normal(size=50)
    w = rng.random(2 ** n)
    total, count = np.zeros((2, 1, 2 ** n))
    np.add.at(total[0], address, weight)
    np.add.at(count[0], address, 1)
    dw, _, _ = nodes.backward_tables("bb", w[None], total, count)
    for k in range(2 ** n):
        high, low = w.copy(), w.copy()
        high[k] += 1e-5
        low[k] -= 1e-5
        slope = (_normed_loss(high, address, weight) - _normed_loss(low, address, weight)) / 2e-5
        assert dw[0, k] == pytest.approx(slope, abs=1e-3)


@pytest.mark.parametrize("n, samples", [(2, 5), (6, 64), (5, 131)])
def test_kernels_agree_with_numpy(n, samples):
    rng = np.random.default_rng(samples)
    bits = rng.integers(0, 2, (20, samples)).astype(np.uint8)
    bits[-1] = 0
    pins = rng.integers(0, 20, (7, n)).astype(np.int32)
    luts = rng.integers(0, 2 ** min(2 ** n, 62), 7).astype(np.uint64)
    addr, out = np.empty((7, samples), np.uint8), np.empty((7, samples), np.uint8)
    kernels.forward(bits, pins, luts, addr, out)
    want = (bits[pins].astype(int) << np.arange(n)[None, :, None]).sum(1)
    np.testing.assert_array_equal(addr, want)
    np.testing.assert_array_equal(out, luts[:, None] >> want.astype(np.uint64) & np.uint64(1))

    rows = rng.integers(0, 3, 7).astype(np.int32)
    grad = rng.normal(size=(3, samples)).astype(np.float32)
    total, count = np.empty((7, 2 ** n), np.float32), np.empty((7, 2 ** n), np.int32)
    kernels.address_sums(addr, rows, grad, total, count)
    for a in range(2 ** n):
        hit = want == a
        np.testing.assert_array_equal(count[:, a], hit.sum(1))
        np.testing.assert_allclose(total[:, a], (grad[rows] * hit).sum(1), atol=1e-4)

    slope, offset = np.zeros((2, 7, 2 ** n, 8), np.float32)
    slope[..., :n], offset[..., :n] = rng.normal(size=(2, 7, 2 ** n, n))
    pin = np.zeros((samples, 7 * n + 8), np.float32)
    kernels.pin_gradient(addr, rows, grad, slope, offset, n, pin)
    node = np.arange(7)[:, None]
    full = grad[rows][..., None] * slope[node, want] + offset[node, want]
    np.testing.assert_allclose(pin[:, :7 * n].reshape(samples, 7, n),
                               full[..., :n].transpose(1, 0, 2), atol=1e-5)


def test_a_table_learns_xor_and_a_perceptron_cannot():
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float)
    target = np.array([0, 1, 1, 0], float)

    w = np.random.default_rng(0).normal(0.5, 0.01, 4)
    for _ in range(200):
        error = nodes.multilinear(w[None], corners) - target
        dw, _ = nodes.multilinear_gradient(np.repeat(w[None], 4, 0), corners.copy())
        w = np.clip(w - 0.5 * (error[:, None] * dw).sum(0), 0, 1)
    np.testing.assert_array_equal(nodes.multilinear(w[None], corners) > 0.5, target)

    # Every sign pattern of a line through the four corners, on a grid that holds all of them.
    grid = np.arange(-2, 2.5, 0.5)
    a, b, c = np.meshgrid(grid, grid, grid)
    lines = a[..., None] * corners[:, 0] + b[..., None] * corners[:, 1] + c[..., None] > 0
    patterns = {tuple(p) for p in lines.reshape(-1, 4)}
    assert len(patterns) == 14
    assert tuple(target.astype(bool)) not in patterns
