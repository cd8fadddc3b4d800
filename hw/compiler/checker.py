"""Proofs about a finished instruction stream, from the stream, its micro-operations and extents.

The checker knows nothing of the compiler that made the stream. It decodes the words, executes the
units' order and their tokens, and follows which elements each instruction touches; no data is
computed. Each token queue has one unit that posts and one that takes, both in program order, so the
n-th token taken is the n-th posted whatever the timing, and what it finds holds for every timing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hw.compiler.accesses import GRANULE, AccessError, Accesses, Footprints
from hw.vta.config import VtaConfig
from hw.vta.isa import TOKENS, Fault, Instruction, Opcode, Token, Unit

__all__ = ["Extent", "StreamError", "check", "verify"]

_FROM = {token: unit for unit, flags in TOKENS.items() for flag, token in flags.items()
         if flag.startswith("push")}


@dataclass(frozen=True)
class Extent:
    """``size`` bytes of DRAM from ``address`` on, that are a tensor's while it is alive.

    It is alive from instruction ``first`` to ``last``, both included. ``given``: it holds data
    before the launch, and is only read; else every byte is written before it is read.
    """
    name: str
    address: int
    size: int
    first: int = 0
    last: int = (1 << 32) - 1
    given: bool = False

    def __post_init__(self):
        if self.address < 0 or self.size < 0:
            raise ValueError(f"extent of {self.name} must have an address and a size of 0 or more, "
                             f"not {self.address!r} and {self.size!r}")
        if self.first > self.last:
            raise ValueError(f"{self.name} must be alive from an instruction to a later one, "
                             f"not {self.first!r} to {self.last!r}")

    @property
    def granules(self) -> slice:
        return slice(self.address // GRANULE, -(-(self.address + self.size) // GRANULE))

    def __str__(self):
        return f"{self.name} (bytes {self.address:#x} to {self.address + self.size - 1:#x})"


class StreamError(Exception):
    """A stream that is wrong; ``findings`` are the sentences."""

    def __init__(self, findings: list[str]):
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        super().__init__(findings[0] + more)
        self.findings = findings


def verify(config: VtaConfig, words: Sequence[int], image: np.ndarray, extents: Iterable[Extent],
           *, insn_addr: int) -> None:
    """Raise :class:`StreamError` unless :func:`check` finds nothing."""
    findings = check(config, words, image, extents, insn_addr=insn_addr)
    if findings:
        raise StreamError(findings)


def check(config: VtaConfig, words: Sequence[int], image: np.ndarray, extents: Iterable[Extent],
          *, insn_addr: int) -> list[str]:
    """What is wrong with the stream ``words``, a sentence each; nothing, if all of this holds.

    - Extents that are alive at one instruction do not overlap each other, nor the stream itself.
    - Instructions are legal, and stay inside the scratchpads and ``image`` (DRAM, uint8).
    - A LOAD reads, and a STORE writes, bytes of extents that are alive, and not those ``given``.
    - Nothing is read, in a scratchpad or in DRAM, that was not written before.
    - No two units touch an element, one of them to write, in an order that no token fixes.
    - No unit waits for a token that never comes, none is left over, and FINISH is the last.

    Scratchpads are empty at the launch, and tokens 0. An instruction that reads an element that
    only its own earlier micro-operations wrote counts as reading too early.
    """
    stream = Extent("the instructions", insn_addr, 16 * len(words), given=True)
    return _Checker(config, words, image, [stream, *extents]).run()


class _Checker:
    def __init__(self, config, words, image, extents):
        self.words, self.extents = words, extents
        self.findings: list[str] = []
        self.footprints = Footprints(config, image)
        self.isa = self.footprints.isa
        depths = {name: config.depth(name) for name in ("uop", "inp", "wgt", "acc")}
        self.depths = depths | {"dram": len(image) // GRANULE + 1}
        self.written = {name: np.zeros(depth, bool) for name, depth in self.depths.items()
                        if name != "dram"}
        # DRAM is tracked by tensor, because the units may be at different ones at one time.
        self.spans = np.array([(extent.granules.start, extent.granules.stop, extent.first,
                                extent.last) for extent in extents], np.int64).T
        self.filled = [np.full(extent.granules.stop - extent.granules.start, extent.given)
                       for extent in extents]
        # Happens before: how many instructions of each unit have executed before a unit's next.
        self.clock = {unit: np.zeros(len(Unit), np.int64) for unit in Unit}
        self.executed: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        self.last: dict[tuple[str, Unit, str], np.ndarray] = {}
        self.posted: dict[Token, list[np.ndarray]] = {token: [] for token in Token}
        self.poster: dict[Token, list[int]] = {token: [] for token in Token}
        self.taken = dict.fromkeys(Token, 0)
        self.reported: set[tuple] = set()

    def run(self) -> list[str]:
        insns = [self.isa.decode(word) for word in self.words]
        self._overlaps()
        for index, insn in enumerate(insns):
            fault = self.isa.fault(insn)
            if fault != Fault.DONE:
                self._find(f"{self._text(index)} is in error by itself, {fault.status}")
        if self.findings:  # what follows would be about these
            return self.findings
        self._execute(insns)
        return self.findings

    def _overlaps(self):
        by_address = sorted(self.extents, key=lambda extent: extent.address)
        for n, low in enumerate(by_address):
            for high in by_address[n + 1:]:
                if high.address >= low.address + low.size:
                    break
                if high.size and low.first <= high.last and high.first <= low.last:
                    both = max(low.first, high.first)
                    self._find(f"tensors {low} and {high} overlap, and both are alive at "
                               f"instruction {both}")

    def _execute(self, insns: list[Instruction]):
        queues = {unit: [i for i, insn in enumerate(insns) if insn.unit == unit] for unit in Unit}
        heads = dict.fromkeys(Unit, 0)
        finish = None
        while True:
            waiting = [queue[heads[unit]] for unit, queue in queues.items()
                       if heads[unit] < len(queue)]
            ready = [index for index in waiting if self._missing(insns[index]) is None]
            if not ready:
                break
            index = min(ready)
            insn = insns[index]
            heads[insn.unit] += 1
            self._step(index, insn)
            if insn.opcode == Opcode.FINISH:
                if finish is not None:
                    self._find(f"instruction {index} is FINISH, but so is instruction {finish[0]}")
                finish = index, self.clock[Unit.COMPUTE].copy()
        for index in waiting:
            token = self._missing(insns[index])
            why = ("which waits, too" if heads[_FROM[token]] < len(queues[_FROM[token]])
                   else "which has executed all its instructions")
            self._find(f"{self._text(index)} waits for a token {token.name.lower()} that never "
                       f"comes from {_FROM[token].name}, {why}")
        if not waiting:
            self._leftovers(finish)

    def _missing(self, insn: Instruction) -> Token | None:
        """The token that ``insn`` would wait for."""
        return next((token for token in insn.pops
                     if self.taken[token] == len(self.posted[token])), None)

    def _step(self, index: int, insn: Instruction):
        clock = self.clock[insn.unit]
        for token in insn.pops:
            np.maximum(clock, self.posted[token][self.taken[token]], out=clock)
            self.taken[token] += 1
        self.executed[insn.unit].append(index)
        clock[insn.unit] += 1
        try:
            accesses = self.footprints.of(insn)
        except AccessError as error:
            self._find(f"{self._text(index)} reaches {error}")
            accesses = Accesses()
        for memory, elements in accesses.reads.items():
            if len(elements):
                self._early(index, memory, elements)
                self._ordered(index, insn.unit, memory, elements, "r")
        for memory, elements in accesses.writes.items():
            if len(elements):
                self._ordered(index, insn.unit, memory, elements, "w")
                if memory == "dram":
                    self._fill(index, elements)
                else:
                    self.written[memory][elements] = True
        for token in insn.pushes:
            self.posted[token].append(clock.copy())
            self.poster[token].append(index)

    def _early(self, index, memory, elements):
        """Report what is read and was not written."""
        if memory != "dram":
            fresh = elements[~self.written[memory][elements]]
            self.written[memory][fresh] = True  # said once
        else:
            fresh = [elements[:0]]
            for number, inside in self._tensors(index, elements, "reads"):
                offsets = inside - self.spans[0, number]
                fresh.append(inside[~self.filled[number][offsets]])
                self.filled[number][offsets] = True
            fresh = np.concatenate(fresh)
        if len(fresh):
            more = f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""
            self._find(f"{self._text(index)} reads {self._place(memory, fresh[0])}{more}, which "
                       f"nothing has written")

    def _fill(self, index, elements):
        """A STORE writes tensors."""
        for number, inside in self._tensors(index, elements, "writes"):
            extent = self.extents[number]
            if extent.given:
                self._find(f"{self._text(index)} overwrites {extent.name} at "
                           f"{self._place('dram', inside[0])}")
            self.filled[number][inside - self.spans[0, number]] = True

    def _tensors(self, index, granules, verb) -> list[tuple[int, np.ndarray]]:
        """Those of ``granules`` in each tensor that is alive at ``index``; reports all others."""
        start, stop, first, last = self.spans
        least, most = granules.min(), granules.max()
        near = (start <= most) & (stop > least)
        result, left = [], granules
        for number in np.flatnonzero(near & (first <= index) & (index <= last)):
            inside = (left >= start[number]) & (left < stop[number])
            if inside.any():
                result.append((int(number), left[inside]))
                left = left[~inside]
        if len(left):
            others = [self.extents[n] for n in np.flatnonzero(near)
                      if start[n] <= left[0] < stop[n]]
            which = "which is in no tensor" if not others else \
                f"which is in {others[0].name}, alive at instructions {others[0].first} to " \
                f"{others[0].last}"
            self._find(f"{self._text(index)} {verb} {self._place('dram', left[0])}, {which}")
        return result

    def _ordered(self, index, unit, memory, elements, kind):
        clock = self.clock[unit]
        for other in Unit:
            for foe in ("w", "r") if kind == "w" else ("w",):
                last = self.last.get((memory, other, foe))
                if other == unit or last is None:
                    continue
                seen = last[elements]
                at = int(seen.argmax())
                if seen[at] > clock[other]:
                    first = self.executed[other][int(seen[at]) - 1]
                    self._race(*sorted([(first, foe), (index, kind)]),
                               self._place(memory, elements[at]))
        key = (memory, unit, kind)
        if key not in self.last:
            self.last[key] = np.zeros(self.depths[memory], np.int64)
        self.last[key][elements] = clock[unit]

    def _race(self, first, second, place):
        verbs = {"r": "reads", "w": "writes"}
        if (first[0], second[0]) not in self.reported:
            self.reported.add((first[0], second[0]))
            self._find(f"{self._text(first[0])} {verbs[first[1]]} {place}, and "
                       f"{self._text(second[0])} {verbs[second[1]]} it, in an order that no token "
                       f"fixes")

    def _leftovers(self, finish):
        for token in Token:
            left = len(self.posted[token]) - self.taken[token]
            if left:
                self._find(f"{left} token{'s' * (left > 1)} {token.name.lower()} "
                           f"{'are' if left > 1 else 'is'} left over, the first posted by "
                           f"{self._text(self.poster[token][self.taken[token]])}")
        if finish is None:
            self._find("no instruction is FINISH")
            return
        for unit in Unit:
            if len(self.executed[unit]) > finish[1][unit]:
                late = self.executed[unit][finish[1][unit]]
                self._find(f"{self._text(late)} may execute after FINISH, instruction {finish[0]}")

    def _text(self, index) -> str:
        return f"instruction {index} ({self.isa.disassemble(self.words[index])})"

    @staticmethod
    def _place(memory, element) -> str:
        return (f"byte {int(element) * GRANULE:#x} of DRAM" if memory == "dram"
                else f"{memory}[{int(element)}]")

    def _find(self, sentence: str):
        self.findings.append(sentence)
