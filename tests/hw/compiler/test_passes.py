"""Passes: what each makes of a small graph, and the checker that holds them to their promise."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from hw.compiler.builder import Conv2D, Dense, Flatten, ReLU, Sequential
from hw.compiler.compare import Bounded, Exact, Miscompiled
from hw.compiler.front import load
from hw.compiler.graph import Graph
from hw.compiler.importer import prepare
from hw.compiler.onnx_io import from_onnx
from hw.compiler.operators import Conv, Host
from hw.compiler.passes import PASSES, Pass, drive

from .models import model, qdq


def small_cnn(element="int8"):
    """Conv, Relu between two quantisers, flatten, dense: with zero points everywhere."""
    rng = np.random.default_rng(0)
    zero = {"int8": -7, "uint8": 121}[element]
    m = qdq(element)
    x = m.input("x", (1, 2, 5, 4), 0.05, zero)
    w = m.weights("w", rng.integers(-128, 128, (3, 2, 3, 3)), [0.01, 0.02, 0.03])
    b = m.bias("b", rng.integers(-500, 500, 3), 0.05 * np.array([0.01, 0.02, 0.03]))
    m.node("Conv", [x, w, b], "c", pads=(1, 1, 1, 1))
    y = m.real(m.quantise("c", "cq", 0.07, zero + 3), 0.07, zero + 3)
    y = m.real(m.quantise(m.node("Relu", [y], "r"), "rq", 0.07, zero + 3), 0.07, zero + 3)
    y = m.node("Flatten", [y], "flat")
    v = m.weights("v", rng.integers(-128, 128, (60, 5)), np.linspace(0.01, 0.02, 5), axis=1)
    m.quantise(m.node("Gemm", [y, v], "g"), "out", 0.9, zero)
    return m.output("out", (1, 5))


def ops(graph):
    return [n.op for n in graph.nodes]


def through(graph, last):
    """``graph`` after all passes up to the one named ``last``."""
    names = [p.name for p in PASSES]
    return drive(graph, PASSES[:names.index(last) + 1], checked=False)


def test_every_pass_keeps_its_promise():
    seen = []
    drive(from_onnx(small_cnn("uint8")), progress=lambda step, graph: seen.append(step.name))
    assert seen == [p.name for p in PASSES]


def test_quantisers_become_operators():
    made = through(from_onnx(small_cnn()), "to_integer")
    assert ops(made) == ["npu.Conv", "npu.Scale", "Flatten", "npu.Gemm"]
    made = through(from_onnx(small_cnn()), "absorb_clamps")
    assert ops(made) == ["npu.Conv", "Flatten", "npu.Gemm"]
    assert made.nodes[0].attributes["low"] == -4  # the zero point, of the Relu
    made = drive(from_onnx(small_cnn()), checked=False)
    assert ops(made) == ["npu.Conv", "npu.Conv", "Reshape"]
    assert made.constants["out~kernel"].shape == (5, 3, 5, 4)


def test_uint8_becomes_int8_with_the_host_at_the_borders():
    front = load(small_cnn("uint8"))
    hosts = [s.node.op for s in front.network.steps if isinstance(s, Host)]
    assert hosts == ["DequantizeLinear", "QuantizeLinear"] * 2
    assert front.network.steps[2].requantise.zero_point == -4


# How padding, transposes and shapes around operators end: name, model, the graph's operators.
def padded(value=0.0, window="Conv"):
    m = qdq()
    x = m.input("x", (1, 2, 4, 4), 0.5, 3)
    m.constant("pads", np.array([0, 0, 1, 0, 0, 0, 0, 2]))
    m.constant("value", np.float32(value))
    m.node("Pad", [x, "pads", "value"], "p")
    y = m.real(m.quantise("p", "pq", 0.5, 3), 0.5, 3)
    if window == "Conv":
        m.node("Conv", [y, m.weights("w", np.ones((1, 2, 3, 3)), 0.1)], "c", pads=(0, 1, 0, 0))
    else:
        m.node(window, [y], "c", kernel_shape=(3, 3), pads=(0, 1, 0, 0), count_include_pad=1)
    m.quantise("c", "out", 0.5, 0)
    return m.output("out", None)


@pytest.mark.parametrize("value, window, left", [
    (0.0, "Conv", ["npu.Conv"]), (0.0, "AveragePool", ["npu.AveragePool"]),
    (2.5, "Conv", ["npu.Pad", "npu.Conv"])])  # 2.5 is no zero: a pad of its own
def test_padding_goes_into_the_window(value, window, left):
    front = load(padded(value, window))
    assert ops(front.graph) == left
    step = front.network.steps[-1]
    assert step.window.pads == ((1, 1, 0, 2) if value == 0 else (0, 1, 0, 0))
    assert step.pad_value == 3


def test_transposes_meet_behind_pointwise_operators():
    m = qdq()
    x = m.input("x", (1, 4, 5, 3), 0.5, 3)  # channels last
    y = m.node("Transpose", [x], "t", perm=(0, 3, 1, 2))
    m.quantise(m.node("Relu", [y], "r"), "rq", 0.25, -128)
    y = m.node("Transpose", [m.real("rq", 0.25, -128)], "back", perm=(0, 2, 3, 1))
    m.quantise(y, "out", 0.25, -128)
    made = load(m.output("out", (1, 4, 5, 3))).graph
    assert "Transpose" not in ops(made)


def test_rows_of_a_product_are_pixels():
    """Two products in a row: the transposes between them cancel."""
    rng = np.random.default_rng(0)
    m = qdq()
    x = m.input("x", (1, 6, 4), 0.5, 3)
    m.node("MatMul", [x, m.weights("w", rng.integers(-9, 9, (4, 5)), 0.1)], "p")
    m.constant("b", np.arange(5, dtype=np.float32))
    m.quantise(m.node("Add", ["p", "b"], "s"), "sq", 0.4, -1)
    m.node("MatMul", [m.real("sq", 0.4, -1), m.weights("v", rng.integers(-9, 9, (5, 2)), 0.1)],
           "q")
    m.quantise("q", "out", 0.5, 0)
    front = load(m.output("out", (1, 6, 2)))
    assert [type(s) for s in front.network.steps] == [Host, Conv, Conv, Host]
    assert ops(front.graph).count("Transpose") == 2


def test_flatten_after_channels_last_is_the_order_of_the_weights():
    m = qdq()
    x = m.input("x", (1, 2, 3, 2), 0.5, 0)
    y = m.node("Transpose", [x], "t", perm=(0, 2, 3, 1))
    y = m.node("Flatten", [y], "flat")
    m.node("Gemm", [y, m.weights("w", np.arange(12).reshape(12, 1), 0.5)], "g")
    m.quantise("g", "out", 1.0, 0)
    front = load(m.output("out", (1, 1)))
    (step,) = [s for s in front.network.steps if isinstance(s, Conv)]
    # weight (channel, row, column) of element (row, column, channel) of the flattened input
    assert step.weights[0].tolist() == np.arange(12).reshape(3, 2, 2).transpose(2, 0, 1).tolist()
    assert len(front.network.steps) == 1


def wrong_clamp(graph: Graph) -> Graph:
    """A pass that is wrong on purpose: every clamp one too low."""
    return graph.change([replace(n, attributes={**n.attributes,
                                                "low": max(n.attributes["low"] - 1, -128)})
                         if n.op == "npu.Conv" else n for n in graph.nodes])


def wrong_weights(graph: Graph) -> Graph:
    """Wrong on purpose: one weight of hundreds has the wrong sign."""
    name = "out~weights"
    weights = graph.constants[name].copy()
    weights[2, 7] = 127 if weights[2, 7] < 0 else -128
    return graph.change(graph.nodes, {name: weights})


@pytest.mark.parametrize("wrong, keeps, value", [
    (wrong_clamp, Exact(), "rq"), (wrong_weights, Exact(), "out"),
    (wrong_weights, Bounded(0, 0), "out")])
def test_the_check_bites(wrong, keeps, value):
    graph = through(from_onnx(small_cnn()), "absorb_clamps")
    drive(graph, [Pass(lambda g: g, Exact())])
    with pytest.raises(Miscompiled, match=f"^{wrong.__name__}: '{value}' differs by .* on input "
                                          ".*, declared"):
        drive(graph, [Pass(wrong, keeps)])


def test_a_bound_holds_for_each_layer_and_not_for_their_sum():
    """An error of one LSB in the first layer reaches further in the second, and is allowed."""
    graph = through(from_onnx(small_cnn()), "absorb_clamps")
    drive(graph, [Pass(wrong_clamp, Bounded(1, 0))])
    with pytest.raises(Miscompiled, match="declared within 0 LSB a layer"):
        drive(graph, [Pass(wrong_clamp, Bounded(0, 0))])


def test_constants_fold_and_batch_norms_go_into_convolutions():
    rng = np.random.default_rng(0)
    norm = [rng.uniform(0.5, 1.5, 3).astype(np.float32) for _ in range(4)]
    m = model([helper.make_node("Conv", ["x", "w"], ["c"]),
               helper.make_node("BatchNormalization", ["c", "a", "b", "m", "v"], ["n"]),
               helper.make_node("Add", ["one", "two"], ["three"]),
               helper.make_node("Mul", ["n", "three"], ["y"])],
              {"x": ("float32", (1, 2, 4, 4))}, {"y": ("float32", (1, 3, 2, 2))},
              {"w": rng.normal(size=(3, 2, 3, 3)).astype(np.float32), "one": np.float32(1),
               "two": np.float32(-1), **dict(zip("abmv", norm))}, opset=17, ir=8)
    ops = [n.op_type for n in prepare(m).graph.node]
    assert ops.count("Conv") == 1 and "BatchNormalization" not in ops


def test_other_spellings_of_operators():
    m = model([helper.make_node("Sum", ["x", "x2"], ["s"]),
               helper.make_node("ReduceMean", ["s", "axes"], ["y"], keepdims=1),
               helper.make_node("ReduceMean", ["s", "rows"], ["z"], keepdims=1)],
              {"x": ("float32", (1, 3, 4, 4)), "x2": ("float32", (1, 3, 4, 4))},
              {"y": ("float32", (1, 3, 1, 1)), "z": ("float32", (1, 3, 1, 4))},
              {"axes": np.array([-1, 2]), "rows": np.array([2])}, opset=18, ir=8)
    assert sorted(n.op_type for n in prepare(m).graph.node) == [
        "Add", "GlobalAveragePool", "ReduceMean"]


def test_builder_and_file_are_one_path():
    model = Sequential((1, 6, 6), [Conv2D(2, 3), ReLU(), Flatten(), Dense(3)]).graph()
    front = load(model)
    assert [type(s) for s in front.network.steps if not isinstance(s, Host)] == [Conv, Conv]
    assert front.real is not None and "standard normal inputs, seed 0" in front.notes[0]
