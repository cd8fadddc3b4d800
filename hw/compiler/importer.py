"""From an ONNX file to the typed graph: read, verify, bring to one version, clean up, quantise.

Nothing here changes a model by hand: versions are converted by onnx, the graph is cleaned by
onnxsim and onnxscript's rewrite rules, float models are quantised by onnxruntime.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from hw.compiler import relations
from hw.compiler.compare import samples_for
from hw.compiler.graph import Graph
from hw.compiler.onnx_io import IR, OPSET, constants_of, node_from_onnx, type_of
from hw.compiler.qlinear import QLINEAR
from hw.compiler.types import ADDRESS_SPACE, Refusal, TensorType

__all__ = ["CALIBRATION_SEED", "read", "bound", "prepare", "is_float", "quantise", "quantise_to",
           "calibration_inputs", "samples_of"]

CALIBRATION_SAMPLES, CALIBRATION_SEED = 32, 0
# What is quantised: operators of the core. Softmax and its like stay float, as the host does them.
QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool",
             "Concat", "Pad", "Relu", "Clip", "BatchNormalization", "Reshape",
             "Transpose", "Flatten", "Squeeze", "Unsqueeze")
_MODEL_LIMIT = 1 << 31  # bytes of one protobuf message


def read(path: str | Path) -> onnx.ModelProto:
    """The model of a file, with its external data."""
    path = Path(path)
    if not path.is_file():
        raise Refusal(f"model must be a file, not {str(path)!r}")
    size = path.stat().st_size
    if not 0 < size < _MODEL_LIMIT:
        raise Refusal(f"{path.name} must have 1 to {_MODEL_LIMIT - 1} bytes, not {size}")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise Refusal(f"{path.name} is no ONNX model: it is truncated or of another kind") from None
    if not model.graph.node and not model.graph.output:
        raise Refusal(f"{path.name} is no ONNX model: it holds no graph")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        said = " ".join(str(error).split())
        raise Refusal(f"external data of {path.name} must be in files of its folder: {said}"
                      ) from None
    return model


def prepare(model: onnx.ModelProto, dims: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """The model verified, with static shapes, in opset 21, cleaned up."""
    given = bound(model, dims or {})
    _verify(given)
    return _clean(_convert(given))


def bound(model: onnx.ModelProto, dims: Mapping[str, int]) -> onnx.ModelProto:
    """A copy of the model with sizes for its symbolic dimensions."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _bind(copy, dims)
    return copy


def _bind(model: onnx.ModelProto, dims: Mapping[str, int]) -> None:
    """Sizes for symbolic dimensions: those of ``dims``, and 1 for the first one of an input."""
    known = {i.name for i in model.graph.initializer}
    sizes = dict(dims)
    for value in model.graph.input:
        if value.name in known or not value.type.HasField("tensor_type"):
            continue
        if not value.type.tensor_type.HasField("shape"):
            raise Refusal(f"input {value.name!r} must have a shape, and has none")
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                continue
            if index and dim.dim_param not in sizes:
                raise Refusal(f"dimension {index} of input {value.name!r} must be static, not "
                              f"{dim.dim_param or 'unknown'}",
                              nearest=f"give its size with --dim {dim.dim_param or 'NAME'}=SIZE")
            dim.dim_value = sizes.setdefault(dim.dim_param or value.name, 1)
    del model.graph.value_info[:]  # inferred anew


def _verify(model: onnx.ModelProto) -> None:
    """Whatever can be said of each node before anything is changed, in its author's names."""
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        raise Refusal("the model must name its opset, and names none")
    types: dict[str, TensorType] = {}
    constants = constants_of(model)
    for name, value in constants.items():
        types[name] = TensorType(str(value.dtype), value.shape)
    declared = set(types)
    for value in model.graph.input:
        kind = type_of(value.type, value.name)
        declared.add(value.name)
        if kind is not None:
            types.setdefault(value.name, kind)
            Graph.of("inputs", {value.name: kind}, [value.name], [], {})
    for proto in model.graph.node:
        node = node_from_onnx(proto)
        for name in node.inputs:
            if name and name not in declared:
                raise Refusal(f"{node.name} reads {name!r}, which nothing before it makes",
                              node.name)
        for name in node.outputs:
            if name and name in declared:
                raise Refusal(f"{node.name} makes {name!r}, which is made already", node.name)
        declared.update(node.outputs)
        if any(i and i not in types for i in node.inputs) or node.op == "Constant":
            continue
        if node.op not in relations.RELATIONS:
            continue  # the version is not yet the one whose schema is asked
        try:
            made = relations.infer(node, types, constants)
        except Refusal as refusal:
            if "must be a constant" in str(refusal) or "pads must be" in str(refusal) and \
                    node.op == "Pad" or node.op in ("Squeeze", "Unsqueeze", "Clip"):
                continue  # computed, or an attribute of an older version
            raise
        for name, kind in zip(node.outputs, made):
            if kind.bytes > ADDRESS_SPACE or 0 in kind.shape:
                Graph.of("result", {name: kind}, [name], [], {})
            types[name] = kind
    for value in model.graph.output:
        if value.name not in declared:
            raise Refusal(f"output {value.name!r} is made by nothing")


def _convert(model: onnx.ModelProto) -> onnx.ModelProto:
    version = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if version != OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter has its own kinds of errors for each fault
            said = str(error).strip().splitlines()[-1]
            raise Refusal(f"opset {version} cannot be brought to {OPSET}: {said}",
                          nearest=f"export with opset {OPSET}") from None
    used = {node.domain for node in model.graph.node} - {"ai.onnx"} | {""}
    kept = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = IR
    with contextlib.suppress(onnx.shape_inference.InferenceError):  # the verifier says it better
        model = onnx.shape_inference.infer_shapes(model)  # outputs may be declared without shape
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Refusal(f"the model is no valid ONNX: {str(error).strip().splitlines()[0]}"
                      ) from None
    return model


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Batch norm and biases folded, constants folded, no-ops gone; twice, as one frees another."""
    from onnxscript import ir, rewriter
    from onnxscript.optimizer import fold_constants
    from onnxscript.rewriter.rules import common

    from hw.compiler.rules import RULES  # onnxscript takes a second to import

    rules = [common.matmul_add_to_gemm_rule, common.transpose_b_matmul_add_to_gemm_rule,
             common.fuse_batchnorm_into_conv_rule, common.fuse_batchnorm_into_gemm_rule,
             common.fuse_pad_into_conv_rule, common.transpose_transpose_rule,
             common.no_op_transpose_rule, common.reshape_reshape_rule, common.no_op_cast_rule,
             common.add_0_rule, common.mul_by_1_rule, common.successive_relu_rule, *RULES]
    with _quietly():
        model = _simplified(model)
        module = ir.from_proto(model)
        if not _quantises_activations(model):
            # A dynamic-range model: integer weights, float activations. Weights become float.
            fold_constants(module, should_fold=lambda node: True)
        rewriter.rewrite(module, pattern_rewrite_rules=rules)
        return _simplified(ir.to_proto(module))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim

    try:
        return onnxsim.simplify(model)[0]
    except (RuntimeError, ValueError, onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError):
        return model  # it refuses what it cannot execute; the graph's verifier says more


@contextlib.contextmanager
def _quietly():
    """The libraries log and warn about what is none of the user's business."""
    import onnxruntime

    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(4)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        onnxruntime.set_default_logger_severity(2)


def _quantises_activations(model: onnx.ModelProto) -> bool:
    return any("QuantizeLinear" == n.op_type or n.op_type in QLINEAR
               or n.op_type in ("ConvInteger", "MatMulInteger") for n in model.graph.node)


def is_float(model: onnx.ModelProto) -> bool:
    """Whether the model has still to be quantised: float inputs, and nothing that quantises."""
    return not _quantises_activations(model)


def calibration_inputs(model: onnx.ModelProto, samples: int = CALIBRATION_SAMPLES,
                       seed: int = CALIBRATION_SEED) -> list[dict[str, np.ndarray]]:
    """Standard normal inputs, when the user gives none; integers of small range otherwise."""
    rng, known = np.random.default_rng(seed), {i.name for i in model.graph.initializer}
    kinds = {v.name: type_of(v.type, v.name) for v in model.graph.input if v.name not in known}
    return [{name: _random(rng, kind) for name, kind in kinds.items()} for _ in range(samples)]


def _random(rng: np.random.Generator, kind: TensorType) -> np.ndarray:
    dtype = np.dtype(kind.element)
    if dtype.kind == "f":
        return rng.standard_normal(kind.shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, kind.shape).astype(bool)
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -128), min(limits.max, 255) + 1, kind.shape).astype(dtype)


def samples_of(model: onnx.ModelProto, calibration: Sequence[Mapping] = ()) -> list[dict]:
    """Inputs on which two forms of a model are compared."""
    known = {i.name for i in model.graph.initializer}
    return samples_for({v.name: type_of(v.type, v.name) for v in model.graph.input
                        if v.name not in known}, calibration)


class _Reader:
    """Calibration data as onnxruntime asks for it."""

    def __init__(self, samples):
        self._samples = iter(samples)

    def get_next(self):
        return next(self._samples, None)


def quantise(model: onnx.ModelProto,
             samples: Sequence[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """The model in QDQ form: symmetric int8, weights per channel, by onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        quantise_to(Path(folder) / "model.onnx", model, samples)
        return onnx.load(Path(folder) / "model.onnx")


def quantise_to(path: Path, model: onnx.ModelProto, samples, form="QDQ", activations="QInt8",
                weights="QInt8", per_channel=True, symmetric=True) -> None:
    """Writes ``model`` quantised in one of onnxruntime's other forms, too."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QLinearOpsRegistry

    known = QUANTISED if form == "QDQ" else QLinearOpsRegistry
    model, excluded = _plain_gemms(model)  # a copy: quantize_static changes what it is given
    with _quietly():
        quantize_static(model, path, _Reader(samples), quant_format=QuantFormat[form],
                        op_types_to_quantize=[op for op in QUANTISED if op in known],
                        per_channel=per_channel, activation_type=QuantType[activations],
                        weight_type=QuantType[weights], nodes_to_exclude=excluded,
                        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True})


def _plain_gemms(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Gemms without alpha and beta, their biases vectors; and the names of those that cannot be so.

    quantize_static 1.31 applies beta twice, and fails on other biases when it quantises weights
    per channel.
    """
    plain, others = onnx.ModelProto(), []
    plain.CopyFrom(model)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in plain.graph.initializer}
    for index, node in enumerate(plain.graph.node):
        node.name = node.name or f"node_{index}"
        if node.op_type != "Gemm":
            continue
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if not {i for i in node.input[1:] if i} <= tensors.keys():
            others.append(node.name)
            continue
        weights = tensors[node.input[1]]
        outputs = weights.shape[0 if given.get("transB") else 1]
        made = {1: weights * np.float32(given.get("alpha", 1.0))}
        if len(node.input) > 2 and node.input[2]:
            bias = tensors[node.input[2]]
            if bias.size not in (1, outputs) or bias.ndim == 2 and bias.shape[0] != 1:
                others.append(node.name)
                continue
            made[2] = np.broadcast_to(bias.reshape(-1) * np.float32(given.get("beta", 1.0)),
                                      (outputs,))
        for place, value in made.items():
            node.input[place] = f"{node.name}.input{place}"
            plain.graph.initializer.append(onnx.numpy_helper.from_array(
                np.ascontiguousarray(value, weights.dtype), node.input[place]))
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in given.items()
                              if k not in ("alpha", "beta"))
    return plain, others
