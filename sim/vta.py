"""Run VTA programs: `python -m sim.vta run | fuzz | bench`, each of which prints one JSON line.

`run` executes a DRAM image that holds a stream, `fuzz` compares an engine with the instruction-set
simulator on random programs, `bench` measures one unit. Exit code 0: done, all equal. 1: the core
stopped with an error, or something differed. 2: bad input, said in one sentence.

The level says what executes: an engine of :data:`sim.vta_engine.ENGINES`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hw.options import Parser, command
from hw.vta.config import PRESETS, read_config
from hw.vta.isa import Fault
from sim.vta_bench import BENCHES, bench
from sim.vta_compare import compare, draw_conditions
from sim.vta_engine import ENGINES, Conditions, EngineError, engine
from sim.vta_fuzz import fuzz_program

__all__ = ["main"]

_SHOWN = 10  # races and early reads quoted in a report


def _run(args) -> tuple[dict, int]:
    config = read_config(args.config)
    conditions = Conditions(args.latency, args.stall, args.seed)
    try:
        image = np.frombuffer(args.image.read_bytes(), np.uint8)
    except OSError as error:
        raise ValueError(f"image must be a file that can be read: {error}") from None
    end = args.insn_addr + 16 * args.insn_count
    if args.insn_addr < 0 or args.insn_count < 1 or end > len(image):
        raise ValueError(f"instructions must lie in the image of {len(image)} bytes, not at "
                         f"{args.insn_addr:#x}, {args.insn_count} of 16 bytes")
    outcome = engine(args.level, config).run(image, args.insn_addr, args.insn_count, conditions)
    try:
        args.out.write_bytes(outcome.image.tobytes())
    except OSError as error:
        raise ValueError(f"out must be a file that can be written: {error}") from None
    report = {"status": outcome.status.status, "cycles": outcome.cycles,
              "counters": outcome.counters, "seed": args.seed, "level": args.level}
    if outcome.status != Fault.DONE:
        report |= {"instruction": outcome.instruction, "message": outcome.message}
    report |= {name: notes[:_SHOWN] for name, notes in outcome.notes.items() if notes}
    return report, int(outcome.status != Fault.DONE)


def _fuzz(args) -> tuple[dict, int]:
    if args.programs < 1:
        raise ValueError(f"programs must be at least 1, not {args.programs!r}")
    for latency, stall in zip(args.latency, args.stall):
        Conditions(latency, stall)  # refuses what no program can have
    config, cycles, count = read_config(args.config), 0, 0
    tested = engine(args.level, config)
    report = {"status": "done", "programs": args.programs, "seed": args.seed,
              "level": args.level, "latency": args.latency, "stall": args.stall}
    for seed in range(args.seed, args.seed + args.programs):
        program = fuzz_program(config, seed, extensions=config.extensions and not args.plain)
        conditions = draw_conditions(args.latency, args.stall, seed)
        result = compare(tested, program, conditions)
        if result.problem is not None:
            return report | {"status": "mismatch", "program": seed, "latency": conditions.latency,
                             "stall": conditions.stall, "message": result.problem,
                             "divergence": result.divergence}, 1
        cycles, count = cycles + result.outcome.cycles, count + program.insn_count
    return report | {"instructions": count, "cycles": cycles}, 0


def _bench(args) -> tuple[dict, int]:
    config = read_config(args.config)
    report = bench(args.what, config, engine(args.level, config),
                   Conditions(args.latency, args.stall, args.seed)) | {"level": args.level}
    return report, int(report["status"] != "done")


def _parser() -> Parser:
    parser = Parser(prog="python -m sim.vta", description=__doc__.splitlines()[0],
                    epilog="docs/vta.md has an example of each.")
    commands = parser.add_subparsers(required=True, metavar="run|fuzz|bench")
    run = _subcommand(commands, "run", _run, "execute a DRAM image that holds a stream", _RUN)
    run.add_argument("--image", type=Path, required=True, help="DRAM, from address 0 on")
    run.add_argument("--insn-addr", type=_integer, required=True, metavar="A",
                     help="byte address of the stream in it; 0x1000 is fine, too")
    run.add_argument("--insn-count", type=_integer, required=True, metavar="N",
                     help="instructions of the stream, 16 bytes each")
    run.add_argument("--out", type=Path, required=True, help="where DRAM is written afterwards")
    fuzz = _subcommand(commands, "fuzz", _fuzz, "random legal programs against the simulator",
                       _FUZZ)
    fuzz.add_argument("--programs", type=_integer, default=100, metavar="N",
                      help="how many; default 100")
    fuzz.add_argument("--plain", action="store_true", help="no extensions")
    bench = _subcommand(commands, "bench", _bench, "cycles of one unit", _BENCH)
    bench.add_argument("what", choices=tuple(BENCHES))
    return parser


_RUN = """\
Executes N instructions at byte address A of the image, all base registers 0, and writes DRAM as it
is afterwards. Prints status (done, or the error's name, with the instruction's number), cycles,
counters and the seed; the simulator (--level iss) also reports races and early reads. Its cycles
are those that the model of the overlap predicts; those of --level rtl are the core's own.

  python -m sim.vta run --image in.bin --insn-addr 0x2000 --insn-count 5 --out out.bin --level rtl
"""
_FUZZ = """\
Makes program S, S+1, ... and compares DRAM and all scratchpads, after each, with those of the
simulator. A range of latencies or stalls is drawn from for each program. At the first difference it
prints the program, and the first instruction whose effect differs, and ends with exit code 1.

  python -m sim.vta fuzz --level rtl --config block4 --programs 1000 --latency 1-200 --stall 0-0.5
"""
_BENCH = """\
Runs a benchmark, checks its results, prints its cycles and those predicted. lower_bound_cycles is
what the busiest of load, compute and store needs, serial_cycles what all instructions take one
after the other.

  python -m sim.vta bench gemm --level rtl
"""


def _subcommand(commands, name, action, help, text) -> argparse.ArgumentParser:
    """A command with the options that all have; those of ``fuzz`` may be ranges."""
    command = commands.add_parser(name, help=help, description=text)
    spread = name == "fuzz"
    command.set_defaults(action=action)
    command.add_argument("--config", default="default",
                         help=f"JSON file, or {', '.join(PRESETS)}; default: default")
    command.add_argument("--level", choices=tuple(ENGINES), default="iss",
                         help="simulator, the core itself, or the sequential one; default iss")
    for option, kind, default, what in (
            ("--latency", _integer, Conditions.latency, "memory latency in cycles"),
            ("--stall", _fraction, Conditions.stall,
             "chance that a bus channel pauses in a cycle, 0 to 0.95")):
        command.add_argument(option, type=_range(kind) if spread else kind,
                             default=(default, default) if spread else default,
                             metavar="LOW-HIGH" if spread else "X",
                             help=f"{what}{', or a range' * spread}; default {default}")
    command.add_argument("--seed", type=_integer, default=Conditions.seed, metavar="S",
                         help="of everything random; default 0")
    return command


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None


def _range(kind):
    def parse(text: str):
        low, dash, high = text.partition("-")
        if not low:
            raise argparse.ArgumentTypeError(f"must be a number or LOW-HIGH, not {text!r}")
        ends = kind(low), kind(high if dash else low)
        if ends[0] > ends[1]:
            raise argparse.ArgumentTypeError(f"must not end before it begins, as {text!r} does")
        return ends
    return parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code. Raises :exc:`ValueError` for bad input."""
    args = _parser().parse_args(argv)
    try:
        report, code = args.action(args)
    except EngineError as error:  # the core itself is broken
        report, code = {"status": "broken", "message": str(error), "seed": args.seed}, 1
    print(json.dumps(report))
    return code


if __name__ == "__main__":
    command(main)()
