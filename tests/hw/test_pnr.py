import json

import pytest

from hw import pnr
from hw.pnr import place_and_route
from hw.tools import ToolError

# A counter whose carry chain is the only path worth mentioning, and more ports than the device
# has pins.
COUNTER = """
module counter(input clk, input [399:0] unused, input enable, output reg [31:0] y);
  always @(posedge clk) if (enable) y <= y + 1;
endmodule
"""


@pytest.fixture(scope="module")
def placement():
    return place_and_route(COUNTER, "counter", seeds=(1, 2), device="25k")


def test_figures(placement):
    assert [run.seed for run in placement.runs] == [1, 2]
    low, high = placement.spread
    assert 150 < low <= placement.fmax <= high < 400
    used, available = placement.utilisation["TRELLIS_FF"]
    assert used == 32 + 401 + 1 + 2 * 32 + 1  # what drives the unused inputs is optimised away
    assert available == 24288


def test_critical_path_is_as_long_as_the_period(placement):
    for run in placement.runs:
        assert sum(hop.delay for hop in run.critical_path) == pytest.approx(1e3 / run.fmax, abs=.02)
        assert run.critical_path[0].kind == "clk-to-q"
        assert run.critical_path[-1].kind == "setup"


def test_json(placement):
    figures = json.loads(placement.to_json())
    assert figures["fmax"] == placement.fmax
    assert [run["seed"] for run in figures["runs"]] == [1, 2]
    assert figures["device"] == "25k"


def test_same_seed_from_the_cache(placement, monkeypatch):
    monkeypatch.setattr(pnr, "run", None)  # no tool is called any more
    assert place_and_route(COUNTER, "counter", seeds=(2,), device="25k").runs == placement.runs[1:]


def test_takes_the_clock_of_the_design():
    """A second clock, here from a register of the scan chain, is not the design's."""
    report = {
        "fmax": {"dut.other": {"achieved": 10.0}, "$glbnet$clk$TRELLIS_IO_IN": {"achieved": 99.0}},
        "critical_paths": [
            {"from": f"posedge {a}", "to": f"posedge {b}",
             "path": [{"type": "logic", "delay": delay, "to": {"cell": "x"}, "net": "y"}]}
            for a, b, delay in (("dut.other", "dut.other", 100),
                                ("$glbnet$clk$TRELLIS_IO_IN", "dut.other", 50),
                                ("$glbnet$clk$TRELLIS_IO_IN", "$glbnet$clk$TRELLIS_IO_IN", 10.1))],
        "utilization": {"DCCA": {"used": 1, "available": 56}, "GSR": {"used": 0, "available": 1}},
    }
    run, utilisation = pnr.read_report(report, 3)
    assert (run.seed, run.fmax, [hop.delay for hop in run.critical_path]) == (3, 99.0, [10.1])
    assert utilisation == {"DCCA": (1, 56)}


@pytest.mark.parametrize("wrong, message", [
    ({"seeds": ()},       r"seeds must be one or more non-negative integers, not \(\)"),
    ({"seeds": (1, -1)},  r"seeds must be one or more non-negative integers, not \(1, -1\)"),
    ({"freq": 0},         "freq must be a positive number of MHz, not 0"),
    ({"device": "60k"},   "device must be one of 12k, 25k, .*, not '60k'"),
    ({"speed": 5},        "speed must be 6, 7 or 8, not 5"),
    ({"clock": "a"},      r"clock must be an input of counter \(clk, unused, enable\), not 'a'"),
])
def test_wrong(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        place_and_route(COUNTER, "counter", **wrong)


def test_tool_failure():
    with pytest.raises(ToolError, match=r"^nextpnr-ecp5 failed: ERROR: Unsupported package 'DIP8' "
                                        r"for 'LFE5U-25F'\. \(log: \S+/nextpnr\.log\)$"):
        place_and_route(COUNTER, "counter", seeds=(1,), device="25k", package="DIP8")
