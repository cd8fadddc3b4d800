"""The micro-instructions of the sequential core, and an assembler for them.

A micro-instruction has 32 bits::

    31:27 operation   26 b is a number   25:24 target, high   23:16 d   15:8 a   7:0 b

``a``, ``b`` and ``d`` are registers; with bit 26, ``b`` is the number itself, 0 to 255. Branches
have the low bits of their target in the place of ``d``, and so has ``JAL``, which leaves the
address behind it in register :data:`LINK`.

A line of the text is a label (``name:``), an instruction (``add d, a, b``), or both. An operand is
a register by name (``@name`` is one that the host sees; others come into being when first named),
``#n`` a number, and ``=n`` a register that holds this constant from the beginning on; both kinds of
number may be names of the symbol table. What follows ``;`` is for the reader.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from amaranth.lib import enum

__all__ = ["Flag", "Firmware", "LINK", "Op", "REGISTERS", "Signals", "assemble"]

REGISTERS = 256
LINK = REGISTERS - 1
_FIRST = 128  # of the registers that the host does not see


class Op(enum.IntEnum, shape=5):
    """What is done; d, a, b are registers, except where a number is said to be."""

    ADD  = 0   # d = a + b
    SUB  = 1
    AND  = 2
    OR   = 3
    MOV  = 4   # d = b
    SHL  = 5   # shifts by b[5:0]
    SHR  = 6
    SAR  = 7   # keeps the sign
    MULL = 8   # d = a[15:0] * b[15:0], unsigned
    MULH = 9   # d = a[31:16] * b[15:0], unsigned
    DOT  = 10  # d = sum of the four products of the bytes of a and b, signed
    TIME = 11  # d = cycles since power-on
    LD   = 12  # d = scratch[a + b]
    ST   = 13  # scratch[a + d] = b; d is a number
    XRD  = 14  # ask DRAM for the word at a
    XWR  = 15  # write b to DRAM at a
    TAKE = 16  # d = the word that DRAM has answered with; also ends a write
    SIG  = 17  # b is a set of :class:`Signals`; from the first one on, the host has access
    JAL  = 18
    JR   = 19  # go on at a
    BF   = 20  # branch if the flag b, see :class:`Flag`, is set
    BEQ  = 24
    BNE  = 25
    BLTU = 26
    BGEU = 27
    BLT  = 28
    BGE  = 29


class Flag(enum.IntEnum, shape=2):
    LAUNCH = 0  # the host has written to `control`
    RESET  = 1
    ANSWER = 2  # DRAM has answered
    ERROR  = 3  # with an error; as of the last TAKE


class Signals(enum.IntFlag, shape=3):
    INTERRUPT = 1
    LAUNCHED  = 2  # forget that the host has asked for it
    RESETTING = 4


_FORMS = {  # operands by place
    **{op: "dab" for op in (Op.ADD, Op.SUB, Op.AND, Op.OR, Op.SHL, Op.SHR, Op.SAR, Op.MULL, Op.MULH,
                            Op.DOT, Op.LD)},
    Op.MOV: "db", Op.TIME: "d", Op.ST: "bad", Op.XRD: "a", Op.XWR: "ab", Op.TAKE: "d", Op.SIG: "b",
    Op.JAL: "t", Op.JR: "a", Op.BF: "bt",
    **{op: "abt" for op in (Op.BEQ, Op.BNE, Op.BLTU, Op.BGEU, Op.BLT, Op.BGE)},
}


@dataclass
class Firmware:
    """``words`` of the program; ``constants``: what registers hold from the beginning on;
    ``labels`` by name."""

    words: list[int] = field(default_factory=list)
    constants: dict[int, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


def assemble(text: str, symbols: Mapping[str, int], visible: Mapping[str, int]) -> Firmware:
    """The program of ``text``; ``visible`` are the registers that the host sees.

    A symbol that is not known may be a label. Raises :class:`ValueError` with the line.
    """
    lines, made = [], Firmware()
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition(";")[0].strip()
        while match := re.match(r"(\w+):\s*", line):
            if match[1] in made.labels:
                raise ValueError(f"line {number}: the label {match[1]} is there already")
            made.labels[match[1]] = len(lines)
            line = line[match.end():]
        if line:
            lines.append((number, line))
    names: dict[str, int] = {}
    held: dict[int, int] = {}  # constant: its register

    def register() -> int:
        at = _FIRST + len(names) + len(held)
        if at >= LINK:
            raise ValueError("there are no registers left")
        return at

    def value(word: str) -> int:
        if word in symbols:
            return symbols[word]
        return made.labels[word] if word in made.labels else int(word, 0)

    def operand(word: str, place: str) -> int:
        """The bits of an operand; a register, or a number where the place has one."""
        if place == "t":
            return value(word)
        if word[0] == "#":
            number = value(word[1:])
            if place == "a" or not 0 <= number < 256:
                raise ValueError(f"a number must be 0 to 255 and the last operand, not {word}")
            return number | (place == "b") << 18  # bit 26, once it is in its place
        if word[0] == "=":
            number = value(word[1:]) % 2**32
            if number not in held:
                held[number] = register()
            return held[number]
        if word[0] == "@":
            return visible[word[1:]]
        if word == "link":
            return LINK
        if word not in names:
            names[word] = register()
        return names[word]

    for number, line in lines:
        mnemonic, _, rest = line.partition(" ")
        try:
            op = Op[mnemonic.upper()]
            words = [word.strip() for word in rest.split(",")] if rest.strip() else []
            if len(words) != len(_FORMS[op]):
                raise ValueError(f"{op.name} must have {len(_FORMS[op])} operands")
            bits = op << 27
            for place, word in zip(_FORMS[op], words):
                found = operand(word, place)
                if place == "t":
                    bits |= (found & 0xff) << 16 | (found >> 8) << 24
                else:
                    bits |= (found & 0xff) << {"d": 16, "a": 8, "b": 0}[place] | (found >> 18) << 26
            made.words.append(bits)
        except (KeyError, ValueError) as error:
            raise ValueError(f"line {number}, {line!r}: {error}") from None
    made.constants = {at: number for number, at in held.items()}
    return made
