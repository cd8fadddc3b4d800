"""When each instruction of a VTA program runs, by a model of the core's overlap.

The model has six resources: the read bus, the write bus, the load and store units, and, within
the compute unit, GEMM, the ALU and its LOADs, which overlap when they touch different
accumulators. An instruction starts when the one before it in its unit has started, its tokens are
there and its resource is free. It occupies the resource for

- GEMM, DEPTHWISE, ALU: a cycle per micro-operation;
- LOAD: the beats of its rows on the bus, and a cycle per element of padding;
- STORE: the beats of its rows on the bus;

and is complete some cycles later (:class:`Costs`), when its tokens are posted. Reads and writes
are pipelined: the memory's latency delays them, but does not occupy a bus.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import Instruction, Memory, Opcode, Token, Unit
from sim.golden.vta import Effect

__all__ = ["Costs", "Timeline"]


@dataclass(frozen=True)
class Costs:
    """Cycles from the last one that occupies the resource until the instruction is complete."""
    compute: int = 8
    load:    int = 4
    store:   int = 4


class Timeline:
    """Give :meth:`step` to :func:`sim.golden.vta.simulate` as its observer.

    Attributes
    ----------
    cycles : :class:`int`
        From the launch until everything is complete.
    busy : dict of resource to :class:`int`
        Cycles in which each was occupied.
    serial : :class:`int`
        Sum over all instructions of what each takes alone: the cycles without any overlap.
    """

    def __init__(self, config: VtaConfig, *, latency: int, costs: Costs | None = None):
        self.config, self.latency, self.costs = config, latency, costs or Costs()
        self.cycles = self.serial = 0
        self.busy = dict.fromkeys(("gemm", "alu", "fill", "read", "write"), 0)
        self._free = dict.fromkeys(self.busy, 0)
        self._started = dict.fromkeys(Unit, 0)
        self._posted = dict.fromkeys(Unit, 0)
        self._tokens: dict[Token, deque[int]] = {token: deque() for token in Token}
        # When the last write, and the last read, of an accumulator by each part is complete.
        self._touched = {(part, kind): np.zeros(config.depth("acc"), np.int64)
                         for part in ("gemm", "alu", "fill") for kind in "rw"}

    def step(self, index: int, insn: Instruction, effect: Effect):
        """Instruction ``index`` is the next of its unit."""
        unit, bus = insn.unit, self.config.bus_width // 8
        fetched = self.latency + -(-16 * (index + 1) // bus)
        arrived = [self._tokens[token].popleft() for token in insn.pops if self._tokens[token]]
        start = max(fetched, self._started[unit], *arrived, 0)
        if insn.opcode in (Opcode.GEMM, Opcode.DEPTHWISE, Opcode.ALU):
            part = "alu" if insn.opcode == Opcode.ALU else "gemm"
            work, extra = effect.micro_operations, self.costs.compute
            start, end = self._hold(part, max(start, self._hazard(part, effect)), work)
            self._note(part, effect, end + extra)
        elif insn.is_memory and insn.x_size:
            store = insn.opcode == Opcode.STORE
            work = self._beats(insn, bus)
            extra = self.latency + self.costs.store if store else self.costs.load
            wait = 0 if store else self.latency
            if unit == Unit.COMPUTE:
                start = max(start, self._hazard("fill", effect))
            first, end = self._hold("write" if store else "read", start + wait, work)
            start, work = first - wait, work + wait
            if unit == Unit.COMPUTE:
                self._note("fill", effect, end + extra)
        else:
            work, extra, end = 0, 0, start + 1
        self.serial += work + extra
        complete = max(end + extra, self._posted[unit])
        self._started[unit], self._posted[unit] = start, complete
        for token in insn.pushes:
            self._tokens[token].append(complete)
        self.cycles = max(self.cycles, complete)

    def _hold(self, resource, start, work):
        start = max(start, self._free[resource])
        self._free[resource] = start + work
        self.busy[resource] += work
        return start, start + work

    def _hazard(self, part, effect) -> int:
        """When the other parts have done with the accumulators that it needs."""
        ready = 0
        for accesses, kinds in ((effect.reads, "w"), (effect.writes, "rw")):
            for access in accesses:
                if access.memory == "acc" and len(access.elements):
                    ready = max([ready, *(int(times[access.elements].max())
                                          for (other, kind), times in self._touched.items()
                                          if other != part and kind in kinds)])
        return ready

    def _note(self, part, effect, complete):
        for accesses, kind in ((effect.reads, "r"), (effect.writes, "w")):
            for access in accesses:
                if access.memory == "acc":
                    self._touched[part, kind][access.elements] = complete

    def _beats(self, insn, bus) -> int:
        size = self.config.element_bytes(Memory(insn.memory_type).dram_element)
        row, pitch = insn.x_size * size, insn.x_stride * size
        if row == pitch or insn.y_size == 1:  # rows that touch are one long row
            start = insn.dram_base * size
            beats = -(-(start % bus + row * insn.y_size) // bus) if insn.y_size else 0
        else:
            starts = (insn.dram_base * size + np.arange(insn.y_size) * pitch) % bus
            beats = int((-(-(starts + row) // bus)).sum())
        if insn.opcode == Opcode.STORE:
            return beats
        width = insn.x_pad_0 + insn.x_size + insn.x_pad_1
        height = insn.y_pad_0 + insn.y_size + insn.y_pad_1
        return beats + width * height - insn.x_size * insn.y_size
