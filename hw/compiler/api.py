"""From a model to results, in a few lines::

    from hw.compiler.api import compile
    from hw.vta.config import preset

    model = compile("model.onnx", preset("default"))
    y = model.run(x)                  # instruction-set simulator; level="rtl": the core itself
    model.save("folder")              # program, weights and a manifest
"""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from hw.compiler import front as front_end
from hw.compiler.folder import new_folder
from hw.compiler.front import Front
from hw.compiler.graph import Graph
from hw.compiler.link import compile_network
from hw.compiler.operators import Host
from hw.compiler.program import Compiled, Launch
from hw.compiler.proof import prove, words_of
from hw.compiler.report import report
from hw.vta.config import VtaConfig

__all__ = ["LEVELS", "Model", "compile"]

#: The rungs of the ladder: the same input gives the same bits. An operator is within 1 LSB of the
#: quantised model's on the same input.
LEVELS = {
    "graph":    "ONNX's own integer operators, by onnxruntime",
    "operator": "the operators' golden model",
    "iss":      "the instruction-set simulator",
    "rtl":      "the core, as a native model of its Verilog",
}
_Progress = Callable[[str, str], None]


def _silent(what: str, how: str) -> None:
    pass


def compile(model: str | Path | onnx.ModelProto | Graph | Front, config: VtaConfig | None = None,
            *, name: str = "", checked: bool = True, progress: _Progress = _silent,
            **options) -> "Model":
    """Compile ``model`` for a core of ``config``, the default one if left out.

    ``options`` are those of :func:`hw.compiler.front.load`. With ``checked`` every pass is held
    against the one before it, and the finished streams against :mod:`hw.compiler.checker`.
    Raises :class:`hw.compiler.types.Refusal`, one sentence, for what cannot be compiled.
    """
    if not isinstance(model, Front):
        name = name or (Path(model).stem if isinstance(model, str | Path) else "model")
        model = front_end.load(model, checked=checked, progress=progress, **options)
    program = compile_network(model.network, config or VtaConfig())
    progress("schedule", f"{sum(s.insn_count for s in program.steps if isinstance(s, Launch)):,} "
                         "instructions")
    if checked:
        prove(program, lambda what: progress("prove", what))
    return Model(name or "model", model, program)


@dataclass
class Model:
    """A compiled model; ``cycles``: those of the last run on the core, a list for each launch."""
    name: str
    front: Front
    program: Compiled

    def __post_init__(self):
        self.cycles: list[list[int]] = []

    @property
    def config(self) -> VtaConfig:
        return self.program.config

    def inputs(self, x) -> dict[str, np.ndarray]:
        """``x``, an array or arrays by name, as samples: (samples, *shape of the input).

        A sample may leave out the input's first dimension, if that is 1.
        """
        graph = self.front.graph
        if not isinstance(x, Mapping):
            if len(graph.inputs) != 1:
                raise ValueError(f"input must be arrays by name, {', '.join(graph.inputs)}, "
                                 f"not one array")
            x = {graph.inputs[0]: x}
        if set(x) != set(graph.inputs):
            raise ValueError(f"input must have {', '.join(graph.inputs)}, not {', '.join(x)}")
        found = {}
        for name in graph.inputs:
            kind, array = graph.types[name], np.asarray(x[name])
            if array.shape == kind.shape:
                array = array[None]
            fits = array.shape[1:] == kind.shape or \
                (kind.shape[:1] == (1,) and array.shape[1:] == kind.shape[1:])
            if not fits or not len(array) or \
                    not np.can_cast(array.dtype, kind.element, "same_kind"):
                raise ValueError(f"input {name!r} must be {kind.element} samples of shape "
                                 f"{list(kind.shape)}, not {array.dtype} {list(array.shape)}")
            found[name] = array.astype(kind.element).reshape(-1, *kind.shape)
        if len({len(array) for array in found.values()}) != 1:
            raise ValueError("inputs must have one number of samples, not " +
                             ", ".join(f"{len(array)} of {name}" for name, array in found.items()))
        return found

    def run(self, x, *, level: str = "iss", conditions=None, engine=None,
            progress: Callable[[int], None] = lambda samples: None):
        """Outputs for ``x`` as in :meth:`inputs`: an array, or arrays by name if there are several.

        ``level``: one of :data:`LEVELS`. ``conditions``: :class:`sim.vta_engine.Conditions`.
        ``engine``: one of :mod:`sim.vta_engine` to use again. ``progress`` is called with the
        number of samples that are done.
        """
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
        inputs = self.inputs(x)
        if level in ("graph", "operator"):
            rung = {"graph": "graph", "operator": "operators"}[level]
            compute = getattr(importlib.import_module("sim.rungs"), rung)
            results = compute(self.front, inputs, progress=progress)
        else:
            results = self._core(inputs, level, conditions, engine, progress)
        return next(iter(results.values())) if len(results) == 1 else results

    def _core(self, inputs, level, conditions, engine, progress):
        engine = engine or importlib.import_module("sim.vta_engine").engine(level, self.config)
        types, host, made = self.front.graph.types, self.front.host(), []
        count, batch = len(next(iter(inputs.values()))), self.config.batch
        self.cycles = []
        for start in range(0, count, batch):
            part = {name: array[start:start + batch].reshape(-1, *array.shape[2:])
                    for name, array in inputs.items()}
            values = self.program.run(part, conditions=conditions, engine=engine, host=host)
            self.cycles.append(list(self.program.cycles))
            taken = min(batch, count - start)
            made.append({name: values[name].reshape(taken, *types[name].shape)
                         for name in self.front.graph.outputs})
            progress(taken)
        return {name: np.concatenate([each[name] for each in made]) for name in made[0]}

    def timings(self, latency: int = 16) -> list:
        """Of each launch when its instructions run: :class:`sim.vta_cycles.Cycles`."""
        cycles = importlib.import_module("sim.vta_cycles").cycles
        return [cycles(self.config, words_of(self.program, step), self.program.image,
                       insn_addr=step.insn_addr, latency=latency)
                for step in self.program.steps if isinstance(step, Launch)]

    def report(self, *, latency: int = 16, clock_mhz: float = 100, level: str = "",
               accuracy: Mapping | None = None, samples: Sequence[Mapping] = ()) -> dict:
        """All figures, see :func:`hw.compiler.report.report`.

        ``samples`` (of the graph's inputs, by name): errors of the layers on these, against the
        reference executor, and what quantisation has changed up to each.
        """
        errors: dict[str, dict] = {}
        if samples:
            rungs = importlib.import_module("sim.rungs")
            for each in rungs.layers(self.front, samples):
                errors[each.name] = {"worst_lsb": each.worst, "unequal": each.unequal}
            for name, ratio in rungs.against_float(self.front, samples).items():
                errors[name]["float_ratio"] = ratio
        return report(self.name, self.program, self.timings(latency), latency=latency,
                      clock_mhz=clock_mhz, level=level or "cycles of the timing model",
                      accuracy=accuracy, errors=errors, notes=self.front.notes)

    def manifest(self) -> dict:
        """What a host has to know to run the program.

        ``patches``: what the core gets of the value ``of``, as :func:`hw.compiler.layout.patches`
        makes it.
        """
        graph, program = self.front.graph, self.program
        size = self.config.element_bytes("out")

        def address(name):
            return program.base + program.places[name].element(0, 0, 0) * size

        def value(name):
            kind = graph.types[name]
            known = {"name": name, "element": kind.element, "shape": list(kind.shape)}
            if name in program.places:
                known |= {"tensor": list(program.network.tensors[name].shape),
                          "address": address(name)}
            return known

        steps = []
        for step in program.steps:
            if isinstance(step, Host):
                steps.append({"place": "host", "name": step.name, "operator": step.node.op,
                              "inputs": list(step.xs), "outputs": list(step.ys),
                              "reason": step.reason})
                continue
            steps.append({
                "place": "core", "insn_addr": step.insn_addr, "insn_count": step.insn_count,
                "layers": [{"operators": [operator.name for operator in plan.visit.operators],
                            "schedule": plan.schedule.to_dict(), "last_instruction": last}
                           for plan, last in zip(step.plans, step.ends)]})
        return {"model": self.name, "config": self.config.to_dict(),
                "fingerprint": self.config.fingerprint, "image": "program.bin",
                "image_bytes": len(program.image), "constants_bytes": program.base,
                "activation_bytes": program.peak, "activation_bound": program.bound,
                "reference": "reference.onnx", "inputs": [value(name) for name in graph.inputs],
                "outputs": [value(name) for name in graph.outputs], "steps": steps,
                "patches": [{"of": patch.source, "tensor": list(patch.tensor.shape),
                             "address": address(patch.tensor.name), "both": patch.both,
                             "pad_value": patch.pad_value, **asdict(patch.window)}
                            for patch in program.patches],
                "notes": list(self.front.notes)}

    def save(self, folder: str | Path) -> Path:
        """Write ``program.bin`` (DRAM: weights, parameters, instructions), ``manifest.json`` and
        ``reference.onnx``; all of it, or nothing."""
        with new_folder(folder) as made:
            (made / "program.bin").write_bytes(self.program.image.tobytes())
            onnx.save(self.front.model, made / "reference.onnx")
            (made / "manifest.json").write_text(json.dumps(self.manifest(), indent=1) + "\n")
        return Path(folder)
