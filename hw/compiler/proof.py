"""Holds a compiled network against the checker of streams."""

from collections.abc import Callable

import numpy as np

from hw.compiler.checker import Extent, verify
from hw.compiler.program import Compiled, Launch
from hw.vta.assembler import from_binary

__all__ = ["words_of", "extents", "prove"]


def words_of(program: Compiled, launch: Launch) -> list[int]:
    """The instructions of ``launch``."""
    end = launch.insn_addr + 16 * launch.insn_count
    return from_binary(program.image[launch.insn_addr:end].tobytes())


def extents(program: Compiled, launch: Launch) -> list[Extent]:
    """What DRAM holds while ``launch`` runs: the constants, and activations while they are alive.

    Activations that the network is given, the host makes or an earlier launch stores are given.
    """
    size = program.config.element_bytes("out")
    found = [Extent("the constants", 0, program.base, given=True)]
    for name, (first, last) in launch.alive.items():
        place = program.places[name]
        found.append(Extent(name, program.base + place.base * size,
                            int(np.prod(place.shape)) * size, max(0, first), last,
                            given=first < 0))
    return found


def prove(program: Compiled, progress: Callable[[str], None] = lambda what: None) -> None:
    """Raise :class:`hw.compiler.checker.StreamError` unless every launch passes the checker."""
    for number, step in enumerate(program.steps):
        if isinstance(step, Launch):
            verify(program.config, words_of(program, step), program.image, extents(program, step),
                   insn_addr=step.insn_addr)
            progress(f"launch {number}: {step.insn_count:,} instructions proved")
