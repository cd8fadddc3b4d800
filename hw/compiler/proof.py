"""Holds a compiled network against the checker of streams."""

from collections.abc import Callable

import numpy as np

from hw.compiler.checker import Extent, verify
from hw.compiler.operators import Host
from hw.compiler.program import Compiled, Launch
from hw.vta.assembler import from_binary

__all__ = ["words_of", "extents", "prove"]


def words_of(program: Compiled, launch: Launch) -> list[int]:
    """The instructions of ``launch``."""
    end = launch.insn_addr + 16 * launch.insn_count
    return from_binary(program.image[launch.insn_addr:end].tobytes())


def extents(program: Compiled, launch: Launch) -> list[Extent]:
    """What DRAM holds while ``launch`` runs: the constants, and every activation.

    Activations that the network is given, the host makes or an earlier launch stores are given.
    """
    size, given = program.config.element_bytes("out"), set(program.network.inputs)
    for step in program.steps:
        if step is launch:
            break
        given.update(step.ys if isinstance(step, Host) else
                     [tensor.name for plan in step.plans for tensor in plan.visit.stores])
    own = {tensor.name for plan in launch.plans for tensor in plan.visit.stores}
    found = [Extent("the constants", 0, program.base, given=True)]
    for name, place in program.places.items():
        if place.root == name:
            parts = [part for part, other in program.places.items() if other.root == name]
            found.append(Extent(
                name, program.base + place.base * size, int(np.prod(place.shape)) * size,
                given=bool(given.intersection(parts)) and not own.intersection(parts)))
    return found


def prove(program: Compiled, progress: Callable[[str], None] = lambda what: None) -> None:
    """Raise :class:`hw.compiler.checker.StreamError` unless every launch passes the checker."""
    for number, step in enumerate(program.steps):
        if isinstance(step, Launch):
            verify(program.config, words_of(program, step), program.image, extents(program, step),
                   insn_addr=step.insn_addr)
            progress(f"launch {number}: {step.insn_count:,} instructions proved")
