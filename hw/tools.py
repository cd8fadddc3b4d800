"""Running somebody else's program: its words go to a log, its failure becomes one sentence."""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "ToolError", "ToolTimeout", "package_folder", "require", "run", "run_yosys", "stop_all",
    "yosys_share", "yosys_version",
]


class ToolError(RuntimeError):
    """A tool is missing, or failed; the message is one sentence for the user."""


class ToolTimeout(ToolError):
    """A tool was ended because its time was over."""


def require(module: str, package: str, extra: str) -> str:
    """Version of the installed ``package``; :exc:`ToolError` when ``module`` cannot be imported."""
    if importlib.util.find_spec(module) is None:
        raise ToolError(f"{package} is not installed: pip install 'npugen[{extra}]'")
    return importlib.metadata.version(package)


def package_folder(module: str, package: str, extra: str) -> Path:
    """Folder of the installed ``package``; raises as :func:`require`."""
    require(module, package, extra)
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    return Path(spec.origin).parent


# The line that says what went wrong: the first that a tool itself calls an error.
_ERROR = re.compile(r"^(?:\S+:\d+: )?(?:ERROR|%Error|error|fatal error|terminate called)\b.*",
                    re.MULTILINE)


def _reason(log: Path) -> str:
    text = log.read_text(errors="replace")
    if found := _ERROR.search(text):
        return found[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


_running: set[subprocess.Popen] = set()


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def stop_all() -> None:
    """Kill the tools that threads of this process are running, so that an interrupt can end it."""
    for process in list(_running):
        _kill(process)


def run(name: str, command: Sequence[str], *, folder: Path, log: str,
        timeout: float | None = None, env: dict[str, str] | None = None) -> None:
    """Run ``command`` in ``folder``, its output going to the file ``log`` there.

    The tool gets a process group of its own, and all of it is killed when the time is over or when
    this process is interrupted. A failure raises :exc:`ToolError` with the tool's ``name``, the
    line of the log that tells why, and where the log is.
    """
    path = folder / log
    with open(path, "w") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env=None if env is None else os.environ | env, start_new_session=True)
        _running.add(process)
        try:
            code = process.wait(timeout)
        except BaseException as error:
            _kill(process)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ToolTimeout(
                    f"{name} did not finish within {timeout:g} s (log: {path})") from None
            raise
        finally:
            _running.discard(process)
    if code < 0:
        raise ToolError(f"{name} was ended by {signal.Signals(-code).name} (log: {path})")
    if code > 0:
        raise ToolError(f"{name} failed: {_reason(path)} (log: {path})")


_YOSYS = """\
import sys
from pyosys import libyosys
libyosys.run_pass("script " + sys.argv[1], libyosys.Design())
"""


def run_yosys(folder: Path, commands: Sequence[str], *, script: str = "run.ys",
              timeout: float | None = None) -> None:
    """Run Yosys ``commands`` in ``folder``, in a process of its own.

    The commands are left beside the results as ``script``, the log under the same name with the
    suffix ``.log``. Paths in the commands are relative to ``folder``.
    """
    require("pyosys", "pyosys", "synth")
    (folder / script).write_text("\n".join(commands) + "\n")
    run("yosys", [sys.executable, "-c", _YOSYS, script], folder=folder,
        log=str(Path(script).with_suffix(".log")), timeout=timeout)


def yosys_version() -> str:
    return "yosys " + require("pyosys", "pyosys", "synth")


def yosys_share() -> Path:
    """Folder of the cell libraries that come with Yosys."""
    return package_folder("pyosys", "pyosys", "synth") / "share"
