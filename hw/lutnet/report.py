"""LUT counts of a network by synthesis: core, encoder and total on separate lines.

Convention of the published comparisons: Yosys ``synth_xilinx -family xc7 -flatten -abc9 -nodsp
-noiopad``, the plain sum of LUT1 to LUT6 cells (inverters included, none packed in pairs). Carry
cells are shown beside it and not part of it. The core is the network without its comparators: the
same model behind an encoder whose codes are its bits; the encoder is the rest of the total.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hw.cache import cached_dir
from hw.tools import run_yosys, yosys_share, yosys_version
from hw.verilog import to_verilog

from .config import NetworkConfig
from .edges import EdgeModel, EdgeNetwork
from .model import Encoder, Model, compact
from .network import Network
from .streaming import StreamingNetwork

__all__ = ["Figures", "core_of", "figures", "netlist", "synthesise", "synthesis_text"]

_FLOWS = {
    "xc7": ("synth_xilinx -family xc7 -flatten -abc9 -nodsp -noiopad", "LUT[1-6]|INV",
            "FD[RSCP]E(_1)?", "CARRY4", "xilinx/cells_sim.v"),
    "ecp5": ("synth_ecp5 -abc9 -nowidelut", "LUT4|CCU2C", "TRELLIS_FF", "CCU2C",
             "lattice/cells_sim_ecp5.v"),
    "ice40": ("synth_ice40 -abc9 -device u", "SB_LUT4", "SB_DFF.*", "SB_CARRY",
              "ice40/cells_sim.v"),
}

# LUTs that a cell takes as memory, and block RAMs.
_MEMORY = {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "SRL16E": 1,
           "SRLC32E": 1, "TRELLIS_DPR16X4": 6}
_BLOCKS = "RAMB.*|DP16KD|PDPW16KD|SB_RAM40.*"

# Declared, so that the text is complete wherever it is read; their models come with the family.
_DECLARATIONS = {
    **{f"LUT{n}": f"module LUT{n} #(parameter INIT = 0) (output O, "
       + ", ".join(f"input I{i}" for i in range(n)) + "); endmodule" for n in (1, 2, 3, 5, 6)},
    "CARRY4": "module CARRY4 (output [3:0] CO, output [3:0] O, input CI, input CYINIT, "
              "input [3:0] DI, input [3:0] S); endmodule",
    "SB_LUT4": "module SB_LUT4 #(parameter LUT_INIT = 0) (output O, input I0, input I1, "
               "input I2, input I3); endmodule",
}
_LUT4 = {
    "xc7": "module LUT4 #(parameter INIT = 0) (output O, input I0, input I1, input I2, "
           "input I3); endmodule",
    "ecp5": "module LUT4 #(parameter INIT = 0) (input A, input B, input C, input D, "
            "output Z); endmodule",
}


@dataclass(frozen=True)
class Figures:
    """Cells of a network on one fabric. CCU2C of the ECP5 count as two LUT4 in the LUT fields.

    ``lut_memory``: LUTs that are line buffers and not in the other LUT fields; ``blocks``: block
    RAMs.
    """

    fabric: str
    lut_core: int
    lut_encoder: int
    lut_total: int
    ff: int
    carry: int
    lut_memory: int
    blocks: int
    latency: int
    tool: str


def synthesis_text(model: Model | EdgeModel, config: NetworkConfig) -> tuple[str, int]:
    """Verilog of the network with the fabric's tables, their modules declared as black boxes, and
    the latency."""
    kind = EdgeNetwork
    if isinstance(model, Model):
        kind = StreamingNetwork if model.front else Network
    network = kind(model, replace(config, tables="cells"))
    return _declared(to_verilog(network, "lutnet"), config), network.latency


def _declared(text: str, config: NetworkConfig) -> str:
    known = _DECLARATIONS | ({"LUT4": _LUT4[config.fabric]} if config.fabric in _LUT4 else {})
    used = sorted(set(re.findall(r"^  (\w+) (?: *#\(|\\?cell_)", text, re.MULTILINE)) & set(known))
    return text + "".join(f"\n(* blackbox *)\n{known[cell]}\n" for cell in used)


def _commands(fabric: str) -> list[str]:
    return ["read_verilog -sv design.v", f"{_FLOWS[fabric][0]} -top lutnet",
            "write_json netlist.json", "write_verilog -noattr netlist.v"]


def synthesise(folder: Path, text: str, fabric: str, timeout: float | None = None) -> Counter:
    """Synthesise the module ``lutnet`` in ``folder``, which gets netlist.v; how many of each cell.

    The figures of networks come from :func:`figures`, which keeps them.
    """
    (folder / "design.v").write_text(text)
    run_yosys(folder, _commands(fabric), script="synth.ys", timeout=timeout)
    cells = json.loads((folder / "netlist.json").read_text())["modules"]["lutnet"]["cells"]
    (folder / "netlist.json").unlink()
    return Counter(c["type"] for c in cells.values() if c["type"] != "$scopeinfo")


def _synthesised(text: str, fabric: str, timeout: float | None) -> Path:
    def make(folder: Path) -> None:
        count = synthesise(folder, text, fabric, timeout)
        (folder / "cells.json").write_text(json.dumps(count))

    return cached_dir("lutnet", text, _commands(fabric), yosys_version(), make=make)


def _sum(cells: Counter, pattern: str) -> int:
    return sum(count * (2 if cell == "CCU2C" and "LUT" in pattern else 1)
               for cell, count in cells.items() if re.fullmatch(pattern, cell))


def core_of(model: Model) -> Model:
    """The network behind its encoder: each bit that is read becomes an input."""
    small = compact(model)
    bits = small.encoder.bits
    encoder = Encoder(1, np.zeros(bits), np.ones(bits), np.arange(bits), np.zeros(bits, np.int32))
    return replace(small, encoder=encoder)


def figures(model: Model | EdgeModel, config: NetworkConfig, *,
            timeout: float | None = None) -> Figures:
    """Synthesise the core and the whole network; results are cached."""
    _, lut, ff, carry, _ = _FLOWS[config.fabric]
    counts = []
    cores = [core_of(model)] if isinstance(model, Model) else []  # edge tables have no encoder
    for part in (*cores, model):
        text, latency = synthesis_text(part, config)
        folder = _synthesised(text, config.fabric, timeout)
        counts.append(Counter(json.loads((folder / "cells.json").read_text())))
    core, total = _sum(counts[0], lut), _sum(counts[-1], lut)
    return Figures(config.fabric, core, total - core, total, _sum(counts[-1], ff),
                   _sum(counts[-1], carry),
                   sum(_MEMORY.get(cell, 0) * count for cell, count in counts[-1].items()),
                   _sum(counts[-1], _BLOCKS), latency,
                   f"{yosys_version()}, {_FLOWS[config.fabric][0]}")


def netlist_json(model: Model | EdgeModel, config: NetworkConfig, *,
                 timeout: float | None = None) -> dict:
    """Module ``lutnet`` after synthesis as Yosys writes it: ports, cells of the fabric, names."""
    folder = _synthesised(synthesis_text(model, config)[0], config.fabric, timeout)
    mapped = (folder / "netlist.v").read_text()
    commands = ["read_verilog mapped.v", "write_json netlist.json"]

    def make(part: Path) -> None:
        (part / "mapped.v").write_text(mapped)
        run_yosys(part, commands, script="json.ys", timeout=timeout)

    made = cached_dir("lutnet-json", mapped, commands, yosys_version(), make=make)
    return json.loads((made / "netlist.json").read_text())["modules"]["lutnet"]


def netlist(model: Model | EdgeModel, config: NetworkConfig, *,
            timeout: float | None = None) -> str:
    """The network after synthesis, as Verilog that any simulator takes; module ``lutnet``."""
    folder = _synthesised(synthesis_text(model, config)[0], config.fabric, timeout)
    models = yosys_share() / _FLOWS[config.fabric][4]
    commands = ["read_verilog mapped.v", f"read_verilog -defer -overwrite {models}",
                "hierarchy -check -top lutnet", "proc", "flatten", "opt_clean -purge",
                # A memory that is whole has no undefined enables, which would become 0.
                "memory_collect", "setundef -init -zero", "write_verilog -noattr netlist.v"]
    mapped = (folder / "netlist.v").read_text()

    def make(part: Path) -> None:
        (part / "mapped.v").write_text(mapped)
        run_yosys(part, commands, script="netlist.ys", timeout=timeout)

    return (cached_dir("lutnet-netlist", mapped, commands[2:], yosys_version(), make=make)
            / "netlist.v").read_text()
