"""Ill-formed and unsupported models: each is refused with one sentence, and nothing is written."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hw.compiler.__main__ import main
from hw.options import command

from .models import model, qdq

F = "float32"
ELEMENTS = ("float32, uint8, int8, uint16, int16, int32, int64, bool, float16, float64, uint32, "
            "uint64")


def ones(*shape):
    return np.ones(shape, np.float32)


def node(op, inputs=("x",), outputs=("y",), name="n", **attributes):
    return helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)


def one(op, shape=(1, 3, 8, 8), constants=(), element=F, name="n", inputs=None, **attributes):
    """A model of one node on ``x`` and the constants."""
    inputs = ["x", *dict(constants)] if inputs is None else inputs
    return model([node(op, inputs, name=name, **attributes)], {"x": (element, shape)},
                 {"y": (element, None)}, constants)


def quantised(scale=0.1, zero=0, axis=None):
    m = qdq()
    m.inputs["x"] = (F, (1, 3, 4, 4))
    m.constant("s", np.asarray(scale, np.float32))
    m.constant("z", np.full(np.shape(scale), zero, np.int8))
    m.node("QuantizeLinear", ["x", "s", "z"], "y", **({} if axis is None else {"axis": axis}))
    return m.output("y", (1, 3, 4, 4))


def foreign(op, domain):
    made = one("Relu")
    made.graph.node[0].op_type, made.graph.node[0].domain = op, domain
    made.opset_import.append(helper.make_opsetid(domain, 1))
    return made


def edited(made, edit):
    edit(made)
    return made


def dynamic(made, index, name):
    made.graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    return made


def branch():
    inner = helper.make_graph([node("Relu", ["x"], ["z"])], "inner", [],
                              [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
    return model([node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
                 {"x": (F, (1,)), "c": (F, (1,))}, {"y": (F, (1,))})


def big_constant():
    made = one("Relu")
    made.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[9]))
    made.graph.node[0].op_type = "Add"
    made.graph.node[0].input.append("w")
    return made


def external(location):
    made = one("Add", constants={"w": ones(3, 1, 1)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return made


# What is wrong: the model, and what is said about it.
MODELS = {
    "channels": (lambda: one("Conv", constants={"w": ones(4, 2, 3, 3)}),
                 "Conv n on float32[1, 3, 8, 8] and float32[4, 2, 3, 3]: weights [4, 2, 3, 3] in 1 "
                 "groups must take the 3 channels of input [1, 3, 8, 8]"),
    "groups": (lambda: one("Conv", constants={"w": ones(4, 1, 3, 3)}, group=2),
               "Conv n on float32[1, 3, 8, 8] and float32[4, 1, 3, 3]: weights [4, 1, 3, 3] in 2 "
               "groups must take the 3 channels of input [1, 3, 8, 8]"),
    "bias": (lambda: one("Conv", constants={"w": ones(4, 3, 3, 3), "b": ones(5)}),
             "Conv n on float32[1, 3, 8, 8] and float32[4, 3, 3, 3] and float32[5]: bias must have "
             "shape [4], not [5]"),
    "window": (lambda: one("Conv", constants={"w": ones(4, 3, 9, 9)}),
               "Conv n on float32[1, 3, 8, 8] and float32[4, 3, 9, 9]: a window of [9, 9] must fit "
               "into [8, 8] with pads [0, 0, 0, 0]"),
    "stride": (lambda: one("MaxPool", kernel_shape=[2, 2], strides=[0, 1]),
               "MaxPool n on float32[1, 3, 8, 8]: strides must be 2 numbers of at least 1, not "
               "[0, 1]"),
    "pads": (lambda: one("AveragePool", kernel_shape=[2, 2], pads=[0, 0]),
             "AveragePool n on float32[1, 3, 8, 8]: pads must be 4 numbers of at least 0, not "
             "[0, 0]"),
    "product": (lambda: one("MatMul", (2, 5), {"w": ones(4, 3)}),
                "MatMul n on float32[2, 5] and float32[4, 3]: [2, 5] times [4, 3]: 5 columns must "
                "meet 5 rows, not 4"),
    "gemm": (lambda: one("Gemm", (2, 5), {"w": ones(5, 3), "c": ones(4)}),
             "Gemm n on float32[2, 5] and float32[5, 3] and float32[4]: shapes [4] and [2, 3] do "
             "not broadcast"),
    "addition": (lambda: one("Add", constants={"w": ones(2, 1, 1)}),
                 "Add n on float32[1, 3, 8, 8] and float32[2, 1, 1]: shapes [1, 3, 8, 8] and "
                 "[2, 1, 1] do not broadcast"),
    "types": (lambda: one("Add", constants={"w": np.ones(1, np.int32)}),
              "Add n on float32[1, 3, 8, 8] and int32[1]: elements must be of one type, not "
              "float32 and int32"),
    "reshape": (lambda: one("Reshape", constants={"s": np.array([7, -1])}),
                "Reshape n on float32[1, 3, 8, 8] and int64[2]: [1, 3, 8, 8] must keep its 192 "
                "elements, not become [7, -1]"),
    "permutation": (lambda: one("Transpose", perm=[0, 2, 1]),
                    "Transpose n on float32[1, 3, 8, 8]: perm must order the axes of "
                    "[1, 3, 8, 8], not be [0, 2, 1]"),
    "join": (lambda: one("Concat", constants={"w": ones(1, 3, 8, 7)}, axis=1),
             "Concat n on float32[1, 3, 8, 8] and float32[1, 3, 8, 7]: shapes [1, 3, 8, 8] and "
             "[1, 3, 8, 7] must differ along axis 1 only"),
    "axis": (lambda: one("Flatten", axis=7),
             "Flatten n on float32[1, 3, 8, 8]: axis must be -4 to 3, not 7"),
    "unknown operator": (lambda: foreign("Frobnicate", ""), "n: operator Frobnicate is unknown"),
    "unknown domain": (lambda: foreign("Relu", "org.example"),
                       "n: operator Relu of domain org.example is unknown"),
    "qonnx": (lambda: foreign("Quant", "qonnx.custom_op.general"),
              "Quant n is of domain qonnx.custom_op.general: QONNX (1 to 4 bits) is not read yet "
              "(qonnx.transformation.qonnx_to_qcdq makes QuantizeLinear and Clip of it)"),
    "optimised": (lambda: foreign("FusedConv", "com.microsoft"),
                  "FusedConv n is of domain com.microsoft: operators fused by onnxruntime are not "
                  "read (export the model without its optimisations)"),
    "branches": (branch, "If n holds a graph of its own, which is not read (unroll or fold it "
                 "before the export)"),
    "dynamic": (lambda: dynamic(one("Relu"), 2, "rows"),
                "dimension 2 of input 'x' must be static, not rows (give its size with --dim "
                "rows=SIZE)"),
    "no shape": (lambda: edited(one("Relu"), lambda m: m.graph.input[0].type.tensor_type.ClearField(
        "shape")), "input 'x' must have a shape, and has none"),
    "empty tensor": (lambda: one("Relu", (1, 0, 8, 8)),
                     "'x' must have no dimension of size 0, not shape (1, 0, 8, 8)"),
    "large tensor": (lambda: one("Relu", (1, 1 << 14, 1 << 14, 8)),
                     "'x' must fit into the address space of 4294967296 bytes, not take "
                     "8589934592 bytes as float32[1, 16384, 16384, 8]"),
    "large result": (lambda: one("Pad", constants={"p": np.array([0, 0, 0, 0, 0, 0, 1 << 20,
                                                                  1 << 20])}),
                     "'y' must fit into the address space of 4294967296 bytes, not take "
                     "13194340860672 bytes as float32[1, 3, 1048584, 1048584]"),
    "nan scale": (lambda: quantised(np.nan),
                  "QuantizeLinear QuantizeLinear_y on float32[1, 3, 4, 4] and float32[] and "
                  "int8[]: scale must be positive and finite, not nan"),
    "zero scale": (lambda: quantised([0.1, 0.0, 0.1], axis=1),
                   "QuantizeLinear QuantizeLinear_y on float32[1, 3, 4, 4] and float32[3] and "
                   "int8[3]: scale must be positive and finite, not 0..0.1"),
    "scales": (lambda: quantised([0.1, 0.1], axis=1),
               "QuantizeLinear QuantizeLinear_y on float32[1, 3, 4, 4] and float32[2] and int8[2]: "
               "scale must have 3 values for axis 1 of [1, 3, 4, 4], not 2"),
    "strings": (lambda: edited(one("Identity"), lambda m: setattr(
        m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING)),
        f"elements of 'x' must be one of {ELEMENTS}, not string"),
    "sequence": (lambda: edited(one("Relu"), lambda m: m.graph.input[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1])))),
        "'x' must be a tensor, not a sequence_type"),
    "missing value": (lambda: one("Relu", inputs=["nowhere"]),
                      "n reads 'nowhere', which nothing before it makes"),
    "missing output": (lambda: edited(one("Relu"), lambda m: setattr(
        m.graph.output[0], "name", "z")), "output 'z' is made by nothing"),
    "order": (lambda: model([node("Relu", ["a"], ["y"], "late"), node("Relu", ["x"], ["a"])],
                            {"x": (F, (1,))}, {"y": (F, (1,))}),
              "late reads 'a', which nothing before it makes"),
    "made twice": (lambda: model([node("Relu", name="a"), node("Relu", name="b")],
                                 {"x": (F, (1,))}, {"y": (F, (1,))}),
                   "b makes 'y', which is made already"),
    "no opset": (lambda: edited(one("Relu"), lambda m: m.ClearField("opset_import")),
                 "the model must name its opset, and names none"),
    "no data": (big_constant, "constant 'w' of shape [9] cannot be read: cannot reshape array of "
                "size 0 into shape (9,)"),
    "outside": (lambda: external("../weights.bin"), "external data of model.onnx must be in files "
                "of its folder: "),
    "absolute": (lambda: external("/etc/passwd"), "external data of model.onnx must be in files of "
                 "its folder: "),
    "absent": (lambda: external("weights.bin"), "external data of model.onnx must be in files of "
               "its folder: "),
}


def refused(capsys, path, *options):
    with pytest.raises(SystemExit) as stop:
        command(main)(["check", str(path), *options])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("case", MODELS)
def test_ill_formed_models_are_refused(case, tmp_path, capsys, monkeypatch):
    make, message = MODELS[case]
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(make().SerializeToString())
    monkeypatch.chdir(tmp_path / "model")
    said = refused(capsys, path)
    assert said == message or message.endswith(": ") and said.startswith(message)
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "model.onnx"]


@pytest.mark.parametrize("content, message", [
    (None, "model must be a file, not "),
    (b"", "model.onnx must have 1 to 2147483647 bytes, not 0"),
    (b"no protobuf at all", "model.onnx is no ONNX model: it is truncated or of another kind"),
    ("half", "model.onnx is no ONNX model: it is truncated or of another kind"),
    (onnx.ModelProto(ir_version=10).SerializeToString(),
     "model.onnx is no ONNX model: it holds no graph"),
])
def test_files_that_are_no_models(content, message, tmp_path, capsys):
    path = tmp_path / "model.onnx"
    if content == "half":
        whole = one("Add", constants={"w": ones(3, 64, 64)}).SerializeToString()
        content = whole[:len(whole) // 2]
    if content is not None:
        path.write_bytes(content)
    assert refused(capsys, path).startswith(message)


@pytest.mark.parametrize("options, message", [
    (["--dim", "rows"], "dim must be NAME=SIZE with a size of at least 1, not 'rows'"),
    (["--dim", "rows=0"], "dim must be NAME=SIZE with a size of at least 1, not 'rows=0'"),
    (["--calibration", "absent.npy"], "calibration must be an .npy or .npz file of numbers, not "
     "'absent.npy' ([Errno 2] No such file or directory: 'absent.npy')"),
    (["--calibration", "shape.npy"], "calibration of 'x' must be samples of shape [1, 3, 8, 8], "
     "not an array of shape [2, 5]"),
    (["--calibration", "names.npz"], "calibration must have x, not z"),
])
def test_wrong_options(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(one("Relu").SerializeToString())
    np.save("shape.npy", np.ones((2, 5)))
    np.savez("names.npz", z=np.ones((2, 3, 8, 8)))
    assert refused(capsys, "model.onnx", *options) == message
