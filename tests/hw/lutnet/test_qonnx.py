"""QONNX networks as tables: what the reference evaluator gives, and what is refused.

Bit for bit where scales are powers of two: with others the source's own sums are rounded.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hw.lutnet import __main__ as lutnet
from hw.lutnet import data as datasets
from hw.lutnet import qonnx
from hw.lutnet.config import NetworkConfig
from hw.lutnet.edges import EdgeNetwork
from hw.lutnet.model import ModelError
from hw.options import command
from sim.golden import edges as golden
from sim.golden import qonnx as golden_qonnx
from sim.lutnet import payload
from sim.verilated import Engine

SHARED = Path(os.environ.get("NPUGEN_SHARED", "absent"))
DOMAIN = "qonnx.custom_op.general"


class Graph:
    """A QONNX graph that grows at its end."""

    def __init__(self, seed, features):
        self.rng, self.nodes, self.constants = np.random.default_rng(seed), [], []
        self.features, self.at = features, "x"

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, kind, *inputs, domain="", to=None, **attributes):
        out = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [to or self.at, *inputs], [out], name=out,
                                           domain=domain, **attributes))
        if to is None:
            self.at = out
        return out

    def quant(self, bits, scale=0.5, to=None, **attributes):
        if bits == "bipolar":
            return self.node("BipolarQuant", self.constant(scale), domain=DOMAIN, to=to)
        return self.node("Quant", self.constant(scale), self.constant(0), self.constant(bits),
                         domain=DOMAIN, to=to, **attributes)

    def dense(self, inputs, outputs, bits, scale=0.25, **attributes):
        weight = self.constant(self.rng.normal(0, 0.5, (inputs, outputs)))
        self.node("MatMul", self.quant(bits, scale, to=weight, **attributes))

    def norm(self, outputs):
        self.node("BatchNormalization", *map(self.constant, (
            self.rng.normal(0, 1, outputs), self.rng.normal(0, 0.3, outputs),
            self.rng.normal(0, 1, outputs), self.rng.random(outputs) + 0.5)), epsilon=1e-5)

    def model(self):
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                                            [1, self.features])],
            [helper.make_tensor_value_info(self.at, TensorProto.FLOAT, None)], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def _network(bits, weight_bits, *, last=None, even=True, **options):
    """13 features, layers of 11, 7 and 4: norms of either sign, a ReLU, scales of each kind.

    ``even``: the scales are powers of two.
    """
    g = Graph(len(str(bits)), 13)
    g.node("Mul", g.constant(2))
    g.node("Sub", g.constant(1))
    g.quant(bits, **options)
    g.dense(13, 11, weight_bits)
    g.norm(11)
    g.quant(bits, **options)
    scales = 2.0 ** -(np.arange(7) % 3) if even else np.linspace(0.2, 0.6, 7)
    g.dense(11, 7, weight_bits, scales[None])  # one for each output
    g.norm(7)
    g.node("Relu")
    g.quant(3 if bits == "bipolar" else bits, 0.25 if even else 0.3, signed=0)
    g.dense(7, 4, weight_bits)
    g.node("Add", g.constant(0.125))
    if last:
        g.quant(last)
    return g.model()


#   activations, weights, options
NETWORKS = [
    ("bipolar", "bipolar", {}),
    (2, 2, {"narrow": 1, "scale": 0.4, "even": False}),
    (3, "bipolar", {"scale": 0.3, "even": False}),
    (3, 3, {"rounding_mode": "FLOOR", "last": 2}),
    (2, 3, {"signed": 0, "rounding_mode": "CEIL"}),
]


@pytest.mark.parametrize("bits, weight_bits, options", NETWORKS)
def test_every_output_is_the_source_s(bits, weight_bits, options):
    source = _network(bits, weight_bits, **options)
    imported = qonnx.from_qonnx(source)
    x = np.random.default_rng(1).random((300, 13)).astype(np.float32)
    results = golden.run(imported.model, imported.codes(x))
    own = golden_qonnx.run(source, x)
    outputs = imported.results(results)
    np.testing.assert_allclose(outputs, own, rtol=0, atol=0 if options.get("even", True) else 1e-6)
    assert len(np.unique(own)) > 3


@pytest.mark.parametrize("bits, weight_bits, options", NETWORKS[:1] + NETWORKS[3:4])
def test_rtl_equals_golden(bits, weight_bits, options):
    imported = qonnx.from_qonnx(_network(bits, weight_bits, **options))
    model, config = imported.model, NetworkConfig(registers=("layers",))
    codes = imported.codes(np.random.default_rng(2).random((500, 13))).astype(np.uint8)
    network, last = EdgeNetwork(model, config), model.layers[-1]
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, model.layers[0].in_bits)}, ["o"],
                          latency=network.latency)["o"]
    np.testing.assert_array_equal(
        out, payload(golden.run(model, codes) & (1 << last.out_bits) - 1, last.out_bits))


def _one(change):
    g = Graph(0, 5)
    change(g)
    return g.model()


def _small(g, bits=2, weights=2):
    g.quant(bits)
    g.dense(5, 3, weights)


def _wrong_zero(g):
    g.node("Quant", g.constant(1), g.constant(1), g.constant(2), domain=DOMAIN)


def _bump(g):
    """A level that rises and falls: a norm, its absolute value by way of Softmax's like."""
    _small(g)
    g.node("Abs")
    g.quant(2)


#   graph                                                     message
REFUSED = [
    (lambda g: _small(g, bits=6),                             r"quantisers must have 1 to 3 bits, "
     r"not 6 \(Quant_0\)"),
    (lambda g: _small(g, weights=4),                          r"quantisers must have 1 to 3 bits, "
     r"not 4 \(Quant_1\)"),
    (_wrong_zero,                                             r"quantisers must have the zero point"
     r" 0, not 1 \(Quant_0\)"),
    (lambda g: g.dense(5, 3, 2),                              "MatMul MatMul_1 must come directly "
     "behind a quantiser of 1 to 3 bits"),
    (_bump,                                                   "Abs Abs_3 is not known between "
     "layers: only Mul, Add, Sub, Div, Relu, Identity, BatchNormalization"),
    (lambda g: (g.quant(2), g.node("MatMul", g.constant(np.ones((5, 3))))), "MatMul MatMul_1 must "
     "multiply quantised data by quantised weights"),
    (lambda g: g.quant(2),                                    "the graph must hold a quantiser of "
     "its input and a dense layer"),
    (lambda g: g.quant(2, rounding_mode="UP"),                "rounding_mode must be one of ROUND, "
     "FLOOR, CEIL, ROUND_TO_ZERO, HALF_EVEN, not UP"),
]


@pytest.mark.parametrize("change, message", REFUSED)
def test_refused(change, message):
    with pytest.raises(ModelError, match=f"^{message}$"):
        qonnx.from_qonnx(_one(change))


def test_files(tmp_path, capsys):
    (tmp_path / "x.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="^x.onnx cannot be read as ONNX: "):
        qonnx.load(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="^none.onnx does not exist$"):
        qonnx.load(tmp_path / "none.onnx")
    onnx.save(_one(lambda g: _small(g, bits=6)), tmp_path / "six.onnx")
    with pytest.raises(SystemExit) as stop:
        command(lutnet.main)(["import", str(tmp_path / "six.onnx")])
    assert stop.value.code == 2
    assert capsys.readouterr().err == \
        "error: six.onnx: quantisers must have 1 to 3 bits, not 6 (Quant_0)\n"


def test_command(tmp_path, capsys):
    onnx.save(_network(2, 2), tmp_path / "n.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", X=rng.random((200, 13)), y=rng.integers(0, 4, 200))
    assert lutnet.main(["import", str(tmp_path / "n.onnx"), "--data", str(tmp_path / "d.npz")]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["equal_to_source"] and line["rtl_equal"] and line["n"] == 40
    assert line["accuracy"] == line["source_accuracy"]


@pytest.mark.skipif(not (SHARED / "models").is_dir(),
                    reason="NPUGEN_SHARED must name the folder with models and data")
@pytest.mark.parametrize("name, least", [("tfc_1W1A", 0.90), ("tfc_2W2A", 0.93)])
def test_published_networks(name, least):
    """Brevitas' MNIST networks: 93.2 and 96.6 % as published."""
    path = SHARED / "models" / "qonnx_tfc_mnist" / f"{name}.onnx"
    data, imported = datasets.load(str(SHARED / "data" / "mnist")), qonnx.load(path)
    x = data.x_test[:100].astype(np.float32) / np.float32(255)
    outputs = imported.results(golden.run(imported.model, imported.codes(x)))
    np.testing.assert_array_equal(outputs, golden_qonnx.run(path, x))
    assert (outputs.argmax(1) == data.y_test[:100]).mean() >= least
