"""Several copies of a component side by side: one step of the simulator does the work of many.

For checks of millions of rows, where most of the time would go into the step itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hw.verilog import to_verilog
from sim.verilated import Engine, storage

__all__ = ["Lanes", "LaneDesign", "LaneEngine"]


class Lanes(wiring.Component):
    """``lanes`` copies of a component with fixed latency, each with operands of its own.

    Parameters
    ----------
    make : () -> :class:`wiring.Component`
        All members are ports of at most 64 bits; inputs and outputs are words.
    lanes : :class:`int`
        A power of two.
    shared : names
        Inputs that go to all copies.

    Members
    -------
    Those of the component, each an array of ``lanes`` words. A word has the bits of the unsigned
    NumPy type that holds the port (:func:`sim.verilated.storage`), so that rows of arrays need no
    packing; what is above the port is ignored in inputs and 0 in outputs. Shared inputs are as in
    the component.

    Timing
    ------
    Latency: ``latency`` cycles, the component's.
    """

    def __init__(self, make: Callable[[], wiring.Component], lanes: int, shared: tuple = ()):
        if lanes < 1 or lanes & lanes - 1:
            raise ValueError(f"lanes must be a power of two, not {lanes!r}")
        self.units   = [make() for _ in range(lanes)]
        self.latency = self.units[0].latency
        self.shared  = shared
        self.types   = {}  # of the words
        members = {}
        for name, member in self.units[0].signature.members.items():
            width = Shape.cast(member.shape).width
            if name in shared:
                members[name] = In(width)
            else:
                self.types[name] = np.dtype(storage(width))
                members[name] = member.flow(data.ArrayLayout(self.types[name].itemsize * 8, lanes))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        for n, unit in enumerate(self.units):
            m.submodules[f"lane_{n}"] = unit
            for name, member in unit.signature.members.items():
                port = Value.cast(getattr(unit, name))
                ours = getattr(self, name)
                if name not in self.shared:
                    ours = ours[n]
                m.d.comb += port.eq(ours) if member.flow is In else ours.eq(port)
        return m


@dataclass(frozen=True)
class LaneDesign:
    """A :class:`Lanes` as text, with what it takes to drive it; other processes can have it."""

    verilog: str
    lanes: int
    latency: int
    shared: tuple[str, ...]
    types: dict[str, np.dtype]

    @classmethod
    def of(cls, lanes: Lanes) -> "LaneDesign":
        return cls(to_verilog(lanes, "lanes"), len(lanes.units), lanes.latency, lanes.shared,
                   lanes.types)


class LaneEngine:
    """The simulation of a :class:`Lanes`, driven with arrays of words."""

    def __init__(self, design: LaneDesign):
        self.design = design
        self.lanes  = design.lanes
        self.engine = Engine(design.verilog, "lanes")

    def pipe(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Rows of ``inputs`` through the lanes: words in reading order, a multiple of the lanes.

        Returns the ``outputs``, in the order of the words. Shared inputs have one word per cycle.
        """
        types = self.design.types
        rows = {name: array if name in self.design.shared else
                self._beats(np.ascontiguousarray(array, types[name]).ravel())
                for name, array in inputs.items()}
        results = self.engine.pipe(rows, outputs, latency=self.design.latency)
        return [results[name].reshape(-1).view(types[name]) for name in outputs]

    def _beats(self, words: np.ndarray) -> np.ndarray:
        """One row per cycle, of the type that the engine wants."""
        if words.size % self.lanes:
            raise ValueError(f"inputs must have a multiple of {self.lanes} words, "
                             f"not {words.size}")
        size = self.lanes * words.itemsize
        return words.view(np.uint64).reshape(-1, size // 8) if size > 8 else \
            words.view(storage(8 * size))
