"""The netlist after synthesis as Verilog that any simulator takes: the last rung of the ladder.

Cells of the family are replaced by their simulation models, which come with Yosys, and the
hierarchy is flattened; nothing is optimised on the way, so what is simulated is what was mapped.
"""

import json
import re

from hw.cache import cached_dir, digest
from hw.mult18x18d import MULTIPLIER_MODEL
from hw.synth import synthesised_dir, target_named, write_files
from hw.tools import ToolError, run_yosys, yosys_share, yosys_version

__all__ = ["netlist"]

# Cells that the libraries declare without saying what they do.
_EMPTY = re.compile(r"\(\* *blackbox *\*\)\s*module +(\w+)")


def netlist(text: str, top: str, target: str, *, timeout: float | None = None) -> str:
    """Verilog of ``top`` after synthesis for ``target``, with the same ports.

    Raises
    ------
    ToolError
        As :func:`hw.synth.synthesise`; also when a cell of the netlist has no simulation model
        (such as the block RAM of the ECP5).
    """
    family = target_named(target)
    folder = synthesised_dir(text, top, target, timeout=timeout)
    models = [yosys_share() / name for name in family.models]
    empty = {name for path in models for name in _EMPTY.findall(path.read_text())}
    if missing := sorted(empty & json.loads((folder / "cells.json").read_text()).keys()):
        raise ToolError(f"cells without a simulation model: {', '.join(missing)} "
                        f"(netlist: {folder / 'netlist.v'})")
    files = {"mapped.v": (folder / "netlist.v").read_text()}
    if target == "ecp5":
        files["multiplier.v"] = MULTIPLIER_MODEL
    commands = [
        *(f"read_verilog {name}" for name in files),
        # The libraries include some files twice; and only cells in use are worth elaborating.
        *(f"read_verilog -defer -overwrite {path}" for path in models),
        f"hierarchy -check -top {top}",
        "proc", "flatten", "opt_clean -purge",
        "write_verilog -noattr netlist.v",
    ]

    def make(folder):
        write_files(folder, files)
        run_yosys(folder, commands, script="netlist.ys", timeout=timeout)

    folder = cached_dir("netlist", digest(*files.values()), commands, yosys_version(), make=make)
    return (folder / "netlist.v").read_text()
