"""Compiled networks: DRAM with everything in it, launches, and facts about them."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hw.compiler.border import Patch, pack_inputs
from hw.compiler.code import Constants, Place
from hw.compiler.emit import emit
from hw.compiler.layout import blocks, elements, pack, unpack
from hw.compiler.operators import Concat, Host, Network, Tensor
from hw.compiler.schedule import Plan
from hw.compiler.search import choose
from hw.compiler.visits import Visit, group, placeable
from hw.vta.assembler import to_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import Memory

__all__ = ["Launch", "Compiled", "compile_network"]

_PAGE = 4096
_SECTIONS = {"weights": Memory.WGT, "parameters": Memory.ACC, "uops": Memory.UOP,
             "activations": Memory.OUT}


@dataclass(frozen=True)
class Launch:
    """One run of the core: where its instructions are, and what it computes."""
    insn_addr: int
    insn_count: int
    plans: tuple[Plan, ...]
    ends: tuple[int, ...]  # of each visit, its last instruction


@dataclass
class Compiled:
    """A network for one configuration.

    Attributes
    ----------
    image : uint8 array
        DRAM from address 0 on.
    steps : tuple of :class:`Launch` and :class:`Host`
        In order.
    """
    network: Network
    config: VtaConfig
    image: np.ndarray
    places: dict[str, Place]
    base: int                 # byte address of the activations
    steps: tuple[Launch | Host, ...]
    patches: tuple[Patch, ...] = ()
    cycles: list[int] = field(default_factory=list)

    def run(self, values: Mapping[str, np.ndarray], *, level: str = "iss", conditions=None,
            host: Callable | None = None, engine=None, checks: bool = True
            ) -> dict[str, np.ndarray]:
        """All tensors of the network that are stored, on ``values`` of its inputs.

        Tensors are int8 (samples, channels, height, width), at most ``batch`` samples.
        """
        sim = importlib.import_module("sim.vta_engine")
        engine = engine or sim.engine(level, self.config)
        conditions = conditions or sim.Conditions()
        values, image = dict(values), self.image.copy()
        samples = len(next(iter(values.values())))
        self.cycles, self.outcomes = [], []
        for name in self.network.inputs:
            self._put(image, name, values[name])
        for step in self.steps:
            if isinstance(step, Host):
                results = host(step, [values[name] for name in step.xs])
                values.update(zip(step.ys, results, strict=True))
                for name in step.ys:
                    self._put(image, name, values[name])
                continue
            outcome = engine.run(image, step.insn_addr, step.insn_count, conditions)
            self.outcomes.append(outcome)
            if outcome.status != 0:
                raise RuntimeError(f"the core stopped with {outcome.status.status}: "
                                   f"{outcome.message}")
            if checks:
                for problem in ("races", "unwritten", "late"):
                    if outcome.notes.get(problem):
                        raise RuntimeError(outcome.notes[problem][0])
            self.cycles.append(outcome.cycles)
            image = outcome.image
            for plan in step.plans:
                for tensor in plan.visit.stores:
                    values[tensor.name] = self._get(image, tensor, samples)
        return values

    def _slice(self, tensor: Tensor) -> slice:
        size = self.config.element_bytes("out")
        start = self.base + self.places[tensor.name].element(0, 0, 0) * size
        return slice(start, start + elements(tensor, self.config) * size)

    def _put(self, image, name, value):
        """What the core reads of a value of the graph."""
        if name not in self.network.tensors:
            return
        tensor = self.network.tensors[name]
        value = value.reshape(-1, *tensor.shape)
        copies = [(tensor, value)] if name in self.places else []
        copies += [(patch.tensor, patch.of(value)) for patch in self.patches
                   if patch.source == name]
        for tensor, value in copies:
            image[self._slice(tensor)] = pack(value, self.config).view(np.uint8).ravel()

    def _get(self, image, tensor, samples):
        return unpack(image[self._slice(tensor)], tensor, self.config, samples)


def compile_network(network: Network, config: VtaConfig,
                    schedule: Callable[[Visit, VtaConfig], Plan] = choose) -> Compiled:
    """Compile ``network``; ``schedule`` gives each visit its plan."""
    kept = set(network.outputs)
    for step in network.steps:
        if isinstance(step, Host):
            kept.update(step.xs)
    steps, patches = pack_inputs(network, config, schedule)
    segments: list[list | Host] = []
    for step in steps:
        if isinstance(step, Host):
            segments.append(step)
        elif segments and isinstance(segments[-1], list):
            segments[-1].append(step)
        else:
            segments.append([step])
    for number, segment in enumerate(segments):  # what later segments read is stored
        if isinstance(segment, list):
            for other in segments[number + 1:]:
                if isinstance(other, list):
                    kept.update(x.name for step in other for x in step.inputs)
    groups = [segment if isinstance(segment, Host)
              else [schedule(visit, config) for visit in group(segment, kept, config)]
              for segment in segments]
    places, size = _place(network, groups, patches, config)
    constants, streams = Constants(), []
    for plans in groups:
        if not isinstance(plans, Host):
            streams.append((plans, *emit(plans, places, constants, config, size)))
    return _link(network, config, groups, places, size, constants, streams, patches)


def _place(network, groups, patches, config) -> tuple[dict[str, Place], int]:
    """Every tensor in DRAM its own place; the parts of a concatenation lie in its result."""
    stored = {}
    for plans in groups:
        if not isinstance(plans, Host):
            for plan in plans:
                stored |= {tensor.name: tensor
                           for tensor in (*plan.visit.reads, *plan.visit.stores)}
    within: dict[str, tuple[str, int]] = {}
    for step in network.steps:
        if isinstance(step, Concat):
            reason = placeable(step, config.block)
            if reason is not None or any(x.name in within for x in step.xs):
                raise ValueError(reason or f"{step.name} joins a tensor that another one joins")
            stored[step.y.name] = step.y
            offset = 0
            for x in step.xs:
                within[x.name] = (step.y.name, offset)
                offset += blocks(x.channels, config)
    places, free = {}, 0

    def place(name):
        nonlocal free
        if name in places:
            return places[name]
        if name in within:
            outer, offset = within[name]
            home = place(outer)
            places[name] = Place(home.root, home.base, home.shape, home.offset + offset)
        else:
            tensor = stored[name]
            shape = (blocks(tensor.channels, config), tensor.height, tensor.width)
            places[name] = Place(name, free, shape, 0)
            free += elements(tensor, config)
        return places[name]

    for name in stored:
        place(name)
    return places, free


def _link(network, config, groups, places, size, constants, streams, patches) -> Compiled:
    """Give every part of DRAM its address."""
    free, bases, contents = _PAGE, {}, []
    for name, kind in _SECTIONS.items():
        unit = config.element_bytes(kind.dram_element)
        address = -(-free // _PAGE) * _PAGE
        parts = constants.parts.get(name, [])
        raw = b"".join(part.tobytes() for part in parts)
        contents.append((address, raw))
        bases[name] = address
        free = address + (size * unit if name == "activations" else len(raw))
    sections = {name: bases[name] // config.element_bytes(kind.dram_element)
                for name, kind in _SECTIONS.items()}
    launches = []
    for plans, stream, ends in streams:
        words = stream.words(sections)
        address = -(-free // _PAGE) * _PAGE
        raw = to_binary(words)
        contents.append((address, raw))
        launches.append(Launch(address, len(words), tuple(plans), tuple(ends)))
        free = address + len(raw)
    image = np.zeros(free, np.uint8)
    for address, raw in contents:
        image[address:address + len(raw)] = np.frombuffer(raw, np.uint8)
    queue = iter(launches)
    steps = tuple(plans if isinstance(plans, Host) else next(queue) for plans in groups)
    return Compiled(network, config, image, places, bases["activations"], steps, tuple(patches))
