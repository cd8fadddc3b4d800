"""The typed graph: nodes in an order in which they can run, and a type for every value.

A :class:`Graph` is immutable; a pass makes another one. Whoever makes one has it verified: every
value has one maker, nothing is read before it is made, and the type relation of every node holds
(:mod:`hw.compiler.relations`). ``str(graph)`` is one line a node.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hw.compiler import relations
from hw.compiler.types import ADDRESS_SPACE, ELEMENTS, Refusal, TensorType

__all__ = ["Node", "Graph"]


@dataclass(frozen=True, eq=False)
class Node:
    """An operation. ``op`` is ONNX's name, or ``npu.NAME`` for one on integers that the core does.

    ``inputs``: names of values, "" for an optional one that is absent.
    """
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping = field(default_factory=dict)

    def __str__(self):
        shown = ", ".join([i or "-" for i in self.inputs]
                          + [f"{k}={_shown(v)}" for k, v in self.attributes.items()])
        return f"{', '.join(self.outputs)} = {self.op}({shown})"


@dataclass(frozen=True, eq=False)
class Graph:
    """
    Attributes
    ----------
    inputs, outputs : tuple of :class:`str`
    nodes : tuple of :class:`Node`
    constants : dict of name to array
        Weights and everything else that is known.
    types : dict of name to :class:`TensorType`
        Of every value; made from the inputs' types by :meth:`of`.
    """
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    types: Mapping[str, TensorType]

    @classmethod
    def of(cls, name: str, inputs: Mapping[str, TensorType], outputs: Iterable[str],
           nodes: Iterable[Node], constants: Mapping[str, np.ndarray]) -> "Graph":
        """A verified graph; :exc:`Refusal` names the node that is wrong, and why."""
        nodes, outputs = tuple(nodes), tuple(outputs)
        used = {i for node in nodes for i in node.inputs} | set(outputs)
        constants = {k: np.asarray(v) for k, v in constants.items() if k in used}
        types = dict(inputs)
        for key, value in constants.items():
            types[key] = TensorType(str(value.dtype), value.shape)
        for key, kind in types.items():
            _check(kind, key, "")
        names = Counter(node.name for node in nodes)
        for node in nodes:
            if names[node.name] > 1:
                raise Refusal(f"{names[node.name]} nodes are called {node.name!r}", node.name)
            for value in node.inputs:
                if value and value not in types:
                    raise Refusal(f"{node.name} reads {value!r}, which nothing before it makes",
                                  node.name)
            made = relations.infer(node, types, constants)
            for value, kind in zip(node.outputs, made):
                if value in types:
                    raise Refusal(f"{node.name} makes {value!r}, which is made already", node.name)
                if value:
                    _check(kind, value, node.name)
                    types[value] = kind
        for value in outputs:
            if value not in types:
                raise Refusal(f"output {value!r} is made by nothing")
        return cls(name, tuple(inputs), outputs, nodes, constants, types)

    def change(self, nodes: Iterable[Node], constants: Mapping[str, np.ndarray] = (),
               outputs: Iterable[str] | None = None) -> "Graph":
        """The graph with other ``nodes`` and more ``constants``; what nobody reads is left out."""
        outputs = self.outputs if outputs is None else tuple(outputs)
        needed, kept = set(outputs), []
        for node in reversed(tuple(nodes)):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return Graph.of(self.name, {i: self.types[i] for i in self.inputs}, outputs,
                        reversed(kept), {**self.constants, **dict(constants)})

    def producers(self) -> dict[str, Node]:
        return {value: node for node in self.nodes for value in node.outputs if value}

    def readers(self) -> Counter:
        """How often each value is read; being an output of the graph counts."""
        return Counter([i for node in self.nodes for i in node.inputs if i] + list(self.outputs))

    def __str__(self):
        lines = [f"graph {self.name}"]
        lines += [f"  input {i}: {self.types[i]}" for i in self.inputs]
        lines += [f"  {node}: {', '.join(str(self.types[o]) for o in node.outputs if o)}"
                  for node in self.nodes]
        return "\n".join([*lines, f"  output {', '.join(self.outputs)}"])


def _check(kind: TensorType, value: str, node: str) -> None:
    where = f"{value!r}" + (f" of {node}" if node else "")
    if kind.element not in ELEMENTS:
        raise Refusal(f"elements of {where} must be one of {', '.join(ELEMENTS)}, not "
                      f"{kind.element}", node)
    if any(size < 0 for size in kind.shape):
        raise Refusal(f"shape of {where} must be static, not {kind.shape}", node)
    if any(size == 0 for size in kind.shape):
        raise Refusal(f"{where} must have no dimension of size 0, not shape {kind.shape}", node)
    if kind.bytes > ADDRESS_SPACE:
        raise Refusal(f"{where} must fit into the address space of {ADDRESS_SPACE} bytes, not take "
                      f"{kind.bytes} bytes as {kind}", node)


def _shown(value) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})"
    return str(value)
