"""QONNX as its authors define it: onnx's reference evaluator with the operators of QONNX.

Written from the operators' description, and not from :mod:`hw.lutnet.qonnx`: what an import is
compared with.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

__all__ = ["run"]

_DOMAINS = ("onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")


class BatchNormalization(OpRun):
    """Of opset 9 the evaluator mixes the statistics of the batch in, which is for training."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, momentum=0.9, spatial=1,
             training_mode=0):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, bias, mean, var = (v.reshape(shape) for v in (scale, bias, mean, var))
        y = scale * (x - mean) / np.sqrt(var + np.float32(epsilon)) + bias
        return (y.astype(np.float32),)


def _operators(domain: str) -> list[type[OpRun]]:
    class BipolarQuant(OpRun):
        op_domain = domain

        def _run(self, x, scale):
            return (np.where(x >= 0, np.float32(1), np.float32(-1)) * scale,)

    class Quant(OpRun):
        op_domain = domain

        def _run(self, x, scale, zeropt, bitwidth, signed=1, narrow=0, rounding_mode="ROUND"):
            top = 2.0 ** (bitwidth - 1 if signed else bitwidth) - 1
            low = -top - 1 if signed else np.float32(0)
            low, top = (low + 1, top) if signed and narrow else (low, top - narrow) \
                if narrow else (low, top)
            y = np.minimum(np.maximum(x / scale + zeropt, low), top)
            rounded = {"ROUND": np.round, "FLOOR": np.floor, "CEIL": np.ceil,
                       "ROUND_TO_ZERO": np.trunc}[rounding_mode](y)
            return (((rounded - zeropt) * scale).astype(np.float32),)

    return [BipolarQuant, Quant]


def run(model: onnx.ModelProto | str | Path, x: np.ndarray) -> np.ndarray:
    """Outputs float32 (samples, outputs) of features (samples, features), one sample at a time."""
    graph = onnx.load(model) if not isinstance(model, onnx.ModelProto) else model
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    domains = {node.domain for node in model.graph.node} & set(_DOMAINS)
    for domain in domains - {entry.domain for entry in model.opset_import}:
        model.opset_import.add(domain=domain, version=1)  # Brevitas leaves it out
    evaluator = ReferenceEvaluator(model, new_ops=[
        BatchNormalization, *(op for d in sorted(domains) for op in _operators(d))])
    given, = (i for i in model.graph.input
              if i.name not in {w.name for w in model.graph.initializer})
    shape = [max(d.dim_value, 1) for d in given.type.tensor_type.shape.dim]
    outputs = [np.asarray(next(iter(evaluator.run(None, {
        given.name: sample.reshape(shape).astype(np.float32)})))) for sample in x]
    return np.stack([y.reshape(-1) for y in outputs])
