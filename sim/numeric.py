"""Arithmetic against other implementations, in bulk: ``python -m sim.numeric [CHECK ...]``.

Each check prints one JSON line: check, n, mismatches, seconds, seed, references, and classes with
the number of rows of each, where it has any. Some operands in hexadecimal (``examples``) follow
where results differ. Exit code 1 if any does, or if a class is empty.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hw.options import Parser, command
from sim.lanes import LaneDesign, LaneEngine, Lanes
from sim.numeric_checks import CHECKS, Check, Rows

__all__ = ["Block", "compare", "failed", "run_check"]

_EXAMPLES = 8  # mismatches that are shown


@dataclass(frozen=True)
class Block:
    """What came of some rows: how many, how many differ, in words some that do, rows by class."""

    n: int
    mismatches: int
    examples: tuple[str, ...]
    classes: np.ndarray


def compare(check: Check, rows: Rows, results: np.ndarray) -> Block:
    """``results`` of the circuit beside those of every reference."""
    wrong, examples = np.zeros(len(results), bool), []
    for reference, model in check.references.items():
        expected = model(**rows.operands)
        differs = results != expected
        if differs.any():
            wrong |= differs
            for row in np.flatnonzero(differs)[:_EXAMPLES]:
                words = " ".join(f"{name}={_hex(array[row])}"
                                 for name, array in rows.operands.items())
                case = f" ({check.classes[rows.classes[row]]})" if rows.classes is not None else ""
                examples.append(f"{words} gives {_hex(results[row])}, "
                                f"{reference} {_hex(expected[row])}{case}")
    classes = (np.zeros(0, np.int64) if rows.classes is None else
               np.bincount(rows.classes, minlength=len(check.classes)))
    return Block(len(results), int(wrong.sum()), tuple(examples[:_EXAMPLES]), classes)


def _hex(words) -> str:
    digits = 2 * words.dtype.itemsize
    return ",".join(f"{word:0{digits}x}" for word in np.atleast_1d(words))


# Processes ---------------------------------------------------------------------------------------

_ready: dict[str, tuple[Check, LaneEngine]] = {}


def _prepare(name: str, quick: bool, design: LaneDesign) -> None:
    _ready[name] = CHECKS[name](quick), LaneEngine(design)


def _block(name: str, seed: int, index: int) -> Block:
    """Block ``index`` of a check; the same whatever process it runs in."""
    check, engine = _ready[name]
    rows = check.draw(index, np.random.default_rng([seed, index]))
    return compare(check, rows, check.run(engine, rows.operands))


def _blocks(name: str, quick: bool, design: LaneDesign, seed: int, jobs: int) -> Iterator[Block]:
    """All blocks of a check, in order, from ``jobs`` processes."""
    _prepare(name, quick, design)  # builds the library, which the others then find in the cache
    indices = range(_ready[name][0].blocks)
    if jobs == 1:
        yield from (_block(name, seed, index) for index in indices)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"),
                               _prepare, (name, quick, design))
    try:
        yield from pool.map(partial(_block, name, seed), indices)
    finally:
        pool.shutdown(cancel_futures=True)


def run_check(name: str, *, quick: bool = False, seed: int = 0, jobs: int = 1,
              progress: Callable[[int, int], object] = lambda done, total: None) -> dict:
    """Run the check ``name`` and return the line that is printed.

    ``progress(done, total)`` is called before the first block and after each.
    """
    start, n, mismatches, examples = time.monotonic(), 0, 0, []
    check = CHECKS[name](quick)
    progress(0, check.blocks)
    design = LaneDesign.of(Lanes(check.unit, check.lanes, check.shared))
    classes = np.zeros(len(check.classes), np.int64)
    for done, block in enumerate(_blocks(name, quick, design, seed, jobs), 1):
        n, mismatches, classes = n + block.n, mismatches + block.mismatches, classes + block.classes
        examples += block.examples[:_EXAMPLES - len(examples)]
        progress(done, check.blocks)
    line = {"check": name, "n": n, "mismatches": mismatches,
            "seconds": round(time.monotonic() - start, 1), "seed": seed,
            "references": list(check.references)}
    if check.classes:
        line["classes"] = dict(zip(check.classes, classes.tolist()))
    if examples:
        line["examples"] = examples
    return line


def failed(line: dict) -> bool:
    """Whether anything differed, or a class has no rows."""
    return bool(line["mismatches"]) or 0 in line.get("classes", {}).values()


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.numeric", description=__doc__)
    parser.add_argument("check", nargs="*", metavar="CHECK", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="show the checks")
    parser.add_argument("--quick", action="store_true", help="the short forms, under a minute")
    parser.add_argument("--seed", type=int, default=0, help="of random operands (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1,
                        help="processes (default: one for each processor)")
    options = parser.parse_args(argv)
    for name in options.check:
        if name not in CHECKS:
            raise ValueError(f"check must be one of {', '.join(CHECKS)}, not {name!r}")
    if options.seed < 0:
        raise ValueError(f"seed must be 0 or more, not {options.seed}")
    if options.jobs not in range(1, 257):
        raise ValueError(f"jobs must be 1 to 256, not {options.jobs}")
    if options.list:
        for name, make in CHECKS.items():
            print(f"{name:10} {make.__doc__}")
        return 0
    bad = False
    for name in options.check or CHECKS:
        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                      TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=None)
            line = run_check(name, quick=options.quick, seed=options.seed, jobs=options.jobs,
                             progress=lambda done, total, bar=bar, task=task:
                             bar.update(task, completed=done, total=total))
        print(json.dumps(line), flush=True)
        bad |= failed(line)
    return int(bad)


if __name__ == "__main__":
    command(main)()
