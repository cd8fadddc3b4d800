# amaranth: UnusedElaboratable=no
"""What is read out of the router's report, and what is said about a clock that is missed."""

import json
from pathlib import Path

import pytest

from boards.build import TimingError
from boards.figures import figures, late, passing
from boards.table import BOARDS, FAMILIES
from hw.build import main
from hw.tools import ToolError


def hop(kind, delay, cell):
    return {"type": kind, "delay": delay, "from": {"cell": "?"}, "to": {"cell": cell}}


REPORT = {
    "fmax": {"clk": {"achieved": 43.333, "constraint": 50.0},
             "slow": {"achieved": 30.0, "constraint": 12.0}},
    "critical_paths": [
        {"from": "posedge clk", "to": "posedge clk",
         "path": [hop("clk-to-q", 1.0, "a"), hop("routing", 12.0, "b"), hop("setup", 10.077, "c")]},
        {"from": "<async>", "to": "posedge clk", "path": [hop("routing", 99.0, "z")]},
        {"from": "posedge slow", "to": "posedge slow", "path": [hop("routing", 33.0, "y")]},
    ],
    "utilization": {"ICESTORM_LC": {"used": 7, "available": 100},
                    "ICESTORM_RAM": {"used": 2, "available": 30},
                    "SB_GB": {"used": 0, "available": 8}},
}
NETLIST = {"modules": {"top": {"cells": {n: {"type": kind} for n, kind in enumerate(
    ["SB_DFF", "SB_DFFESR", "SB_LUT4", "SB_RAM40_4K"])}}}}


def test_figures():
    told = figures(REPORT, NETLIST, FAMILIES["ice40"], 50.0)
    # The engine's clock counts, and only paths from it to itself.
    assert {name: told[name] for name in ("lut", "lut_available", "ff", "bram", "dsp",
                                             "fmax_mhz")} == {
        "lut": 7, "lut_available": 100, "ff": 2, "bram": 2, "dsp": 0, "fmax_mhz": 43.33}
    assert [step["cell"] for step in told["critical_path"]] == ["a", "b", "c"]
    assert told["utilization"] == {"ICESTORM_LC": [7, 100], "ICESTORM_RAM": [2, 30]}


def test_a_missed_clock_says_how_to_go_on():
    report = figures(REPORT, NETLIST, FAMILIES["ice40"], 50.0) | {"target_mhz": 50.0}
    assert late(report, BOARDS["icebreaker"]) == (
        "timing: 50 MHz asked for, 43.33 MHz reached: 3.08 ns too long on the path from a to c "
        "(3 steps, in report.json); --clock 42 would pass")


def test_another_clock_is_missed():
    """That of the USB device, say: it is what has to be mended, whatever the engine's does."""
    clocks = {"clk": {"achieved": 99.0, "constraint": 50.0},
              "slow": {"achieved": 11.0, "constraint": 12.0}}
    report = figures(REPORT | {"fmax": clocks}, NETLIST, FAMILIES["ice40"], 50.0)
    assert (report["met"], report["clock"], report["fmax_mhz"]) == (False, "slow", 11.0)
    assert late(report | {"target_mhz": 50.0}, BOARDS["icebreaker"]) == (
        "timing: 12 MHz asked for, 11 MHz reached: 7.58 ns too long on the path from y to y "
        "(1 steps, in report.json); it is the clock slow, which --clock does not change")
    clocks["slow"]["achieved"] = 12.5  # the least to spare, and no matter
    report = figures(REPORT | {"fmax": clocks}, NETLIST, FAMILIES["ice40"], 50.0)
    assert (report["met"], report["clock"], report["fmax_mhz"]) == (True, "clk", 99.0)


@pytest.mark.parametrize("board, reached, clock", [
    # 12 MHz * 56 / 16 is 42 MHz, and the next steps are 42.75 and 43.5 MHz.
    ("icebreaker", 43.3, 42), ("icebreaker", 15.9, 12), ("icebreaker", 11.9, None),
    # 27 MHz * 14 / 9 is 42 MHz; no pair of divisors makes 43 of it.
    ("tang_nano_9k", 43.9, 42), ("tang_nano_9k", 27.4, 27), ("arty_z7_20", 125.5, 125),
])
def test_the_clock_that_would_pass(board, reached, clock):
    assert passing(BOARDS[board], reached) == clock


def test_no_clock():
    with pytest.raises(ToolError, match="no path between registers"):
        figures(REPORT | {"fmax": {}}, NETLIST, FAMILIES["ice40"], 50.0)


# Minutes each: synthesis, place and route, and the bitstream.
@pytest.mark.slow
@pytest.mark.parametrize("words", [
    "lutnet --model hw/lutnet/models/drybean_m7.npz --fabric ice40 --board icebreaker",
    "lutnet --fabric ecp5 --board tang_nano_9k",
    "systolic --rows 2 --cols 2 --format int8 --board ulx3s_85f",
])
def test_bitstreams(words, tmp_path, capsys):
    assert main([*words.split(), "-o", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    folder, design = Path(said["folder"]), words.split()[0]
    report = json.loads((folder / "report.json").read_text())
    assert report["fmax_mhz"] >= report["target_mhz"] == said["target_mhz"]
    assert report["lut"] > 100 and report["ff"] > 100 and report["critical_path"]
    assert {"generate", "synthesise", "place and route"} <= set(report["seconds"])
    bitstream, = folder.glob(f"{design}.[bf][is]*")
    assert bitstream.stat().st_size == report["bytes"] > 10_000
    assert f"{design.upper()}_IDENTITY" in (folder / f"{design}.h").read_text()
    assert json.loads((folder / f"{design}.json").read_text())["board"] == report["board"]


@pytest.mark.slow
def test_a_clock_out_of_reach(tmp_path):
    with pytest.raises(TimingError, match=r"^timing: 48 MHz asked for, .* too long on the path .*"
                                          r"--clock \d+ would pass$"):
        main([*"lutnet --model hw/lutnet/models/drybean_m7.npz --fabric ice40 --board icebreaker "
              "--clock 48".split(), "-o", str(tmp_path)])
    assert (tmp_path / "icebreaker" / "report.json").exists()
    assert not (tmp_path / "icebreaker" / "lutnet.bin").exists()
