"""Compiled networks: DRAM with everything in it, what to launch, and facts about it."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw.compiler.border import Patch
from hw.compiler.code import Place
from hw.compiler.layout import elements, pack, unpack
from hw.compiler.operators import Host, Network, Tensor
from hw.compiler.schedule import Plan
from hw.tools import ToolError
from hw.vta.config import VtaConfig

__all__ = ["Launch", "Compiled"]

_CHECKED = ("races", "unwritten", "late")


def _ignore(launch: "Launch", values: Mapping[str, np.ndarray]) -> None:
    pass


@dataclass(frozen=True)
class Launch:
    """One run of the core.

    Attributes
    ----------
    insn_addr, insn_count : :class:`int`
        Where its instructions are.
    plans : tuple of :class:`Plan`
        Of its visits; ``ends``: the last instruction of each. Those that fetch for a visit may
        come before the one before it ends.
    results : tuple of :class:`str`
        Tensors that can be read afterwards.
    alive : dict of name to (first, last)
        Of tensors in DRAM that hold data: from which instruction to which. The first is -1 of
        those that are there before the launch, the last is ``insn_count`` of those read after it.
    """
    insn_addr: int
    insn_count: int
    plans: tuple[Plan, ...]
    ends: tuple[int, ...]
    results: tuple[str, ...]
    alive: dict[str, tuple[int, int]]


@dataclass
class Compiled:
    """A network for one configuration.

    Attributes
    ----------
    image : uint8 array
        DRAM from address 0 on.
    places : dict of name to :class:`Place`
        Of tensors that the core reads or stores, also the patches'; in elements from byte ``base``
        on.
    patches : tuple of :class:`Patch`
        What the host makes of tensors before the core gets them.
    steps : tuple of :class:`Launch` and :class:`Host`
        In order.
    peak, bound : :class:`int`
        Bytes of activations; and the most that are alive at one time.
    cycles : list of :class:`int`
        Of each launch of the last run; ``outcomes`` are all that its engine said.
    """
    network: Network
    config: VtaConfig
    image: np.ndarray
    places: dict[str, Place]
    base: int
    patches: tuple[Patch, ...]
    steps: tuple[Launch | Host, ...]
    peak: int
    bound: int
    cycles: list[int] = field(default_factory=list)
    outcomes: list = field(default_factory=list)

    @property
    def plans(self) -> list[Plan]:
        """Of all visits."""
        return [plan for step in self.steps if isinstance(step, Launch) for plan in step.plans]

    def run(self, values: Mapping[str, np.ndarray], *, level: str = "iss", conditions=None,
            host: Callable[[Host, list[np.ndarray]], Sequence[np.ndarray]] | None = None,
            engine=None, watch: Callable[[Launch, Mapping[str, np.ndarray]], None] = _ignore
            ) -> dict[str, np.ndarray]:
        """All values that can be read, on ``values`` of the inputs.

        Tensors are int8 (samples, channels, height, width), at most ``batch`` samples, all other
        values what ``host`` takes and returns. ``level``, ``conditions`` and ``engine`` are those
        of :mod:`sim.vta_engine`. ``watch`` is called after each launch with the values up to there.

        Raises :exc:`ToolError` if the core stops, or the simulator sees a race.
        """
        sim = importlib.import_module("sim.vta_engine")
        engine = engine or sim.engine(level, self.config)
        if engine.config.fingerprint != self.config.fingerprint:
            raise ValueError(f"the program must be made for this core "
                             f"({engine.config.fingerprint:#010x}), "
                             f"not for {self.config.fingerprint:#010x}")
        values, image = dict(values), self.image.copy()
        samples = len(next(iter(values.values())))
        if not 1 <= samples <= self.config.batch:
            raise ValueError(f"samples must be 1 to {self.config.batch}, not {samples!r}")
        self.cycles, self.outcomes = [], []
        for name in self.network.inputs:
            self._put(image, name, values[name])
        for step in self.steps:
            if isinstance(step, Host):
                results = host(step, [values[name] for name in step.xs])
                for name, value in zip(step.ys, results, strict=True):
                    values[name] = value
                    self._put(image, name, value)
                continue
            outcome = engine.run(image, step.insn_addr, step.insn_count,
                                 conditions or sim.Conditions(),
                                 reads=[self._extent(name) for name, (_, last)
                                        in step.alive.items() if last == step.insn_count])
            problems = [note for name in _CHECKED for note in outcome.notes.get(name, ())]
            if outcome.status != 0 or problems:
                raise ToolError(outcome.message or problems[0])
            self.outcomes.append(outcome)
            self.cycles.append(outcome.cycles)
            image = outcome.image
            for name in step.results:
                raw = image[self._slice(self.network.tensors[name])]
                values[name] = unpack(raw, self.network.tensors[name], self.config, samples)
            watch(step, values)
        return values

    def _extent(self, name: str) -> slice:
        """Bytes of a block of the memory plan."""
        place, unit = self.places[name], self.config.element_bytes("out")
        start = self.base + place.base * unit
        return slice(start, start + math.prod(place.shape) * unit)

    def _slice(self, tensor: Tensor) -> slice:
        unit = self.config.element_bytes("out")
        start = self.base + self.places[tensor.name].element(0, 0, 0) * unit
        return slice(start, start + elements(tensor, self.config) * unit)

    def _put(self, image, name, value):
        """What the core reads of a value of the graph."""
        copies = []
        if name in self.places:
            tensor = self.network.tensors[name]
            copies.append((tensor, value.reshape(-1, *tensor.shape)))
        for patch in self.patches:
            if patch.source == name:
                copies.append((patch.tensor, patch.of(value.reshape(-1, *patch.shape))))
        for tensor, x in copies:
            image[self._slice(tensor)] = pack(x, self.config).view(np.uint8).ravel()
