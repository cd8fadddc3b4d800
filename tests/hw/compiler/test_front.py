"""Whole models: operators within 1 LSB of the reference, each on the reference's own input."""

import numpy as np
import onnx
import pytest

from hw.compiler.front import load
from hw.compiler.importer import calibration_inputs, prepare, quantise_to
from hw.compiler.onnx_io import to_onnx
from hw.compiler.operators import Add, Concat, Conv, Host, MaxPool, Scale, SumPool
from sim import rungs

from .models import qdq, small_resnet


def samples_of(front, count=6, seed=0):
    rng = np.random.default_rng(seed)
    kinds = {i: front.graph.types[i] for i in front.graph.inputs}

    def one(kind):
        if kind.element == "float32":
            return rng.standard_normal(kind.shape).astype(np.float32)
        low, high = (-128, 128) if kind.element == "int8" else (0, 256)
        return rng.integers(low, high, kind.shape).astype(kind.element)

    return [{k: one(v) for k, v in kinds.items()} for _ in range(count)]


def check(model, core, **options):
    """Compiled, layer by layer within 1 LSB, and its core's steps of the types ``core``."""
    front = load(model, **options)
    steps = [s for s in front.network.steps if not isinstance(s, Host)]
    assert [type(s) for s in steps] == list(core)
    samples = samples_of(front)
    for layer in rungs.layers(front, samples):
        assert layer.worst <= 1, layer
    stacked = {k: np.stack([s[k] for s in samples]) for k in samples[0]}
    ours, theirs = rungs.operators(front, stacked, batch=4), rungs.reference(front.model, stacked)
    assert list(ours) == list(theirs)
    for name, value in rungs.graph(front, stacked).items():
        np.testing.assert_array_equal(value, ours[name])  # the same bits, computed by ONNX
    return front, [(ours[k], theirs[k]) for k in ours]


def conv(element="int8", weights=(4, 3, 3, 3), size=(7, 6), per_channel=True, zero=5, act=None,
         **attributes):
    rng = np.random.default_rng(0)
    zero += 128 * (element == "uint8")
    m = qdq(element)
    x = m.input("x", (1, weights[1] * attributes.get("group", 1), *size), 0.04, zero)
    scale = np.linspace(0.01, 0.05, weights[0]) if per_channel else 0.03
    w = m.weights("w", rng.integers(-128, 128, weights), scale)
    b = m.bias("b", rng.integers(-9000, 9000, weights[0]), np.float32(0.04) * np.float32(scale))
    y = m.node("Conv", [x, w, b], "c", **attributes)
    if act == "Relu":
        y = m.node("Relu", [y], "r")
    if act == "Clip":
        m.constant("low", np.float32(-0.5))
        m.constant("high", np.float32(6.0))
        y = m.node("Clip", [y, "low", "high"], "r")
    m.quantise(y, "out", 0.11, zero - 30)
    return m.output("out", None)


CONVS = {
    "plain": {},
    "per tensor": {"per_channel": False},
    "uint8": {"element": "uint8", "pads": (1, 1, 1, 1)},
    "padded, strided": {"pads": (1, 0, 2, 1), "strides": (2, 3)},
    "dilated": {"dilations": (2, 2), "pads": (2, 2, 2, 2)},
    "same": {"auto_pad": "SAME_UPPER", "strides": (2, 2)},
    "same, lower": {"auto_pad": "SAME_LOWER", "strides": (2, 2)},
    "groups": {"weights": (6, 2, 3, 3), "group": 3},
    "depthwise": {"weights": (4, 1, 3, 3), "group": 4, "pads": (1, 1, 1, 1)},
    "two a channel": {"weights": (6, 1, 3, 3), "group": 3},
    "one-dimensional": {"weights": (4, 3, 3), "size": (9,), "pads": (1, 0), "strides": (2,)},
    "relu": {"act": "Relu"},
    "clip": {"act": "Clip"},
}


@pytest.mark.parametrize("case", CONVS)
def test_convolutions(case):
    _, pairs = check(conv(**CONVS[case]), [Conv])
    for ours, theirs in pairs:
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def binary(op, formats, out, constant=None, act=False):
    m = qdq()
    names = [m.input(f"x{i}", (1, 3, 4, 5), *form) for i, form in enumerate(formats)]
    if constant is not None:
        names.append(m.constant("k", np.float32(constant)))
    y = m.node(op, names, "y")
    if act:
        y = m.node("Relu", [y], "r")
    m.quantise(y, "out", *out)
    return m.output("out", None)


PER_CHANNEL = np.array([0.5, -1.5, 0.0]).reshape(3, 1, 1)


@pytest.mark.parametrize("model, core", [
    (lambda: binary("Add", [(0.05, 3), (0.02, -9)], (0.06, 1)), [Add]),
    (lambda: binary("Add", [(0.05, 3), (0.0003, -9)], (0.06, 1), act=True), [Add]),
    (lambda: binary("Add", [(1.0, -128), (1.0, 127)], (0.5, 0)), [Add]),
    (lambda: binary("Add", [(0.05, 3)], (0.06, 1), 0.1234), [Conv]),  # finer than a step of x
    (lambda: binary("Add", [(0.05, 3)], (0.06, 1), 0.15), [Scale]),   # three steps of x
    (lambda: binary("Add", [(0.05, 3)], (0.06, 1), PER_CHANNEL), [Scale]),
    (lambda: binary("Mul", [(0.05, 3)], (0.06, 1), 0.7, act=True), [Scale]),
    (lambda: binary("Mul", [(0.05, 3)], (0.06, 1), PER_CHANNEL), [Conv]),  # a sign, a zero
    (lambda: binary("Relu", [(0.05, 3)], (0.03, -128)), [Scale]),
    (None, (0.06, 1)),  # Concat: one input has another format
    (None, (0.07, 0)),  # both have
])
def test_elementwise(model, core):
    if model is None:  # Concat wants its axis: made here
        m = qdq()
        names = [m.input(f"x{i}", (1, 3, 4, 5), *f) for i, f in enumerate([(0.05, 3), (0.06, 1)])]
        m.quantise(m.node("Concat", names, "y", axis=1), "out", *core)
        check(m.output("out", None), [Scale, Concat] if core[1] else [Scale, Scale, Concat])
        return
    check(model(), core)


def pool(op, out=(0.05, 3), shape=(1, 3, 7, 8), **attributes):
    m = qdq()
    x = m.input("x", shape, 0.05, 3)
    m.quantise(m.node(op, [x], "y", **attributes), "out", *out)
    return m.output("out", None)


@pytest.mark.parametrize("model, core", [
    (lambda: pool("MaxPool", kernel_shape=(2, 3), strides=(2, 2), pads=(0, 1, 1, 1)), [MaxPool]),
    (lambda: pool("MaxPool", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1), [MaxPool]),
    (lambda: pool("MaxPool", kernel_shape=(2, 2), dilations=(2, 3)), [MaxPool]),
    (lambda: pool("MaxPool", (0.07, 1), kernel_shape=(2, 2)), [MaxPool, Scale]),
    (lambda: pool("MaxPool", shape=(1, 3, 9), kernel_shape=(2,), strides=(2,)), [MaxPool]),
    (lambda: pool("AveragePool", (0.03, 1), kernel_shape=(2, 3), strides=(2, 2)), [SumPool]),
    (lambda: pool("AveragePool", kernel_shape=(2, 2), pads=(1, 1, 0, 1), count_include_pad=1),
     [SumPool]),
    (lambda: pool("GlobalAveragePool", (0.02, -9)), [SumPool]),
])
def test_pools(model, core):
    check(model(), core)


def test_small_resnet_of_the_builder():
    """Every layer of the builder; two batch norms have no convolution before them."""
    front, ((ours, theirs),) = check(small_resnet().graph(), [
        Conv, MaxPool, Conv, Conv, Add, Conv, Conv, Conv, Add, Conv, Conv, SumPool, SumPool, Conv])
    assert [s.node.op for s in front.network.steps if isinstance(s, Host)] == [
        "QuantizeLinear", "DequantizeLinear", "Softmax"]
    assert np.abs(ours - theirs).max() < 0.05


# onnxruntime's ways to quantise: form, activations, weights, per channel, symmetric.
FORMS = {
    "QDQ, uint8, per channel": ("QDQ", "QUInt8", "QInt8", True, False),
    "QDQ, int8, per tensor": ("QDQ", "QInt8", "QInt8", False, False),
    "QDQ, uint8 weights": ("QDQ", "QUInt8", "QUInt8", False, False),
    "operators, uint8": ("QOperator", "QUInt8", "QInt8", True, False),
    "operators, int8": ("QOperator", "QInt8", "QInt8", False, True),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_of_onnxruntime(case, tmp_path):
    form, activations, weights, per_channel, symmetric = FORMS[case]
    model = prepare(to_onnx(small_resnet().graph()))
    inputs = calibration_inputs(model, 4)
    quantise_to(tmp_path / "model.onnx", model, inputs, form, activations, weights, per_channel,
                symmetric)
    front = load(tmp_path / "model.onnx")
    hosts = [s.node.op for s in front.network.steps if isinstance(s, Host)]
    assert hosts == ["QuantizeLinear", "DequantizeLinear", "Softmax"]
    for layer in rungs.layers(front, samples_of(front)):
        assert layer.worst <= 1, layer


def test_batches_run_image_by_image():
    m = qdq()
    x = m.input("x", (3, 2, 4, 4), 0.05, 3)
    y = m.node("Conv", [x, m.weights("w", np.arange(18).reshape(1, 2, 3, 3), 0.02)], "c")
    m.quantise(m.node("Flatten", [m.real(m.quantise(y, "q", 0.3, 0), 0.3, 0)], "f"), "g", 0.3, 0)
    m.quantise(m.node("Softmax", [m.real("g", 0.3, 0)], "s"), "out", 0.01, -128)
    _, ((ours, theirs),) = check(m.output("out", None), [Conv])
    assert ours.shape == theirs.shape == (6, 3, 4)


def host_reasons(model):
    front = load(model)
    assert all(isinstance(s, Host) for s in front.network.steps)
    check(model, [])
    return {s.reason for s in front.network.steps}


@pytest.mark.parametrize("model, reason", [
    (lambda: pool("AveragePool", kernel_shape=(2, 2), pads=(1, 1, 0, 0)),
     "its windows have different numbers of elements"),
    (lambda: pool("Sigmoid"), "Sigmoid is not among the core's operators"),
    (lambda: pool("MaxPool", shape=(1, 2, 3, 4, 5), kernel_shape=(2, 2, 2)),
     "an operand has rank 5"),
    (lambda: binary("Add", [(0.05, 3)], (0.06, 1), np.arange(5)),
     "its constant varies within a channel"),
    (lambda: binary("Mul", [(0.05, 3), (0.02, 1)], (0.06, 1)), "both operands are computed"),
])
def test_what_the_core_cannot_do_runs_on_the_host(model, reason):
    assert reason in host_reasons(model())


def test_what_a_model_computes_of_constants_is_folded():
    """A shape, cut out of a shape and joined."""
    nodes = [onnx.helper.make_node("Shape", ["x"], ["shape"], end=1),
             onnx.helper.make_node("Concat", ["shape", "rest"], ["wanted"], axis=0),
             onnx.helper.make_node("Reshape", ["x", "wanted"], ["y"])]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
              for name, shape in (("x", (2, 3, 4)), ("y", (2, 12)))]
    rest = onnx.numpy_helper.from_array(np.array([-1], np.int64), "rest")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [rest]),
        opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    assert [node.op_type for node in prepare(model).graph.node] == ["Reshape"]
