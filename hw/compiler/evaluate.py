"""The graph's own executor: onnxruntime without its optimisations, which change results."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime

from hw.compiler.graph import Graph, Node
from hw.compiler.onnx_io import to_onnx
from hw.compiler.types import Refusal

__all__ = ["session", "evaluate", "Evaluator", "Host"]


def session(model: bytes) -> onnxruntime.InferenceSession:
    """A session of a serialised model that computes what the file says (onnxruntime#32132)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what it refuses, it raises as well
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        said = str(error).split(" : ")[-1].strip().splitlines()[0]
        raise Refusal(f"onnxruntime cannot execute the model: {said}") from None


def evaluate(graph: Graph, feeds: Mapping[str, np.ndarray],
             values: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Outputs of ``graph``, and ``values``, on one sample."""
    return Evaluator(graph, values)(feeds)


class Evaluator:
    """``graph`` as a function of its inputs; returns its outputs and ``values`` by name."""

    def __init__(self, graph: Graph, values: Sequence[str] = ()):
        self.names = list(dict.fromkeys((*graph.outputs, *values)))
        self._session = session(to_onnx(graph, tuple(values)).SerializeToString())

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.names, self._session.run(None, dict(feeds))))


class Host:
    """Executes nodes of ``graph`` for :func:`sim.golden.compiler.operators.run`.

    Arrays have samples in front: (samples * first dimension, the others), as in the network.
    """

    def __init__(self, graph: Graph):
        self.graph, self._sessions = graph, {}

    def __call__(self, step, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
        run = self._run(step.node)
        names = [i for i in step.node.inputs if i and i not in self.graph.constants]
        stacks = [x.reshape(-1, *self.graph.types[name].shape) for x, name in zip(xs, names)]
        results = [run(dict(zip(names, map(np.asarray, sample)))) for sample in zip(*stacks)]
        made = [np.stack(each) for each in zip(*results)]
        return [m.reshape(-1, *m.shape[2:]) if m.ndim > 1 else m for m in made]

    def _run(self, node: Node) -> Callable[[dict], list[np.ndarray]]:
        if node.name not in self._sessions:
            graph, reads = self.graph, [i for i in node.inputs if i]
            single = Graph.of(node.name, {i: graph.types[i] for i in reads
                                          if i not in graph.constants}, [o for o in node.outputs
                                                                         if o], [node],
                              graph.constants)
            self._sessions[node.name] = session(to_onnx(single).SerializeToString())
        found = self._sessions[node.name]
        return lambda feeds: found.run(None, feeds)
