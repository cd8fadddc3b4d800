"""The upper rungs of the ladder: a compiled model by its reference, its integer graph, and its
operators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import onnx

from hw.compiler.compare import ratio_of, values_of
from hw.compiler.evaluate import session
from hw.compiler.export import integer_model
from hw.compiler.front import Front
from hw.compiler.operators import Host
from sim.golden.compiler import operators as golden

__all__ = ["reference", "graph", "operators", "Layer", "layers", "against_float", "wilson"]

_Progress = Callable[[int], None]
_TO, _BACK = "_QuantizeLinear_Output", "_DequantizeLinear_Output"  # onnxruntime's names


def _silent(samples: int) -> None:
    pass


def reference(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray],
              progress: _Progress = _silent) -> dict[str, np.ndarray]:
    """Outputs of a model by onnxruntime with ``ORT_DISABLE_ALL``, a sample at a time.

    ``inputs``: (samples, *shape of the input); outputs likewise.
    """
    run = session(model.SerializeToString())
    names = [o.name for o in run.get_outputs()]
    made = []
    for sample in zip(*inputs.values()):
        made.append(run.run(None, dict(zip(inputs, map(np.asarray, sample)))))
        progress(1)
    return dict(zip(names, (np.stack(each) for each in zip(*made))))


def graph(front: Front, inputs: Mapping[str, np.ndarray],
          progress: _Progress = _silent) -> dict[str, np.ndarray]:
    """Outputs of the integer graph by onnxruntime: the operators' bits, by another hand."""
    return reference(integer_model(front.graph, front.network), inputs, progress)


def operators(front: Front, inputs: Mapping[str, np.ndarray], batch: int = 50,
              progress: _Progress = _silent) -> dict[str, np.ndarray]:
    """Outputs of the operators' golden model; shapes as in :func:`reference`."""
    host, types, made = front.host(), front.graph.types, []
    count = len(next(iter(inputs.values())))
    for start in range(0, count, batch):
        part = {k: v[start:start + batch] for k, v in inputs.items()}
        taken = len(next(iter(part.values())))
        flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in part.items()}
        values = golden.run(front.network, flat, host)
        made.append([values[o].reshape(taken, *types[o].shape) for o in front.graph.outputs])
        progress(taken)
    return dict(zip(front.graph.outputs, (np.concatenate(each) for each in zip(*made))))


@dataclass(frozen=True)
class Layer:
    """How far an operator is from the reference on the reference's own input of it.

    Attributes
    ----------
    worst : :class:`int`
        Largest difference, in LSB.
    unequal : :class:`float`
        Share of elements that differ.
    """
    name: str
    operator: str
    worst: int
    unequal: float


def layers(front: Front, samples: Sequence[Mapping[str, np.ndarray]]) -> list[Layer]:
    """Each operator against the reference model, fed with the reference's own values.

    Where the compiler made a value that the model does not have, both the input and the result are
    those of the integer graph's reference execution.
    """
    given = _narrow_values(front.model, samples)
    made = values_of(front.graph, samples)
    views = {n.inputs[0]: n.outputs[0] for n in front.graph.nodes if n.op == "Reshape"}

    def of_model(index: int, name: str) -> np.ndarray | None:
        for each in (name, views.get(name, name)):
            value = given[index].get(each.removesuffix("~signed"))
            if value is not None:
                unsigned = value.dtype == np.uint8
                return value.astype(np.int64) - 128 if unsigned else value
        return None

    found = []
    for step in front.network.steps:
        if isinstance(step, Host):
            continue
        differences = []
        for index, value in enumerate(made):
            xs = [of_model(index, x.name) for x in step.inputs]
            wanted = of_model(index, step.y.name)
            if wanted is None or any(x is None for x in xs):
                xs, wanted = [value[x.name] for x in step.inputs], value[step.y.name]
            y = golden.evaluate(step, *(x.reshape(-1, *t.shape).astype(np.int8)
                                        for x, t in zip(xs, step.inputs)))
            differences.append(np.abs(y.ravel().astype(np.int64) - wanted.ravel()))
        every = np.concatenate(differences)
        found.append(Layer(step.name, type(step).__name__, int(every.max()),
                           float((every > 0).mean())))
    return found


def against_float(front: Front, samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """What quantisation, up to each operator, has changed of its result: RMS over deviation.

    The reference executor's values of the quantised model against those of the float model, from
    the network's inputs on. Only operators whose result the float model has, too.
    """
    if front.real is None:
        return {}
    made = {o for node in front.model.graph.node for o in node.output}
    pairs = {o: o + _BACK if o + _BACK in made else o  # an output keeps its name
             for node in front.real.graph.node for o in node.output
             if o + _BACK in made or o in made}
    names = {step.name: step.y.name.partition(_TO)[0] for step in front.network.steps
             if not isinstance(step, Host)}
    names = {step: name for step, name in names.items() if name in pairs}
    wanted = list(dict.fromkeys(names.values()))
    real = _values(front.real, wanted, samples)
    quantised = _values(front.model, [pairs[name] for name in wanted], samples)
    ratios = {name: ratio_of([sample[name] for sample in real],
                             [sample[pairs[name]] for sample in quantised]) for name in wanted}
    return {step: ratios[name] for step, name in names.items()}


def _values(model: onnx.ModelProto, names, samples) -> list[dict[str, np.ndarray]]:
    """Values of a model by name."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    run = session(more.SerializeToString())
    return [dict(zip(names, run.run(names, dict(sample)))) if names else {} for sample in samples]


def _narrow_values(model: onnx.ModelProto, samples) -> list[dict[str, np.ndarray]]:
    """Inputs and 8-bit values of a model on ``samples``."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "Transpose", "Reshape") and \
                node.output[0] not in known:
            more.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    run = session(more.SerializeToString())
    names = [o.name for o in run.get_outputs()]
    return [{**sample, **{k: v for k, v in zip(names, run.run(None, dict(sample)))
                          if v.dtype in (np.int8, np.uint8)}} for sample in samples]


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, 95 % by default."""
    share, square = right / count, z * z / count
    centre = share + square / 2
    spread = z * sqrt((share * (1 - share) + square / 4) / count)
    return (centre - spread) / (1 + square), (centre + spread) / (1 + square)
