"""State of a VTA core, and what each instruction does to it."""

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Fault, Instruction, Isa, Memory, Opcode, Token
from sim.golden.vta.alu import MODEL, levels, requantise

__all__ = ["Access", "Effect", "Machine", "VtaError", "GRANULE"]

GRANULE = 4      # bytes of DRAM that accesses are recorded in: no element is smaller
_isa = functools.lru_cache(Isa)  # thousands of small machines share few configurations
_CHUNK = 1 << 14  # micro-operations done at once: large enough for NumPy, small enough for a cache


class VtaError(Exception):
    """An instruction that the core refuses; ``fault`` says why."""

    def __init__(self, fault: Fault, detail: str):
        super().__init__(f"{fault.status}: {detail}")
        self.fault = fault


@dataclass(frozen=True)
class Access:
    """Elements of one memory: ``"uop"``, ``"inp"``, ``"wgt"``, ``"acc"``, or ``"dram"``.

    Those of DRAM are granules of 4 bytes, as wide as the smallest element.
    """
    memory: str
    elements: np.ndarray


@dataclass
class Effect:
    """What one instruction touched.

    ``stored`` are the byte addresses of the elements that a STORE wrote. ``unwritten`` are the
    elements it read that nothing had written before.
    """
    reads: list[Access] = field(default_factory=list)
    writes: list[Access] = field(default_factory=list)
    stored: np.ndarray | None = None
    unwritten: list[Access] = field(default_factory=list)
    micro_operations: int = 0
    dram_bytes: int = 0


class Machine:
    """Scratchpads and tokens; they persist from launch to launch, as in the core.

    Attributes
    ----------
    uop, inp, wgt, acc : arrays
        uint32 (depth,), int8 (depth, batch, block), int8 (depth, block, block),
        int32 (depth, batch, block); zero at first.
    written : dict of name to bool array
        Which elements hold something.
    tokens : dict of :class:`hw.vta.isa.Token` to int
        Left over by the launches before.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.isa = _isa(config)
        batch, block = config.batch, config.block
        self.uop = np.zeros(config.depth("uop"), np.uint32)
        self.inp = np.zeros((config.depth("inp"), batch, block), np.int8)
        self.wgt = np.zeros((config.depth("wgt"), block, block), np.int8)
        self.acc = np.zeros((config.depth("acc"), batch, block), np.int32)
        self.written = {name: np.zeros(config.depth(name), bool)
                        for name in ("uop", "inp", "wgt", "acc")}
        self.tokens: dict[Token, int] = {}

    def scratchpads(self) -> dict[str, np.ndarray]:
        """The four arrays by name."""
        return {"uop": self.uop, "inp": self.inp, "wgt": self.wgt, "acc": self.acc}

    def copy(self) -> "Machine":
        """Another machine in the same state."""
        other = copy.copy(self)
        for name, array in self.scratchpads().items():
            setattr(other, name, array.copy())
        other.written = {name: mask.copy() for name, mask in self.written.items()}
        other.tokens = dict(self.tokens)
        return other

    def execute(self, insn: Instruction, dram: np.ndarray,
                bases: Mapping[str, int] | None = None) -> Effect:
        """Do one instruction, tokens aside; ``dram`` (uint8) is written in place.

        ``bases`` are the base registers (bytes) of ``uop``, ``inp``, ``wgt``, ``acc``, ``out``.
        Raises :class:`VtaError`, and has done nothing then.
        """
        fault = self.isa.fault(insn)
        if fault != Fault.DONE:
            raise VtaError(fault, "the instruction by itself")
        effect = Effect()
        if insn.is_memory and insn.x_size:
            move = self._store if insn.opcode == Opcode.STORE else self._load
            kind = Memory(insn.memory_type)
            move(insn, kind, dram, (bases or {}).get(_base_register(kind), 0), effect)
        elif insn.opcode in (Opcode.GEMM, Opcode.DEPTHWISE, Opcode.ALU):
            self._compute(insn, effect)
        return effect

    # LOAD and STORE

    def _load(self, insn, kind, dram, base, effect):
        width = insn.x_pad_0 + insn.x_size + insn.x_pad_1
        height = insn.y_pad_0 + insn.y_size + insn.y_pad_1
        pad = kind.scratchpad
        bgn, end = insn.sram_base, insn.sram_base + width * height
        if end > self.config.depth(pad):
            raise VtaError(Fault[f"{pad.upper()}_RANGE"],
                           f"{pad}[{bgn}..{end - 1}] of {self.config.depth(pad)} elements")
        size = self.config.element_bytes(kind.dram_element)
        rows = _rows(insn, dram, base, size)
        scratchpad = self.scratchpads()[pad]
        lanes = scratchpad[0].size
        tile = np.full((height, width, lanes), insn.fields.get("pad_value", 0),
                       np.int64).astype(scratchpad.dtype)
        raw = np.ascontiguousarray(rows).view("<i1" if kind == Memory.ACC_8BIT else
                                              scratchpad.dtype.newbyteorder("<"))
        tile[insn.y_pad_0:insn.y_pad_0 + insn.y_size, insn.x_pad_0:insn.x_pad_0 + insn.x_size] = \
            raw.reshape(insn.y_size, insn.x_size, lanes)
        scratchpad[bgn:end] = tile.reshape(-1, *scratchpad.shape[1:])
        self.written[pad][bgn:end] = True
        effect.dram_bytes = insn.y_size * insn.x_size * size
        effect.reads.append(_granules(insn, base, size))
        effect.writes.append(Access(pad, np.arange(bgn, end)))

    def _store(self, insn, kind, dram, base, effect):
        if insn.y_size == 0:
            return
        size, step = self.config.element_bytes("out"), 1 + insn.sram_skip
        stride = insn.sram_stride or insn.x_size * step
        last = insn.sram_base + (insn.y_size - 1) * stride + (insn.x_size - 1) * step
        if last >= self.config.depth("acc"):
            raise VtaError(Fault.ACC_RANGE, f"acc[{last}] of {self.config.depth('acc')} elements")
        source = (insn.sram_base + np.arange(insn.y_size)[:, None] * stride
                  + np.arange(insn.x_size) * step)
        rows = _rows(insn, dram, base, size)
        values = self.acc[source]
        if insn.saturate:
            values = np.clip(values, -128, 127)
        raw = values.astype(np.int8).view(np.uint8).reshape(insn.y_size, insn.x_size * size)
        if insn.x_stride >= insn.x_size:
            rows[:] = raw
        else:  # rows overlap: the later one wins
            for row, data in zip(rows, raw):
                row[:] = data
        effect.dram_bytes = raw.size
        effect.reads.append(self._read("acc", source.ravel(), effect))
        effect.writes.append(_granules(insn, base, size))
        effect.stored = np.unique(_first_elements(insn)[:, None]
                                  + np.arange(insn.x_size)) * size + base

    # GEMM, DEPTHWISE, ALU

    def _compute(self, insn, effect):
        kernel = np.arange(insn.uop_bgn, max(insn.uop_bgn, insn.uop_end))
        turns = insn.iter_out * insn.iter_in
        effect.micro_operations = turns * len(kernel)
        if not effect.micro_operations:
            return
        touched: dict[str, np.ndarray] = {}
        if insn.uop_end > self.config.depth("uop"):
            inside = kernel[kernel < self.config.depth("uop")]
            if len(inside):  # an index of the first turn may come before the end of the scratchpad
                self._check(insn, next(self._indices(insn, inside, 1, _CHUNK)))
            raise VtaError(Fault.UOP_RANGE, f"uop[{max(insn.uop_bgn, self.config.depth('uop'))}] "
                                            f"of {self.config.depth('uop')} elements")
        effect.reads.append(self._read("uop", kernel, effect))
        if self._may_fail(insn, kernel):
            for indices in self._indices(insn, kernel, turns, _CHUNK):
                self._check(insn, indices)
        work = self._alu if insn.opcode == Opcode.ALU else self._gemm
        for dst, src, wgt in self._indices(insn, kernel, turns, _CHUNK):
            work(insn, dst, src, wgt, touched, effect)
        for name, mask in touched.items():
            memory, access = name.split()
            (effect.reads if access == "r" else effect.writes).append(
                Access(memory, np.flatnonzero(mask)))

    def _operands(self, insn):
        """Of each index that the instruction uses: its name, fault and limit."""
        uses = [("dst", Fault.ACC_RANGE, self.config.depth("acc"))]
        if insn.opcode == Opcode.ALU:
            requantise = insn.alu_opcode == AluOp.RQT
            if requantise or not insn.use_imm:
                bias = requantise and insn.bias  # uses the element behind it, too
                uses.append(("src", Fault.ACC_RANGE, self.config.depth("acc") - bias))
        elif not insn.reset_reg:
            rows = self.config.block if insn.opcode == Opcode.DEPTHWISE else 1
            uses.append(("src", Fault.INP_RANGE, self.config.depth("inp")))
            uses.append(("wgt", Fault.WGT_RANGE, self.config.depth("wgt") * rows))
        return uses

    def _indices(self, insn, kernel, turns, chunk) -> Iterator[tuple[np.ndarray, ...]]:
        """``dst, src, wgt`` of consecutive micro-operations, about ``chunk`` at a time."""
        fields = [field.astype(np.int64) for field in self.isa.decode_uop(self.uop[kernel])]
        step = max(1, chunk // len(kernel))
        for bgn in range(0, turns, step):
            i, j = np.divmod(np.arange(bgn, min(turns, bgn + step)), insn.iter_in)
            yield tuple(
                (base + (i * insn.fields.get(f"{name}_factor_out", 0)
                         + j * insn.fields.get(f"{name}_factor_in", 0))[:, None]).ravel()
                for name, base in zip(("dst", "src", "wgt"), fields))

    def _may_fail(self, insn, kernel) -> bool:
        """Whether the largest index of any operand is out of range."""
        fields: dict[str, np.ndarray] = dict(
            zip(("dst", "src", "wgt"), self.isa.decode_uop(self.uop[kernel])))
        return any(
            int(fields[name].max()) + (insn.iter_out - 1) * insn.fields[f"{name}_factor_out"]
            + (insn.iter_in - 1) * insn.fields[f"{name}_factor_in"] >= limit
            for name, _, limit in self._operands(insn))

    def _check(self, insn, parts):
        """Raise for the first micro-operation, and its first operand, that is out of range."""
        indices: dict[str, np.ndarray] = dict(zip(("dst", "src", "wgt"), parts))
        wrong = {name: indices[name] >= limit for name, _, limit in self._operands(insn)}
        bad = np.logical_or.reduce(list(wrong.values()))
        if bad.any():
            first = int(bad.argmax())
            name, fault, _ = next(use for use in self._operands(insn) if wrong[use[0]][first])
            pad = fault.name[:3].lower()
            raise VtaError(fault, f"{pad}[{indices[name][first]}] of "
                                  f"{self.config.depth(pad)} elements")

    def _gemm(self, insn, dst, src, wgt, touched, effect):
        if insn.reset_reg:
            self._write(dst, 0, touched)
            return
        depthwise = insn.opcode == Opcode.DEPTHWISE
        element, row = np.divmod(wgt, self.config.block) if depthwise else (wgt, None)
        for name, index in (("inp", src), ("wgt", element)):
            self._touch(name, index, touched, effect)
        if depthwise:
            product = (self.inp[src].astype(np.int32)
                       * self.wgt[element, row][:, None, :].astype(np.int32))
        else:  # sums of at most 64 products of int8 are exact in float32, which has a fast product
            product = np.matmul(self.inp[src].astype(np.float32),
                                self.wgt[wgt].astype(np.float32).transpose(0, 2, 1)
                                ).astype(np.int32)
        order = np.argsort(dst, kind="stable")
        first = np.flatnonzero(np.diff(dst[order], prepend=-1))
        target = dst[order[first]]
        if insn.overwrite:
            last = np.append(first[1:], len(dst)) - 1
            self._write(target, product[order[last]], touched)
        else:  # sums that wrap do not depend on their order
            self._touch("acc", target, touched, effect)
            total = np.add.reduceat(product[order], first, axis=0)
            self._write(target, self.acc[target] + total, touched)

    def _alu(self, insn, dst, src, wgt, touched, effect):
        operation = AluOp(insn.alu_opcode)
        sources = None
        if operation == AluOp.RQT:
            sources = np.stack([src, src + 1] if insn.bias else [src], axis=1)
        elif not insn.use_imm:
            sources = src[:, None]
        level = levels(dst, sources)
        order = np.argsort(level, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(level[order])) + 1):
            a = dst[group]
            if operation != AluOp.MOV:
                self._touch("acc", a, touched, effect)
            if sources is not None:
                self._touch("acc", sources[group].ravel(), touched, effect)
            x = self.acc[a]
            if operation == AluOp.RQT:
                b = src[group]
                x = x + self.acc[b + 1] if insn.bias else x
                self._write(a, requantise(x, self.acc[b], insn.imm), touched)
            else:
                y = np.int32(insn.imm) if insn.use_imm else self.acc[src[group]]
                self._write(a, MODEL[operation](x, y), touched)

    def _write(self, index, values, touched):
        self.acc[index] = values
        self.written["acc"][index] = True
        self._mask("acc w", touched)[index] = True

    def _touch(self, name, index, touched, effect):
        self._read(name, index, effect)
        self._mask(f"{name} r", touched)[index] = True

    def _mask(self, key, touched):
        if key not in touched:
            touched[key] = np.zeros(self.config.depth(key.split()[0]), bool)
        return touched[key]

    def _read(self, name, index, effect) -> Access:
        fresh = ~self.written[name][index]
        if fresh.any():
            effect.unwritten.append(Access(name, np.unique(index[fresh])))
        return Access(name, index)


def _base_register(kind: Memory) -> str:
    return "acc" if kind == Memory.ACC_8BIT else kind.name.lower()


def _first_elements(insn) -> np.ndarray:
    """DRAM element with which each row begins."""
    return insn.dram_base + np.arange(insn.y_size, dtype=np.int64) * insn.x_stride


def _rows(insn, dram, base, size) -> np.ndarray:
    """The rows in DRAM, as a view of shape (y_size, bytes of a row)."""
    if insn.y_size == 0:
        return np.zeros((0, insn.x_size * size), np.uint8)
    start = base + insn.dram_base * size
    end = start + ((insn.y_size - 1) * insn.x_stride + insn.x_size) * size
    if end > len(dram):
        raise VtaError(Fault.BUS_ERROR, f"bytes {start:#x} to {end - 1:#x} of {len(dram):#x}")
    return np.lib.stride_tricks.as_strided(
        dram[start:], (insn.y_size, insn.x_size * size), (insn.x_stride * size, 1))


def _granules(insn, base, size) -> Access:
    start = base + _first_elements(insn) * size
    if base % GRANULE == 0:
        return Access("dram", (start[:, None] // GRANULE
                               + np.arange(insn.x_size * size // GRANULE)).ravel())
    # An unaligned row touches one granule more.
    return Access("dram", (start[:, None] // GRANULE
                           + np.arange(insn.x_size * size // GRANULE + 1)).ravel())
