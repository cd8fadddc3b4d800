"""The typed graph: its text, what verification refuses, the way to ONNX and back."""

import numpy as np
import pytest

from hw.compiler.graph import Graph, Node
from hw.compiler.onnx_io import from_onnx, to_onnx
from hw.compiler.types import Format, Refusal, TensorType

X = {"x": TensorType("float32", (1, 3, 8, 8))}


def graph(*nodes, constants=(), outputs=("y",), inputs=X):
    return Graph.of("tested", inputs, outputs, nodes, dict(constants))


def ones(*shape):
    return np.ones(shape, np.float32)


def test_text_is_a_line_a_node():
    made = graph(Node("c", "Conv", ("x", "w"), ("c.y",), {"strides": (2, 2)}),
                 Node("r", "Relu", ("c.y",), ("y",)), constants={"w": ones(4, 3, 3, 3)})
    assert str(made) == """graph tested
  input x: float32[1, 3, 8, 8]
  c.y = Conv(x, w, strides=(2, 2)): float32[1, 4, 3, 3]
  y = Relu(c.y): float32[1, 4, 3, 3]
  output y"""


def test_formats_are_types():
    made = graph(Node("q", "QuantizeLinear", ("x", "s", "z"), ("y",)),
                 constants={"s": np.float32(0.5), "z": np.int8(-3)})
    assert made.types["y"] == TensorType("int8", (1, 3, 8, 8), Format((0.5,), (-3,)))
    assert str(made.types["y"]) == "int8[1, 3, 8, 8] * 0.5 zero -3"


def test_what_nobody_reads_is_left_out():
    made = graph(Node("a", "Relu", ("x",), ("y",)), Node("b", "Relu", ("x",), ("z",)),
                 constants={"unused": ones(1)})
    changed = made.change(made.nodes)
    assert [n.name for n in changed.nodes] == ["a"] and not changed.constants


def test_to_onnx_and_back():
    made = graph(Node("c", "Conv", ("x", "w"), ("y",), {"strides": (2, 2)}),
                 constants={"w": ones(4, 3, 3, 3)})
    assert str(from_onnx(to_onnx(made))) == str(made)


def test_real_numbers_of_a_format():
    form = Format((0.5, 2.0), (1, 0), 0)
    assert form.real(np.array([[3, 1], [3, -1]], np.int8)).tolist() == [[1, 0], [6, -2]]
    assert Format((0.5,), (10,)).quantise(1.26, -128, 127) == 13
    assert Format((0.5,), (10,)).quantise(1e9, -128, 127) == 127


@pytest.mark.parametrize("nodes, constants, message", [
    ([Node("r", "Relu", ("w",), ("y",))], {}, "r reads 'w', which nothing before it makes"),
    ([Node("r", "Relu", ("x",), ("z",))], {}, "output 'y' is made by nothing"),
    ([Node("r", "Relu", ("x",), ("y",)), Node("s", "Relu", ("x",), ("y",))], {},
     "s makes 'y', which is made already"),
    ([Node("r", "Relu", ("x",), ("z",)), Node("r", "Relu", ("z",), ("y",))], {},
     "2 nodes are called 'r'"),
    ([Node("c", "Conv", ("x", "w"), ("y",))], {"w": ones(4, 2, 3, 3)},
     "Conv c on float32[1, 3, 8, 8] and float32[4, 2, 3, 3]: weights [4, 2, 3, 3] in 1 groups must "
     "take the 3 channels of input [1, 3, 8, 8]"),
    ([Node("c", "Conv", ("x", "w", "b"), ("y",))], {"w": ones(4, 3, 1, 1), "b": ones(3)},
     "Conv c on float32[1, 3, 8, 8] and float32[4, 3, 1, 1] and float32[3]: bias must have shape "
     "[4], not [3]"),
    ([Node("a", "Add", ("x", "w"), ("y",))], {"w": ones(4, 1, 1)},
     "Add a on float32[1, 3, 8, 8] and float32[4, 1, 1]: shapes [1, 3, 8, 8] and [4, 1, 1] do not "
     "broadcast"),
    ([Node("m", "MatMul", ("x", "w"), ("y",))], {"w": ones(7, 2)},
     "MatMul m on float32[1, 3, 8, 8] and float32[7, 2]: [1, 3, 8, 8] times [7, 2]: 8 columns must "
     "meet 8 rows, not 7"),
    ([Node("g", "Gemm", ("x", "w"), ("y",))], {"w": ones(8, 2)},
     "Gemm g on float32[1, 3, 8, 8] and float32[8, 2]: input 0 must have rank 2 to 2, not shape "
     "[1, 3, 8, 8]"),
    ([Node("p", "MaxPool", ("x",), ("y",), {"kernel_shape": (9, 9)})], {},
     "MaxPool p on float32[1, 3, 8, 8]: a window of [9, 9] must fit into [8, 8] with pads "
     "[0, 0, 0, 0]"),
    ([Node("r", "Reshape", ("x", "s"), ("y",))], {"s": np.array([1, 5, -1])},
     "Reshape r on float32[1, 3, 8, 8] and int64[3]: [1, 3, 8, 8] must keep its 192 elements, not "
     "become [1, 5, -1]"),
    ([Node("t", "Transpose", ("x",), ("y",), {"perm": (0, 1, 2)})], {},
     "Transpose t on float32[1, 3, 8, 8]: perm must order the axes of [1, 3, 8, 8], not be "
     "[0, 1, 2]"),
    ([Node("j", "Concat", ("x", "w"), ("y",), {"axis": 1})], {"w": ones(1, 3, 8, 7)},
     "Concat j on float32[1, 3, 8, 8] and float32[1, 3, 8, 7]: shapes [1, 3, 8, 8] and "
     "[1, 3, 8, 7] must differ along axis 1 only"),
    ([Node("q", "QuantizeLinear", ("x", "s"), ("y",))], {"s": np.float32(np.nan)},
     "QuantizeLinear q on float32[1, 3, 8, 8] and float32[]: scale must be positive and finite, "
     "not nan"),
    ([Node("q", "QuantizeLinear", ("x", "s"), ("y",), {"axis": 1})], {"s": ones(2)},
     "QuantizeLinear q on float32[1, 3, 8, 8] and float32[2]: scale must have 3 values for axis 1 "
     "of [1, 3, 8, 8], not 2"),
    ([Node("f", "Flatten", ("x",), ("y",), {"axis": 9})], {},
     "Flatten f on float32[1, 3, 8, 8]: axis must be -4 to 3, not 9"),
])
def test_ill_formed_graphs_are_refused(nodes, constants, message):
    with pytest.raises(Refusal) as error:
        graph(*nodes, constants=constants)
    assert str(error.value) == message
    assert error.value.node == ("" if message.startswith("output") else nodes[-1].name)
