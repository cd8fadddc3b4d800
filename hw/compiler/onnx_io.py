"""Between ONNX's files and the typed graph, in both directions, one node to one node."""

from collections import Counter
from dataclasses import replace

import onnx
from onnx import helper, numpy_helper, shape_inference

from hw.compiler.graph import Graph, Node
from hw.compiler.qlinear import QLINEAR
from hw.compiler.types import ELEMENTS, Refusal, TensorType

__all__ = ["OPSET", "IR", "from_onnx", "to_onnx", "node_to_onnx", "type_of", "infer",
           "node_from_onnx", "constants_of"]

OPSET = 21  # QuantizeLinear with int8 and int16, and older than what onnxruntime 1.31 refuses (26)
IR = 10     # the newest that goes with opset 21; onnxruntime 1.31 refuses 14

# Dialects whose place is here, and what is to be done until they are read.
DIALECTS = {
    "qonnx.custom_op.general": "QONNX (1 to 4 bits) is not read yet",
    "finn.custom_op.general": "QONNX (1 to 4 bits) is not read yet",
    "onnx.brevitas": "QONNX (1 to 4 bits) is not read yet",
    "com.microsoft": "operators fused by onnxruntime are not read",  # but its QLinear ones
}
_NEAREST = {
    "QONNX (1 to 4 bits) is not read yet":
        "qonnx.transformation.qonnx_to_qcdq makes QuantizeLinear and Clip of it",
    "operators fused by onnxruntime are not read": "export the model without its optimisations",
}
_MICROSOFT = "com.microsoft"
_OF_MICROSOFT = {op for op, form in QLINEAR.items() if form.microsoft}
_NAMES = {code: name for name, code in ELEMENTS.items()}


def type_of(proto: onnx.TypeProto, value: str) -> TensorType | None:
    """Type of a declared value; None when its shape is not wholly known."""
    tensor = proto.tensor_type
    if not proto.HasField("tensor_type"):
        raise Refusal(f"{value!r} must be a tensor, not a {proto.WhichOneof('value') or 'nothing'}")
    if not tensor.HasField("shape") or \
            any(not d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    element = _NAMES.get(tensor.elem_type) or onnx.TensorProto.DataType.Name(tensor.elem_type)
    return TensorType(element.lower(), tuple(d.dim_value for d in tensor.shape.dim))


def node_from_onnx(proto: onnx.NodeProto) -> Node:
    """The node; one without a name is called by its first result."""
    named = next((o for o in proto.output if o), "")
    name = proto.name or f"{proto.op_type}:{named}"
    if proto.domain == _MICROSOFT and proto.op_type in _OF_MICROSOFT:
        pass
    elif proto.domain in DIALECTS:
        reason = DIALECTS[proto.domain]
        raise Refusal(f"{proto.op_type} {name} is of domain {proto.domain}: {reason}", name,
                      _NEAREST[reason])
    elif proto.domain not in ("", "ai.onnx") or not onnx.defs.has(proto.op_type):
        where = f" of domain {proto.domain}" if proto.domain else ""
        raise Refusal(f"{name}: operator {proto.op_type}{where} is unknown", name)
    attributes = {}
    for attribute in proto.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise Refusal(f"{proto.op_type} {name} holds a graph of its own, which is not read",
                          name, "unroll or fold it before the export")
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        elif attribute.type == onnx.AttributeProto.INTS:
            value = tuple(value)
        attributes[attribute.name] = value
    return Node(name, proto.op_type, tuple(proto.input), tuple(proto.output), attributes)


def constants_of(model: onnx.ModelProto) -> dict:
    """Arrays of the initializers and of Constant nodes."""
    constants = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1:
            value = helper.get_attribute_value(node.attribute[0])
            if isinstance(value, onnx.TensorProto):
                constants[node.output[0]] = _array(value, node.output[0])
    return constants


def _array(tensor: onnx.TensorProto, name: str = ""):
    name = name or tensor.name
    if tensor.data_type not in _NAMES:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        raise Refusal(f"constant {name!r} must be of one of {', '.join(ELEMENTS)}, not {kind}")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise Refusal(f"constant {name!r} of shape {list(tensor.dims)} cannot be read: "
                      f"{error}") from None


def from_onnx(model: onnx.ModelProto) -> Graph:
    """The verified graph of a model whose shapes are static."""
    constants, inputs = constants_of(model), {}
    for value in model.graph.input:
        if value.name not in constants:
            kind = type_of(value.type, value.name)
            if kind is None:
                raise Refusal(f"shape of input {value.name!r} must be static",
                              nearest="give the sizes of its dimensions with --dim NAME=SIZE")
            inputs[value.name] = kind
    nodes = [node_from_onnx(n) for n in model.graph.node if not
             (n.op_type == "Constant" and n.output[0] in constants)]
    seen: Counter = Counter(n.name for n in nodes)  # names need not be unique in ONNX
    nodes = [n if seen[n.name] == 1 else replace(n, name=f"{n.name}:{n.outputs[0]}")
             for n in nodes]
    return Graph.of(model.graph.name or "model", inputs, [o.name for o in model.graph.output],
                    nodes, constants)


def node_to_onnx(node: Node) -> onnx.NodeProto:
    attributes = {k: numpy_helper.from_array(v) if hasattr(v, "dtype") else v
                  for k, v in node.attributes.items()}
    return helper.make_node(node.op, list(node.inputs), list(node.outputs), name=node.name,
                            domain=_MICROSOFT if node.op in _OF_MICROSOFT else None, **attributes)


def to_onnx(graph: Graph, values: tuple[str, ...] = ()) -> onnx.ModelProto:
    """The graph as a model, ``npu`` operators as what they stand for; ``values``: more outputs."""
    from hw.compiler.reference import expand

    nodes, constants = expand(graph.nodes, graph.types)
    constants = {**graph.constants, **constants}

    def info(name):
        kind = graph.types[name]
        return helper.make_tensor_value_info(name, ELEMENTS[kind.element], kind.shape)

    outputs = list(dict.fromkeys((*graph.outputs, *values)))
    passed = [o for o in outputs if o in graph.inputs or o in constants]
    made = [helper.make_node("Identity", [o], [f"{o}~out"]) for o in passed]
    proto = helper.make_graph(
        [node_to_onnx(n) for n in nodes] + made, graph.name,
        [info(i) for i in graph.inputs],
        [helper.make_tensor_value_info(f"{o}~out", ELEMENTS[graph.types[o].element],
                                       graph.types[o].shape) if o in passed else info(o)
         for o in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items()])
    opsets = [helper.make_opsetid("", OPSET)]
    if any(n.op in _OF_MICROSOFT for n in nodes):
        opsets.append(helper.make_opsetid(_MICROSOFT, 1))
    return helper.make_model(proto, opset_imports=opsets, ir_version=IR)


def infer(node: Node, types, values) -> list[TensorType]:
    """Types of the results by ONNX's schema; a :exc:`ValueError` when they are not static."""
    proto = node_to_onnx(node)
    kinds, data = {}, {}
    for name, kind, value in zip(node.inputs, types, values):
        if kind is not None:
            kinds[name] = helper.make_tensor_type_proto(ELEMENTS[kind.element], kind.shape)
            if value is not None and value.size < 1024:
                data[name] = numpy_helper.from_array(value, name)
    try:
        schema = onnx.defs.get_schema(node.op, OPSET)
    except onnx.defs.SchemaError:
        raise ValueError(f"there is no such operator in opset {OPSET}") from None
    try:
        made = shape_inference.infer_node_outputs(
            schema, proto, kinds, data, opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR)
    except Exception as error:  # the library has its own kinds of errors for each fault
        raise ValueError(_first_line(error)) from None
    result = []
    for name in node.outputs:
        kind = type_of(made[name], name) if name in made else None
        if name and kind is None:
            raise ValueError(f"shape of its result {name!r} must be static")
        result.append(kind)
    return result


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
