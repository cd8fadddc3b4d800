"""A board as an engine for compiled networks, as those of :mod:`sim.vta_engine` are."""

import numpy as np

from boards.host import VtaHost
from hw.vta.assembler import from_binary
from hw.vta.isa import Fault, Isa, Memory, Opcode
from sim.vta_engine import Conditions, Outcome

__all__ = ["BoardEngine"]


class BoardEngine:
    """Runs launches on a board. What its memory holds already is not sent again.

    ``Model.run(x, engine=BoardEngine(host))`` is a whole network on the board. After a launch only
    what its STOREs can have written is read back.
    """

    def __init__(self, host: VtaHost):
        self.host, self.config = host, host.config
        self._held = np.zeros(0, np.uint8)

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int,
            conditions: Conditions | None = None) -> Outcome:
        """Execute the stream in ``image`` (uint8, left as it is); memory is the board's own, so
        ``conditions`` are not looked at."""
        host, isa = self.host, Isa(self.config)
        words = from_binary(image[insn_addr:insn_addr + 16 * insn_count].tobytes())
        for first, last in self._changed(image):
            host.write(first, image[first:last])
        self._held = np.zeros(0, np.uint8)  # until the run has ended well
        host.reset()
        status = host.execute(insn_addr, insn_count)
        after = image.copy()
        for first, last in _merge(_stored(isa.decode(word), self.config) for word in words):
            after[first:last] = host.read(first, last - first)
        number, message = None, ""
        if status == Fault.DONE:
            self._held = after.copy()
        else:
            number = host.read_register("error_insn")
            message = f"instruction {number} stops the core, {status.status}"
        return Outcome(status, host.read_register("cycles"), after, {}, host.counters(), number,
                       message)

    def _changed(self, image: np.ndarray) -> list[tuple[int, int]]:
        """Ranges of bytes that the board's memory does not hold, in whole words."""
        if len(self._held) != len(image):
            return [(0, len(image))]
        differs = np.unique(np.flatnonzero(self._held != image) // 4)
        return _merge((4 * int(word), min(4 * int(word) + 4, len(image))) for word in differs)


def _stored(insn, config) -> tuple[int, int] | None:
    """Bytes from the first to the last that an instruction can write, in whole words."""
    if insn.opcode != Opcode.STORE or not insn.y_size or not insn.x_size:
        return None
    size = config.element_bytes(Memory(insn.memory_type).dram_element)
    first = insn.dram_base * size
    last = first + ((insn.y_size - 1) * insn.x_stride + insn.x_size) * size
    return first & ~3, (last + 3) & ~3


def _merge(ranges) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(each for each in ranges if each):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
