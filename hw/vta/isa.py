"""The instruction set, defined once: encoder, decoder, text form, manual, hardware layouts.

:data:`FORMS` is the table. An instruction has 128 bits, two words of 64; fields are packed from
the lowest bit of their word, in the order of the table, with widths that follow from the
configuration. :class:`Isa` is the table at one configuration. Fields marked ``extension`` use
encodings that plain VTA leaves free; a stream that does not use them means what it always meant.
:mod:`hw.vta.manual` prints the whole as a page, with the semantics.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from amaranth import signed, unsigned
from amaranth.lib import data

from hw.vta.config import VtaConfig

if TYPE_CHECKING:
    import enum  # Amaranth's are these, with a shape; a type checker sees nothing in them
else:
    from amaranth.lib import enum

__all__ = ["Opcode", "Memory", "AluOp", "Unit", "Token", "Fault", "Field", "FORMS", "UOP",
           "EXTENSIONS", "TOKENS", "Instruction", "Isa"]


class Opcode(enum.IntEnum, shape=3):
    LOAD      = 0
    STORE     = 1
    GEMM      = 2
    FINISH    = 3
    ALU       = 4
    DEPTHWISE = 5  # extension
    LOAD_PAD  = 6  # extension
    ILLEGAL   = 7


class Memory(enum.IntEnum, shape=3):
    """``memory_type``; 6 and 7 are illegal."""
    UOP      = 0
    WGT      = 1
    INP      = 2
    ACC      = 3
    OUT      = 4
    ACC_8BIT = 5

    @property
    def scratchpad(self) -> str:
        """The scratchpad behind it: ``uop``, ``wgt``, ``inp`` or ``acc``."""
        return self.name.lower() if self < Memory.ACC else "acc"

    @property
    def dram_element(self) -> str:
        """What one element is in DRAM, for :meth:`VtaConfig.element_bytes`."""
        return "out" if self > Memory.ACC else self.name.lower()


class AluOp(enum.IntEnum, shape=3):
    MIN  = 0
    MAX  = 1
    ADD  = 2
    SHR  = 3
    MUL  = 4
    CLIP = 5  # extension
    MOV  = 6  # extension
    RQT  = 7  # extension


class Unit(enum.IntEnum, shape=2):
    """The three units that execute; each takes its instructions in program order."""
    LOAD    = 0
    COMPUTE = 1
    STORE   = 2


class Token(enum.IntEnum, shape=2):
    """The four token queues: from the first unit to the second; g is compute."""
    L2G = 0
    G2L = 1
    G2S = 2
    S2G = 3


# What a flag does in each unit; a flag that is not listed is illegal there.
TOKENS: dict[Unit, dict[str, Token]] = {
    Unit.LOAD:    {"pop_next": Token.G2L, "push_next": Token.L2G},
    Unit.COMPUTE: {"pop_prev": Token.L2G, "pop_next": Token.S2G,
                   "push_prev": Token.G2L, "push_next": Token.G2S},
    Unit.STORE:   {"pop_prev": Token.G2S, "push_prev": Token.S2G},
}


class Fault(enum.IntEnum, shape=4):
    """Why a run stopped; the number is that of the status register."""
    DONE           = 0   # FINISH has executed, and so has everything else
    ILLEGAL_OPCODE = 1   # opcode 7; without extensions also 5, 6 and ALU operations 5 to 7
    ILLEGAL_MEMORY = 2   # memory_type that LOAD or STORE does not have
    ILLEGAL_TOKEN  = 3   # token flag that the unit does not have
    ILLEGAL_FIELD  = 4   # STORE with pads, without extensions
    UOP_RANGE      = 5   # beyond the end of the scratchpad ...
    INP_RANGE      = 6
    WGT_RANGE      = 7
    ACC_RANGE      = 8
    BUS_ERROR      = 9   # DRAM that is not there
    DEADLOCK       = 10  # a token that never comes
    NO_FINISH      = 11  # every instruction has executed, none was FINISH

    @property
    def status(self) -> str:
        """As reports and command lines write it."""
        return self.name.lower()


@dataclass(frozen=True)
class Field:
    """One field of a form; ``width`` may depend on the configuration, ``bit`` pins its place."""
    name: str
    width: int | Callable[[VtaConfig], int]
    doc: str
    signed: bool = False
    extension: bool = False
    bit: int | None = None  # position in its word, if it is not next to the one before


def _lu(config): return config.log_uop_depth
def _li(config): return config.log_inp_depth
def _lw(config): return config.log_wgt_depth
def _la(config): return config.log_acc_depth


_HEAD = (
    Field("opcode",    3, "what the instruction is"),
    Field("pop_prev",  1, "wait for a token from the unit before"),
    Field("pop_next",  1, "wait for a token from the unit after"),
    Field("push_prev", 1, "post a token to the unit before, when complete"),
    Field("push_next", 1, "post a token to the unit after, when complete"),
)
_MEMORY = (
    Field("memory_type", 3,  "scratchpad, and form of the elements in DRAM"),
    Field("sram_base",   16, "first element in the scratchpad"),
    Field("dram_base",   32, "first element in DRAM, counted in elements"),
)
_ROWS = (
    Field("x_size",   16, "elements of a row; 0: the instruction only handles tokens"),
    Field("x_stride", 16, "elements from row to row in DRAM"),
)
_PADS = (
    Field("y_pad_0", 4, "rows of padding above"),
    Field("y_pad_1", 4, "rows of padding below"),
    Field("x_pad_0", 4, "elements of padding left of each row"),
    Field("x_pad_1", 4, "elements of padding right of each row"),
)
_LOOPS = (
    Field("uop_bgn",  _lu, "first micro-operation"),
    Field("uop_end",  lambda config: _lu(config) + 1, "the one behind the last"),
    Field("iter_out", 14, "turns of the outer loop"),
    Field("iter_in",  14, "turns of the inner loop"),
)
_DST = (
    Field("dst_factor_out", _la, "added to the destination at each turn of the outer loop"),
    Field("dst_factor_in",  _la, "the same, inner loop"),
)
_GEMM = (
    (*_HEAD, Field("reset_reg", 1, "set the destination to 0; source and weight are not used"),
     *_LOOPS,
     Field("overwrite", 1, "store the product, instead of adding it to the destination",
           extension=True, bit=63)),
    (*_DST,
     Field("src_factor_out", _li, "added to the input index at each turn of the outer loop"),
     Field("src_factor_in",  _li, "the same, inner loop"),
     Field("wgt_factor_out", _lw, "added to the weight index at each turn of the outer loop"),
     Field("wgt_factor_in",  _lw, "the same, inner loop")),
)
_Y_SIZE = Field("y_size", 16, "rows")

# opcode -> fields of the low word, fields of the high word
FORMS: dict[Opcode, tuple[tuple[Field, ...], tuple[Field, ...]]] = {
    Opcode.LOAD: ((*_HEAD, *_MEMORY), (_Y_SIZE, *_ROWS, *_PADS)),
    Opcode.STORE: (
        (*_HEAD, *_MEMORY,
         Field("saturate",  1, "clamp to -128 ... 127, instead of taking the low 8 bits",
               extension=True),
         Field("sram_skip", 5, "scratchpad elements skipped after each one that is stored",
               extension=True)),
        (_Y_SIZE, *_ROWS,
         Field("sram_stride", 16, "elements from row to row in the scratchpad; 0: dense",
               extension=True)),
    ),
    Opcode.GEMM: _GEMM,
    Opcode.FINISH: (_HEAD, ()),
    Opcode.ALU: (
        (*_HEAD, Field("reset_reg", 1, "ignored"), *_LOOPS,
         Field("bias", 1, "RQT adds the element behind the source first; else ignored",
               extension=True, bit=63)),
        (*_DST,
         Field("src_factor_out", _la, "added to the source at each turn of the outer loop"),
         Field("src_factor_in",  _la, "the same, inner loop"),
         Field("alu_opcode", 3, "operation"),
         Field("use_imm",    1, "the second operand is imm, not the source"),
         Field("imm",       16, "immediate operand", signed=True)),
    ),
    Opcode.DEPTHWISE: _GEMM,
    Opcode.LOAD_PAD: (
        (*_HEAD, *_MEMORY),
        (Field("y_size",    8, "rows"),
         Field("pad_value", 8, "what padding is, in each lane", signed=True, extension=True),
         *_ROWS, *_PADS),
    ),
    Opcode.ILLEGAL: (_HEAD, ()),
}
EXTENSIONS = (Opcode.DEPTHWISE, Opcode.LOAD_PAD)

UOP: tuple[Field, ...] = (
    Field("dst_idx", _la, "destination, in the accumulators"),
    Field("src_idx", lambda config: max(_la(config), _li(config)),
          "input (GEMM, DEPTHWISE) or accumulator (ALU)"),
    Field("wgt_idx", _lw, "weight; not used by ALU"),
)


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction; fields are attributes (``insn.x_size``)."""
    opcode: Opcode
    fields: dict[str, int]

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('opcode')!r} has no field {name}") from None

    @property
    def is_memory(self) -> bool:
        return self.opcode in (Opcode.LOAD, Opcode.LOAD_PAD, Opcode.STORE)

    @cached_property
    def unit(self) -> Unit:
        """Where it executes."""
        if self.opcode == Opcode.STORE:
            return Unit.STORE
        if (self.opcode in (Opcode.LOAD, Opcode.LOAD_PAD)
                and self.memory_type in (Memory.INP, Memory.WGT)):
            return Unit.LOAD
        return Unit.COMPUTE

    @cached_property
    def pops(self) -> tuple[Token, ...]:
        """Tokens it takes before it starts, all at once; illegal flags take none."""
        return self._tokens("pop_prev", "pop_next")

    @cached_property
    def pushes(self) -> tuple[Token, ...]:
        """Tokens it posts when it is complete."""
        return self._tokens("push_prev", "push_next")

    def _tokens(self, *flags):
        queues = TOKENS[self.unit]
        return tuple(queues[f] for f in flags if self.fields[f] and f in queues)


class Isa:
    """The instruction set at one configuration.

    Attributes
    ----------
    layouts : dict of :class:`Opcode` to :class:`amaranth.lib.data.FlexibleLayout`
        128-bit layouts; ``data.View(isa.layouts[Opcode.GEMM], word)`` decodes in hardware.
    uop : :class:`amaranth.lib.data.FlexibleLayout`
        The 32 bits of a micro-operation.
    places : dict of :class:`Opcode` to dict of name to (offset, :class:`Field`, width)
        The same positions as numbers.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.places = {opcode: {name: place for base, word in zip((0, 64), words)
                                for name, place in self._pack(base, word).items()}
                       for opcode, words in FORMS.items()}
        self.uop_places = self._pack(0, UOP)

    def _pack(self, base, fields):
        places, offset = {}, 0
        for field in fields:
            width = field.width if isinstance(field.width, int) else field.width(self.config)
            offset = offset if field.bit is None else field.bit
            places[field.name] = (base + offset, field, width)
            offset += width
        assert offset <= 64, "VtaConfig lets no such configuration exist"
        return places

    @cached_property
    def layouts(self) -> dict[Opcode, data.FlexibleLayout]:
        return {opcode: _layout(128, places) for opcode, places in self.places.items()}

    @cached_property
    def uop(self) -> data.FlexibleLayout:
        return _layout(32, self.uop_places)

    def encode(self, opcode: Opcode, **fields: int) -> int:
        """Word of an instruction; fields not named are 0."""
        return _insert(opcode.name, self.places[opcode], {"opcode": opcode, **fields})

    def decode(self, word: int) -> Instruction:
        """The instruction in ``word``; what the core cannot decode has opcode ``ILLEGAL``.

        Without extensions their fields are 0, except STORE's ``sram_stride``: there plain VTA
        has pads that must be 0, which :meth:`fault` checks.
        """
        opcode = Opcode(word & 7)
        if opcode in EXTENSIONS and not self.config.extensions:
            opcode = Opcode.ILLEGAL
        fields = _extract(self.places[opcode], word)
        del fields["opcode"]
        if not self.config.extensions:
            for name, (_, field, _) in self.places[opcode].items():
                if field.extension and name != "sram_stride":
                    fields[name] = 0
        return Instruction(opcode, fields)

    def encode_uop(self, dst: int, src: int = 0, wgt: int = 0) -> int:
        """Word of a micro-operation."""
        return _insert("micro-operation", self.uop_places,
                       {"dst_idx": dst, "src_idx": src, "wgt_idx": wgt})

    def decode_uop(self, words):
        """``dst_idx, src_idx, wgt_idx`` of a word, or of a NumPy array of them (unsigned)."""
        return tuple((words >> offset) & ((1 << width) - 1)
                     for offset, _, width in self.uop_places.values())

    def fault(self, insn: Instruction) -> Fault:
        """What is wrong with the instruction by itself; ``DONE`` if nothing is."""
        if insn.opcode == Opcode.ILLEGAL:
            return Fault.ILLEGAL_OPCODE
        if any(insn.fields[name] for name in ("pop_prev", "pop_next", "push_prev", "push_next")
               if name not in TOKENS[insn.unit]):
            return Fault.ILLEGAL_TOKEN
        if insn.is_memory:
            if insn.x_size == 0:
                return Fault.DONE
            store = insn.opcode == Opcode.STORE
            if insn.memory_type > Memory.ACC_8BIT or (insn.memory_type == Memory.OUT) != store:
                return Fault.ILLEGAL_MEMORY
            if store and insn.sram_stride and not self.config.extensions:
                return Fault.ILLEGAL_FIELD
        if (insn.opcode == Opcode.ALU and insn.alu_opcode > AluOp.MUL
                and not self.config.extensions):
            return Fault.ILLEGAL_OPCODE
        return Fault.DONE

    def disassemble(self, word: int) -> str:
        """One line: mnemonic, fields that are not 0, ``-`` tokens taken, ``+`` tokens posted.

        Bits of ``word`` outside all fields are kept as ``bits=``, so :meth:`assemble` returns
        exactly ``word``.
        """
        insn = self.decode(word)
        fields, mnemonic = dict(insn.fields), insn.opcode.name.lower()
        if insn.is_memory and fields["memory_type"] in list(Memory):
            mnemonic += f".{Memory(fields.pop('memory_type')).name.lower()}"
        elif insn.opcode == Opcode.ALU:
            mnemonic += f".{AluOp(fields.pop('alu_opcode')).name.lower()}"
        queues, tokens = TOKENS[insn.unit], []
        for flag in ("pop_prev", "pop_next", "push_prev", "push_next"):
            if flag in queues and fields.pop(flag):
                tokens.append(("-" if flag.startswith("pop") else "+")
                              + queues[flag].name.lower())
        words = [f"{name}={value}" for name, value in fields.items() if value]
        rest = word ^ self.encode(insn.opcode, **insn.fields)
        if rest:
            words.append(f"bits={rest:#x}")
        return " ".join([mnemonic, *words, *tokens])

    def assemble(self, line: str) -> int:
        """Word of a line that :meth:`disassemble` wrote."""
        mnemonic, *words = line.split()
        name, _, kind = mnemonic.partition(".")
        try:
            opcode = Opcode[name.upper()]
            fields = {}
            if kind:
                memory = opcode != Opcode.ALU
                fields["memory_type" if memory else "alu_opcode"] = \
                    (Memory if memory else AluOp)[kind.upper()].value
        except KeyError:
            raise ValueError(f"mnemonic must be one of {', '.join(self._mnemonics())}, "
                             f"not {mnemonic!r}") from None
        tokens, rest = [], 0
        for text in words:
            match = re.fullmatch(r"(\w+)=(-?\w+)", text)
            if match and match[1] == "bits":
                rest = int(match[2], 0)
            elif match:
                fields[match[1]] = int(match[2], 0)
            else:
                tokens.append(text)
        unit = Instruction(opcode, {"memory_type": -1, **fields}).unit
        flags = {("-" if flag.startswith("pop") else "+") + queue.name.lower(): flag
                 for flag, queue in TOKENS[unit].items()}
        for text in tokens:
            if text not in flags:
                raise ValueError(f"token of a {unit.name} instruction must be one of "
                                 f"{', '.join(flags)}, not {text!r}")
            fields[flags[text]] = 1
        return self.encode(opcode, **fields) ^ rest

    @staticmethod
    def _mnemonics() -> Iterable[str]:
        for opcode in FORMS:
            kinds = {Opcode.ALU: AluOp, Opcode.LOAD: Memory, Opcode.LOAD_PAD: Memory,
                     Opcode.STORE: Memory}.get(opcode)
            name = opcode.name.lower()
            yield from [f"{name}.{kind.name.lower()}" for kind in kinds] if kinds else [name]


def _layout(size, places):
    return data.FlexibleLayout(size, {
        name: data.Field(signed(width) if field.signed else unsigned(width), offset)
        for name, (offset, field, width) in places.items()})


def _insert(what, places, fields) -> int:
    word = 0
    for name, value in fields.items():
        if name not in places:
            raise ValueError(f"a field of {what} must be one of {', '.join(places)}, "
                             f"not {name!r}")
        offset, field, width = places[name]
        low = -(1 << width >> 1) if field.signed else 0
        if not low <= value < low + (1 << width):  # masking would hide it
            raise ValueError(f"{name} of {what} must be {low} to {low + (1 << width) - 1}, "
                             f"not {value!r}")
        word |= (int(value) & ((1 << width) - 1)) << offset
    return word


def _extract(places, word) -> dict[str, int]:
    fields = {}
    for name, (offset, field, width) in places.items():
        value = word >> offset & ((1 << width) - 1)
        if field.signed and value >> (width - 1):
            value -= 1 << width
        fields[name] = value
    return fields
