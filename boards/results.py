"""The table of bitstreams: ``python -m boards.results build/*/report.json``.

Each ``report.json`` that ``python -m hw.build --board`` wrote becomes a row of
``boards/results.json``, in the place of the row of the same design, options and board; then the
tables of README.md and docs/boards.md are written from all rows. Without files only that is done;
``--check`` says whether it is done.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw.options import Parser, command

__all__ = ["results", "short", "long"]

_ROOT = Path(__file__).parent.parent
_FILE = Path(__file__).with_name("results.json")
_KEY = ("board", "design", "options")
_FIGURES = ("lut", "lut_available", "ff", "bram", "bram_available", "dsp", "dsp_available",
            "target_mhz", "fmax_mhz", "cpu_seconds", "router")
_MARKS = ("<!-- bitstreams -->\n", "<!-- end -->\n")


def results() -> list[dict[str, Any]]:
    """The rows, by board, design and options."""
    return json.loads(_FILE.read_text())


def _row(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text())
        row = {name: report[name] for name in (*_KEY, *_FIGURES)}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} must be a report.json of python -m hw.build --board: "
                         f"{error!r}") from None
    if row["fmax_mhz"] < row["target_mhz"]:
        raise ValueError(f"{path} must be of a design that meets its clock, {row['target_mhz']:g} "
                         f"MHz, not {row['fmax_mhz']:g}")
    return row


def _table(head: str, lines: list[list[str]]) -> str:
    rule = "|" + "---|" * head.count(" | ") + "---|"
    return "\n".join([f"| {head} |", rule, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def _words(row: dict[str, Any]) -> str:
    return f"`{' '.join((row['design'], row['options'])).strip()}`"


def short(rows: list[dict[str, Any]]) -> str:
    """README's table."""
    return _table("design | board | logic | block RAM | multipliers | MHz (asked for)", [
        [_words(row), f"`{row['board']}`",
         f"{row['lut'] / row['lut_available']:.0%}", *(
             f"{row[kind]} of {row[f'{kind}_available']}" for kind in ("bram", "dsp")),
         f"{row['fmax_mhz']:.1f} ({row['target_mhz']:g})"] for row in rows])


def long(rows: list[dict[str, Any]]) -> str:
    """The table of docs/boards.md."""
    return _table("design | board | LUT | FF | BRAM | DSP | MHz (asked for) | routed by | CPU s", [
        [_words(row), f"`{row['board']}`",
         f"{row['lut']:,} of {row['lut_available']:,}", f"{row['ff']:,}", str(row["bram"]),
         str(row["dsp"]), f"{row['fmax_mhz']:.1f} ({row['target_mhz']:g})",
         f"`{row['router']}`", f"{row['cpu_seconds']:.0f}"] for row in rows])


_PAGES = {"README.md": short, "docs/boards.md": long}


def pages(rows: list[dict[str, Any]]) -> dict[Path, str]:
    """What the pages with tables should be."""
    texts = {}
    for name, table in _PAGES.items():
        before, _, rest = (_ROOT / name).read_text().partition(_MARKS[0])
        _, end, after = rest.partition(_MARKS[1])
        if not end:
            raise ValueError(f"{name} must have the marks {' and '.join(_MARKS)}")
        texts[_ROOT / name] = before + _MARKS[0] + table(rows) + end + after
    return texts


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m boards.results", description=__doc__)
    parser.add_argument("reports", nargs="*", type=Path, metavar="report.json")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; end with 1 if a table is not that of the rows")
    options: argparse.Namespace = parser.parse_args(argv)
    rows = {tuple(row[name] for name in _KEY): row
            for row in (*results(), *map(_row, options.reports))}
    ordered = [rows[key] for key in sorted(rows)]
    texts = pages(ordered)
    if options.check:
        stale = [path.name for path, text in texts.items() if path.read_text() != text]
        for name in stale:
            print(f"{name}: run python -m boards.results")
        return 1 if stale else 0
    _FILE.write_text(json.dumps(ordered, indent=1) + "\n")
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    command(main)()
