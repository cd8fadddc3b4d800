import re
import sys
import time

import pytest

from hw import tools
from hw.tools import ToolError, require, run, run_yosys, yosys_share

# What the tools say, and the line that tells why.
LOGS = [
    ("ok\nERROR: Module `x' not found!\n", "ERROR: Module `x' not found!"),          # Yosys
    ("Warning: w\ndesign.v:4: ERROR: syntax error\nbye\n", "design.v:4: ERROR: syntax error"),
    ("ERROR: no site\n2 warnings, 1 error\n", "ERROR: no site"),                     # nextpnr
    ("unrecognised option '--foo'\n\n", "unrecognised option '--foo'"),              # boost
    ("", "it said nothing"),
]


@pytest.mark.parametrize("log, reason", LOGS)
def test_reason(tmp_path, log, reason):
    (tmp_path / "said").write_text(log)
    program = "import sys; print(open('said').read(), end=''); sys.exit(3)"
    with pytest.raises(ToolError, match="^" + re.escape(
            f"tool failed: {reason} (log: {tmp_path}/log)") + "$"):
        run("tool", [sys.executable, "-c", program], folder=tmp_path, log="log")


def test_timeout_ends_children_too(tmp_path):
    program = ("import os, subprocess; p = subprocess.Popen(['sleep', '60']);"
               "open('pid', 'w').write(str(p.pid)); p.wait()")
    with pytest.raises(ToolError, match=r"^tool did not finish within 1 s \(log: .*/log\)$"):
        run("tool", [sys.executable, "-c", program], folder=tmp_path, log="log", timeout=1)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _runs(pid):
            break
        time.sleep(0.1)
    assert not _runs(pid)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] not in "ZX"  # dead, though nobody has asked yet
    except FileNotFoundError:
        return False


def test_signal(tmp_path):
    with pytest.raises(ToolError, match=r"^tool was ended by SIGSEGV \(log: .*/log\)$"):
        run("tool", [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"],
            folder=tmp_path, log="log")


def test_missing_package(monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="^pyosys is not installed: "
                                        r"pip install 'npugen\[synth\]'$"):
        require("pyosys", "pyosys", "synth")


def test_yosys(tmp_path):
    run_yosys(tmp_path, ["log hello"], script="x.ys")
    assert "hello" in (tmp_path / "x.log").read_text()
    assert (yosys_share() / "lattice" / "cells_sim_ecp5.v").is_file()
