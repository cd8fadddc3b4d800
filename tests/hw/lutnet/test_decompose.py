"""Decomposition: equal on the care set, small where the function is known."""

import numpy as np
import pytest

from hw.lutnet.decompose import cascade, decompose, multiplicity, shannon_cost


def _table(function, n):
    return np.array([function([a >> i & 1 for i in range(n)]) for a in range(1 << n)], bool)


#   function                                       n   k  cells
KNOWN = [
    (lambda x: sum(x) % 2,                         9,  4, 3),   # parity: one wire per cut
    (lambda x: all(x),                             10, 4, 3),
    (lambda x: x[3],                               8,  6, 0),   # a wire
    (lambda x: 1,                                  7,  6, 0),   # a constant
    (lambda x: x[0] ^ (x[1] & x[5]),               8,  6, 1),   # idle inputs
    (lambda x: (x[0] & x[1]) | (x[2] & x[3]) | (x[4] & x[5]) | (x[6] & x[7]), 8, 4, 3),
    (lambda x: sum(x) >= 4,                        7,  6, 3),   # the majority of seven
]


@pytest.mark.parametrize("function, n, k, cells", KNOWN)
def test_known_functions(function, n, k, cells):
    net = decompose(_table(function, n), k)
    assert len(net.cells) <= cells
    np.testing.assert_array_equal(net.evaluate()[0], _table(function, n))
    assert all(len(pins) <= k for pins, _ in net.cells)


@pytest.mark.parametrize("n, k", [(5, 4), (7, 6), (8, 4), (9, 6)])
def test_random_functions_do_not_pay(n, k):
    table = np.random.default_rng(n).integers(0, 2, 1 << n).astype(bool)
    net = decompose(table, k)
    np.testing.assert_array_equal(net.evaluate()[0], table)
    assert not net.pays or len(net.cells) < shannon_cost(n, k)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_dont_cares_save_cells(share):
    rng = np.random.default_rng(1)
    table, care = rng.integers(0, 2, 256).astype(bool), rng.random(256) < share
    net, full = decompose(table, 4, care), decompose(table, 4)
    assert not ((net.evaluate()[0] ^ table) & care).any()
    assert len(net.cells) <= len(full.cells)
    assert share > 0.1 or len(net.cells) < len(full.cells)


def test_wide_tables_are_sampled():
    table = _table(lambda x: sum(x) % 2, 14)
    net = decompose(table, 6)
    np.testing.assert_array_equal(net.evaluate()[0], table)
    assert len(net.cells) <= 4 and net.pays


def test_outputs_share_cells():
    table = _table(lambda x: sum(x) % 2, 9)
    assert len(decompose(np.stack([table, table]), 4).cells) == len(decompose(table, 4).cells)


def test_multiplicity_of_a_weighted_sum_is_its_partial_sums():
    table = _table(lambda x: sum(x) >= 5, 9)
    label, values, _ = multiplicity(table, np.ones(512, bool), (0, 1, 2, 3))
    assert len(values) == 5
    ones = np.array([a.bit_count() for a in range(16)])
    for a in range(16):
        np.testing.assert_array_equal(label == label[a], ones == ones[a])


@pytest.mark.parametrize("n, k", [(12, 6), (25, 6), (40, 8)])
def test_cascade_of_a_binarised_neuron(n, k):
    rng = np.random.default_rng(n)
    result = cascade(np.ones(n, int), n // 2, k)
    bits = rng.integers(0, 2, (2000, n)).astype(bool)
    np.testing.assert_array_equal(result.evaluate(bits), bits.sum(1) >= n // 2)
    # Rails are those of the partial sums 0 to the inputs read, saturated at the threshold.
    read = np.cumsum(result.takes)
    for place, states in zip(read[:-1], result.states[:-1]):
        decided_low = max(0, n // 2 - (n - place))  # below this the threshold is out of reach
        want = min(place, n // 2) - max(decided_low - 1, 0) + 1
        assert states == want


def test_cascade_of_signed_weights():
    rng = np.random.default_rng(0)
    weights = rng.integers(-3, 4, 14)
    result = cascade(weights, 2, 8)
    bits = (np.arange(1 << 14)[:, None] >> np.arange(14) & 1).astype(bool)
    np.testing.assert_array_equal(result.evaluate(bits), bits @ weights >= 2)


#   arguments                                      message
WRONG = [
    ((np.zeros(5, bool), 6),                       r"tables must have 2\*\*n entries, n 1 to 16, "
                                                   "not 5"),
    ((np.zeros(8, bool), 2),                       "k must be 3 to 6, not 2"),
    ((np.zeros(8, bool), 4, np.ones(4, bool)),     r"care must have one entry for each of 8, "
                                                   r"not \(4,\)"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        decompose(*arguments)


def test_cascade_needs_room_for_an_input():
    with pytest.raises(ValueError, match="^k must be above 3, the rails of a cut, not 3$"):
        cascade(np.ones(30, int), 15, 3)
