"""What the scripts say on a machine that lacks something: one sentence, code 2, no .venv."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hw.vta.config import PRESETS

ROOT = Path(__file__).parents[1]
PYTHON = '#!/bin/sh\ncase "$2" in *version_info*) exit {old};; *ensurepip*) exit {bare};; esac\n'


def environment(tmp_path, tools, **pythons):
    """Source ``scripts/environment`` where only ``tools`` and these Pythons are."""
    project, path = tmp_path / "project", tmp_path / "bin"
    (project / "scripts").mkdir(parents=True)
    path.mkdir()
    shutil.copy(ROOT / "scripts" / "environment", project / "scripts")
    for tool in ("dirname", *tools):
        (path / tool).symlink_to(shutil.which("dirname"))
    for name, states in pythons.items():
        file = path / name.replace("_", ".")
        file.write_text(PYTHON.format(old=int("old" in states), bare=int("bare" in states)))
        file.chmod(0o755)
    done = subprocess.run([shutil.which("bash"), "-c", "source scripts/environment"], cwd=project,
                          env={"PATH": str(path)}, capture_output=True, text=True)
    assert not (project / ".venv").exists()
    return done


ALL = ("g++", "make", "perl")


@pytest.mark.parametrize("tools, pythons, message", [
    (("make",), {"python3": ""}, "g++ perl not found; apt-get install g++ perl"),
    (ALL, {}, "Python 3.11 or later not found; apt-get install python3 python3-venv"),
    (("g++", "perl"), {},
     "Python 3.11 or later not found; apt-get install python3 python3-venv make"),
    (ALL, {"python3": "old"}, "Python 3.11 or later not found; apt-get install python3 "
                              "python3-venv"),
    (ALL, {"python3": "bare"}, "python3-venv not found; apt-get install python3-venv"),
    (ALL, {"python3": "old", "python3_12": "bare"},
     "python3.12-venv not found; apt-get install python3.12-venv"),
    (("make", "perl"), {"python3": "bare"},
     "g++ python3-venv not found; apt-get install g++ python3-venv"),
])
def test_missing_tools_are_named_with_the_command_that_installs_them(tmp_path, tools, pythons,
                                                                     message):
    done = environment(tmp_path, tools, **pythons)
    assert done.returncode == 2
    assert done.stderr == f"error: {message}\n"
    assert done.stdout == ""


def nightly(tmp_path, *parts):
    """Run ``scripts/nightly`` with programs that only say their arguments; pytest fails."""
    scripts, path = tmp_path / "scripts", tmp_path / "bin"
    scripts.mkdir(parents=True)
    path.mkdir()
    shutil.copy(ROOT / "scripts" / "nightly", scripts)
    # The variables that the real one sets are not nightly's.
    names = re.findall(r"^\s*(\w+)=", (ROOT / "scripts" / "environment").read_text(), re.MULTILINE)
    (scripts / "environment").write_text("set -euo pipefail\n" + "".join(
        f"{name}=changed\n" for name in set(names) - {"PATH"}))
    (path / "dirname").symlink_to(shutil.which("dirname"))
    for name, code in (("python", 0), ("pytest", 3)):
        (path / name).write_text(f'#!/bin/sh\necho "ran {name} $*"\nexit {code}\n')
        (path / name).chmod(0o755)
    return subprocess.run([shutil.which("bash"), scripts / "nightly", *parts],
                          env={"PATH": str(path)}, capture_output=True, text=True)


FUZZ = [f"python -m sim.vta fuzz --level {level} --config {name} --programs 1000 --latency 1-200 "
        "--stall 0-0.5" for level, name in (*(("rtl", name) for name in PRESETS),
                                            ("sequential", "block4"))]


def test_nightly_goes_on_after_a_failure_and_reports_it(tmp_path):
    done = nightly(tmp_path)
    assert done.returncode == 1
    commands = ["python -m sim.numeric", "pytest -n 2 -m slow", *FUZZ, "python -m sim.mutate"]
    parts = ["numeric", "slow", *["fuzz"] * len(FUZZ), "mutations"]
    ends = [f"{part}: {command}: " + ("FAILED, exit code 3" if part == "slow" else "passed")
            for part, command in zip(parts, commands)]
    said = [line.rsplit(" (", 1)[0] for line in done.stdout.splitlines()]
    assert said == [f"ran {command}" for command in commands] + ends
    said = [line.rsplit(" (", 1)[0] for line in done.stderr.splitlines()]
    assert said == [line for part, command, end in zip(parts, commands, ends)
                    for line in (f"== {part}: {command}", f"== {end}")]


def test_nightly_runs_the_parts_that_are_named(tmp_path):
    done = nightly(tmp_path, "mutations", "numeric")
    assert done.returncode == 0
    assert [line.rsplit(" (", 1)[0] for line in done.stdout.splitlines()] == [
        "ran python -m sim.numeric", "ran python -m sim.mutate",
        "numeric: python -m sim.numeric: passed", "mutations: python -m sim.mutate: passed"]


def test_nightly_names_a_wrong_part(tmp_path):
    done = nightly(tmp_path, "slow", "quick")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("error: part must be one of numeric slow fuzz mutations, "
                           "not 'quick'\n")
