"""Programs at the limits of what a core accepts: the last that is legal, the first that is not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from amaranth.utils import exact_log2

from hw.vta.assembler import to_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import TOKENS, Fault, Isa, Memory, Opcode, Token, Unit
from sim.vta_faults import wrong_programs
from sim.vta_rtl import RtlResult, VtaRtl

__all__ = ["Limit", "attempt", "limits", "last_addresses"]

_IMAGE_BYTES = 8192
_INSN_ADDR = 4096
_TOP = 1 << 32
_FAULTS = {Memory.INP: Fault.INP_RANGE, Memory.WGT: Fault.WGT_RANGE, Memory.UOP: Fault.UOP_RANGE,
           Memory.ACC: Fault.ACC_RANGE, Memory.OUT: Fault.ACC_RANGE}
# Who posts a token and who takes it, with instructions that do nothing else.
_SYNC = {Unit.LOAD: Memory.INP, Unit.COMPUTE: Memory.UOP, Unit.STORE: Memory.OUT}


@dataclass(frozen=True)
class Limit:
    """A program and how it must end.

    ``image`` is DRAM (uint8) from address 0 on, with the instructions at ``insn_addr``; ``stored``
    is what it must be after it. With ``mirrored`` it repeats over all addresses. ``user``:
    micro-operations that are executed, if that is known. ``bases``: base registers.
    ``scratchpads``: what is in the first elements of each, if that is known.
    """
    words: list[int]
    status: Fault
    instruction: int | None = 0
    image: np.ndarray = field(default_factory=lambda: np.zeros(_IMAGE_BYTES, np.uint8))
    stored: np.ndarray | None = None
    user: int | None = None
    mirrored: bool = False
    bases: dict[str, int] = field(default_factory=dict)
    scratchpads: dict[str, np.ndarray] = field(default_factory=dict)
    insn_addr: int = _INSN_ADDR

    def __post_init__(self):
        end = self.insn_addr + 16 * len(self.words)
        if end > len(self.image):
            raise ValueError(f"instructions must end within {len(self.image)} bytes, not at {end}")
        for image in (self.image, self.stored):
            if image is not None:
                image[self.insn_addr:end] = np.frombuffer(to_binary(self.words), np.uint8)


def attempt(core: VtaRtl, limit: Limit, **conditions) -> tuple[list[str], RtlResult]:
    """Run ``limit`` on ``core``, freshly powered up: what is wrong afterwards, and the result.

    ``conditions`` are those of :meth:`sim.vta_rtl.VtaRtl.run`.
    """
    core.restart()
    image = limit.image.copy()
    result = core.run(image, limit.insn_addr, len(limit.words), bases=limit.bases,
                      mirrored=limit.mirrored, **conditions)
    wrong = []
    if (result.status, result.instruction) != (limit.status, limit.instruction):
        wrong.append(f"{result.status.status} at {result.instruction}")
    if not np.array_equal(image, limit.image if limit.stored is None else limit.stored):
        wrong.append("DRAM")
    if limit.user not in (None, result.counters["user"]):
        wrong.append(f"{result.counters['user']} micro-operations")
    if limit.scratchpads:
        found = core.scratchpads()
        wrong += [name for name, content in limit.scratchpads.items()
                  if not np.array_equal(found[name].ravel()[:content.size], content.ravel())]
    return wrong, result


def limits(config: VtaConfig) -> Iterator[Limit]:
    """Each ends in an error, most of them at their first instruction."""
    done = Isa(config).encode(Opcode.FINISH)
    for words, fault, number in wrong_programs(config).values():
        yield Limit(words, fault, number)
    yield from (Limit([word, done], fault) for word, fault in _scratchpads(config))
    yield from _indices(config, done)
    yield from _addresses(config, done)
    yield from _tokens(config, done)
    yield from _late(config)


# Scratchpads ------------------------------------------------------------------------------------

def _scratchpads(config) -> Iterator[tuple[int, Fault]]:
    """LOAD and STORE that are too long by a single bit of a field, or of a sum of theirs."""
    isa = Isa(config)
    for kind, fault in _FAULTS.items():
        opcode = Opcode.STORE if kind == Memory.OUT else Opcode.LOAD
        depth = config.depth(kind.scratchpad)
        log = depth.bit_length() - 1
        one = dict(memory_type=kind, x_size=1, y_size=1)
        fields = []
        for bit in range(log, 16):
            fields += [{name: 1 << bit | (name != "sram_base")}
                       for name in ("sram_base", "x_size", "y_size")]
            fields += [{"x_size": 3, "y_size": 1 << bit - 1}, {"x_size": 1 << bit - 1, "y_size": 5}]
        for bit in range(16, 31):  # of the product alone
            fields.append({"x_size": 1 << bit // 2, "y_size": 1 << bit - bit // 2})
        # One element too long, by each size; of rows that lie side by side, too.
        for size in range(2, min(depth, 128) + 1):
            fields += [{name: size, "sram_base": depth - size + 1} for name in ("x_size", "y_size")]
        if opcode == Opcode.LOAD:
            for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"):  # as much as fits, and one
                fields.append({"sram_base": depth - 8, name: 8})
            fields += [{"x_size": 0xffff, "x_pad_0": 1, "y_size": rows, "y_pad_1": 1}
                       for rows in (0x7fff, 0xffff)]
        elif config.extensions:
            for bit in range(log, 16):  # (y - 1) * sram_stride, (x - 1) * (sram_skip + 1)
                fields += [{"y_size": 2, "sram_stride": 1 << bit},
                           {"y_size": 1 + (1 << bit - 4), "sram_stride": 16},
                           {"x_size": 1 + (1 << bit - 4), "sram_skip": 15},
                           {"x_size": 2 + (1 << bit - 1), "y_size": 2}]
            fields += [{"y_size": 2, "sram_stride": size, "sram_base": depth - size}
                       for size in range(1, min(depth, 128))]
            fields += [{"x_size": 1 + (1 << bit - 5), "sram_skip": 31}
                       for bit in range(max(log, 5), 21)]
            places = isa.places[Opcode.STORE]
            fields = [row for row in fields
                      if all(value < 1 << places[name][2] for name, value in row.items())]
        for row in fields:
            yield isa.encode(opcode, **one | row), fault


def _indices(config, done) -> Iterator[Limit]:
    """Loops that leave a scratchpad; the micro-operations before that are executed, none after."""
    isa = Isa(config)
    for opcode in (Opcode.GEMM, Opcode.ALU, *[Opcode.DEPTHWISE] * config.extensions):
        operands = {"dst": Memory.ACC, "src": Memory.ACC if opcode == Opcode.ALU else Memory.INP,
                    "wgt": Memory.WGT}
        if opcode == Opcode.ALU:
            del operands["wgt"]
        for name, kind in operands.items():
            depth = config.depth(kind.scratchpad)
            rows = depth * (config.block if (opcode, name) == (Opcode.DEPTHWISE, "wgt") else 1)
            for loop in ("out", "in"):
                for factor in (depth // 2, depth - 1, depth // 2 + 1, depth // 4):
                    steps = -(-rows // factor)
                    for more in (1, 3):
                        word = isa.encode(opcode, uop_end=1, **{
                            "iter_out": 1, "iter_in": 1, f"iter_{loop}": steps + more,
                            f"{name}_factor_{loop}": factor})
                        yield Limit([word, done], _FAULTS[kind], user=steps)


# Addresses --------------------------------------------------------------------------------------

def _addresses(config, done) -> Iterator[Limit]:
    """Beyond the memory, which the bus says; beyond 4 GiB, which only the core can say."""
    isa = Isa(config)
    rng = np.random.default_rng(7)
    for kind in Memory:
        opcode = Opcode.STORE if kind == Memory.OUT else Opcode.LOAD
        size = config.element_bytes(kind.dram_element)
        fields = [({"dram_base": 1 << bit}, {}) for bit in range(14, 32)]
        fields += [({"x_stride": stride, "y_size": rows, "dram_base": 0xffff_0000}, {})
                   for stride, rows in ((0xffff, 2), (0x5555, 3), (0x8000, 3), (0x4001, 5))]
        fields += [_ends_at(config, rng, kind, _TOP + (size << bit))
                   for bit in (*[0] * 10, *range(1, 32 - exact_log2(size)))]
        for row, bases in fields:
            word = isa.encode(opcode, **dict(memory_type=kind, x_size=1, y_size=1) | row)
            beyond = "x_stride" in row or row["dram_base"] * size >= _TOP
            yield Limit([word, done], Fault.BUS_ERROR, bases=bases, mirrored=beyond)


def _ends_at(config, rng, kind, end: int) -> tuple[dict[str, int], dict[str, int]]:
    """Fields of rows whose last byte is at ``end - 1``, and base registers; both as they come."""
    size = config.element_bytes(kind.dram_element)
    x = int(rng.integers(1, 7))
    y = int(rng.integers(1, 5))
    stride = int(rng.integers(x, 1 << 16))
    align = max(size, config.bus_width // 8)
    # Most of the address is in one of the two, or they share it.
    base = int(rng.choice([0, rng.integers(0, 1 << 32), (1 << 32) - (1 << 16)])) // align * align
    dram = (end - base) // size - x - (y - 1) * stride
    if dram < 0:
        return _ends_at(config, rng, kind, end)
    name = "acc" if kind == Memory.ACC_8BIT else kind.name.lower()
    return ({"x_size": x, "y_size": y, "x_stride": stride, "dram_base": dram}, {name: base})


def last_addresses(config: VtaConfig, seeds: int = 12) -> Iterator[Limit]:
    """Rows that end with the last byte of 4 GiB; what they move is known, as memory is mirrored."""
    isa = Isa(config)
    tokens = {  # memory may be loaded where it is stored afterwards
        Memory.INP: {"push_next": 1}, Memory.WGT: {"push_next": 1}, Memory.UOP: {"pop_prev": 1},
        Memory.ACC: {"pop_prev": 1, "push_next": 1}, Memory.OUT: {"pop_prev": 1, "push_prev": 1}}
    for seed in range(seeds):
        rng = np.random.default_rng([8, seed])
        image = rng.integers(0, 256, _IMAGE_BYTES, np.uint8)
        words, bases, moved = [], {}, {}
        for kind, flags in tokens.items():
            row, base = _ends_at(config, rng, kind, _TOP)
            bases |= base
            size = config.element_bytes(kind.dram_element)
            at = (row["dram_base"] + row["x_stride"] * np.arange(row["y_size"])[:, None]
                  + np.arange(row["x_size"])).ravel() * size + base[kind.name.lower()]
            at = (at[:, None] + np.arange(size)) % _IMAGE_BYTES
            words.append(isa.encode(Opcode.STORE if kind == Memory.OUT else Opcode.LOAD,
                                    memory_type=kind, **row, **flags))
            moved[kind] = at
        words.append(isa.encode(Opcode.FINISH, pop_next=1))
        code = range(_INSN_ADDR, _INSN_ADDR + 16 * len(words))
        image[code.start:code.stop] = np.frombuffer(to_binary(words), np.uint8)
        stored = image.copy()
        store = moved.pop(Memory.OUT)
        pads = {kind.scratchpad: image[at].view(
            {Memory.UOP: "<u4", Memory.ACC: "<i4"}.get(kind, "<i1")) for kind, at in moved.items()}
        if len(store) > len(pads["acc"]) or len(np.unique(store)) < store.size \
                or np.isin(store, code).any():
            continue  # it would store what was not loaded, twice in a place, or over itself
        stored[store] = pads["acc"][:len(store)].astype(np.int8).view(np.uint8)
        yield Limit(words, Fault.DONE, None, image, stored, mirrored=True, bases=bases,
                    scratchpads=pads)


# Tokens and numbers -----------------------------------------------------------------------------

def _tokens(config, done) -> Iterator[Limit]:
    """One token more is taken than was posted, of every queue."""
    isa = Isa(config)
    for token in Token:
        sync = {}
        for verb in ("push", "pop"):
            unit, flag = next((unit, flag) for unit, flags in TOKENS.items()
                              for flag, other in flags.items()
                              if other == token and flag.startswith(verb))
            opcode = Opcode.STORE if unit == Unit.STORE else Opcode.LOAD
            sync[verb] = isa.encode(opcode, memory_type=_SYNC[unit], **{flag: 1})
        for count in (1, 2, 3, 4, 5, 9, 15):
            words = [sync["push"]] * count + [sync["pop"]] * (count + 1) + [done]
            yield Limit(words, Fault.DEADLOCK, 2 * count)


def _late(config) -> Iterator[Limit]:
    """An error behind many instructions, of each unit: its number has several bits."""
    isa = Isa(config)
    nothing = isa.encode(Opcode.LOAD, memory_type=Memory.UOP)
    for kind in (Memory.INP, Memory.ACC, Memory.OUT):
        opcode = Opcode.STORE if kind == Memory.OUT else Opcode.LOAD
        wrong = isa.encode(opcode, memory_type=kind, x_size=1, y_size=1, sram_base=0xffff)
        for number in (0x55, 0xAA):
            yield Limit([nothing] * number + [wrong], _FAULTS[kind], number)
