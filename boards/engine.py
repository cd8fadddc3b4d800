"""A board as an engine for compiled networks, as those of :mod:`sim.vta_engine` are."""

from collections.abc import Sequence

import numpy as np

from boards.host import VtaHost
from hw.compiler.accesses import GRANULE, Footprints
from hw.vta.assembler import from_binary
from hw.vta.isa import Fault
from sim.vta_engine import Conditions, Outcome

__all__ = ["BoardEngine"]

_GAP = 8  # words: what a frame costs more than them


class BoardEngine:
    """Runs launches on a board. What its memory holds already is not sent again.

    ``Model.run(x, engine=BoardEngine(host))`` is a whole network on the board, one model after the
    other. Before a launch, only what it reads is sent, as far as the board does not hold it from
    the launches before; after it, only what is asked for is read.
    """

    def __init__(self, host: VtaHost):
        self.host, self.config = host, host.config
        self._held = np.zeros(0, np.uint32)  # words of the board's memory,
        self._known = np.zeros(0, bool)      # where this is true

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int,
            conditions: Conditions | None = None, *,
            reads: Sequence[slice] | None = None) -> Outcome:
        """Execute the stream in ``image`` (uint8, left as it is); memory is the board's own, so
        ``conditions`` are not looked at.

        ``reads``: bytes of the image that anybody looks at afterwards, a later launch included; of
        them, what was stored is read. If it is none, all that was stored is.
        """
        host, size = self.host, len(image)
        if size > host.shell["memory_bytes"]:
            raise ValueError(f"the program must fit the board's {host.shell['memory_bytes']:,} "
                             f"bytes of memory, not take {size:,}")
        words = np.frombuffer(image.tobytes() + bytes(-size % GRANULE), "<u4").copy()
        needed, stored = self._touched(image, insn_addr, insn_count)
        self._extend(len(words))
        changed = needed & ~(self._known[:len(words)] & (self._held[:len(words)] == words))
        for first, last in _spans(changed, _GAP):
            host.link.write(GRANULE * first, words[first:last])
            self._held[first:last], self._known[first:last] = words[first:last], True
        known, self._known = self._known, np.zeros_like(self._known)  # until the run has ended well
        host.reset()
        status = host.execute(insn_addr, insn_count)
        number, message = None, ""
        if status == Fault.DONE:
            self._known = known
        else:
            number = host.read_register("error_insn")
            message = f"instruction {number} stops the core, {status.status}"
        self._known[:len(words)][stored] = False
        wanted = stored
        if reads is not None:
            wanted = np.zeros_like(stored)
            for part in reads:
                wanted[part.start // GRANULE:-(-part.stop // GRANULE)] = True
            wanted &= stored
        for first, last in _spans(wanted, _GAP):
            self._held[first:last] = host.link.read(GRANULE * first, last - first)
            self._known[first:last] = True
        words[wanted] = self._held[:len(words)][wanted]
        counters = host.counters()
        return Outcome(status, counters["cycles"], words.view(np.uint8)[:size], {}, counters,
                       number, message)

    def _touched(self, image, insn_addr: int, insn_count: int) -> tuple[np.ndarray, np.ndarray]:
        """Words that the stream reads before it stores them, and words that it stores."""
        footprints = Footprints(self.config, image)
        needed, stored = np.zeros((2, -(-len(image) // GRANULE)), bool)
        needed[insn_addr // GRANULE:(insn_addr + 16 * insn_count) // GRANULE] = True
        for word in from_binary(image[insn_addr:insn_addr + 16 * insn_count].tobytes()):
            insn = footprints.isa.decode(word)
            if insn.is_memory:
                touched = footprints.of(insn)
                read = touched.reads.get("dram", np.zeros(0, int))
                needed[read[~stored[read]]] = True
                stored[touched.writes.get("dram", np.zeros(0, int))] = True
        return needed, stored

    def _extend(self, count: int) -> None:
        """Room for what is known of ``count`` words."""
        more = count - len(self._held)
        if more > 0:
            self._held = np.append(self._held, np.zeros(more, np.uint32))
            self._known = np.append(self._known, np.zeros(more, bool))


def _spans(mask: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """Ranges that hold all that is true in ``mask``, at least ``gap`` apart."""
    where = np.flatnonzero(mask)
    if not len(where):
        return []
    cuts = np.flatnonzero(np.diff(where) > gap)
    return list(zip(where[[0, *(cuts + 1)]].tolist(), (where[[*cuts, -1]] + 1).tolist()))
