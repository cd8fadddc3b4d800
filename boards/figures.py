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


_NEAR = 0.005  # a constraint may differ by this share from the clock that it stands for


def figures(report: dict, netlist: dict, family: Family, target_mhz: float) -> dict[str, Any]:
    """What the router says, in the words of all families.

    ``fmax_mhz`` and ``critical_path`` are those of the engine's clock, ``target_mhz``, or of
    another one that is missed (``clock``; ``asked_mhz`` is what it should be); ``met``: none is.
    """
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
    clocks = report["fmax"]
    missed = [net for net, clock in clocks.items() if clock["achieved"] < clock["constraint"]]
    own = [net for net, clock in clocks.items()
           if abs(clock["constraint"] - target_mhz) < _NEAR * target_mhz]
    slowest = min(missed or own or clocks, default=None, key=lambda net: clocks[net]["achieved"]
                  / clocks[net]["constraint"])
    if slowest is None:
        raise ToolError("the design has no path between registers, so it has no clock frequency")
    paths = [path["path"] for path in report["critical_paths"]
             if path["from"].split()[-1] == path["to"].split()[-1] == slowest]
    path = max(paths, key=lambda hops: sum(hop["delay"] for hop in hops), default=[])
    return told | {
        "fmax_mhz": round(clocks[slowest]["achieved"], 2), "clock": slowest,
        "asked_mhz": round(clocks[slowest]["constraint"], 2), "met": not missed,
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
    target, asked, reached = report["target_mhz"], report["asked_mhz"], report["fmax_mhz"]
    path = report["critical_path"]
    cells = [hop["cell"] for hop in path] or ["?"]
    if abs(asked - target) < _NEAR * target:
        passes = passing(board, reached)
        way_out = ("no clock that the board can have would pass" if passes is None
                   else f"--clock {passes:g} would pass")
    else:
        way_out = f"it is the clock {report['clock']}, which --clock does not change"
    return (f"timing: {asked:g} MHz asked for, {reached:g} MHz reached: "
            f"{1e3 / reached - 1e3 / asked:.2f} ns too long on the path from {cells[0]} to "
            f"{cells[-1]} ({len(path)} steps, in report.json); {way_out}")
