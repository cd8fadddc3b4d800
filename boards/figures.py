"""What the router reports, in the words of all families, and what a missed clock calls for."""

import re
from collections import Counter
from typing import Any

from boards.pll import PLLS
from boards.shell import BAUD
from boards.table import Board, Family
from hw.bus.uart import divisor_for
from hw.tools import ToolError

__all__ = ["figures", "late", "passing"]


def figures(report: dict, netlist: dict, family: Family) -> dict[str, Any]:
    """What the router says, in the words of all families."""
    used = {kind: (count["used"], count["available"])
            for kind, count in report["utilization"].items()}
    cells = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
    told: dict[str, Any] = {}
    for figure, weights in family.counts.items():
        kinds = [(weight, used[kind]) for kind, weight in weights.items() if kind in used]
        told[figure] = sum(weight * count[0] for weight, count in kinds)
        told[f"{figure}_available"] = sum(weight * count[1] for weight, count in kinds)
    if "ff" not in told or not family.counts["ff"]:  # the router counts cells that hold both
        told["ff"] = sum(count for cell, count in cells.items()
                            if re.match(r"SB_DFF|DFF|TRELLIS_FF", cell))
        told["ff_available"] = told["lut_available"]
    slowest = min(report["fmax"], key=lambda clock: report["fmax"][clock]["achieved"]
                  / report["fmax"][clock]["constraint"], default=None)
    if slowest is None:
        raise ToolError("the design has no path between registers, so it has no clock frequency")
    paths = [path["path"] for path in report["critical_paths"]
             if path["from"].split()[-1] == path["to"].split()[-1] == slowest]
    path = max(paths, key=lambda hops: sum(hop["delay"] for hop in hops), default=[])
    return told | {
        "fmax_mhz": round(report["fmax"][slowest]["achieved"], 2),
        "critical_path": [{"kind": hop["type"], "ns": round(hop["delay"], 3),
                           "cell": hop["to"]["cell"], "net": hop.get("net", "")}
                          for hop in path],
        "utilization": {kind: list(count) for kind, count in used.items() if count[0]},
    }


def passing(board: Board, reached_mhz: float) -> float | None:
    """The highest clock in whole MHz, or the oscillator's, that the board can have and that is not
    above what was reached."""
    oscillator = board.make().default_clk_frequency
    for clock in sorted({*range(1, int(reached_mhz) + 1), oscillator / 1e6}, reverse=True):
        try:
            divisor_for(clock * 1e6, BAUD)
            if clock * 1e6 != oscillator:
                PLLS[board.pll](oscillator, clock * 1e6)
        except ValueError:
            continue
        if clock <= reached_mhz:
            return clock
    return None


def late(report: dict, board: Board) -> str:
    """By how much a clock is missed, where, and which one would pass."""
    target, reached, path = report["target_mhz"], report["fmax_mhz"], report["critical_path"]
    cells = [hop["cell"] for hop in path] or ["?"]
    passes = passing(board, reached)
    way_out = "no clock that the board can have" if passes is None else f"--clock {passes:g}"
    return (f"timing: {target:g} MHz asked for, {reached:g} MHz reached: "
            f"{1e3 / reached - 1e3 / target:.2f} ns too long on the path from {cells[0]} to "
            f"{cells[-1]} ({len(path)} steps, in report.json); {way_out} would pass")
