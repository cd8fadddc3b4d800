"""Compiled networks: DRAM with everything in it, what to launch, and facts about it."""

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hw.compiler.border import Patch
from hw.compiler.layout import blocks, elements, pack, unpack
from hw.compiler.operators import Host, Tensor, Window
from hw.vta.config import VtaConfig

__all__ = ["VisitFacts", "Launch", "Compiled"]

_CHECKED = ("races", "unwritten", "late")
_IMAGE, _MANIFEST = "image.bin", "manifest.json"


@dataclass(frozen=True)
class VisitFacts:
    """What is known of a visit before it runs.

    ``first`` to ``last`` are its instructions; those that fetch for it may come earlier.
    ``cycles`` is predicted, for the visit alone: with its own beginning and end.
    """
    name: str
    operators: tuple[str, ...]
    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    macs: int
    gemm: int
    alu: int
    cycles: int
    read_bytes: int
    written_bytes: int
    schedule: dict
    first: int
    last: int


@dataclass(frozen=True)
class Launch:
    """One run of the core; afterwards the tensors called ``results`` can be read."""
    insn_addr: int
    insn_count: int
    results: tuple[str, ...]
    visits: tuple[VisitFacts, ...]


@dataclass
class Compiled:
    """A network for one configuration.

    Attributes
    ----------
    image : uint8 array
        DRAM from address 0 on.
    inputs, outputs : names of values
    tensors : dict of name to :class:`Tensor`
        Those that the core reads or stores.
    addresses : dict of name to :class:`int`
        Where tensors begin; also the patches' tensors.
    patches : tuple of :class:`Patch`
        What the host makes of tensors before the core gets them.
    steps : tuple of :class:`Launch` and :class:`Host`
        In order.
    peak, bound : :class:`int`
        Bytes of activations; and the most that are alive at one time.
    cycles : list of :class:`int`
        Of each launch of the last run; ``outcomes`` are all that its engine said.
    """
    config: VtaConfig
    image: np.ndarray
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    addresses: dict[str, int]
    patches: tuple[Patch, ...]
    steps: tuple[Launch | Host, ...]
    peak: int
    bound: int
    cycles: list[int] = field(default_factory=list)
    outcomes: list = field(default_factory=list)

    @property
    def visits(self) -> list[VisitFacts]:
        return [visit for step in self.steps if isinstance(step, Launch) for visit in step.visits]

    def run(self, values: Mapping[str, np.ndarray], *, level: str = "iss", conditions=None,
            host: Callable[[Host, list[np.ndarray]], Sequence[np.ndarray]] | None = None,
            engine=None) -> dict[str, np.ndarray]:
        """All values that can be read, on ``values`` of the inputs.

        Tensors are int8 (samples, channels, height, width), at most ``batch`` samples, all other
        values what ``host`` takes and returns. ``level``, ``conditions`` and ``engine`` are those
        of :mod:`sim.vta_engine`.

        Raises :exc:`RuntimeError` if the core stops, or the simulator sees a race.
        """
        sim = importlib.import_module("sim.vta_engine")
        engine = engine or sim.engine(level, self.config)
        values, image = dict(values), self.image.copy()
        samples = len(next(iter(values.values())))
        if not 1 <= samples <= self.config.batch:
            raise ValueError(f"samples must be 1 to {self.config.batch}, not {samples!r}")
        self.cycles, self.outcomes = [], []
        for name in self.inputs:
            self._put(image, name, values[name])
        for step in self.steps:
            if isinstance(step, Host):
                results = host(step, [values[name] for name in step.xs])
                for name, value in zip(step.ys, results, strict=True):
                    values[name] = value
                    self._put(image, name, value)
                continue
            outcome = engine.run(image, step.insn_addr, step.insn_count,
                                 conditions or sim.Conditions())
            problems = [note for name in _CHECKED for note in outcome.notes.get(name, ())]
            if outcome.status != 0 or problems:
                raise RuntimeError(outcome.message or problems[0])
            self.outcomes.append(outcome)
            self.cycles.append(outcome.cycles)
            image = outcome.image
            for name in step.results:
                raw = image[self._slice(self.tensors[name])]
                values[name] = unpack(raw, self.tensors[name], self.config, samples)
        return values

    def _slice(self, tensor: Tensor) -> slice:
        size = elements(tensor, self.config) * self.config.element_bytes("out")
        return slice(self.addresses[tensor.name], self.addresses[tensor.name] + size)

    def _put(self, image, name, value):
        """What the core reads of a value of the graph."""
        copies = []
        if name in self.addresses:
            copies.append((self.tensors[name], value.reshape(-1, *self.tensors[name].shape)))
        for patch in self.patches:
            if patch.source == name:
                copies.append((patch.tensor, patch.of(value.reshape(-1, *patch.shape))))
        for tensor, x in copies:
            image[self._slice(tensor)] = pack(x, self.config).view(np.uint8).ravel()

    def manifest(self) -> dict:
        """Everything but the image, for JSON."""
        def plain(value):
            return dataclasses.asdict(value)

        return {
            "config": self.config.to_dict(),
            "inputs": self.inputs, "outputs": self.outputs,
            "tensors": {name: x.shape for name, x in self.tensors.items()},
            "blocks": {name: blocks(x.channels, self.config) for name, x in self.tensors.items()},
            "addresses": self.addresses,
            "patches": [plain(patch) for patch in self.patches],
            "steps": [{"host": step.name, "xs": step.xs, "ys": step.ys, "reason": step.reason}
                      if isinstance(step, Host) else plain(step) for step in self.steps],
            "peak": self.peak, "bound": self.bound,
        }

    def save(self, folder: Path) -> None:
        """Write image and manifest; :meth:`load` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _IMAGE).write_bytes(self.image.tobytes())
        (folder / _MANIFEST).write_text(json.dumps(self.manifest(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Compiled":
        """A network that was saved; its steps on the host have names, but no nodes."""
        manifest = json.loads((folder / _MANIFEST).read_text())
        image = np.frombuffer((folder / _IMAGE).read_bytes(), np.uint8)

        def step(values):
            if "host" in values:
                return Host(values["host"], None, tuple(values["xs"]), tuple(values["ys"]),
                            values["reason"])
            visits = tuple(VisitFacts(**{**visit, **{
                name: tuple(visit[name]) for name in ("operators", "shape", "kernel")}})
                for visit in values["visits"])
            return Launch(values["insn_addr"], values["insn_count"], tuple(values["results"]),
                          visits)

        def patch(values):
            window = Window(**{name: tuple(v) for name, v in values["window"].items()})
            return Patch(**{**values, "tensor": Tensor(**values["tensor"]), "window": window,
                            "shape": tuple(values["shape"])})

        return cls(VtaConfig.from_dict(manifest["config"]), image, tuple(manifest["inputs"]),
                   tuple(manifest["outputs"]),
                   {name: Tensor(name, *shape) for name, shape in manifest["tensors"].items()},
                   manifest["addresses"], tuple(map(patch, manifest["patches"])),
                   tuple(map(step, manifest["steps"])), manifest["peak"], manifest["bound"])
