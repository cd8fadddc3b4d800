"""Does the test bite? Small injuries to a circuit, each of which its test ought to notice.

Yosys picks the injuries (a bit inverted, stuck, or mixed up with its neighbour, at the pin of a
cell) and builds all of them into one netlist, where the input ``mutsel`` chooses one; 0 is the
circuit as it should be. So one native simulator serves for all of them.

An injury that the test lets pass is a *survivor*. Some survivors compute the same as before (a
stuck bit that was constant anyway); those are found by proof and do not count. The rest shows what
the test does not look at::

    python -m sim.mutate             # every design, a JSON line each and a table at the end
    python -m sim.mutate fma -n 500  # one of them, with more injuries
"""

import json
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from rich.console import Console
from rich.table import Table

from hw.cache import cached_dir
from hw.options import Parser, command
from hw.tools import ToolError, run_yosys, yosys_version
from hw.verilog import _Text
from sim.equivalence import SELECT, verdict
from sim.verilated import Engine, StreamError

__all__ = ["SELECT", "Mutation", "Survivor", "Outcome", "MutantEngine", "mutants", "survivors"]

@dataclass(frozen=True)
class Mutation:
    """One injury. ``sources`` are the lines of the description that the cell comes from."""

    index: int
    mode: str
    cell: str
    port: str
    bit: int
    wire: str
    sources: tuple[str, ...]

    def __str__(self):
        place = f" ({self.wire})" if self.wire else ""
        return f"{self.mode} at {self.cell}.{self.port}[{self.bit}]{place}: " \
               f"{', '.join(self.sources) or 'no source line'}"


@dataclass(frozen=True)
class Survivor:
    """An injury that the test let pass.

    ``verdict`` is one of

    - ``equivalent``: proved, by induction, to give the same outputs as the whole circuit;
    - ``bounded``: the same outputs in the first cycles after power-up, whatever the inputs;
      ``detail`` says in how many;
    - ``different``: some inputs tell it from the whole circuit; ``detail`` has them;
    - ``unknown``: no proof in time.
    """

    mutation: Mutation
    verdict: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """Result of :func:`survivors`; ``caught`` of ``total`` injuries made the test fail."""

    name: str
    seed: int
    total: int
    caught: int
    survivors: tuple[Survivor, ...]

    @property
    def equivalent(self) -> int:
        return sum(survivor.verdict == "equivalent" for survivor in self.survivors)

    @property
    def score(self) -> float:
        """Share of the injuries caught, of those that are not proved to be none."""
        return self.caught / max(1, self.total - self.equivalent)

    def to_json(self) -> str:
        return json.dumps({
            "name": self.name, "seed": self.seed, "total": self.total, "caught": self.caught,
            "equivalent": self.equivalent, "score": round(self.score, 4),
            "survivors": [asdict(s) | {"mutation": str(s.mutation)} for s in self.survivors],
        })


# Making mutants ---------------------------------------------------------------------------------

_ROOT = Path(__file__).resolve().parents[1]
# Pins left alone, by type of cell: clocks, what Yosys wants to be constant, and the outputs of
# registers, whose initial value would get lost (the inputs they come from and go to remain).
_SPARED = (("$meminit", ".*"), ("$memrd", "(?!ADDR|DATA)"), ("$", "CLK$|Q$"))
# Bits that are constant, or that nobody looks at, are no place for an injury.
_TRIM = ("opt_expr -fine", "wreduce", "splitcells", "opt_clean")
_SPARE = 2  # so many more candidates than asked for, because those pins are left out


def _parse(line: str, index: int) -> Mutation:
    options = re.findall(r"-(mode|cell|port|portbit|wire|wirebit|src) (\S+)", line)
    named = dict(options)
    wire = f"{named['wire']}[{named['wirebit']}]" if "wire" in named else ""
    sources = tuple(sorted({_shorten(value) for key, value in options if key == "src"}))
    return Mutation(index, named["mode"], named["cell"].removeprefix("\\"), named["port"],
                    int(named["portbit"]), wire.removeprefix("\\"), sources)


def _shorten(source: str) -> str:
    source = source.removeprefix(f"{_ROOT}/")
    return source.split("/site-packages/")[-1]


def _rtlil(component: wiring.Component, name: str) -> dict[str, str]:
    """Files that Yosys reads with the source lines in them; as :func:`hw.verilog.to_verilog`."""
    files, pending = {}, {name: component}
    while pending:
        module, part = pending.popitem()
        platform = _Text()
        files[f"{module}.il"] = rtlil.convert(part, name=module, platform=platform)
        pending |= {other: c for other, c in platform.modules.items() if f"{other}.il" not in files}
    return files


def _is_logic(cells: dict, mutation: Mutation) -> bool:
    kind = cells[mutation.cell]["type"]
    return not any(kind.startswith(prefix) and re.match(port, mutation.port)
                   for prefix, port in _SPARED)


def mutants(design: wiring.Component | str, n: int = 200, seed: int = 1, *, name: str = "top",
            within: tuple[str, ...] = ()) -> tuple[Path, tuple[Mutation, ...]]:
    """Folder with ``mutants.v`` and ``mutants.il``, and what mutation each value of ``mutsel`` is.

    Parameters
    ----------
    design : :class:`wiring.Component` or :class:`str`
        A component, or the Verilog text of a module ``name``. Survivors of a component are listed
        with its source lines.
    n : :class:`int`
        How many to make, at least 1; a small design may not have that many places.
    seed : :class:`int`
        The same seed picks the same ones.
    within : tuple of :class:`str`
        Parts of paths: only cells that come from lines of these files are injured. All, if empty.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n!r}")
    if isinstance(design, str):
        files, reader = {"design.v": design}, "read_verilog -sv"
    else:
        files, reader = _rtlil(design, name), "read_rtlil"
    width = n.bit_length()
    prepare = [*(f"{reader} {file}" for file in files), f"hierarchy -check -top {name}",
               "proc", "flatten", *_TRIM]

    places = " ".join(f"a:src=*{part}*" for part in within) or "t:*"
    places += " %u" * (len(within) - 1)

    def make(folder):
        for file, text in files.items():
            (folder / file).write_text(text)
        run_yosys(folder, [*prepare, "write_json cells.json"], script="cells.ys")
        cells = json.loads((folder / "cells.json").read_text())["modules"][name]["cells"]
        (folder / "cells.json").unlink()
        # Yosys spreads its choice evenly over cells and wires, but takes forever when it is to
        # choose nearly all. So of a small design it lists everything, and the choice is made here.
        wanted = n * _SPARE + 10
        bits = sum(len(pins) for cell in cells.values() for pins in cell["connections"].values())
        run_yosys(folder, [*prepare, f"mutate -list {wanted if wanted < bits else 10 ** 9} "
                                     f"-seed {seed} -o candidates.ys {places} t:$meminit* %d"],
                  script="list.ys")
        chosen = [line for line in (folder / "candidates.ys").read_text().splitlines()
                  if _is_logic(cells, _parse(line, 0))]
        if wanted >= bits:
            random.Random(f"mutations {seed}").shuffle(chosen)
        chosen = chosen[:n]
        if not chosen:
            raise ToolError(f"{name} has no cell to mutate")
        (folder / "mutations.ys").write_text("\n".join(
            line.replace("mutate ", f"mutate -ctrl {SELECT} {width} {index} ", 1)
            for index, line in enumerate(chosen, start=1)) + "\n")
        run_yosys(folder, [*prepare, "script mutations.ys", "opt_clean", "write_rtlil mutants.il",
                           "write_verilog -noattr mutants.v"], script="mutate.ys")

    folder = cached_dir("mutants", sorted(files.items()), name, n, seed, prepare, _SPARED, _SPARE,
                        yosys_version(), *within, make=make)
    lines = (folder / "mutations.ys").read_text().splitlines()
    return folder, tuple(_parse(line, index) for index, line in enumerate(lines, start=1))


class MutantEngine(Engine):
    """A simulator of all mutants; the one selected stays so over :meth:`restart`."""

    def __init__(self, verilog: str, name: str, extra: Sequence[str] = ()):
        self.selected = 0
        super().__init__(verilog, name, extra=extra)

    def restart(self) -> None:
        super().restart()
        self.set(SELECT, self.selected)

    def select(self, index: int) -> None:
        """Power up mutant ``index``."""
        self.selected = index
        self.restart()


# Running the test on them -----------------------------------------------------------------------

def survivors(design: wiring.Component | str, check: Callable[[Engine], bool], n: int = 200,
              seed: int = 1, *, name: str = "top", steps: int = 16, timeout: int = 120,
              within: tuple[str, ...] = (), extra: Sequence[str] = ()) -> Outcome:
    """Run ``check`` on ``n`` mutants of ``design``, and prove of survivors what can be proved.

    Parameters
    ----------
    check : ``check(engine) -> bool``
        Drives a fresh engine (powered up, inputs 0) and says whether all results were right. A
        broken stream rule and an :exc:`AssertionError` count as wrong ones, too.
    steps, timeout : :class:`int`
        A proof looks at most this many cycles ahead, and takes at most this many seconds; see
        :func:`sim.equivalence.verdict`.
    within : see :func:`mutants`
    extra : see :class:`sim.verilated.Engine`
    """
    folder, mutations = mutants(design, n, seed, name=name, within=within)

    def passes(index):
        engine.select(index)
        try:
            return bool(check(engine))
        except (StreamError, AssertionError):
            return False

    with MutantEngine((folder / "mutants.v").read_text(), name, extra) as engine:
        if not passes(0):
            raise ValueError(f"check must pass on {name} itself, which it does not")
        alive = [mutation for mutation in mutations if passes(mutation.index)]
        ports = tuple(engine.ports.values())
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(
            lambda mutation: verdict(folder, mutation.index, name, ports, steps, timeout), alive))
    return Outcome(name, seed, len(mutations), len(mutations) - len(alive),
                   tuple(Survivor(mutation, *verdict)
                         for mutation, verdict in zip(alive, verdicts)))


def _run(name: str, n: int, seed: int) -> Outcome:
    from sim.mutation_checks import CHECKS  # the edge: the harness itself knows no design

    make, check, *special = CHECKS[name]
    return survivors(make(), check, n, seed, name=name, **dict(*special))


def _outcomes(names: list[str], n: int, seed: int, jobs: int) -> Iterator[Outcome]:
    """In the order of ``names``, ``jobs`` at a time."""
    if min(jobs, len(names)) == 1:
        yield from map(_run, names, repeat(n), repeat(seed))
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(_run, names, repeat(n), repeat(seed))


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("design", "injuries", "caught", "equivalent", "survive", "score")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in outcomes:
        left = each.total - each.caught - each.equivalent
        table.add_row(each.name, str(each.total), str(each.caught), str(each.equivalent), str(left),
                      f"{each.score:.1%}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    from sim.mutation_checks import CHECKS

    parser = Parser(prog="python -m sim.mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"designs: {', '.join(CHECKS)} (default: all of them)")
    parser.add_argument("-n", type=int, default=200, help="injuries per design (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="picks them (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1,
                        help="designs at a time (default: one for each processor)")
    parser.add_argument("--at-least", type=float, default=0.95, metavar="SHARE",
                        help="exit code 1 when fewer are caught (default: 0.95)")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in CHECKS:
            raise ValueError(f"design must be one of {', '.join(CHECKS)}, not {name!r}")
    for name, least in (("n", 1), ("seed", 0), ("jobs", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be {least} or more, not {getattr(options, name)}")

    outcomes, console = [], Console(stderr=True)
    for outcome in _outcomes(options.names or list(CHECKS), options.n, options.seed, options.jobs):
        outcomes.append(outcome)
        print(outcome.to_json(), flush=True)
        for survivor in outcome.survivors:
            if survivor.verdict != "equivalent":
                console.print(f"{outcome.name}: {survivor.mutation}: {survivor.verdict}: "
                              f"{survivor.detail}", markup=False, highlight=False, soft_wrap=True)
    console.print(_table(outcomes))
    return int(any(outcome.score < options.at_least for outcome in outcomes))


if __name__ == "__main__":
    command(main)()
