"""The program of the sequential core: ``microprogram/*.asm``, as :mod:`hw.vta.microcode` reads it.

It keeps three numbers of instructions, one for each unit, and lets a unit go on for as long as its
instructions find their tokens: whatever order of the units that is, tokens allow it. An instruction
is read from DRAM when its unit comes to it. Beyond micro-instructions the text has ``j label``, and
``get d, FORM.field``: a field of the instruction in w0 to w3.
"""

import re
from pathlib import Path

from hw.vta.config import VtaConfig
from hw.vta.isa import Fault, Isa, Memory, Opcode
from hw.vta.microcode import Firmware, Flag, Signals, assemble
from hw.vta.registers import register_map

__all__ = ["firmware", "layout"]

_FOLDER = Path(__file__).with_name("microprogram")
_PARTS = ("main", "move", "loops")  # `main` begins


def layout(config: VtaConfig) -> dict[str, range]:
    """Words of the scratch memory by scratchpad; accumulators and weights are four words each."""
    places, begin = {}, 0
    for name, words in (("uop", 1), ("inp", 1), ("wgt", 4), ("acc", 4)):
        places[name] = range(begin, begin + words * config.depth(name))
        begin = places[name].stop
    return places


def _fields(text: str, isa: Isa) -> str:
    """``get d, FORM.field`` as shifts and masks of the instruction's words w0 to w3."""
    def get(match: re.Match) -> str:
        label, into, form, name = match.groups()
        place, _, width = isa.places[Opcode[form]][name]
        word, low = divmod(place, 32)
        lines = [f"shr {into}, w{word}, #{low}" if low else f"mov {into}, w{word}"]
        if low + width > 32:
            lines += [f"shl t9, w{word + 1}, #{32 - low}", f"or {into}, {into}, t9"]
        if (low + width) % 32:
            lines.append(f"and {into}, {into}, ={(1 << width) - 1}")
        return label + "\n".join(lines)

    return re.sub(r"^(.*\s)get (\w+), (\w+)\.(\w+)", get, text, flags=re.MULTILINE)


def firmware(config: VtaConfig) -> Firmware:
    """The program for ``config``, and what the registers hold at power-on."""
    isa, where = Isa(config), layout(config)
    visible = {name: register.offset // 4 for name, register in register_map(config).items()}
    symbols = {enum.name: int(enum) for kind in (Opcode, Memory, Fault, Flag) for enum in kind}
    symbols |= {"INTERRUPT_LAUNCHED": int(Signals.INTERRUPT | Signals.LAUNCHED),
                "RESETTING": int(Signals.RESETTING), "LAUNCHED": int(Signals.LAUNCHED),
                "WATCHDOG": 100_000}
    for name, words in where.items():
        symbols |= {f"AT_{name.upper()}": words.start, f"DEPTH_{name.upper()}": config.depth(name)}
    (_, _, dst), (src_at, _, src), (wgt_at, _, wgt) = isa.uop_places.values()
    symbols |= {"DST_MASK": (1 << dst) - 1, "SRC_MASK": (1 << src) - 1, "WGT_MASK": (1 << wgt) - 1,
                "SRC_SHIFT": src_at, "WGT_SHIFT": wgt_at - src_at}
    text = "".join((_FOLDER / f"{name}.asm").read_text() for name in _PARTS)
    text = re.sub(r"(^|:| )( *)j (\w+)", r"\1\2beq =0, #0, \3", text, flags=re.MULTILINE)
    return assemble(_fields(text, isa), symbols, visible)
