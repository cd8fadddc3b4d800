"""Instruction streams whose tokens follow from what the instructions touch.

Instructions are added in program order, each with the elements of scratchpads and DRAM that it
reads and writes. An instruction has to come after those of other units that touched the same
elements, at least one of the two writing. Of each unit it knows how far that unit is certain to
be (a vector clock), so only what is not yet certain costs a token; a queue's tokens are posted
and taken in the same order, so the n-th one taken is the n-th one posted. LOAD and STORE have no
queue in common: COMPUTE takes the token of the one and posts that of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import Isa, Memory, Opcode, Unit

__all__ = ["QUEUES", "Touch", "Stream"]

# (from, to) -> fields of the poster and of the taker
QUEUES = {
    (Unit.LOAD, Unit.COMPUTE):  ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD):  ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}


@dataclass(frozen=True)
class Touch:
    """Elements ``bgn`` to ``end - 1`` of a scratchpad; or of DRAM, then those at ``index``.

    ``memory``: ``"inp"``, ``"wgt"``, ``"acc"`` or ``"dram"``. Of DRAM the elements are those of
    those of ``tensor``; ``shape`` is how they are seen, ``index`` which of them are meant.
    """
    memory: str
    write: bool
    bgn: int
    end: int
    shape: tuple[int, ...] = ()
    index: tuple[slice, ...] = ()
    tensor: str = ""


class Stream:
    """One launch: a list of instructions.

    Parameters
    ----------
    config : :class:`VtaConfig`
    dram : :class:`int`
        Elements of activations that can be touched.

    Attributes
    ----------
    insns : list of (unit, opcode, fields)
    spans : list of tuples of (from, to, whether written)
        Of each instruction: the accumulators that it touches.
    touched : dict of tensor to (first, last)
        The instructions that read or write it.
    """

    def __init__(self, config: VtaConfig, dram: int):
        self.config, self.isa = config, Isa(config)
        self.insns: list[tuple[Unit, Opcode, dict]] = []
        self.spans: list[tuple[tuple[int, int, bool], ...]] = []
        self._sizes = {name: config.depth(name) for name in ("inp", "wgt", "acc")} | {"dram": dram}
        # (memory, unit, write) -> for each element, the unit's last instruction that touched it
        self._last: dict[tuple[str, Unit, bool], np.ndarray] = {}
        self.touched: dict[str, tuple[int, int]] = {}
        self._clock = {unit: [0, 0, 0] for unit in Unit}  # of each unit: how far the others are
        self._seen: dict[Unit, list[tuple[int, ...]]] = {unit: [] for unit in Unit}
        self._place: dict[Unit, list[int]] = {unit: [] for unit in Unit}

    def __len__(self):
        return len(self.insns)

    def words(self, sections: Mapping[str, int]) -> list[int]:
        """The instructions; ``sections`` says where each part of DRAM begins, in its elements."""
        words = []
        for _, opcode, fields in self.insns:
            section = fields.get("section")
            if section is not None:
                fields = {name: value for name, value in fields.items() if name != "section"}
                fields["dram_base"] += sections[section]
            words.append(self.isa.encode(opcode, **fields))
        return words

    def add(self, opcode: Opcode, fields: Mapping[str, int | str],
            touches: Sequence[Touch] = ()) -> int:
        """Add an instruction; returns its index.

        Field ``section`` names the part of DRAM that ``dram_base`` counts from.
        """
        unit = _unit(opcode, fields)
        needs = [0, 0, 0]
        for touch in touches:
            for other in Unit:
                for write in ((True, False) if touch.write else (True,)):
                    last = self._last.get((touch.memory, other, write))
                    if other != unit and last is not None:
                        needs[other] = max(needs[other], int(_part(last, touch).max()))
        return self._append(unit, opcode, dict(fields), needs, touches)

    def finish(self) -> int:
        """FINISH, after everything else."""
        needs = [len(self._place[unit]) for unit in Unit]
        return self._append(Unit.COMPUTE, Opcode.FINISH, {}, needs, ())

    def _append(self, unit, opcode, fields, needs, touches) -> int:
        clock = self._clock[unit]
        after = [0, 0, 0]  # of each neighbour: the instruction whose token is to be taken
        for other in Unit:
            if other == unit or needs[other] <= clock[other]:
                continue
            if (other, unit) in QUEUES:
                after[other] = max(after[other], needs[other])
            else:  # from LOAD to STORE or back
                relay = self._relay(other, needs[other])
                after[Unit.COMPUTE] = max(after[Unit.COMPUTE], relay)
        for neighbour in Unit:
            number = after[neighbour]
            if number > clock[neighbour]:
                push, pop = QUEUES[neighbour, unit]
                self.insns[self._place[neighbour][number - 1]][2][push] = 1
                fields[pop] = 1
                clock[:] = map(max, clock, self._seen[neighbour][number - 1])
        assert all(clock[other] >= needs[other] for other in Unit if other != unit)
        index = len(self.insns)
        self.insns.append((unit, opcode, fields))
        self.spans.append(tuple((touch.bgn, touch.end, touch.write) for touch in touches
                                if touch.memory == "acc"))
        self._place[unit].append(index)
        clock[unit] = len(self._place[unit])
        self._seen[unit].append(tuple(clock))
        for touch in touches:
            if touch.tensor:
                self.touched[touch.tensor] = (self.touched.get(touch.tensor, (index, 0))[0], index)
            key = (touch.memory, unit, touch.write)
            if key not in self._last:
                self._last[key] = np.zeros(self._sizes[touch.memory], np.int32)
            _part(self._last[key], touch)[...] = clock[unit]
        return index

    def _relay(self, other, needed) -> int:
        """An instruction of COMPUTE that comes after instruction ``needed`` of ``other``."""
        seen = self._seen[Unit.COMPUTE]
        if not seen or seen[-1][other] < needed:
            needs = [0, 0, 0]
            needs[other] = needed
            self._append(Unit.COMPUTE, Opcode.LOAD, {"memory_type": Memory.UOP}, needs, ())
        low, high = 0, len(seen) - 1  # the first one: what a unit knows never gets less
        while low < high:
            middle = (low + high) // 2
            if seen[middle][other] >= needed:
                high = middle
            else:
                low = middle + 1
        return low + 1


def _unit(opcode: Opcode, fields) -> Unit:
    if opcode == Opcode.STORE:
        return Unit.STORE
    loads = (Opcode.LOAD, Opcode.LOAD_PAD)
    if opcode in loads and fields["memory_type"] in (Memory.INP, Memory.WGT):
        return Unit.LOAD
    return Unit.COMPUTE


def _part(last: np.ndarray, touch: Touch) -> np.ndarray:
    part = last[touch.bgn:touch.end]
    return part.reshape(touch.shape)[touch.index] if touch.shape else part
