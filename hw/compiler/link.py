"""From a network of operators to a program: visits, schedules, places in DRAM, streams."""

from collections.abc import Callable, Sequence

import numpy as np

from hw.compiler.border import Patch, pack_inputs
from hw.compiler.code import Constants, Place
from hw.compiler.emit import emit
from hw.compiler.joins import join
from hw.compiler.layout import blocks
from hw.compiler.memory import Block
from hw.compiler.memory import Plan as MemoryPlan
from hw.compiler.memory import plan as plan_memory
from hw.compiler.operators import Concat, Host, Network, Tensor
from hw.compiler.program import Compiled, Launch
from hw.compiler.schedule import Plan
from hw.compiler.search import choose
from hw.compiler.stream import Stream
from hw.compiler.visits import Visit, group
from hw.vta.assembler import to_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import Memory

__all__ = ["compile_network"]

_PAGE = 4096  # page 0 stays empty, so that an address of 0 is never right
_SECTIONS = {"weights": Memory.WGT, "parameters": Memory.ACC, "uops": Memory.UOP,
             "activations": Memory.OUT}


def compile_network(network: Network, config: VtaConfig, *,
                    schedule: Callable[[Visit, VtaConfig], Plan] = choose,
                    keep: bool = False, split: bool = False, packed: bool = True) -> Compiled:
    """Compile ``network``.

    Parameters
    ----------
    schedule : function
        Gives each visit its plan.
    keep : :class:`bool`
        Every tensor that is stored can be read afterwards: none takes the place of another.
    split : :class:`bool`
        A launch for each visit.
    packed : :class:`bool`
        Inputs may be given to the core as patches, see :mod:`hw.compiler.border`.

    Raises :exc:`ValueError` for what the core cannot do; the front end leaves it to the host.
    """
    steps, patches = pack_inputs(network, config, schedule) if packed else (network.steps, [])
    steps = join(steps, config.block)
    joins = [step for step in steps if isinstance(step, Concat)]
    groups = _groups(steps, network, config, schedule, split)
    places, memory, numbers = _places(network, groups, joins, patches, config, keep)
    constants = Constants()
    size = memory.peak // config.element_bytes("out")
    streams = [step if isinstance(step, Host) else (step, *emit(step, places, constants, config,
                                                                size)) for step in groups]
    addresses, contents = _sections(constants, memory.peak, config)
    bases = {name: addresses[name] // config.element_bytes(kind.dram_element)
             for name, kind in _SECTIONS.items()}
    free, program = addresses["end"], []
    later = set(network.outputs)
    readable = []  # of each step: what is read after it
    for step in reversed(groups):
        readable.insert(0, set(later))
        later.update(step.xs if isinstance(step, Host) else ())
    for step, wanted, span in zip(streams, readable, numbers):
        if isinstance(step, Host):
            program.append(step)
            continue
        plans, stream, ends = step
        words = stream.words(bases)
        address = -(-free // _PAGE) * _PAGE
        contents.append((address, to_binary(words)))
        free = address + 16 * len(words)
        stored = [x.name for plan in plans for x in plan.visit.stores]
        stored += [s.y.name for s in joins
                   if s.y.name in wanted and {x.name for x in s.xs} & set(stored)]
        program.append(Launch(address, len(words), tuple(plans), tuple(ends),
                              tuple(name for name in stored if name in wanted
                                    or (keep and name in network.tensors)),
                              _alive(memory, span, stream)))
    image = np.zeros(free, np.uint8)
    for address, raw in contents:
        image[address:address + len(raw)] = np.frombuffer(raw, np.uint8)
    return Compiled(network, config, image, places, addresses["activations"], tuple(patches),
                    tuple(program), memory.peak, memory.bound)


def _alive(memory, span: tuple[int, int], stream: Stream) -> dict[str, tuple[int, int]]:
    """Lifetimes by instruction, of a launch with the steps ``span``, from those by step."""
    alive = {}
    for block in memory.blocks:
        if block.first <= span[1] and block.last >= span[0]:
            first, last = stream.touched.get(block.name, (-1, len(stream)))
            alive[block.name] = (-1 if block.first < span[0] else first,
                                 len(stream) if block.last > span[1] else last)
    return alive


def _groups(steps, network, config, schedule, split) -> list[list[Plan] | Host]:
    """Launches, as lists of plans, and steps of the host."""
    segments: list[list | Host] = []
    for step in steps:
        if isinstance(step, Host):
            segments.append(step)
        elif segments and isinstance(segments[-1], list):
            segments[-1].append(step)
        else:
            segments.append([step])
    kept = set(network.outputs)
    groups: list[list[Plan] | Host] = []
    for segment in reversed(segments):  # what later segments read is stored
        if isinstance(segment, Host):
            kept.update(segment.xs)
            groups.insert(0, segment)
            continue
        plans = [schedule(visit, config) for visit in group(segment, kept, config)]
        kept.update(x.name for step in segment for x in step.inputs)
        if plans:
            groups[:0] = [[plan] for plan in plans] if split else [plans]
    return groups


def _places(network: Network, groups, joins: Sequence[Concat], patches: Sequence[Patch],
            config: VtaConfig, keep: bool
            ) -> tuple[dict[str, Place], MemoryPlan, list[tuple[int, int]]]:
    """A place for every tensor in DRAM; parts of a concatenation lie in its result.

    Also returns first and last step of each group, as the plan's blocks count them.
    """
    tensors: dict[str, Tensor] = {}
    spans: dict[str, list[int]] = {}
    end = sum(1 if isinstance(step, Host) else len(step) for step in groups) + 1

    def used(tensor, step):
        tensors.setdefault(tensor.name, tensor)
        spans.setdefault(tensor.name, []).append(step)

    known = {**network.tensors, **{patch.tensor.name: patch.tensor for patch in patches}}
    given = {patch.tensor.name: patch.source for patch in patches}
    sources = {name: 0 for name in network.inputs}
    number, numbers = 0, []
    for step in groups:
        numbers.append((number + 1, number + (1 if isinstance(step, Host) else len(step))))
        if isinstance(step, Host):
            number += 1
            sources.update(dict.fromkeys(step.ys, number))
            for name in (*step.xs, *step.ys):
                if name in network.tensors:
                    used(network.tensors[name], number)
            continue
        for plan in step:
            number += 1
            for tensor in (*plan.visit.reads, *plan.visit.stores):
                used(tensor, number)
    for name in list(spans):
        if name in given or name in sources:
            spans[name].append(sources.get(given.get(name, name), 0))
        if keep or name in network.outputs:
            spans[name].append(end)
    read = {x.name for step in groups if not isinstance(step, Host)
            for plan in step for x in (*plan.visit.reads, *plan.visit.stores)}
    known |= tensors
    within = _within(joins, config, spans)
    roots: dict[str, list[int]] = {}
    for name, steps in spans.items():
        root = _root(name, within)[0]
        if name in read or root != name or any(_root(x, within)[0] == name for x in read):
            roots.setdefault(root, []).extend(steps)
    unit = config.element_bytes("out")
    memory = plan_memory(
        Block(name, _size(known[name], config) * unit, min(steps), max(steps), max(64, unit))
        for name, steps in roots.items())
    places = {}
    for name in spans:
        root, offset = _root(name, within)
        if root in roots:
            tensor = known[root]
            shape = (blocks(tensor.channels, config), tensor.height, tensor.width)
            places[name] = Place(root, memory.offsets[root] // unit, shape, offset)
    return places, memory, numbers


def _size(tensor: Tensor, config: VtaConfig) -> int:
    return blocks(tensor.channels, config) * tensor.height * tensor.width


def _within(joins: Sequence[Concat], config: VtaConfig, spans) -> dict[str, tuple[str, int]]:
    """Of each part of a concatenation: the result, and the block it begins with."""
    within: dict[str, tuple[str, int]] = {}
    for step in joins:
        offset = 0
        for x in step.xs:
            within[x.name] = (step.y.name, offset)
            offset += blocks(x.channels, config)
        spans.setdefault(step.y.name, [])
    return within


def _root(name: str, within) -> tuple[str, int]:
    offset = 0
    while name in within:
        name, more = within[name]
        offset += more
    return name, offset


def _sections(constants: Constants, activations: int, config: VtaConfig):
    """Where each part of DRAM begins, and what is in it."""
    addresses, contents, free = {}, [], _PAGE
    for name in _SECTIONS:
        addresses[name] = -(-free // _PAGE) * _PAGE
        raw = b"".join(part.tobytes() for part in constants.parts.get(name, ()))
        contents.append((addresses[name], raw))
        free = addresses[name] + (activations if name == "activations" else len(raw))
    addresses["end"] = free
    return addresses, contents
