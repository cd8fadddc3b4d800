"""Synthesis figures of a Verilog text for three FPGA families, by the Yosys that pip installs.

The flows are the plain ones of the vendors' families, with the flags under which the goals of the
project and the figures of its peers were measured; see :data:`TARGETS`.

Yosys does not absorb registers into the ECP5's multiplier MULT18X18D. A registered multiplier is
therefore a module of its own here (:mod:`hw.arith.multiply`), and the ECP5 flow puts the primitive,
with its registers, in place of each one before synthesis begins. Of more multipliers than the
largest device has blocks, the smallest are made of look-up tables. The iCE40 flow flattens those
of significands only after it has made an SB_MAC16 of each.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hw.arith.ecp5 import ecp5_multiplier, lut_multiplier
from hw.cache import cached_dir
from hw.tools import ToolError, run_yosys, yosys_version

__all__ = ["Target", "TARGETS", "Report", "synthesise"]


@dataclass(frozen=True)
class Target:
    """How a family is synthesised, and how its cells count.

    ``command`` is the synthesis pass, to be completed by ``-top``. The other fields give the weight
    of a cell in each figure, by regular expressions that match the whole name of the cell.
    """

    title: str
    command: str
    lut: Mapping[str, int]
    ff: Mapping[str, int]
    bram: Mapping[str, int]
    dsp: Mapping[str, int]
    carry: Mapping[str, int]
    lutram: Mapping[str, int]
    models: tuple[str, ...]  # simulation models, in Yosys' share folder

    def figures(self, cells: Mapping[str, int]) -> dict[str, int]:
        """Each figure of :class:`Report` as the weighted sum of ``cells``."""
        return {
            figure: sum(weight * count for cell, count in cells.items()
                        for pattern, weight in getattr(self, figure).items()
                        if re.fullmatch(pattern, cell))
            for figure in ("lut", "ff", "bram", "dsp", "carry", "lutram")
        }


TARGETS = {
    "ecp5": Target(
        title="Lattice ECP5",
        command="synth_ecp5 -nowidelut",
        # LUT4 equivalents: a CCU2C takes the place of two LUT4, a DPR16X4 that of six.
        lut={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
        ff={"TRELLIS_FF": 1},
        bram={"DP16KD|PDPW16KD": 1},
        dsp={"MULT18X18D": 1},
        carry={"CCU2C": 1},
        lutram={"TRELLIS_DPR16X4": 1},
        models=("lattice/cells_sim_ecp5.v",),
    ),
    "ice40": Target(
        title="Lattice iCE40",
        command="synth_ice40 -dsp",
        lut={"SB_LUT4": 1},
        ff={"SB_DFF.*": 1},
        bram={"SB_RAM40_4K.*|SB_SPRAM256KA": 1},
        dsp={"SB_MAC16": 1},
        carry={"SB_CARRY": 1},
        lutram={},
        models=("ice40/cells_sim.v",),
    ),
    "xc7": Target(
        title="Xilinx 7-series",
        command="synth_xilinx -family xc7 -flatten -noiopad",
        lut={"LUT[1-6]|INV": 1},
        ff={"FD[RSCP]E(_1)?": 1},
        bram={"RAMB18E1": 1, "RAMB36E1": 2},  # blocks of 18 kbit
        dsp={"DSP48E1": 1},
        carry={"CARRY4": 1},
        lutram={"RAM(16|32|64|128|256|512).*|SRL16E|SRLC32E": 1},
        models=("xilinx/cells_sim.v",),
    ),
}


# An iCE40 has no small memories: those that ask for them take what there is.
_BEFORE = {"ice40": ("setattr -unset ram_style m:*",)}
_AFTER = {"ice40": ("setattr -mod -unset keep_hierarchy *dsp_*_u", "flatten", "clean -purge")}


def target_named(name: str) -> Target:
    if name not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {name!r}")
    return TARGETS[name]


@dataclass(frozen=True)
class Report:
    """What a design takes after synthesis.

    ``lut`` is in LUT4 equivalents on ECP5 (LUT4 + 2 CCU2C + 6 TRELLIS_DPR16X4), SB_LUT4 on iCE40,
    and LUT1 to LUT6 + INV on the 7-series. ``bram`` counts blocks (of 18 kbit on the 7-series),
    ``lutram`` the cells that use look-up tables as memory or shift register. ``cells`` has every
    cell by name.
    """

    target: str
    top: str
    lut: int
    ff: int
    bram: int
    dsp: int
    carry: int
    lutram: int
    cells: Counter[str]
    tool: str

    def to_json(self) -> str:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps(fields | {"cells": dict(sorted(self.cells.items()))})

    @classmethod
    def from_json(cls, text: str) -> "Report":
        fields = json.loads(text)
        return cls(**fields | {"cells": Counter(fields["cells"])})


ECP5_BLOCKS = 156  # MULT18X18D of the ECP5-85F
_BLOCK_WIDTH = 18

# A name with an index, as Amaranth gives to elements of arrays: `\\lanes[0] `. Yosys' ABC9 takes
# it for a bit of `lanes`, and stops (abc9_ops -reintegrate: GetSize(conn.first) == ...).
_INDEXED = re.compile(r"\\\S*\[\S* ")

# A module that stands for the multiplier of the family, as `hw.arith.multiply` names it, and its
# ports. The output has the name of whichever signal Amaranth found behind it.
_KIND = r"dsp_(\d+)x(\d+)_([us])"
_MULTIPLIER = re.compile(
    rf"^module +(?P<path>\\?(?:\S*\.)?(?P<kind>{_KIND}(?:\$\d+)?))\s*\("
    r"(?P<body>.*?)^endmodule", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^ *(input|output) (\[\S+\] )?(\S+) *;", re.MULTILINE)


def _multipliers(text: str, top: str) -> tuple[str, str]:
    """``text``, and Verilog that puts MULT18X18D, with its registers, into its multipliers.

    In ``text``, the places beyond :data:`ECP5_BLOCKS` have become modules of look-up tables.
    """
    modules, blocks, places = [], {}, []
    heads: dict[str, tuple[tuple[int, int, bool], Callable[..., str]]] = {}
    for match in _MULTIPLIER.finditer(text):
        path, kind, a, b, sign, body = match.groups()
        if max(int(a), int(b)) > _BLOCK_WIDTH:
            continue  # Yosys makes it of several primitives
        if path.lstrip("\\") == top:
            raise ValueError(f"top must not be a bare multiplier, {top}")
        ports = _PORT.findall(body)
        outputs = [name for way, _, name in ports if way == "output"]
        if not {"clk", "a", "b"} <= {name for _, _, name in ports} or len(outputs) != 1:
            raise ToolError(f"{kind} must have the inputs clk, a, b and one output, "
                            f"not {', '.join(name for _, _, name in ports)}")
        form = int(a), int(b), sign == "s"

        def wrapper(path, block, ports=ports, output=outputs[0]):
            return f"""\
module {path} ({", ".join(f"{way} {width}{name}" for way, width, name in ports)});
  {block} block (.clk(clk), .a(a), .b(b), .p({output}));
endmodule
"""
        block = f"mult18_{a}x{b}_{sign}"
        modules.append(wrapper(path, block))
        blocks[block] = ecp5_multiplier(*form, block)
        heads[path] = form, wrapper
        places += [(form[0] * form[1], use.span(1), path) for use in re.finditer(
            rf"^ *({re.escape(path)}) +(?!\()\S+ +\(", text, re.MULTILINE)]

    # The widest first; of equal ones those that come first in the text.
    places.sort(key=lambda place: (-place[0], place[1]))
    excess, of_luts = places[ECP5_BLOCKS:], {}
    for _, (start, end), path in sorted(excess, key=lambda place: place[1], reverse=True):
        name = of_luts.setdefault(path, f"in_luts_{len(of_luts)}")
        text = text[:start] + name + text[end:]
    for path, name in of_luts.items():
        form, wrapper = heads[path]
        text += wrapper(name, f"{name}_block") + lut_multiplier(*form, f"{name}_block")
    return text, "\n".join([*modules, *(blocks[name] for name in sorted(blocks))])


def front_end(text: str, top: str, target: str) -> tuple[dict[str, str], list[str]]:
    """Files (names and texts), and the Yosys commands that read and prepare them for ``target``."""
    target_named(target)
    check_top(text, top)
    text = _INDEXED.sub(lambda match: match[0].replace("[", "$").replace("]", "$"), text)
    files = {"design.v": text}
    commands = ["read_verilog -sv design.v", f"hierarchy -check -top {top}"]
    if target == "ecp5" and _MULTIPLIER.search(text):
        files["design.v"], files["multipliers.v"] = _multipliers(text, top)
        commands += ["read_verilog -overwrite multipliers.v", f"hierarchy -top {top}"]
    if target == "ice40":
        # Each stays a module until it is packed. In the flat circuit the pass ice40_dsp of Yosys
        # 0.70 crashes where the factor b has a constant bit, as significands have, and a second
        # register follows the product: it asks a register of b that it did not find for its reset.
        commands.append("setattr -mod -set keep_hierarchy 1 *dsp_*_u")
    return files, commands


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def check_top(text: str, top: str) -> None:
    if not re.search(rf"^\s*module\s+\\?{re.escape(top)}[\s(;#]", text, re.MULTILINE):
        raise ValueError(f"top must be a module of the Verilog text, not {top!r}")


def synthesise(text: str, top: str, target: str, *, timeout: float | None = None) -> Report:
    """Figures of the module ``top`` of the Verilog ``text`` on ``target``.

    The same text is synthesised once; its figures, its netlist and the log stay in the cache.

    Raises
    ------
    ValueError
        ``target`` is none of :data:`TARGETS`, or ``text`` has no module ``top``.
    ToolError
        Yosys is missing, refuses the design, or takes longer than ``timeout`` seconds.
    """
    folder = synthesised_dir(text, top, target, timeout=timeout)
    cells = Counter(json.loads((folder / "cells.json").read_text()))
    return Report(target, top, **target_named(target).figures(cells), cells=cells,
                  tool=yosys_version())


def synthesised_dir(text: str, top: str, target: str, *, timeout: float | None = None) -> Path:
    """Folder with ``cells.json``, ``netlist.v`` (cells of the family) and ``synth.log``."""
    files, commands = front_end(text, top, target)
    commands += [
        *_BEFORE.get(target, ()),
        f"{target_named(target).command} -top {top}",
        *_AFTER.get(target, ()),
        "write_json netlist.json",
        "write_verilog -noattr netlist.v",
    ]

    def make(folder):
        write_files(folder, files)
        run_yosys(folder, commands, script="synth.ys", timeout=timeout)
        (folder / "cells.json").write_text(json.dumps(_cells(folder / "netlist.json", top)))
        (folder / "netlist.json").unlink()  # large, and netlist.v says the same

    return cached_dir("synth", sorted(files.items()), commands, yosys_version(), make=make)


def _cells(path: Path, top: str) -> Counter[str]:
    """Cells by type of the module ``top`` in a netlist that Yosys wrote as JSON."""
    modules = json.loads(path.read_text())["modules"]
    return Counter(cell["type"] for cell in modules[top]["cells"].values()
                   if cell["type"] != "$scopeinfo")
