"""Programs for the VTA core, written in Python; binary and text, out and in.

A program is a list of instructions and the DRAM they work on::

    with Program(VtaConfig()) as p:
        x = p.buffer("x", Memory.INP, pixels)               # NumPy arrays become DRAM contents
        w = p.buffer("w", Memory.WGT, weights)
        y = p.buffer("y", Memory.OUT, 16)                   # room for 16 elements
        p.load(x, push="l2g")
        p.load(w, push="l2g")
        kernel = p.kernel((0, tap, tap) for tap in range(4))  # (dst, src, wgt); loads them too
        p.gemm(kernel, (16, 1), reset=True, pop="l2g")      # 16 turns, dst moves by 1
        p.gemm(kernel, (16, 1, 4), pop="l2g")
        p.alu(AluOp.SHR, kernel[:1], (16, 1), imm=4, push="g2s")
        p.store(y, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    image = p.image()                                       # p.insn_addr, p.insn_count
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import TOKENS, AluOp, Fault, Instruction, Isa, Memory, Opcode

__all__ = ["Buffer", "Kernel", "Program", "to_binary", "from_binary", "listing", "assemble"]

_PAGE = 4096


@dataclass(frozen=True)
class Buffer:
    """A piece of DRAM: ``count`` elements of ``kind``, from element ``base``."""
    name: str
    kind: Memory
    base: int
    count: int
    element_bytes: int

    @property
    def address(self) -> int:
        """Byte address, with base registers 0."""
        return self.base * self.element_bytes

    @property
    def slice(self) -> slice:
        """Its bytes in the image."""
        return slice(self.address, self.address + self.count * self.element_bytes)


@dataclass(frozen=True)
class Kernel:
    """Micro-operations ``bgn`` to ``end - 1`` of the scratchpad; a slice of it is one, too."""
    bgn: int
    end: int

    def __len__(self):
        return self.end - self.bgn

    def __getitem__(self, part: slice) -> "Kernel":
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a slice of a kernel must have step 1, not {step!r}")
        return Kernel(self.bgn + start, self.bgn + max(start, stop))


class Program:
    """Instructions in order, and the buffers, for one configuration.

    Every method that makes an instruction takes ``pop`` and ``push``: names of token queues
    (``"l2g"``, or ``"l2g s2g"`` for two). All raise :exc:`ValueError` for what the instruction
    word cannot say and for what the core would refuse.

    Attributes
    ----------
    words : list of :class:`int`
        The instructions so far.
    buffers : dict of name to :class:`Buffer`
    insn_addr, insn_count : :class:`int`
        Where :meth:`image` puts the instructions, and how many there are.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.isa = Isa(config)
        self.words: list[int] = []
        self.buffers: dict[str, Buffer] = {}
        self._contents: dict[str, bytes] = {}
        self._notes: dict[int, list[str]] = {}
        self._free = _PAGE  # page 0 stays empty, so that an address of 0 is never right
        self._free_uop = 0
        self._kernels = 0

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, kind, error, trace):
        if kind is None and not any(word & 7 == Opcode.FINISH for word in self.words):
            raise ValueError("a program must have a FINISH")

    # Memory

    def buffer(self, name: str, kind: Memory, data, *, align: int = _PAGE) -> Buffer:
        """DRAM for ``data``: a number of elements, or an array whose bytes are a whole number.

        int8 for INP, WGT, OUT and ACC_8BIT, int32 for ACC, uint32 for UOP; any shape.
        """
        if name in self.buffers:
            raise ValueError(f"the name of a buffer must be new, not {name!r}")
        size = self.config.element_bytes(Memory(kind).dram_element)
        if isinstance(data, int):
            content = bytes(data * size)
        else:
            expected = {Memory.UOP: np.uint32, Memory.ACC: np.int32}.get(kind, np.int8)
            data = np.asarray(data)
            if data.dtype != expected:
                raise TypeError(f"data of {name} must be {np.dtype(expected)}, not {data.dtype}")
            content = data.astype(data.dtype.newbyteorder("<")).tobytes()
        if len(content) % size:
            raise ValueError(f"data of {name} must be elements of {size} bytes, "
                             f"not {len(content)} bytes")
        align = max(align, size)
        address = -(-self._free // align) * align
        buffer = Buffer(name, Memory(kind), address // size, len(content) // size, size)
        self._free = address + len(content)
        self.buffers[name], self._contents[name] = buffer, content
        return buffer

    def kernel(self, uops: Iterable[Sequence[int]], *, sram: int | None = None,
               pop: str = "", push: str = "") -> Kernel:
        """Micro-operations ``(dst, src, wgt)`` or ``(dst, src)``: DRAM, and the LOAD of them.

        ``sram`` is where they go; by default behind those of the kernel before.
        """
        words = np.array([self.isa.encode_uop(*uop) for uop in uops], np.uint32)
        bgn = self._free_uop if sram is None else sram
        self._kernels += 1
        buffer = self.buffer(f"kernel{self._kernels}", Memory.UOP, words, align=64)
        self.load(buffer, sram=bgn, pop=pop, push=push)
        self._free_uop = bgn + len(words)
        return Kernel(bgn, bgn + len(words))

    # Instructions

    def load(self, source: Buffer | Memory, *, sram: int = 0, dram: int = 0,
             y: int = 1, x: int | None = None, stride: int | None = None,
             pad: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int | None = None,
             pop: str = "", push: str = "") -> int:
        """Load ``y`` rows of ``x`` elements; of a whole buffer, if ``x`` is left out.

        ``dram`` counts from the start of the buffer, or from 0 if ``source`` is a memory type.
        ``pad`` is (above, below, left, right); ``pad_value`` makes it a LOAD_PAD. Returns the
        index of the instruction, as all of these methods do.
        """
        opcode = Opcode.LOAD if pad_value is None else Opcode.LOAD_PAD
        fields = dict(zip(("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"), pad))
        if pad_value is not None:
            fields["pad_value"] = pad_value
        return self._memory(opcode, source, sram, dram, y, x, stride, pop, push, **fields)

    def store(self, target: Buffer | Memory = Memory.OUT, *, sram: int = 0, dram: int = 0,
              y: int = 1, x: int | None = None, stride: int | None = None,
              saturate: bool = False, sram_stride: int = 0, sram_skip: int = 0,
              pop: str = "", push: str = "") -> int:
        """Store ``y`` rows of ``x`` elements of the accumulators, one byte per lane."""
        return self._memory(Opcode.STORE, target, sram, dram, y, x, stride, pop, push,
                            saturate=int(saturate), sram_stride=sram_stride, sram_skip=sram_skip)

    def gemm(self, uops: Kernel | tuple[int, int], *loops: Sequence[int],
             reset: bool = False, overwrite: bool = False, depthwise: bool = False,
             pop: str = "", push: str = "") -> int:
        """Matrix product for each micro-operation, in up to two loops, the outer one first.

        A loop is ``(turns, dst, src, wgt)``: what it adds to the indices; what is left out is 0.
        """
        return self._compute(Opcode.DEPTHWISE if depthwise else Opcode.GEMM, uops, loops,
                             ("dst", "src", "wgt"), pop, push,
                             reset_reg=int(reset), overwrite=int(overwrite))

    def alu(self, operation: AluOp, uops: Kernel | tuple[int, int], *loops: Sequence[int],
            imm: int | None = None, clamp: tuple[int, int] = (-128, 127), bias: bool = False,
            pop: str = "", push: str = "") -> int:
        """Element-wise operation; with ``imm``, or else with the source of the micro-operation.

        A loop is ``(turns, dst, src)``. ``clamp`` and ``bias`` are those of RQT.
        """
        fields = {"alu_opcode": operation, "use_imm": int(imm is not None), "imm": imm or 0}
        if operation == AluOp.RQT:
            if imm is not None:
                raise ValueError(f"imm must be left out of RQT, whose operand is the source, "
                                 f"not {imm!r}")
            low, high = clamp
            if low not in range(-128, 128) or high not in range(-128, 128):
                raise ValueError(f"clamp must be two of -128 to 127, not {clamp!r}")
            packed = (high & 0xff) << 8 | low & 0xff
            fields.update(imm=packed - (packed >> 15 << 16), bias=int(bias))
        return self._compute(Opcode.ALU, uops, loops, ("dst", "src"), pop, push, **fields)

    def sync(self, memory: Memory, *, pop: str = "", push: str = "") -> int:
        """Only tokens: INP or WGT for the load unit, OUT for the store unit, else compute."""
        opcode = Opcode.STORE if memory == Memory.OUT else Opcode.LOAD
        return self._emit(opcode, pop, push, memory_type=memory)

    def finish(self, *, pop: str = "", push: str = "") -> int:
        """The end of the run."""
        return self._emit(Opcode.FINISH, pop, push)

    def insn(self, opcode: Opcode, *, pop: str = "", push: str = "", **fields: int) -> int:
        """Any instruction, by the names of its fields; those left out are 0."""
        return self._emit(opcode, pop, push, **fields)

    def note(self, text: str):
        """A comment in the listing, in front of the next instruction."""
        self._notes.setdefault(len(self.words), []).append(text)

    def _memory(self, opcode, place, sram, dram, y, x, stride, pop, push, **fields):
        kind = place
        if isinstance(place, Buffer):
            kind = place.kind
            dram += place.base
            if x is None:
                x = place.count
        if x is None:
            raise ValueError("x must be given, if the place in DRAM is not a buffer")
        return self._emit(opcode, pop, push, memory_type=kind, sram_base=sram, dram_base=dram,
                          y_size=y, x_size=x, x_stride=x if stride is None else stride, **fields)

    def _compute(self, opcode, uops, loops, operands, pop, push, **fields):
        bgn, end = (uops.bgn, uops.end) if isinstance(uops, Kernel) else uops
        if len(loops) > 2:
            raise ValueError(f"loops must be at most 2, not {len(loops)}")
        loops = [(1,)] * (2 - len(loops)) + list(loops)
        for suffix, (turns, *steps) in zip(("out", "in"), loops):
            if len(steps) > len(operands):
                raise ValueError(f"a loop must be (turns, {', '.join(operands)}), "
                                 f"not {(turns, *steps)!r}")
            fields[f"iter_{suffix}"] = turns
            fields |= {f"{name}_factor_{suffix}": step for name, step in zip(operands, steps)}
        return self._emit(opcode, pop, push, uop_bgn=bgn, uop_end=end, **fields)

    def _emit(self, opcode, pop, push, **fields):
        unit = Instruction(opcode, {"memory_type": -1, **fields}).unit
        for verb, names in (("pop", pop), ("push", push)):
            flags = {token.name.lower(): flag for flag, token in TOKENS[unit].items()
                     if flag.startswith(verb)}
            for name in names.split():
                if name not in flags:
                    raise ValueError(f"{verb} of a {unit.name} instruction must be among "
                                     f"{', '.join(flags)}, not {name!r}")
                fields[flags[name]] = 1
        word = self.isa.encode(opcode, **fields)
        fault = self.isa.fault(self.isa.decode(word))
        if fault != Fault.DONE:
            raise ValueError(f"the core refuses it, {fault.status}: {self.isa.disassemble(word)}")
        self.words.append(word)
        return len(self.words) - 1

    # Out

    @property
    def insn_addr(self) -> int:
        return -(-self._free // _PAGE) * _PAGE

    @property
    def insn_count(self) -> int:
        return len(self.words)

    def image(self) -> bytearray:
        """DRAM with the buffers' contents and, behind them, the instructions."""
        image = bytearray(self.insn_addr)
        for name, content in self._contents.items():
            image[self.buffers[name].slice] = content
        return image + to_binary(self.words)

    def listing(self) -> str:
        """The whole program as text: buffers, micro-operations, instructions."""
        lines = [f"; {self.config.batch}x{self.config.block}x{self.config.block}, "
                 f"configuration {self.config.fingerprint:#010x}"]
        for buffer in self.buffers.values():
            lines.append(f"; {buffer.address:#010x} {buffer.name}: "
                         f"{buffer.count} of {buffer.kind.name}")
            if buffer.kind == Memory.UOP:
                words = np.frombuffer(self._contents[buffer.name], "<u4")
                lines += [f";   {i}: dst={dst} src={src} wgt={wgt}" for i, (dst, src, wgt)
                          in enumerate(zip(*map(list, self.isa.decode_uop(words))))]
        return "\n".join(lines) + "\n" + listing(self.config, self.words, self._notes)


def to_binary(words: Iterable[int]) -> bytes:
    """Instructions as they lie in DRAM."""
    return b"".join(word.to_bytes(16, "little") for word in words)


def from_binary(binary: bytes) -> list[int]:
    """Instruction words of a stream."""
    if len(binary) % 16:
        raise ValueError(f"a stream must be a multiple of 16 bytes, not {len(binary)}")
    return [int.from_bytes(binary[i:i + 16], "little") for i in range(0, len(binary), 16)]


def listing(config: VtaConfig, words: Sequence[int],
            notes: dict[int, list[str]] | None = None) -> str:
    """Any stream as text, a line per instruction, with its index; illegal ones included."""
    isa, lines = Isa(config), []
    for index, word in enumerate(words):
        lines += [f"; {note}" for note in (notes or {}).get(index, ())]
        lines.append(f"{index:4}  {isa.disassemble(word)}")
    return "\n".join(lines) + "\n"


def assemble(config: VtaConfig, text: str) -> list[int]:
    """Instruction words of a listing; indices and what follows ``;`` are ignored."""
    isa, words = Isa(config), []
    for line in text.splitlines():
        code = line.partition(";")[0].strip().lstrip("0123456789").strip()
        if code:
            words.append(isa.assemble(code))
    return words
