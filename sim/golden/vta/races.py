"""Races: accesses of two units to one element, at least one a write, that no token orders.

Each token queue has one unit that posts and one that takes, both in program order. So the n-th
token taken is the n-th posted, whatever the timing, and "happens before" is the same in every
order of the units: an instruction comes after those before it in its unit and after those whose
tokens its unit has taken. A vector clock per unit holds it. Two instructions that touch an element
and are not ordered can meet in either order, so the check is exact: it misses none, and invents
none.
"""

from dataclasses import dataclass

import numpy as np

from hw.vta.isa import Token, Unit
from sim.golden.vta.machine import GRANULE, Effect

__all__ = ["POSTER", "Race", "RaceChecker"]

POSTER = {Token.L2G: Unit.LOAD, Token.G2L: Unit.COMPUTE, Token.G2S: Unit.COMPUTE,
           Token.S2G: Unit.STORE}


@dataclass(frozen=True)
class Race:
    """Instructions ``first`` < ``second`` touch ``element`` of ``memory`` in no fixed order.

    For DRAM, ``element`` is a byte address. ``kinds`` says who writes: ``"write/read"`` when
    ``first`` does.
    """
    first: int
    second: int
    memory: str
    element: int
    kinds: str

    def __str__(self):
        where = f"byte {self.element:#x} of dram" if self.memory == "dram" else \
            f"{self.memory}[{self.element}]"
        return (f"instructions {self.first} and {self.second} collide at {where} "
                f"({self.kinds}): no token orders them")


class RaceChecker:
    """Sees every instruction in some order that the tokens allow; collects :class:`Race`.

    Parameters
    ----------
    depths : dict of memory to number of elements
    words : range of :class:`int`
        Bytes of DRAM that hold the instructions. They may be fetched at any time, so a STORE
        to one that is not before it in some unit's order is a race.
    """

    def __init__(self, depths: dict[str, int], words: range):
        self.depths = depths
        self.words = words
        self.races: dict[tuple[int, int, str], Race] = {}
        self.clock = {unit: np.zeros(len(Unit), np.int64) for unit in Unit}
        self.index: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        # (memory, unit, "r" or "w") -> for each element, how many instructions of the unit had
        # executed when it last touched it, itself included; 0 is never.
        self.last: dict[tuple[str, Unit, str], np.ndarray] = {}
        self.tokens: dict[Token, list[np.ndarray | None]] = {token: [] for token in Token}
        self.taken = dict.fromkeys(Token, 0)
        self.finish: np.ndarray | None = None  # what came before the last FINISH

    def seed(self, token: Token, count: int):
        """Tokens that are there from the start order nothing."""
        self.tokens[token] += [None] * count

    def step(self, unit: Unit, index: int, pops, pushes, effect: Effect):
        """Instruction ``index`` executes on ``unit``."""
        clock = self.clock[unit]
        for token in pops:
            posted = self.tokens[token][self.taken[token]]
            self.taken[token] += 1
            if posted is not None:
                np.maximum(clock, posted, out=clock)
        self.index[unit].append(index)
        clock[unit] += 1
        for kind, access in _accesses(effect):
            for other, foe, seen in self._collisions(unit, kind, access):
                self._report(unit, other, kind, foe, access, seen)
            key = (access.memory, unit, kind)
            if key not in self.last:
                self.last[key] = np.zeros(self.depths[access.memory], np.int32)
            self.last[key][access.elements] = clock[unit]
            if kind == "w" and access.memory == "dram":
                self._fetched(index, access)
        for token in pushes:
            self.post(unit, token)

    def post(self, unit: Unit, token: Token):
        """The last instruction of ``unit`` posts ``token``."""
        self.tokens[token].append(self.clock[unit].copy())

    def finished(self):
        """The last instruction was FINISH."""
        self.finish = self.clock[Unit.COMPUTE].copy()

    def late(self) -> list[int]:
        """Of each unit the first instruction that no token puts before FINISH, if there is one."""
        if self.finish is None:
            return []
        return sorted(self.index[unit][self.finish[unit]] for unit in Unit
                      if len(self.index[unit]) > self.finish[unit])

    def conflicts(self, unit: Unit, effect: Effect) -> set[Unit]:
        """Units that ``unit`` would have to wait for, before it does what ``effect`` says."""
        return {other for kind, access in _accesses(effect)
                for other, _, _ in self._collisions(unit, kind, access)}

    def _collisions(self, unit, kind, access):
        """Unordered accesses of the other units: unit, kind, count of its last touch of each."""
        for other in Unit:
            for foe in ("w", "r") if kind == "w" else ("w",):
                last = self.last.get((access.memory, other, foe))
                if other != unit and last is not None:
                    seen = last[access.elements]
                    if seen.max() > self.clock[unit][other]:
                        yield other, foe, seen

    def _report(self, unit, other, kind, foe, access, seen):
        at = int(seen.argmax())
        pair = [(self.index[other][int(seen[at]) - 1], foe), (self.index[unit][-1], kind)]
        (first, a), (second, b) = sorted(pair)
        names = {"r": "read", "w": "write"}
        element = int(access.elements[at]) * (GRANULE if access.memory == "dram" else 1)
        self.races.setdefault((first, second, access.memory), Race(
            first, second, access.memory, element, f"{names[a]}/{names[b]}"))

    def _fetched(self, index, access):
        """A STORE into the stream: whether the fetch is before or after it, nothing says."""
        start = access.elements * GRANULE
        hit = start[(start + GRANULE > self.words.start) & (start < self.words.stop)]
        if len(hit):
            victim = max(0, int(hit[0]) - self.words.start) // 16
            first, second = sorted((index, victim))
            self.races.setdefault((first, second, "dram"), Race(
                first, second, "dram", int(hit[0]), "write/fetch"))


def _accesses(effect: Effect):
    return [("r", access) for access in effect.reads if len(access.elements)] \
        + [("w", access) for access in effect.writes if len(access.elements)]
