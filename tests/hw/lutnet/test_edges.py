"""Networks of edge tables: golden against vectors by hand, RTL and netlist against golden."""

import json

import numpy as np
import pytest

from hw.lutnet import report
from hw.lutnet.config import NetworkConfig
from hw.lutnet.edges import EdgeLayer, EdgeModel, EdgeNetwork, load
from hw.lutnet.model import ModelError
from sim.golden import edges as golden
from sim.lutnet import payload
from sim.verilated import Engine


def random_edges(seed, sizes=((5, 4, 3), (6, 7, 5)), spread=40, keep=0.8):
    rng = np.random.default_rng(seed)
    counts, bits = sizes
    layers = []
    for inputs, outputs, width, out in zip(counts, counts[1:], bits, bits[1:]):
        steps = rng.integers(-3, 4, (inputs, outputs, 2 ** width)).cumsum(-1)
        tables = np.clip(steps, -spread, spread)
        edges = rng.random((inputs, outputs)) < keep
        edges[:2] = True
        layers.append(EdgeLayer(tables * edges[..., None], edges, out))
    return EdgeModel(tuple(layers))


def counted_model(seed):
    """Layers with limits: 1 to 3 bits, in and out; the first inputs have 3 levels of 4."""
    rng = np.random.default_rng(seed)
    layers = []
    for inputs, outputs, bits, levels in ((7, 5, 2, 8), (5, 2, 3, 2)):
        tables = rng.integers(-3, 4, (inputs, outputs, 2 ** bits))
        edges = rng.random((inputs, outputs)) < 0.9
        edges[0] = True
        tables = tables * edges[..., None]
        limits = np.sort(rng.integers(-6, 7, (outputs, levels - 1)), axis=1)
        layers.append(EdgeLayer(tables, edges, (levels - 1).bit_length(), limits))
    return EdgeModel(tuple(layers), 3)


def _packed(results, width):
    words = np.zeros(len(results), np.uint64)
    for j in range(results.shape[1]):
        part = (results[:, j] & (1 << width) - 1).astype(np.uint64)
        words |= part << np.uint64(width * j)
    return words


def _same(model, network, source, count=2000):
    first, last = model.layers[0], model.layers[-1]
    codes = np.random.default_rng(1).integers(0, model.levels or 2 ** first.in_bits,
                                              (count, first.tables.shape[0])).astype(np.uint8)
    with Engine(source, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, first.in_bits)}, ["o"],
                          latency=network.latency)["o"]
    return np.array_equal(out, _packed(golden.run(model, codes), last.out_bits))


def test_golden_by_hand():
    # 2 inputs of 1 bit; s = 3 - 9 x0 + 2 x1 in 3 bits: saturates at -4 and 3.
    layer = EdgeLayer(np.array([[[3, -6]], [[0, 2]]]), np.ones((2, 1), bool), 3)
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert golden.run(EdgeModel((layer,)), codes)[:, 0].tolist() == [3, 3, -4, -4]


def test_limits_by_hand():
    # s = 3 - 9 x0 + 2 x1, limits -4, 3 and 5: the code is how many s reaches.
    layer = EdgeLayer(np.array([[[3, -6]], [[0, 2]]]), np.ones((2, 1), bool), 2,
                      np.array([[-4, 3, 5]]))
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert golden.run(EdgeModel((layer,)), codes)[:, 0].tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("options", [{}, {"registers": ("layers",), "sum_levels": 1},
                                     {"fabric": "ecp5", "registers": ("layers",)}])
def test_limits_in_rtl(options):
    model, config = counted_model(5), NetworkConfig(**({"registers": ()} | options))
    network = EdgeNetwork(model, config)
    assert _same(model, network, network)


def test_limits_in_the_netlist():
    model, config = counted_model(6), NetworkConfig(registers=("layers",))
    network = EdgeNetwork(model, config)
    assert _same(model, network, network)
    assert _same(model, network, report.netlist(model, config))


@pytest.mark.parametrize("limits, message", [
    (np.zeros((2, 1), np.int64), r"limits must be 1 to 3 for each of 1 outputs, not of shape "
                                 r"\(2, 1\)"),
    (np.array([[3, 1]]),         "limits must ascend"),
])
def test_wrong_limits(limits, message):
    with pytest.raises(ModelError, match=f"^{message}$"):
        EdgeLayer(np.zeros((2, 1, 2), np.int64), np.ones((2, 1), bool), 2, limits)


@pytest.mark.parametrize("registers", [(), ("layers",)])
def test_rtl_equals_golden(registers):
    model = random_edges(0)
    network = EdgeNetwork(model, NetworkConfig(registers=registers))
    assert network.latency == len(registers) * 2
    assert _same(model, network, network)


@pytest.mark.parametrize("seed, sizes", [(1, ((4, 3), (6, 6))), (2, ((3, 2, 2), (3, 7, 4)))])
def test_netlist_equals_golden(seed, sizes):
    model, config = random_edges(seed, sizes), NetworkConfig(registers=("layers",))
    network = EdgeNetwork(model, config)
    assert _same(model, network, network)
    assert _same(model, network, report.netlist(model, config))


def test_reachable_codes():
    tables = np.zeros((1, 2, 4), np.int64)
    tables[0, 0], tables[0, 1] = [0, 1, 2, 3], [-9, 0, 0, 0]
    first = EdgeLayer(tables, np.ones((1, 2), bool), 3)
    second = EdgeLayer(np.zeros((2, 1, 8), np.int64), np.ones((2, 1), bool), 3)
    ok = EdgeModel((first, second)).reachable(1)
    assert ok.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0]]


def _files(folder, **changes):
    tables = {f"0_{i}_{j}": {"acive": 1, "values_int": [i, j, 1, -1]}
              for i in range(2) for j in range(3)}
    (folder / "truth_tables.json").write_text(json.dumps(tables | changes))
    (folder / "config.json").write_text(json.dumps({"layers": [2, 3], "layers_bitwidth": [2, 4]}))
    return folder


def test_files(tmp_path):
    model = load(_files(tmp_path))
    assert golden.run(model, np.array([[0, 1]])).tolist() == [[0, 1, 2]]
    with pytest.raises(ModelError, match="^table 0_1_2 must have 4 entries, not 3$"):
        load(_files(tmp_path, **{"0_1_2": {"acive": 1, "values_int": [1, 2, 3]}}))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="must hold truth_tables.json and config.json: "):
        load(tmp_path)
