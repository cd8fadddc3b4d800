"""QDQ to integers: dequantise, operator, clamp, quantise become one ``npu`` operator.

For each QuantizeLinear the float operators above it are matched (:mod:`hw.compiler.match`): first
any Relu and Clip, whose bounds become the integer clamp (rounding is monotone, so clamping before
or after is the same bits), then the operator, whose builder is in ``BUILDERS``. What cannot be
built stays as it is and runs on the host; :func:`obstacles` says why.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hw.compiler.graph import Graph, Node
from hw.compiler.match import Match, Operand, Unable, format_at
from hw.compiler.types import Format
from hw.compiler.windows import sliding

__all__ = ["BUILDERS", "to_integer", "obstacles"]

_SUM_LIMIT = 1 << 31      # of the core's accumulators
_RATIO_LIMIT = 65535      # of the core's multipliers


def _ratio(value) -> None:
    if np.max(value) >= _RATIO_LIMIT:
        raise Unable(f"its scale is {np.max(value):.3g} times that of its result",
                     f"a ratio below {_RATIO_LIMIT}")


def _plain(node: Node) -> dict:
    return dict(node.attributes)


def _weighted(match: Match, x: Operand, weights: np.ndarray, form: Format, bias: str,
              axis: int) -> tuple[list[str], list[Format]]:
    """Inputs and formats of a Conv or Gemm whose outputs are along ``axis`` of ``weights``."""
    outputs = weights.shape[axis]
    if form.axis not in (None, axis):
        raise Unable(f"its weights are quantised along axis {form.axis}", f"axis {axis}")
    scale = np.broadcast_to(np.asarray(form.scale), (outputs,)) * x.format.scale[0]
    _ratio(scale / match.format.scale[0])
    names, forms = [x.value, match.keep("weights", weights)], [x.format, form]
    total = np.abs(weights.astype(np.int64)).sum(
        tuple(i for i in range(weights.ndim) if i != axis)) * 256
    if bias:
        above = match.producer(bias)
        q = None if above is None else match.graph.constants.get(above.inputs[0])
        given = None if q is None or above.op != "DequantizeLinear" else \
            format_at(match.graph, above)
        if given is None or q.dtype != np.int32 or any(given.zero_point) or not np.allclose(
                np.broadcast_to(given.scale, (outputs,)), scale, rtol=1e-5, atol=0):
            raise Unable("its bias is no constant of the scale of its products",
                         "a constant bias")
        q = np.broadcast_to(q.reshape(-1), (outputs,))
        names.append(match.keep("bias", q))
        forms.append(Format(tuple(np.broadcast_to(given.scale, (outputs,)).tolist()),
                            (0,) * outputs, 0))
        total = total + np.abs(q.astype(np.int64))
    if total.max() >= _SUM_LIMIT:
        raise Unable(f"its sums reach {total.max()}", "sums below 2**31")
    return names, forms


def _conv(match: Match) -> None:
    node = match.node
    x = match.operand(node.inputs[0])
    weights, form = match.integers(node.inputs[1], "weights")
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    names, forms = _weighted(match, x, weights, form, bias, 0)
    match.add("npu.Conv", names, forms, match.y, match.format, match.clamp(), **_plain(node))


def _gemm(match: Match) -> None:
    node, types = match.node, match.graph.types
    a = node.attributes
    if a.get("transA") or a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1:
        raise Unable("transA, alpha or beta is not neutral", "transA=0, alpha=beta=1")
    x = match.operand(node.inputs[0])
    weights, form = match.integers(node.inputs[1], "weights")
    if weights.ndim != 2:
        raise Unable(f"its weights have rank {weights.ndim}", "one matrix")
    if not a.get("transB"):
        weights = np.ascontiguousarray(weights.T)
        form = Format(form.scale, form.zero_point, None if form.axis is None else 1 - form.axis)
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    names, forms = _weighted(match, x, weights, form, bias, 0)
    rank = types[x.value].rank
    if rank == 2:
        match.add("npu.Gemm", names, forms, match.y, match.format, match.clamp(), transB=1)
        return
    # Rows of a matrix are pixels: the columns become channels, and back.
    if rank != 3:
        raise Unable(f"its rows are in a tensor of rank {rank}", "rank 2 or 3")
    names[0] = f"{match.y}~columns"
    match.nodes.append(Node(f"{node.name}~columns", "Transpose", (x.value,), (names[0],),
                            {"perm": (0, 2, 1)}))
    match.constants[names[1]] = weights[:, :, None]
    result = match.add("npu.Conv", names, forms, f"{match.y}~pixels", match.format, match.clamp())
    match.nodes.append(Node(f"{node.name}~rows", "Transpose", (result,), (match.y,),
                            {"perm": (0, 2, 1)}))


def _add(match: Match) -> None:
    node = match.node
    constants = [match.constant(i) for i in node.inputs]
    if any(c is not None for c in constants):
        value, _ = _split(match, node)
        above = match.producer(value)
        if above is not None and above.op == "MatMul":
            bias = next(i for i in node.inputs if i != value)
            match.node = replace(above, inputs=(*above.inputs, bias))
            _gemm(match)
        else:
            _affine(match)
        return
    operands = [match.operand(i) for i in node.inputs]
    shapes = [match.graph.types[o.value].shape for o in operands]
    if shapes[0] != shapes[1]:
        raise Unable(f"it stretches a computed operand, {list(shapes[0])} and {list(shapes[1])}",
                     "operands of one shape")
    for operand in operands:
        _ratio(operand.format.scale[0] / match.format.scale[0])
    match.add("npu.Add", [o.value for o in operands], [o.format for o in operands], match.y,
              match.format, match.clamp())


def _affine(match: Match) -> None:
    """``x * factor + offset`` with constants per channel, either one optional."""
    value, factor, offset = None, 1.0, 0.0
    node = match.node
    if node.op == "Add":
        value, offset = _split(match, node)
        above = match.producer(value)
        node = above if above is not None and above.op == "Mul" else None
    if node is not None:
        value, factor = _split(match, node)
    x = match.operand(value)
    shape = match.graph.types[x.value].shape
    if match.graph.types[match.y].shape != shape:
        raise Unable("it stretches its computed operand", "a constant of one value a channel")
    factor, offset = (_per_channel(v, shape) for v in (factor, offset))
    _ratio(np.abs(factor) * x.format.scale[0] / match.format.scale[0])
    match.add("npu.Scale", [x.value], [x.format], match.y, match.format, match.clamp(),
              factor=factor, offset=offset)


def _split(match: Match, node: Node) -> tuple[str, np.ndarray]:
    """The computed and the constant operand of ``node``."""
    constants = [match.constant(i) for i in node.inputs]
    if all(c is None for c in constants) or all(c is not None for c in constants):
        raise Unable("both operands are computed", "a product with a constant")
    index = 0 if constants[0] is None else 1
    return node.inputs[index], constants[1 - index]


def _per_channel(value, shape: tuple[int, ...]) -> np.ndarray:
    """``value`` as it broadcasts against ``shape``, if it only varies along axis 1."""
    value = np.asarray(value, np.float32)
    value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(size != 1 for axis, size in enumerate(value.shape) if axis != 1):
        raise Unable("its constant varies within a channel", "one value a channel")
    if not np.isfinite(value).all():
        raise Unable("its constant is not finite", "finite constants")
    return value


def _rescale(match: Match, x: Operand, result: str, clamp=(-128, 127)) -> str:
    """``x`` in the format of the result; nothing when it is so already."""
    if x.format == match.format and clamp == (-128, 127):
        match.nodes.append(Node(f"{match.node.name}:{result}", "Identity", (x.value,), (result,)))
        return result
    _ratio(x.format.scale[0] / match.format.scale[0])
    return match.add("npu.Scale", [x.value], [x.format], result, match.format, clamp)


def _direct(match: Match) -> None:
    if match.constant(match.node.outputs[0]) is not None:
        raise Unable("it is a constant")
    source, form = match.node.inputs[0], format_at(match.graph, match.node)
    if form == match.format and match.graph.types[source].element == "int8" and \
            match.clamp() == (-128, 127):  # of any rank: nothing is computed
        match.nodes.append(Node(f"{match.node.name}:{match.y}", "Identity", (source,), (match.y,)))
        return
    _rescale(match, match.operand(match.node.outputs[0]), match.y, match.clamp())


def _max_pool(match: Match) -> None:
    node, x = match.node, match.operand(match.node.inputs[0])
    if len([o for o in node.outputs if o]) > 1:
        raise Unable("it returns indices", "its first result only")
    result, clamp = match.y, match.clamp()
    simple = x.format == match.format and clamp == (-128, 127)
    if not simple:
        result = f"{match.y}~pool"
    match.add("npu.MaxPool", [x.value], [x.format], result, x.format, **_plain(node))
    if not simple:
        _rescale(match, Operand(result, x.format), match.y, clamp)


def _average_pool(match: Match) -> None:
    node, x = match.node, match.operand(match.node.inputs[0])
    shape = match.graph.types[x.value].shape
    if node.op == "AveragePool":
        window = sliding(node.attributes, node.attributes["kernel_shape"], shape[2:])
        if any(window.beyond) or any(window.pads) and not node.attributes.get("count_include_pad"):
            raise Unable("its windows have different numbers of elements",
                         "no padding, or count_include_pad=1")
    _ratio(x.format.scale[0] / match.format.scale[0])
    match.add(f"npu.{node.op}", [x.value], [x.format], match.y, match.format, match.clamp(),
              **_plain(node))


def _concat(match: Match) -> None:
    node = match.node
    operands = [match.operand(i) for i in node.inputs]
    rank = match.graph.types[operands[0].value].rank
    if node.attributes["axis"] % rank != 1:
        raise Unable(f"it joins along axis {node.attributes['axis']}", "axis 1, the channels")
    low, high = match.clamp()
    parts = [o.value if o.format == match.format and (low, high) == (-128, 127)
             else _rescale(match, o, f"{match.y}~part{i}", (low, high))
             for i, o in enumerate(operands)]
    match.add("npu.Concat", parts, [match.format] * len(parts), match.y, match.format, axis=1)


def _pad(match: Match) -> None:
    node, graph = match.node, match.graph
    x = match.operand(node.inputs[0])
    rank = graph.types[x.value].rank
    pads = graph.constants[node.inputs[1]].tolist()
    axes = list(range(rank))
    if len(node.inputs) > 3 and node.inputs[3]:
        axes = (graph.constants[node.inputs[3]] % rank).tolist()
    full = [0] * 2 * rank
    for index, axis in enumerate(axes):
        full[axis], full[axis + rank] = pads[index], pads[index + len(axes)]
    if node.attributes.get("mode", "constant") != "constant" or min(full) < 0 or \
            any(full[:2] + full[rank:rank + 2]) or rank < 3:
        raise Unable("it does not pad height and width with a constant",
                     "mode constant, spatial axes, no negative pads")
    value = 0.0
    if len(node.inputs) > 2 and node.inputs[2]:
        known = match.constant(node.inputs[2])
        if known is None:
            raise Unable("its value is computed", "a constant value")
        value = float(known.reshape(-1)[0])
    q = x.format.quantise(value, -128, 127)
    if x.format.real(np.int64([q]))[0] != np.float32(value):
        raise Unable(f"its value {value:g} is none of its input's", "value 0")
    clamp = match.clamp()
    simple = x.format == match.format and clamp == (-128, 127)
    result = match.y if simple else f"{match.y}~pad"
    match.add("npu.Pad", [x.value], [x.format], result, x.format,
              pads=tuple(full[2:rank] + full[rank + 2:]), value=q)
    if not simple:
        _rescale(match, Operand(result, x.format), match.y, clamp)


BUILDERS: dict[str, Callable[[Match], None]] = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _gemm, "Add": _add, "Mul": _affine,
    "DequantizeLinear": _direct, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _average_pool, "Concat": _concat, "Pad": _pad,
}


def _build(graph: Graph, producers: dict[str, Node], quantise: Node) -> Match:
    match = Match(graph, producers, quantise)
    if match.node.op not in BUILDERS:
        raise Unable(f"{match.node.op} is not among the core's operators",
                     "Conv, Gemm, MatMul, Add, Mul, pools, Concat, Pad, Relu, Clip")
    BUILDERS[match.node.op](match)
    return match


def to_integer(graph: Graph) -> Graph:
    """``npu`` operators for all QuantizeLinear whose operator the core has."""
    producers, made, constants = graph.producers(), [], {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            try:
                match = _build(graph, producers, node)
            except Unable:
                made.append(node)
            else:
                made += match.nodes
                constants.update(match.constants)
        else:
            made.append(_on_integers(graph, node))
    return graph.change(made, constants)


def _on_integers(graph: Graph, node: Node) -> Node:
    """MaxPool and Concat of int8 values, whatever these stand for, or ``node`` as it is."""
    kinds = [graph.types[i] for i in node.inputs if i]
    if node.op not in ("MaxPool", "Concat") or len(node.outputs) > 1 or any(
            k.element != "int8" or not 3 <= k.rank <= 4 for k in kinds) or any(
            i in graph.constants for i in node.inputs):
        return node
    if node.op == "Concat" and node.attributes["axis"] % kinds[0].rank != 1:
        return node
    form = graph.types[node.outputs[0]].format or Format((1.0,), (0,))
    return replace(node, op=f"npu.{node.op}", attributes={
        **node.attributes, "formats": (form,) * len(kinds), "format": form, "low": -128,
        "high": 127})


def obstacles(graph: Graph) -> dict[str, Unable]:
    """Why each node that is left of a pattern is not on the core, by its name."""
    producers, found = graph.producers(), {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            try:
                _build(graph, producers, node)
            except Unable as unable:
                above = producers.get(node.inputs[0])
                while above is not None and above.op in ("Relu", "Clip"):
                    found[above.name] = unable
                    above = producers.get(above.inputs[0])
                if above is not None:
                    found[above.name] = unable
    return found
