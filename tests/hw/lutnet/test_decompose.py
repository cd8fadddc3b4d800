"""Decomposition: equal on the care set, small where the function is known."""

import json

import numpy as np
import pytest

from hw.lutnet import __main__ as lutnet
from hw.lutnet.cascade import cascade, cells_of
from hw.lutnet.cascade import prove as prove_cascade
from hw.lutnet.compressed import cheapest, compress
from hw.lutnet.decompose import decompose, multiplicity, shannon_cost
from hw.lutnet.decompose_proof import DecompositionError, prove_neuron, prove_tables
from hw.lutnet.rare import address_counts, narrowed
from hw.options import command
from sim.golden import lutnet as golden

from .networks import random_codes, random_model


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


@pytest.mark.parametrize("n, k, low, high, threshold", [(9, 5, -2, 3, 1), (11, 6, 1, 2, 7),
                                                        (12, 6, -1, 2, 0)])
def test_rails_are_the_column_multiplicity_of_the_cut(n, k, low, high, threshold):
    """Sasao's theory: the states after a prefix are the different columns of its chart."""
    weights = np.random.default_rng(n).integers(low, high, n)
    result = cascade(weights, threshold, k)
    table = _table(lambda x: np.dot(x, weights) >= threshold, n)
    for place, states in zip(np.cumsum(result.takes)[:-1].tolist(), result.states):
        _, values, _ = multiplicity(table, np.ones(1 << n, bool), tuple(range(place)))
        assert states == len(values)
    assert prove_cascade(result, weights, threshold) > 0
    net = cells_of(result, k)
    np.testing.assert_array_equal(net.evaluate()[0], table)
    assert all(len(pins) <= k for pins, _ in net.cells)


def test_cascades_are_proven_for_all_inputs():
    """200 inputs cannot be tried: they are proven by induction, 20 by SAT as well."""
    rng = np.random.default_rng(0)
    weights = rng.choice([-1, 1], 200)
    assert prove_cascade(cascade(weights, 3, 10), weights, 3) > 10_000
    weights = rng.integers(-2, 3, 20)
    result = cascade(weights, 2, 6)
    prove_cascade(result, weights, 2)
    prove_neuron(cells_of(result, 6), weights, 2)
    with pytest.raises(DecompositionError, match="^the cells differ from what they stand for$"):
        prove_neuron(cells_of(result, 6), weights, 3)
    with pytest.raises(ValueError, match="^the cascade says . of the sum -?[0-9]+$"):
        prove_cascade(result, weights, 3)


#   table of (high, low)                                       n  k   cells of the compressed form
SIMILAR = [
    (lambda a: (a & 7) ** 2 * 2 >> (a >> 3 & 3),                  5, 4),   # shifted versions
    (lambda a: (a & 15) * 3 + 40 * (a >> 4),                      7, 6),   # biases
    (lambda a: [5, 1, 7, 2, 9, 3, 6, 0][a & 7] + (a >> 3) % 2,    7, 4),
]


@pytest.mark.parametrize("function, n, k", SIMILAR)
def test_self_similar_tables(function, n, k):
    values = np.array([function(a) for a in range(1 << n)])
    bits = np.stack([values >> b & 1 for b in range(int(values.max()).bit_length())]).astype(bool)
    net = compress(bits, k)
    np.testing.assert_array_equal(net.evaluate(), bits)
    assert all(len(pins) <= k for pins, _ in net.cells)
    assert net.cost < shannon_cost(n, k) * len(bits)
    prove_tables(net, bits)


def test_the_cheapest_form_is_kept():
    values = np.array([(a & 15) * 3 + 40 * (a >> 4) for a in range(128)])
    bits = np.stack([values >> b & 1 for b in range(9)]).astype(bool)
    rng = np.random.default_rng(0)
    cases = [bits, rng.integers(0, 2, (1, 256)).astype(bool), _table(lambda x: sum(x) % 2, 8)]
    for table in cases:
        choice = cheapest(table, 4)
        assert choice.net.cost == min(choice.costs.values()) == choice.costs[choice.form]
        np.testing.assert_array_equal(choice.net.evaluate(), np.atleast_2d(table))
    assert cheapest(cases[2], 4).form == "functional"
    assert not cheapest(rng.integers(0, 2, (3, 32)).astype(bool), 4).pays


def test_dont_cares_in_every_form():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 16, 128)
    bits = np.stack([values >> b & 1 for b in range(4)]).astype(bool)
    care = rng.random(128) < 0.1
    choice = cheapest(bits, 4, care)
    assert not ((choice.net.evaluate() ^ bits) & care).any()
    assert choice.net.cost < cheapest(bits, 4).net.cost
    prove_tables(choice.net, bits, care)
    with pytest.raises(DecompositionError):
        prove_tables(choice.net, bits)


def test_rare_addresses_free_inputs():
    model = random_model(3, nodes=(40,), features=5, width=4, narrow=0)
    codes = random_codes(model, 300)
    bits = golden.run(model, codes).bits
    counts = address_counts(model.layers[0], bits)
    assert (counts.sum(1) == 300).all()
    seen, none = narrowed(model, [bits], 0.0)
    np.testing.assert_array_equal(golden.run(seen, codes).sums, golden.run(model, codes).sums)
    _, many = narrowed(model, [bits], 0.05)
    assert 0 < none[0] < many[0] <= 40
    with pytest.raises(ValueError, match="^share must be 0 to 1, not 2$"):
        narrowed(model, [bits], 2)


def test_command_says_whether_it_pays(tmp_path, capsys):
    smooth = [a * a // 40 for a in range(64)]
    noise = np.random.default_rng(0).integers(-9, 9, 64).tolist()
    tables = {"0_0_0": {"acive": 1, "values_int": smooth},
              "0_1_0": {"acive": 0, "values_int": []},
              "1_0_0": {"acive": 1, "values_int": noise}}
    (tmp_path / "truth_tables.json").write_text(json.dumps(tables))
    (tmp_path / "config.json").write_text(json.dumps(
        {"layers": [2, 1, 1], "layers_bitwidth": [6, 6, 5]}))
    assert lutnet.main(["decompose", str(tmp_path), "--inputs", "4"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["pays"] and first["cells"]["cheapest"] < first["cells"]["shannon"]
    assert not second["pays"] or second["cells"]["cheapest"] < second["cells"]["shannon"]
    for arguments, message in ((["--inputs", "9"], "inputs must be 3 to 6, not 9"),
                               ([], "data must be given for a model file")):
        with pytest.raises(SystemExit) as stop:
            command(lutnet.main)(["decompose", str(tmp_path / "m.npz"), *arguments])
        assert stop.value.code == 2
        assert capsys.readouterr().err == f"error: {message}\n"
