"""Traces: what each instruction wrote, in a form that hardware and model can both produce.

A record is a line of text: index, unit, memory, elements written, digest. The digest covers the
addresses in ascending order and the final contents of each, little endian; intermediate values of
one instruction do not count. So neither the order of writes nor the cycle matters.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import Isa, Unit

__all__ = ["TraceRecord", "record", "first_divergence", "read_trace", "write_trace"]


@dataclass(frozen=True)
class TraceRecord:
    """What instruction ``index`` wrote.

    ``memory`` is ``uop``, ``inp``, ``wgt``, ``acc``, ``dram``, or ``-`` for nothing. Addresses are
    elements; in DRAM they are the byte addresses of the elements (one byte per lane) stored.
    """
    index: int
    unit: Unit
    memory: str
    count: int
    digest: int

    def __str__(self):
        return (f"{self.index} {self.unit.name.lower()} {self.memory} {self.count} "
                f"{self.digest:08x}")


def record(index: int, unit: Unit, memory: str = "-", addresses: np.ndarray | None = None,
           contents: np.ndarray | None = None) -> TraceRecord:
    """The record of an instruction that left ``contents[n]`` at ``addresses[n]``.

    Addresses are ascending, without repetition; contents are integers of the memory's lanes.
    """
    if addresses is None or contents is None or not len(addresses):
        return TraceRecord(index, unit, "-", 0, 0)
    data = np.ascontiguousarray(contents, contents.dtype.newbyteorder("<"))
    digest = zlib.crc32(data.tobytes(), zlib.crc32(np.asarray(addresses, "<u8").tobytes()))
    return TraceRecord(index, unit, memory, len(addresses), digest)


def first_divergence(expected: Sequence[TraceRecord], actual: Sequence[TraceRecord],
                     config: VtaConfig | None = None,
                     words: Sequence[int] | None = None) -> str | None:
    """One sentence about the first instruction whose records differ; none if all agree.

    Units interleave differently in model and hardware, so records are matched by index. With
    ``config`` and ``words`` the sentence quotes the instruction.
    """
    ours, theirs = ({r.index: r for r in trace} for trace in (expected, actual))
    for index in sorted(ours.keys() | theirs.keys()):
        if ours.get(index) != theirs.get(index):
            quote = ""
            if config is not None and words is not None and index < len(words):
                quote = f" ({Isa(config).disassemble(words[index])})"
            return (f"instruction {index}{quote}: expected {_say(ours.get(index))}, "
                    f"got {_say(theirs.get(index))}")
    return None


def _say(item: TraceRecord | None) -> str:
    if item is None:
        return "that it does not execute"
    if item.memory == "-":
        return f"{item.unit.name} to write nothing"
    return (f"{item.unit.name} to write {item.count} elements of {item.memory} "
            f"with digest {item.digest:08x}")


def write_trace(records: Iterable[TraceRecord]) -> str:
    """Text of a trace, a line per record."""
    return "".join(f"{item}\n" for item in records)


def read_trace(text: str) -> list[TraceRecord]:
    """Records of a trace's text."""
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            index, unit, memory, count, digest = line.split()
            records.append(TraceRecord(int(index), Unit[unit.upper()], memory, int(count),
                                       int(digest, 16)))
        except (ValueError, KeyError):
            raise ValueError(f"line {number} of a trace must be index, unit, memory, count, "
                             f"digest, not {line!r}") from None
    return records
