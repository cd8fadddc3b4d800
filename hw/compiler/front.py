"""The front end as a whole: from a model in any form to operators, each step checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from hw.compiler import importer
from hw.compiler.compare import Accuracy, Bounded, Miscompiled, compare, ratio_of
from hw.compiler.evaluate import Host, session
from hw.compiler.graph import Graph
from hw.compiler.lower import lower
from hw.compiler.onnx_io import from_onnx, to_onnx
from hw.compiler.operators import Network
from hw.compiler.passes import PASSES, drive
from hw.compiler.types import Refusal, TensorType

__all__ = ["Front", "load", "calibration_of"]

_CLEANED = Bounded(1, 1e-3)  # folding a batch norm moves a float by rounding
_QUANTISED = Accuracy(1.0)   # beyond that a constant would serve as well


@dataclass(frozen=True, eq=False)
class Front:
    """What the front end made of a model.

    Attributes
    ----------
    model : onnx.ModelProto
        Prepared and quantised: the reference, to be executed with ``ORT_DISABLE_ALL``.
    real : onnx.ModelProto or None
        The float model it was made of, if it was one.
    graph, network
        The integer graph, and its operators.
    notes : tuple of :class:`str`
        What a user should know: the calibration, and what quantisation cost.
    """
    model: onnx.ModelProto
    real: onnx.ModelProto | None
    graph: Graph
    network: Network
    notes: tuple[str, ...]

    def host(self) -> Host:
        """Executes the host's steps of ``network``."""
        return Host(self.graph)


def load(source: str | Path | onnx.ModelProto | Graph, *, dims: Mapping[str, int] | None = None,
         calibration: Sequence[Mapping] | Callable[[Graph], Sequence[Mapping]] = (),
         quantised: bool = True, checked: bool = True, seed: int = importer.CALIBRATION_SEED,
         progress: Callable[[str, str], None] = lambda what, how: None) -> Front:
    """The network of a file, an ONNX model or a graph; :exc:`Refusal` says what is wrong with it.

    A float model is quantised with ``calibration`` (samples by input name, or a function from the
    prepared graph to them), or with stated random ones; with ``quantised=False`` it stays on the
    host. ``checked``: every step is compared with the one before it. ``progress`` is called after
    each with its name and its class.
    """
    model = source
    if isinstance(source, str | Path):
        model = importer.read(source)
    elif isinstance(source, Graph):
        model = to_onnx(source)
    prepared, real, notes = importer.prepare(model, dims), None, []
    cleaned = from_onnx(prepared)
    if callable(calibration):
        calibration = calibration(cleaned)
    _check_calibration(cleaned, calibration)
    if checked:
        _check_clean(importer.bound(model, dims or {}), prepared, calibration)
        progress("clean", str(_CLEANED))
    if quantised and importer.is_float(prepared):
        real = prepared
        samples = list(calibration)
        if not samples:
            samples = importer.calibration_inputs(real, seed=seed)
            notes.append(f"calibrated with {len(samples)} standard normal inputs, seed {seed}: "
                         "give real ones with --calibration for accuracy")
        prepared = importer.prepare(importer.quantise(real, samples))
        old, new = (_outputs(m, samples) for m in (real, prepared))
        try:
            compare("quantise", _QUANTISED, from_onnx(prepared), old, new, tuple(old[0]))
        except Miscompiled as lost:
            raise Refusal(f"int8 is too coarse for this model: {lost}",
                          nearest="calibrate with real inputs, or quantise it while training"
                          ) from None
        for name in old[0]:
            lost = ratio_of([s[name] for s in old], [s[name] for s in new])
            notes.append(f"quantisation moves {name!r} by {100 * lost:.1f} % of its deviation "
                         "(RMS, calibration inputs)")
        progress("quantise", str(_QUANTISED))
    graph = drive(from_onnx(prepared), PASSES, checked=checked, calibration=calibration, seed=seed,
                  progress=lambda step, _: progress(step.name, str(step.keeps)))
    network = lower(graph)
    progress("lower", "within 1 LSB a layer of the reference")
    return Front(prepared, real, graph, network, tuple(notes))


def calibration_of(path: str | Path, inputs: Mapping[str, TensorType]) -> list[dict]:
    """Samples from a NumPy file: ``.npy`` for the only input, ``.npz`` with arrays by name.

    Arrays have the samples in front of, or instead of, a first dimension of 1.
    """
    try:
        data = np.load(path, allow_pickle=False)
        if not isinstance(data, np.ndarray):
            with data as file:
                data = dict(file)
    except (OSError, ValueError) as error:
        raise Refusal(f"calibration must be an .npy or .npz file of numbers, not {str(path)!r} "
                      f"({error})") from None
    if isinstance(data, np.ndarray):
        if len(inputs) != 1:
            raise Refusal(f"calibration must be an .npz with {', '.join(inputs)}, not one array")
        data = {next(iter(inputs)): data}
    if set(inputs) - set(data):
        raise Refusal(f"calibration must have {', '.join(inputs)}, not {', '.join(data)}")
    stacks = {}
    for name, kind in inputs.items():
        array = np.asarray(data[name])
        if array.shape[1:] != kind.shape and array.shape[1:] != kind.shape[1:]:
            raise Refusal(f"calibration of {name!r} must be samples of shape {list(kind.shape)}, "
                          f"not an array of shape {list(array.shape)}")
        stacks[name] = array.astype(kind.element).reshape(-1, *kind.shape)
    return [dict(zip(stacks, sample)) for sample in zip(*stacks.values())]


def _check_calibration(graph: Graph, calibration) -> None:
    for index, sample in enumerate(calibration):
        for name in graph.inputs:
            kind = graph.types[name]
            if name not in sample or sample[name].shape != kind.shape or \
                    sample[name].dtype != kind.element:
                given = f"{sample[name].dtype}{list(sample[name].shape)}" if name in sample \
                    else "nothing"
                raise Refusal(f"calibration sample {index} must have {name!r} as {kind}, not "
                              f"{given}")


def _outputs(model: onnx.ModelProto, samples) -> list[dict[str, np.ndarray]]:
    run = session(model.SerializeToString())
    names = [o.name for o in run.get_outputs()]
    return [dict(zip(names, run.run(None, dict(sample)))) for sample in samples]


def _check_clean(given: onnx.ModelProto, prepared: onnx.ModelProto, calibration) -> None:
    """The cleaned model computes what the given one does, where onnxruntime runs the given one."""
    samples = importer.samples_of(prepared, calibration)
    try:
        old = _outputs(given, samples)
    except Refusal:
        return
    new = _outputs(prepared, samples)
    for index, (a, b) in enumerate(zip(old, new)):
        for name in a:
            x, y = a[name].astype(np.float64), b[name].astype(np.float64)
            finite = np.isfinite(x) & np.isfinite(y)
            worst = np.abs(np.where(finite, x - y, 0)).max(initial=0)
            bound = _CLEANED.relative * max(np.abs(x[finite]).max(initial=0), 1e-30) \
                if a[name].dtype.kind == "f" else _CLEANED.lsb
            if x.shape != y.shape or worst > bound:
                raise Miscompiled(f"clean: {name!r} differs by {worst:g} on input {index}, "
                                  f"declared {_CLEANED}")
