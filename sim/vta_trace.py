"""What each instruction wrote, as the core's own ports say: the trace of the RTL.

:class:`Traced` is the core with one more output, the write ports of all engines; the memory around
it (``axi_memory.cpp``) keeps its value of every cycle in which something happens. Instructions of
an engine begin in order, and it says when one is complete, so the program tells whose a write is.
ALU may complete them in another order, so its writes, and those of GEMM, come with a label: the
place in the compute unit's window, which its instructions take in turn.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from hw.vta.isa import Instruction, Isa, Opcode, Unit
from sim.golden.vta import TraceRecord
from sim.golden.vta.trace import record

__all__ = ["Traced", "trace_records"]

_LANES = ("address", "offset", "count", "mask", "data")
# Write port -> who executes, and the scratchpad.
_PORTS = {"inp": ("load", "inp"), "wgt": ("load", "wgt"), "uop": ("fill", "uop"),
          "acc": ("fill", "acc"), "gemm": ("gemm", "acc"), "alu": ("alu", "acc")}
Fields = dict[str, dict[str, tuple[int, int]]]
_ENGINES = ("load", "fill", "gemm", "alu")


class Traced(wiring.Component):
    """:class:`VtaCore` with its write ports.

    Members
    -------
    Those of the core, and
    writes : ``Out(StructLayout)``
        For each write port its members and ``en``; ``aw`` and ``w``: transfers on the bus;
        ``done``: engines whose oldest instruction is complete.
    writes_valid : ``Out(1)``
        Anything of it happens.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.core = core = VtaCore(config)
        load, compute, axi = core.load, core.compute, core.m_axi
        lanes = {"inp": load.loader.write_inp, "wgt": load.loader.write_wgt,
                 "uop": compute.loader.write_uop, "acc": compute.loader.write_acc}
        self._done = dict(zip(_ENGINES, (part.done.valid for part in (
            load.loader, compute.loader, compute.gemm, compute.alu))))
        self._parts = {name: {part: getattr(port, part) for part in _LANES}
                       | {"en": port.valid & port.ready} for name, port in lanes.items()}
        for name in ("gemm", "alu"):
            engine = getattr(compute, name)
            self._parts[name] = {"address": engine.write_address, "data": engine.write_data,
                                 "en": engine.write_en, "label": engine.done.entry}
        self._parts["aw"] = {"address": axi.awaddr, "en": axi.awvalid & axi.awready}
        self._parts["w"] = {"data": axi.wdata, "strobe": axi.wstrb, "last": axi.wlast,
                            "en": axi.wvalid & axi.wready}
        self._parts["done"] = self._done
        layout = {name: data.StructLayout({part: unsigned(len(Value.cast(value)))
                                           for part, value in parts.items()})
                  for name, parts in self._parts.items()}
        super().__init__({**core.signature.members,
                          "writes": Out(data.StructLayout(layout)), "writes_valid": Out(1)})

    def fields(self) -> Fields:
        """Of ``writes``: port -> member -> offset and width."""
        return {name: {part: (outer.offset + inner.offset, inner.width)
                       for part, inner in outer.shape} for name, outer in self.writes.shape()}

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        for name, member in core.signature.members.items():
            ours, theirs = getattr(self, name), getattr(core, name)
            if member.is_port:
                m.d.comb += ours.eq(theirs)
            else:
                wiring.connect(m, wiring.flipped(ours), theirs)
        m.d.comb += [self.writes[name][part].eq(value) for name, parts in self._parts.items()
                     for part, value in parts.items()]
        m.d.comb += self.writes_valid.eq(Cat(
            *(self.writes[name].en for name in self._parts if name != "done"),
            self.writes.done).any())
        return m


def trace_records(config: VtaConfig, fields: Fields, events: Iterable[int],
                  words: Sequence[int], executed: int) -> list[TraceRecord]:
    """Records of all instructions that wrote; and, below ``executed``, of those that never do.

    ``fields``: those of :meth:`Traced.fields`. ``events``: values of ``writes``, in the order of
    the cycles. ``words``: the program, the first since the reset.
    """
    insns = [Isa(config).decode(word) for word in words]
    waiting = _waiting(insns, 1 << fields["gemm"]["label"][1])
    records: dict[int, TraceRecord] = {}
    # Engine and label -> memory, and address -> contents: what is under way.
    written: dict[tuple[str, int], tuple[str, dict[int, bytearray]]] = {}
    bursts: list[int] = []
    beats: list[tuple[int, int, int]] = []
    for event in events:
        now = {port: {part: event >> offset & ((1 << width) - 1)
                      for part, (offset, width) in parts.items()}
               for port, parts in fields.items()}
        for port, (engine, memory) in _PORTS.items():
            if now[port]["en"]:
                _, contents = written.setdefault((engine, _label(now, engine)), (memory, {}))
                _write(contents, now[port], config.element_bytes(memory),
                       {part: width for part, (_, width) in fields[port].items()})
        for engine in _ENGINES:
            if now["done"][engine] and waiting.get(key := (engine, _label(now, engine))):
                index = waiting[key].pop(0)
                records[index] = _record(index, insns[index], *written.pop(key, ("-", {})))
        if now["aw"]["en"]:
            bursts.append(now["aw"]["address"])
        if now["w"]["en"]:
            beats.append((now["w"]["data"], now["w"]["strobe"], now["w"]["last"]))
    stored = _stored(bursts, beats, config.bus_width // 8)
    size = config.element_bytes("out")
    for index, insn in enumerate(insns):
        if insn.opcode == Opcode.STORE and insn.x_size and insn.y_size:
            count = insn.x_size * insn.y_size * size
            if len(piece := stored[:count]) == count:
                contents = {}
                for address, byte in piece:
                    start = address - address % size
                    contents.setdefault(start, bytearray(size))[address - start] = byte
                records[index] = _record(index, insn, "dram", contents)
            stored = stored[count:]
        elif _engine(insn) is None and index < executed:
            records[index] = record(index, insn.unit)
    return [records[index] for index in sorted(records)]


def _label(now, engine: str) -> int:
    return now[engine]["label"] if engine in ("gemm", "alu") else 0


def _waiting(insns: Sequence[Instruction], window: int) -> dict[tuple[str, int], list[int]]:
    """Indices of the instructions of each engine and label, in program order."""
    waiting: dict[tuple[str, int], list[int]] = {}
    place = 0
    for index, insn in enumerate(insns):
        if (engine := _engine(insn)) is not None:
            label = place % window if engine in ("gemm", "alu") else 0
            waiting.setdefault((engine, label), []).append(index)
        place += insn.unit == Unit.COMPUTE
    return waiting


def _engine(insn: Instruction) -> str | None:
    """Who executes it, if it may write to a scratchpad; the load unit's loader sees all of its."""
    if insn.opcode in (Opcode.LOAD, Opcode.LOAD_PAD):
        return "load" if insn.unit == Unit.LOAD else "fill" if insn.x_size else None
    if insn.opcode in (Opcode.GEMM, Opcode.DEPTHWISE, Opcode.ALU):
        work = insn.iter_out * insn.iter_in * max(0, insn.uop_end - insn.uop_bgn)
        return ("alu" if insn.opcode == Opcode.ALU else "gemm") if work else None
    return None


def _write(contents: dict[int, bytearray], port: dict[str, int], size: int,
           widths: dict[str, int]):
    """One transfer of a write port into ``contents``; ``size``: bytes of an element."""
    raw = port["data"].to_bytes(widths["data"] // 8, "little")
    if "count" not in port:
        contents[port["address"]] = bytearray(raw)
        return
    lanes, chunk = len(raw) // size, size // widths["mask"]
    for n in range(port["count"]):
        lane = (port["offset"] + n) % lanes
        element = contents.setdefault(port["address"] + n, bytearray(size))
        for k in range(widths["mask"]):
            if port["mask"] >> k & 1:
                part = slice(k * chunk, (k + 1) * chunk)
                element[part] = raw[lane * size:(lane + 1) * size][part]


def _stored(bursts, beats, width: int) -> list[tuple[int, int]]:
    """Every byte that went out on the bus, with its address, in order."""
    stored, burst, place = [], iter(bursts), None
    for word, strobe, last in beats:
        place = next(burst) if place is None else place
        stored += [(place + k, word >> 8 * k & 0xff) for k in range(width) if strobe >> k & 1]
        place = None if last else place + width
    return stored


def _record(index: int, insn: Instruction, memory: str, contents: dict) -> TraceRecord:
    addresses = sorted(contents)
    rows = np.array([list(contents[address]) for address in addresses], np.uint8)
    return record(index, insn.unit, memory, np.array(addresses, np.int64), rows)
