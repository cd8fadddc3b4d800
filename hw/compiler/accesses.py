"""What an instruction reads and writes, found from its fields and its micro-operations alone."""

from dataclasses import dataclass, field

import numpy as np

from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Instruction, Isa, Memory, Opcode

__all__ = ["GRANULE", "Accesses", "AccessError", "Footprints"]

GRANULE = 4  # bytes of DRAM that are told apart: no element is smaller


class AccessError(ValueError):
    """The instruction reaches beyond a memory; the message says where."""


@dataclass(frozen=True)
class Accesses:
    """Elements by memory (``uop``, ``inp``, ``wgt``, ``acc``, ``dram``), each once.

    Those of DRAM are granules of :data:`GRANULE` bytes. An instruction reads before it writes.
    """
    reads: dict[str, np.ndarray] = field(default_factory=dict)
    writes: dict[str, np.ndarray] = field(default_factory=dict)


class Footprints:
    """Accesses of the instructions of one program, in an order in which they can execute.

    The micro-operations that :meth:`of` has seen loaded are kept, since the indices of GEMM and
    ALU come from them. ``image``: DRAM (uint8); base registers are 0.
    """

    def __init__(self, config: VtaConfig, image: np.ndarray):
        self.config, self.image, self.isa = config, image, Isa(config)
        self._uops = np.zeros(config.depth("uop"), np.uint32)
        self._known: dict[tuple, Accesses] = {}  # while the micro-operations stay

    def of(self, insn: Instruction) -> Accesses:
        """What ``insn`` touches. Raises :class:`AccessError`."""
        if insn.is_memory:
            if insn.x_size == 0:
                return Accesses()
            return self._store(insn) if insn.opcode == Opcode.STORE else self._load(insn)
        if insn.opcode == Opcode.FINISH:
            return Accesses()
        key = (insn.opcode, *(value for name, value in insn.fields.items()
                              if name[:4] not in ("pop_", "push")))
        if key not in self._known:
            self._known[key] = self._compute(insn)
        return self._known[key]

    def _load(self, insn) -> Accesses:
        kind = Memory(insn.memory_type)
        pad, size = kind.scratchpad, self.config.element_bytes(kind.dram_element)
        width = insn.x_pad_0 + insn.x_size + insn.x_pad_1
        elements = self._inside(pad, insn.sram_base + np.arange(
            width * (insn.y_pad_0 + insn.y_size + insn.y_pad_1)))
        granules = self._granules(insn, size)
        if kind == Memory.UOP:
            tile = np.full((len(elements) // width, width), insn.fields.get("pad_value", 0),
                           np.int64).astype(np.uint32)
            bytes_ = self._bytes(insn, size)
            tile[insn.y_pad_0:insn.y_pad_0 + insn.y_size,
                 insn.x_pad_0:insn.x_pad_0 + insn.x_size] = \
                self.image[bytes_].view("<u4").reshape(insn.y_size, insn.x_size)
            self._uops[elements] = tile.ravel()
            self._known.clear()
        return Accesses({"dram": granules}, {pad: elements})

    def _store(self, insn) -> Accesses:
        step = 1 + insn.sram_skip
        stride = insn.sram_stride or insn.x_size * step
        source = (insn.sram_base + np.arange(insn.y_size)[:, None] * stride
                  + np.arange(insn.x_size) * step)
        return Accesses({"acc": np.unique(self._inside("acc", source.ravel()))},
                        {"dram": self._granules(insn, self.config.element_bytes("out"))})

    def _bytes(self, insn, size) -> np.ndarray:
        start = (insn.dram_base + np.arange(insn.y_size, dtype=np.int64) * insn.x_stride) * size
        return (start[:, None] + np.arange(insn.x_size * size)).ravel()

    def _granules(self, insn, size) -> np.ndarray:
        start = (insn.dram_base + np.arange(insn.y_size, dtype=np.int64) * insn.x_stride) * size
        if len(start) and start[-1] + insn.x_size * size > len(self.image):
            raise AccessError(f"byte {start[-1] + insn.x_size * size - 1:#x} of "
                              f"{len(self.image):#x} in DRAM")
        granules = start[:, None] // GRANULE + np.arange(insn.x_size * size // GRANULE)
        return granules.ravel() if insn.x_stride >= insn.x_size else np.unique(granules)

    def _compute(self, insn) -> Accesses:
        kernel = np.arange(insn.uop_bgn, max(insn.uop_bgn, insn.uop_end))
        if not len(kernel) or not insn.iter_out or not insn.iter_in:
            return Accesses()
        uops = self._uops[self._inside("uop", kernel)]
        fields = dict(zip(("dst", "src", "wgt"),
                          (part.astype(np.int64) for part in self.isa.decode_uop(uops))))

        def elements(name, pad):
            reach = (fields[name][:, None, None]
                     + np.arange(insn.iter_out)[:, None] * insn.fields[f"{name}_factor_out"]
                     + np.arange(insn.iter_in) * insn.fields[f"{name}_factor_in"])
            if insn.opcode == Opcode.DEPTHWISE and name == "wgt":
                reach = reach // self.config.block
            mask = np.zeros(max(self.config.depth(pad), int(reach.max()) + 1), bool)
            mask[reach] = True
            return self._inside(pad, np.flatnonzero(mask))

        dst = elements("dst", "acc")
        reads = {"uop": kernel}
        if insn.opcode == Opcode.ALU:
            sources = [] if insn.alu_opcode == AluOp.MOV else [dst]
            if insn.alu_opcode == AluOp.RQT or not insn.use_imm:
                src = elements("src", "acc")
                sources.append(src)
                if insn.alu_opcode == AluOp.RQT and insn.bias:
                    sources.append(self._inside("acc", src + 1))
            if sources:
                reads["acc"] = np.unique(np.concatenate(sources))
        elif not insn.reset_reg:
            reads |= {"inp": elements("src", "inp"), "wgt": elements("wgt", "wgt")}
            if not insn.overwrite:
                reads["acc"] = dst
        return Accesses(reads, {"acc": dst})

    def _inside(self, pad, elements) -> np.ndarray:
        depth = self.config.depth(pad)
        if len(elements) and elements.max() >= depth:
            raise AccessError(f"{pad}[{elements.max()}] of {depth} elements")
        return elements
