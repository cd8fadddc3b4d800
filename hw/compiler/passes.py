"""The passes on the typed graph, what each keeps, and the driver that holds them to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hw.compiler import canonical, integer, moves
from hw.compiler.compare import Bounded, Exact, Keeps, compare, samples_for, values_of
from hw.compiler.graph import Graph

__all__ = ["Pass", "PASSES", "drive"]

# A sum of floats in another order may fall on the other side of a half.
_REORDERED = Bounded(1, 1e-4)


@dataclass(frozen=True)
class Pass:
    """A pure function of the graph, and how it keeps the graph's meaning."""
    run: Callable[[Graph], Graph]
    keeps: Keeps

    @property
    def name(self) -> str:
        return self.run.__name__


PASSES = (
    Pass(canonical.qlinear_to_qdq, Bounded(1, 1e-4)),  # onnxruntime's own kernels round otherwise
    Pass(canonical.batch_norm_to_affine, Bounded(1, 1e-4)),
    Pass(canonical.signed, Exact()),
    Pass(canonical.quantise_biases, Bounded(1, 1e-3)),
    Pass(canonical.moves_before_dequantise, Exact()),
    Pass(integer.to_integer, _REORDERED),
    Pass(canonical.fold_constants, Exact()),
    Pass(moves.absorb_clamps, Exact()),
    Pass(moves.join_moves, Exact()),
    Pass(moves.fuse_padding, _REORDERED),
    Pass(moves.sink_transposes, Exact()),
    Pass(moves.moves_into_weights, _REORDERED),
    Pass(moves.join_moves, Exact()),
)


def _same(a: Graph, b: Graph) -> bool:
    """Whether a pass found nothing to do; constants that it kept are the same objects."""
    return str(a) == str(b) and a.constants.keys() == b.constants.keys() and all(
        value is b.constants[name] for name, value in a.constants.items())


def drive(graph: Graph, passes: Sequence[Pass] = PASSES, *, checked: bool = True,
          calibration: Sequence[Mapping] = (), seed: int = 0,
          progress: Callable[[Pass, Graph], None] = lambda step, graph: None) -> Graph:
    """``graph`` after all ``passes``; with ``checked`` each is compared with the graph before it.

    :exc:`hw.compiler.compare.Miscompiled` names the pass that broke its promise, and the value.
    """
    samples = samples_for({i: graph.types[i] for i in graph.inputs}, calibration, seed)
    before = values_of(graph, samples) if checked else []
    for step in passes:
        result = step.run(graph)
        if checked and not _same(result, graph):
            after = values_of(result, samples)
            compare(step.name, step.keeps, result, before, after, result.outputs)
            before = after
        graph = result
        progress(step, graph)
    return graph
