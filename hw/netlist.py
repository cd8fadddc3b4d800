"""The netlist after synthesis as Verilog that any simulator takes: the last rung of the ladder.

Cells of the family are replaced by their simulation models, which come with Yosys, and the
hierarchy is flattened; nothing is optimised on the way, so what is simulated is what was mapped.
"""

import json

from hw.cache import cached_dir, digest
from hw.mult18x18d import MULTIPLIER_MODEL
from hw.synth import synthesised_dir, target_named
from hw.tools import ToolError, run_yosys, yosys_share, yosys_version

__all__ = ["netlist"]


def netlist(text: str, top: str, target: str, *, timeout: float | None = None) -> str:
    """Verilog of ``top`` after synthesis for ``target``, with the same ports.

    Registers begin with their initial values, those without one with 0 (ECP5 and iCE40 clear
    theirs, too).

    Raises
    ------
    ToolError
        As :func:`hw.synth.synthesise`; also when a cell of the netlist has no simulation model
        (block RAM of the ECP5).
    """
    family = target_named(target)
    mapped = (synthesised_dir(text, top, target, timeout=timeout) / "netlist.v").read_text()
    models = [yosys_share() / name for name in family.models]
    files = {"mapped.v": mapped}
    if target == "ecp5":
        files["multiplier.v"] = MULTIPLIER_MODEL
    commands = [
        *(f"read_verilog {name}" for name in files),
        *(f"read_verilog -defer -overwrite {path}" for path in models),
        f"hierarchy -check -top {top}",
        "proc",
        "flatten",
        "opt_clean -purge",
        "setundef -init -zero",
        "write_json cells.json",
        "write_verilog -noattr netlist.v",
    ]

    def make(folder):
        for name, content in files.items():
            (folder / name).write_text(content)
        run_yosys(folder, commands, script="netlist.ys", timeout=timeout)
        cells = json.loads((folder / "cells.json").read_text())["modules"][top]["cells"]
        unknown = sorted({c["type"] for c in cells.values() if not c["type"].startswith("$")})
        if unknown:
            raise ToolError(f"cells without a simulation model: {', '.join(unknown)} "
                            f"(netlist: {folder / 'mapped.v'})")
        (folder / "cells.json").unlink()

    folder = cached_dir("netlist", digest(mapped), sorted(files.items()), commands,
                        yosys_version(), make=make)
    return (folder / "netlist.v").read_text()
