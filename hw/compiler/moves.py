"""Passes on integers: clamps, padding and moves of elements taken into the operator beside them."""

from dataclasses import replace

import numpy as np

from hw.compiler.graph import Graph, Node
from hw.compiler.match import MOVES
from hw.compiler.windows import sliding

__all__ = ["absorb_clamps", "fuse_padding", "sink_transposes", "join_moves", "moves_into_weights"]

_CLAMPED = ("npu.Conv", "npu.Gemm", "npu.Add", "npu.Scale", "npu.AveragePool",
            "npu.GlobalAveragePool")
_POINTWISE = ("npu.Add", "npu.Scale")  # the same for any order of the elements


def absorb_clamps(graph: Graph) -> Graph:
    """A clamp in the format of its input (a Relu between two quantisers) is the input's own."""
    readers, nodes = graph.readers(), {}
    maker: dict[str, str] = {}
    for node in graph.nodes:
        a = node.attributes
        source = nodes.get(maker.get(node.inputs[0])) if node.inputs else None
        if node.op == "npu.Scale" and source is not None and source.op in _CLAMPED \
                and readers[node.inputs[0]] == 1 and a["formats"][0] == a["format"] \
                and source.attributes["format"] == a["format"] \
                and a.get("factor") is None and a.get("offset") is None:
            low, high = (int(np.clip(source.attributes[k], a["low"], a["high"]))
                         for k in ("low", "high"))
            nodes[source.name] = replace(source, outputs=node.outputs, attributes={
                **source.attributes, "low": low, "high": high})
            maker[node.outputs[0]] = source.name
        else:
            nodes[node.name] = node
            for value in node.outputs:
                maker[value] = node.name
    return graph.change(nodes.values())


def fuse_padding(graph: Graph) -> Graph:
    """A Pad with the zero point, read by windows that count their own padding: their padding."""
    pads = {n.outputs[0]: n for n in graph.nodes if n.op == "npu.Pad"
            and n.attributes["value"] == n.attributes["format"].zero_point[0]}
    made = []
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.inputs else None
        if pad is not None and node.op in ("npu.Conv", "npu.AveragePool"):
            x = graph.types[node.inputs[0]].shape
            kernel = graph.types[node.inputs[1]].shape[2:] if node.op == "npu.Conv" else \
                node.attributes["kernel_shape"]
            window = sliding(node.attributes, kernel, x[2:])
            both = tuple(int(v) for v in np.add(window.pads, pad.attributes["pads"]))
            attributes = {k: v for k, v in node.attributes.items() if k != "auto_pad"}
            if node.op == "npu.AveragePool":
                attributes["count_include_pad"] = 1
            node = replace(node, inputs=(pad.inputs[0], *node.inputs[1:]),
                           attributes={**attributes, "pads": both})
        made.append(node)
    return graph.change(made)


def sink_transposes(graph: Graph) -> Graph:
    """Transposes go behind what does not care for the order, to meet their inverse."""
    transposes: dict[str, Node] = {}
    made: list[Node] = []
    for node in graph.nodes:
        above = [transposes.get(i) for i in node.inputs]
        movable = node.op in _POINTWISE and all(a is not None for a in above) and len(
            {tuple(a.attributes["perm"]) for a in above}) == 1
        if movable and node.op == "npu.Scale" and any(
                np.size(node.attributes.get(k, 1)) > 1 for k in ("factor", "offset")):
            movable = False  # its constants lie along an axis
        if not movable:
            if node.op == "Transpose":
                transposes[node.outputs[0]] = node
            made.append(node)
            continue
        inner = f"{node.outputs[0]}~before"
        made.append(replace(node, inputs=tuple(a.inputs[0] for a in above), outputs=(inner,)))
        moved = Node(f"{node.name}~order", "Transpose", (inner,), node.outputs,
                     {"perm": tuple(above[0].attributes["perm"])})
        made.append(moved)
        transposes[node.outputs[0]] = moved
    return graph.change(made)


def _order(graph: Graph, chain: list[Node]) -> np.ndarray:
    """Which element of the chain's input is each of its result, in the result's shape."""
    source = graph.types[chain[0].inputs[0]].shape
    order = np.arange(int(np.prod(source, dtype=np.int64))).reshape(source)
    for node in chain:
        if node.op == "Transpose":
            order = order.transpose(node.attributes.get("perm") or None)
        order = order.reshape(graph.types[node.outputs[0]].shape)
    return order


def _chain(producers: dict[str, Node], value: str) -> list[Node]:
    """The moves between ``value`` and what was computed last, first one first."""
    chain = []
    node = producers.get(value)
    while node is not None and node.op in MOVES:
        chain.append(node)
        node = producers.get(node.inputs[0])
    return chain[::-1]


def join_moves(graph: Graph) -> Graph:
    """A chain of moves that keeps the elements' order is one Reshape, or nothing at all."""
    producers, made, constants, names = graph.producers(), [], {}, {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(names.get(i, i) for i in node.inputs))
        if node.op not in MOVES:
            made.append(node)
            continue
        y = node.outputs[0]
        if node.op == "Identity" and y not in graph.outputs:
            names[y] = node.inputs[0]
            continue
        chain = _chain(producers, y)
        source, kind = chain[0].inputs[0], graph.types[y]
        source = names.get(source, source)
        order = _order(graph, chain).reshape(-1)
        if not (order[:-1] < order[1:]).all():
            made.append(node)
        elif graph.types[chain[0].inputs[0]].shape == kind.shape and y not in graph.outputs:
            names[y] = source
        else:
            constants[f"{y}~shape"] = np.array(kind.shape, np.int64)
            made.append(Node(node.name, "Reshape", (source, f"{y}~shape"), (y,)))
    return graph.change(made, constants)


def moves_into_weights(graph: Graph) -> Graph:
    """A dense layer takes its input as it lies: flattening is the order of its weights.

    ``Gemm(Flatten(x), w)`` with x (C, H, W) becomes a convolution with an H x W kernel.
    """
    producers, made, constants = graph.producers(), [], {}
    for node in graph.nodes:
        if node.op != "npu.Gemm":
            made.append(node)
            continue
        chain = _chain(producers, node.inputs[0])
        weights = graph.constants[node.inputs[1]]
        source, shape, order = node.inputs[0], graph.types[node.inputs[0]].shape, None
        if chain:
            before = graph.types[chain[0].inputs[0]].shape
            if before[0] == shape[0] and 2 <= len(before) <= 4:
                order = _order(graph, chain).reshape(shape[0], -1)
                per_sample = order - np.arange(shape[0])[:, None] * shape[1]
                if (per_sample == per_sample[0]).all() and per_sample.min() >= 0:
                    source, shape, order = chain[0].inputs[0], before, per_sample[0]
                else:
                    order = None
        y, kind = node.outputs[0], graph.types[node.outputs[0]]
        if order is not None:
            moved = np.empty_like(weights)
            moved[:, order] = weights
            weights = moved
        spatial = shape[2:] if len(shape) > 2 else (1,)
        if len(shape) == 2:  # a vector as one pixel
            constants[f"{y}~pixel"] = np.array((*shape, 1), np.int64)
            made.append(Node(f"{node.name}~pixel", "Reshape", (source, f"{y}~pixel"),
                             (f"{y}~x",)))
            source = f"{y}~x"
        constants[f"{y}~kernel"] = weights.reshape(len(weights), shape[1], *spatial)
        constants[f"{y}~shape"] = np.array(kind.shape, np.int64)
        attributes = {k: v for k, v in node.attributes.items() if k != "transB"}
        made.append(Node(node.name, "npu.Conv", (source, f"{y}~kernel", *node.inputs[2:]),
                         (f"{y}~pixels",), attributes))
        made.append(Node(f"{node.name}~vector", "Reshape", (f"{y}~pixels", f"{y}~shape"), (y,)))
    return graph.change(made, constants)
