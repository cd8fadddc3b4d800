import json
import re

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import area
from hw.area import ROWS, Row, measure
from hw.options import command
from hw.verilog import to_verilog


class Sum(wiring.Component):
    """Nine bits of carry chain (10 LUT4 equivalents) and 9 registers."""

    def __init__(self):
        super().__init__({"a": In(8), "b": In(8), "y": Out(9)})

    def elaborate(self, platform):
        m = Module()
        y = Signal(9, reset_less=True)
        m.d.sync += y.eq(self.a + self.b)
        m.d.comb += self.y.eq(y)
        return m


@pytest.mark.parametrize("goals, met", [
    ({},                        None),
    ({"lut": 10},               True),
    ({"lut": 9},                False),
    ({"lut": 10, "dsp": 0},     True),
    ({"lut": 10, "mhz": 100},   None),   # the clock was not asked for, so nobody knows
    ({"lut": 9, "mhz": 100},    False),  # missed, whatever the clock
])
def test_goals(goals, met):
    line = measure("sum", Row("a sum", Sum, **goals), pnr=False)
    assert (line.lut, line.ff, line.dsp, line.mhz) == (10, 9, 0, None)
    assert line.goal == goals
    assert line.met is met


def test_shared_part():
    line = measure("sum", Row("a sum", Sum, lut=12, share=(Sum, 4)), pnr=False)
    assert (line.lut, line.shared_lut, line.met) == (12.5, 2.5, False)


def test_clock():
    for mhz, met in ((100, True), (1000, False)):
        line = measure("sum", Row("a sum", Sum, mhz=mhz), seeds=(1,))
        assert line.mhz_runs == (line.mhz,)
        assert 150 < line.mhz < 1000
        assert line.met is met


def test_table_and_json(monkeypatch, capsys):
    monkeypatch.setattr(area, "ROWS", {"sum": Row("a sum", Sum, lut=10)})
    assert area.main(["--no-pnr"]) == 0
    assert re.search(r"a sum *│ *10 │ *9 │ *0 │ *0 │ *0 │ *\d+ │ *\d+ │ *│ *≤ 10 LUT │ met",
                     capsys.readouterr().out)
    assert area.main(["sum", "--json", "--no-pnr"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["name"], line["lut"], line["met"]) == ("sum", 10, True)


@pytest.mark.parametrize("arguments, message", [
    (["sun"],          f"NAME must be one of {', '.join(ROWS)}, not 'sun'"),
    (["--seeds", "0"], "seeds must be 1 or more, not 0"),
])
def test_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command(area.main)(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not row.array])
def test_rows_exist(name):
    assert f"module {name}(" in to_verilog(ROWS[name].make(), name)
