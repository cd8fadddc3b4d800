"""The committed networks measured again: accuracy on whole test sets, LUTs by synthesis, clocks.

Rows of ``models/models.json``: ``goal``; ``files``, the same training with other seeds; ``data``;
``fabric`` and ``options`` of :class:`NetworkConfig`; ``convention``, ``core`` or ``total``: which
LUTs count; ``at_least`` (accuracy), ``at_most`` (LUTs) and ``mhz``, what is to be shown; ``pnr``,
options of :func:`hw.pnr.place_and_route`. A row of ``edges`` is a folder of KANELE's tables.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import data as datasets
from . import model as models
from .config import NetworkConfig
from .edge_report import measure_edges
from .report import Figures, figures, synthesis_text

__all__ = ["MODELS", "measure", "rows", "run"]

MODELS = Path(__file__).parent / "models"
_COUNTS = ("lut_core", "lut_encoder", "lut_total", "carry", "ff", "lut_memory", "blocks")


def rows(goal: str = "") -> list[dict[str, Any]]:
    """The rows, or the one of ``goal``."""
    known = json.loads((MODELS / "models.json").read_text())
    chosen = [row for row in known if not goal or row["goal"] == goal]
    if not chosen:
        raise ValueError(f"goal must be one of {', '.join(r['goal'] for r in known)}, "
                         f"not {goal!r}")
    return chosen


def _accuracy(network: models.Model, data: datasets.Dataset) -> float:
    from sim.golden import lutnet as golden  # the edge may reach across

    codes = network.codes(data.x_test)
    right = sum(int((golden.run(network, codes[i:i + 2000]).result
                     == data.y_test[i:i + 2000]).sum()) for i in range(0, len(codes), 2000))
    return right / len(codes)


def _config(row: dict[str, Any]) -> NetworkConfig:
    options = dict(row.get("options", {}))
    if "registers" in options:
        options["registers"] = tuple(options["registers"])
    return NetworkConfig(fabric=row["fabric"], **options)


def _clock(network: models.Model, row: dict[str, Any]) -> dict[str, Any]:
    """Place and route; an image per clock, so frames per second are the clock."""
    from hw.pnr import place_and_route

    given = row["pnr"]
    placed = place_and_route(synthesis_text(network, _config(row))[0], "lutnet",
                             **given | {"options": tuple(given.get("options", ()))})
    return {"fmax_mhz": placed.fmax, "fmax_spread": placed.spread, "device": placed.device,
            "speed": placed.speed, "frames_per_second": round(placed.fmax * 1e6),
            "pnr_tool": placed.tool}


def measure(row: dict[str, Any], data: datasets.Dataset, pnr: bool = False) -> dict[str, Any]:
    """Median and range of a row's seeds on the whole test set of ``data``, its LUTs, its clock.

    LUTs and clock are those of the network with the median accuracy, ``lut_spread`` of all.
    """
    found: list[tuple[float, str, models.Model, Figures]] = []
    for file in row["files"]:
        network = models.load(MODELS / file)
        found.append((_accuracy(network, data), file, network, figures(network, _config(row))))
    found.sort(key=lambda entry: entry[:2])
    accuracy, file, network, counted = found[(len(found) - 1) // 2]
    luts = [getattr(entry[3], f"lut_{row['convention']}") for entry in found]
    line = {
        "goal": row["goal"], "model": file, "data": data.name, "convention": row["convention"],
        "accuracy": accuracy, "seeds": len(found),
        "accuracy_spread": [found[0][0], found[-1][0]], "n": len(data.y_test),
        **{name: getattr(counted, name) for name in _COUNTS},
        "lut_spread": [min(luts), max(luts)], "fabric": row["fabric"],
        "latency_cycles": counted.latency, "tool": counted.tool,
    }
    if pnr and "pnr" in row:
        line |= _clock(network, row)
    wanted = {"at_least": accuracy, "at_most": -max(luts), "mhz": line.get("fmax_mhz")}
    limits = {name: row[name] * (-1 if name == "at_most" else 1)
              for name in wanted if name in row}
    line |= {name: row[name] for name in limits}
    if limits and None not in (wanted[name] for name in limits):
        line["met"] = all(wanted[name] >= limit for name, limit in limits.items())
    return line


def _edges(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    line = {"goal": row["goal"], **measure_edges(folder, 20_000, 0, proof=True),
            "at_most": row["at_most"]}
    return line | {"met": line["netlist_equal"] and line["lut_total"] <= row["at_most"]}


def run(goal: str, sources: list[str], pnr: bool) -> Iterator[dict[str, Any]]:
    """A line for each row whose data are among ``sources``; of the others a word on stderr."""
    chosen, known = rows(goal), {}
    for source in sources:
        if (Path(source) / "truth_tables.json").exists():
            known[Path(source).name] = Path(source)
        else:
            data = datasets.load(source)
            known[data.name] = data
    for row in chosen:
        name = row.get("edges") or row["data"]
        if name not in known:
            print(f"skipped {row['goal']}: --data must name {name}", file=sys.stderr)
        elif "edges" in row:
            yield _edges(row, known[name])
        else:
            yield measure(row, known[name], pnr)
