"""Small models for the compiler's tests: made here, by ONNX's own helpers or the builder."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hw.compiler.builder import (
    AveragePool,
    BatchNorm,
    Clip,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
    Softmax,
)

__all__ = ["CODES", "model", "qdq", "small_resnet"]

CODES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
         "int32": TensorProto.INT32, "int64": TensorProto.INT64}


def model(nodes, inputs, outputs, constants=(), opset=21, ir=10) -> onnx.ModelProto:
    """``inputs``, ``outputs``: name to (element, shape); ``constants``: name to array."""
    def infos(values):
        return [helper.make_tensor_value_info(k, CODES[e], s) for k, (e, s) in values.items()]

    graph = helper.make_graph(list(nodes), "tested", infos(inputs), infos(outputs),
                              [numpy_helper.from_array(np.asarray(v), k)
                               for k, v in dict(constants).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


class qdq:
    """A quantised model under construction: float nodes between quantisers.

    ``element``: of activations; formats are (scale, zero point).
    """

    def __init__(self, element="int8"):
        self.element, self.nodes, self.constants = element, [], {}
        self.inputs, self.outputs = {}, {}

    def constant(self, name, value) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def format(self, name, scale, zero) -> tuple[str, str]:
        return (self.constant(f"{name}.s", np.float32(scale)),
                self.constant(f"{name}.z", np.asarray(zero, self.element)))

    def input(self, name, shape, scale, zero) -> str:
        """A quantised input; returns its float."""
        self.inputs[name] = (self.element, shape)
        return self.real(name, scale, zero)

    def real(self, name, scale, zero) -> str:
        self.node("DequantizeLinear", [name, *self.format(name, scale, zero)], f"{name}.f")
        return f"{name}.f"

    def node(self, op, inputs, output, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{op}_{output}",
                                           **attributes))
        return output

    def weights(self, name, values, scale, axis=0) -> str:
        """int8 weights, per channel when there are several scales."""
        self.constant(name, np.asarray(values, np.int8))
        self.constant(f"{name}.s", np.asarray(scale, np.float32))
        self.constant(f"{name}.z", np.zeros(np.shape(scale), np.int8))
        axis = {"axis": axis} if np.ndim(scale) else {}
        return self.node("DequantizeLinear", [name, f"{name}.s", f"{name}.z"], f"{name}.f", **axis)

    def bias(self, name, values, scale) -> str:
        self.constant(name, np.asarray(values, np.int32))
        self.constant(f"{name}.s", np.asarray(scale, np.float32))
        return self.node("DequantizeLinear", [name, f"{name}.s"], f"{name}.f",
                         **({"axis": 0} if np.ndim(scale) else {}))

    def quantise(self, value, name, scale, zero) -> str:
        return self.node("QuantizeLinear", [value, *self.format(name, scale, zero)], name)

    def output(self, name, shape, element=None) -> onnx.ModelProto:
        self.outputs[name] = (element or self.element, shape)
        return model(self.nodes, self.inputs, self.outputs, self.constants)


def small_resnet() -> Sequential:
    """All layers of the builder in one network, random weights."""
    rng = np.random.default_rng(1)

    def norm(channels):
        return BatchNorm(*rng.uniform(0.5, 1.5, (4, channels)))

    def bias(channels):
        return rng.normal(size=channels)

    return Sequential((3, 12, 10), [
        Conv2D(8, 3, padding="same", bias=bias(8)), norm(8), ReLU(), MaxPool(3, 2, (1, 1, 1, 1)),
        Residual([Conv2D(8, 3, padding="same"), ReLU(), Conv2D(8, 3, padding="same")]), ReLU(),
        Residual([Conv2D(12, 3, 2, "same"), ReLU(), Conv2D(12, 3, padding="same")],
                 [Conv2D(12, 1, 2)]),
        norm(12), Clip(0, 4), DepthwiseConv2D(3, padding="same", bias=bias(12)), ReLU(),
        AveragePool((1, 2), 1), GlobalAveragePool(), Flatten(), Dense(5, bias=bias(5)), Softmax()])
