"""A register's row, and tables of them as text: a header for C, a map for Python."""

from collections.abc import Mapping
from dataclasses import dataclass

from hw.bus.protocol import ANSWER, MAX_WORDS, VERSION, WINDOW, Command, Header, Status

__all__ = ["Register", "c_header", "python_map"]

@dataclass(frozen=True)
class Register:
    """``access``: ``"r"``, ``"rw"``, or ``"w"`` for a write that does something."""

    name: str
    offset: int
    access: str
    doc: str


_KINDS = (("COMMAND", Command), ("STATUS", Status))


def c_header(name: str, registers: Mapping[str, Register], *, base: int = 0) -> str:
    """C header of a register table, with the constants of the link.

    ``base`` is added to the offset of each of ``registers``.
    """
    guard = f"NPUGEN_{name.upper()}_H"
    lines = [f"/* Registers of {name}, and the frames of the link; all little-endian. */",
             f"#ifndef {guard}", f"#define {guard}", ""]
    width = max(map(len, registers), default=0) + len(name) + 1
    for register, row in registers.items():
        lines.append(f"#define {f'{name}_{register}'.upper():{width}} 0x{base + row.offset:04x}u"
                     f"  /* {row.access}: {row.doc} */")
    lines += ["", f"#define LINK_VERSION   {VERSION}u", f"#define LINK_MAX_WORDS {MAX_WORDS}u",
              f"#define LINK_WINDOW    {WINDOW}u", f"#define LINK_ANSWER    0x{ANSWER:02x}u"]
    for kind, values in _KINDS:
        lines += [f"#define LINK_{kind}_{value.name} 0x{value:02x}u" for value in values]
    lines += ["", "/* Where the fields of a frame's header begin, in bytes. */"]
    lines += [f"#define LINK_HEADER_{field.upper()} {layout.offset // 8}u"
              for field, layout in Header.as_shape()]
    return "\n".join([*lines, "", f"#endif  /* {guard} */", ""])


def python_map(registers: Mapping[str, Register], *, base: int = 0) -> dict[str, int]:
    """Byte address of each register by name."""
    return {name: base + row.offset for name, row in registers.items()}
