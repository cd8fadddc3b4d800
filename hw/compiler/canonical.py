"""Passes that bring the many ways to write a quantised model to the one that integers need."""

from dataclasses import replace

import numpy as np

from hw.compiler.evaluate import evaluate
from hw.compiler.graph import Graph, Node
from hw.compiler.match import MOVES, format_at, real_constant
from hw.compiler.qlinear import QLINEAR

__all__ = ["qlinear_to_qdq", "signed", "quantise_biases", "batch_norm_to_affine",
           "moves_before_dequantise", "fold_constants"]

_NOT_OF_ONNX = ("channels_last", "opset")  # attributes of onnxruntime's operators
_SAME_FORMAT = (*MOVES, "MaxPool")  # what they return has the format of their input


def qlinear_to_qdq(graph: Graph) -> Graph:
    """Operators that quantise by themselves as dequantise, operator, quantise."""
    made, constants = [], {}
    for node in graph.nodes:
        form = QLINEAR.get(node.op)
        if form is None:
            made.append(node)
            continue
        y, reals, scales = node.outputs[0], [], []
        for index, places in enumerate(form.places(node.inputs)):
            names = tuple(node.inputs[p] for p in places)
            scales.append(graph.constants.get(names[1]))
            reals.append(f"{y}~real{index}")
            made.append(_linear("DequantizeLinear", f"{node.name}~input{index}", names, reals[-1],
                                graph, form.channel_axis(index, node.attributes)))
        bias = node.inputs[form.bias] if form.bias is not None and \
            len(node.inputs) > form.bias else ""
        if bias and all(s is not None for s in scales):
            # Its scale is the product of the operands' scales, by definition.
            constants[f"{y}~bias~scale"] = np.prod(
                np.broadcast_arrays(*(np.float32(s) for s in scales)), axis=0)
            made.append(Node(f"{node.name}~bias", "DequantizeLinear", (bias, f"{y}~bias~scale"),
                             (f"{y}~bias",), {"axis": 0}))
            reals.append(f"{y}~bias")
        attributes = {k: v for k, v in node.attributes.items() if k not in _NOT_OF_ONNX}
        made.append(Node(node.name, form.op, tuple(reals), (f"{y}~real",), attributes))
        names = (f"{y}~real", *(node.inputs[p] for p in form.result))
        made.append(_linear("QuantizeLinear", f"{node.name}~result", names, y, graph, axis=1))
    return graph.change(made, constants)


def _linear(op, name, inputs, result, graph, axis) -> Node:
    scale = graph.constants.get(inputs[1])
    many = scale is not None and scale.size > 1
    return Node(name, op, inputs, (result,), {"axis": axis} if many else {})


def signed(graph: Graph) -> Graph:
    """uint8 activations become int8, 128 less, as their zero points do.

    At the borders of the graph, and where an operator wants uint8, the host changes the code.
    """
    moved: dict[str, str] = {}  # uint8 value: its int8 twin
    made, constants = [], {}

    def shifted(zero: str) -> str:
        name = f"{zero or 'zero'}~signed"
        value = graph.constants[zero] if zero else np.uint8(0)
        constants[name] = (np.asarray(value, np.int64) - 128).astype(np.int8)
        return name

    def twin(node: Node, inputs) -> None:
        results = tuple(f"{o}~signed" if graph.types[o].element == "uint8" else o
                        for o in node.outputs)
        moved.update({o: r for o, r in zip(node.outputs, results) if o != r})
        attributes = {k: v for k, v in node.attributes.items() if k != "output_dtype"}
        made.append(replace(node, inputs=inputs, outputs=results, attributes=attributes))

    def recode(value: str, target: str, unsigned: bool) -> None:
        one = f"{target}~one"
        constants[one] = np.float32(1)
        zeros = np.int8(-128), np.uint8(0)
        for suffix, zero in zip(("from", "to"), zeros if unsigned else zeros[::-1]):
            constants[f"{target}~{suffix}"] = np.asarray(zero)
        made.append(Node(f"{target}:code.in", "DequantizeLinear", (value, one, f"{target}~from"),
                         (f"{target}~code",)))
        made.append(Node(f"{target}:code", "QuantizeLinear",
                         (f"{target}~code", one, f"{target}~to"), (target,)))

    fixed = [n for n in graph.nodes if n.op == "DequantizeLinear"
             and (graph.types[n.inputs[0]].element != "uint8" or n.inputs[0] in graph.constants
                  or format_at(graph, n) is None)]
    for value in graph.inputs:
        wanted = (*_SAME_FORMAT, "Concat", "DequantizeLinear")
        if graph.types[value].element == "uint8" and any(
                value in n.inputs and n.op in wanted and n not in fixed for n in graph.nodes):
            recode(value, f"{value}~signed", False)
            moved[value] = f"{value}~signed"
    back: dict[str, str] = {}
    for node in graph.nodes:
        kind = graph.types[node.outputs[0]] if node.outputs[0] else None
        rest = tuple(node.inputs[1:])
        if node.op == "QuantizeLinear" and kind.element == "uint8" and kind.format is not None:
            zero = rest[1] if len(rest) > 1 else ""
            twin(node, (node.inputs[0], rest[0], shifted(zero)))
        elif node.op == "DequantizeLinear" and node not in fixed and node.inputs[0] in moved:
            zero = rest[1] if len(rest) > 1 else ""
            made.append(replace(node, inputs=(moved[node.inputs[0]], rest[0], shifted(zero))))
        elif node.op in _SAME_FORMAT and node.inputs[0] in moved and len(node.outputs) == 1:
            twin(node, (moved[node.inputs[0]], *rest))
        elif node.op == "Concat" and all(i in moved for i in node.inputs):
            twin(node, tuple(moved[i] for i in node.inputs))
        else:
            for value in node.inputs:
                if value in moved and value not in back and value not in graph.inputs:
                    back[value] = value
                    recode(moved[value], value, True)
            made.append(node)
    for value in graph.outputs:
        if value in moved and value not in back and value not in graph.inputs:
            back[value] = value
            recode(moved[value], value, True)
    return graph.change(made, constants)


def quantise_biases(graph: Graph) -> Graph:
    """Constant biases as int32 in the scale of their products; Gemm's beta folded."""
    producers, made, constants = graph.producers(), [], {}

    def formatted(value: str):
        above = producers.get(value)
        if above is None or above.op != "DequantizeLinear":
            return None
        return format_at(graph, above)

    for node in graph.nodes:
        inner = producers.get(node.inputs[0]) if node.op == "Add" else None
        product = inner if inner is not None and inner.op == "MatMul" else node
        place = 1 if product is not node else 2
        if product.op not in ("Conv", "Gemm", "MatMul") or len(node.inputs) <= place:
            made.append(node)
            continue
        x, w, b = formatted(product.inputs[0]), formatted(product.inputs[1]), \
            real_constant(graph, producers, node.inputs[place])
        if x is None or w is None or b is None or x.axis is not None or \
                max(b.shape, default=1) != b.size:
            made.append(node)
            continue
        scale = np.asarray(x.scale) * np.asarray(w.scale)
        attributes = dict(node.attributes)
        b = b.reshape(-1).astype(np.float64) * attributes.get("beta", 1.0)
        scale = np.broadcast_to(scale, b.shape) if scale.size == 1 else scale
        q = np.rint(b / scale)
        if q.size == 0 or np.abs(q).max() >= 1 << 31 or attributes.get("alpha", 1.0) != 1:
            made.append(node)
            continue
        name = f"{node.outputs[0]}~bias"
        constants[f"{name}~integers"] = q.astype(np.int32)
        constants[f"{name}~scale"] = scale.astype(np.float32)
        if "beta" in attributes:
            attributes["beta"] = 1.0
        made.append(Node(f"{node.name}~bias", "DequantizeLinear",
                         (f"{name}~integers", f"{name}~scale"), (name,), {"axis": 0}))
        inputs = tuple(name if i == place else v for i, v in enumerate(node.inputs))
        made.append(replace(node, inputs=inputs, attributes=attributes))
    return graph.change(made, constants)


def batch_norm_to_affine(graph: Graph) -> Graph:
    """A batch norm that no convolution could take in: a product and a sum, per channel."""
    producers, made, constants = graph.producers(), [], {}
    for node in graph.nodes:
        known = [real_constant(graph, producers, i) for i in node.inputs[1:5]]
        if node.op != "BatchNormalization" or any(k is None for k in known):
            made.append(node)
            continue
        scale, bias, mean, variance = (k.astype(np.float64) for k in known)
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        y, rank = node.outputs[0], graph.types[node.inputs[0]].rank
        shape = (1, -1) + (1,) * (rank - 2)
        constants[f"{y}~factor"] = factor.astype(np.float32).reshape(shape)
        constants[f"{y}~offset"] = (bias - mean * factor).astype(np.float32).reshape(shape)
        made.append(Node(node.name, "Mul", (node.inputs[0], f"{y}~factor"), (f"{y}~product",)))
        made.append(Node(f"{node.name}~offset", "Add", (f"{y}~product", f"{y}~offset"), (y,)))
    return graph.change(made, constants)


def moves_before_dequantise(graph: Graph) -> Graph:
    """Elements are moved as integers: ``move(dequantise(x))`` is ``dequantise(move(x))``."""
    dequantise: dict[str, Node] = {}
    made: list[Node] = []
    for node in graph.nodes:
        above = dequantise.get(node.inputs[0]) if node.op in MOVES else None
        if above is None:
            made.append(node)
            if node.op == "DequantizeLinear" and _per_tensor(graph, node):
                dequantise[node.outputs[0]] = node
            continue
        moved = f"{node.outputs[0]}~moved"
        made.append(replace(node, inputs=(above.inputs[0], *node.inputs[1:]), outputs=(moved,)))
        result = Node(f"{node.name}~real", "DequantizeLinear", (moved, *above.inputs[1:]),
                      node.outputs)
        made.append(result)
        dequantise[node.outputs[0]] = result
    return graph.change(made)


def fold_constants(graph: Graph) -> Graph:
    """What only depends on constants is one."""
    made, constants = [], dict(graph.constants)
    for node in graph.nodes:
        if all(i in constants for i in node.inputs if i) and not set(node.outputs).intersection(
                graph.outputs):
            alone = Graph.of(node.name, {}, [o for o in node.outputs if o], [node], constants)
            constants.update(evaluate(alone, {}))
        else:
            made.append(node)
    return graph.change(made, constants)


def _per_tensor(graph: Graph, node: Node) -> bool:
    form = format_at(graph, node)
    return form is not None and form.axis is None and node.inputs[0] not in graph.constants


