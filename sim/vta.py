"""Run VTA programs: `python -m sim.vta run | fuzz | bench`, each of which prints one JSON line.

`run` executes a DRAM image that holds a stream, `fuzz` compares an engine with the instruction-set
simulator on random programs, `bench` measures one unit. Exit code 0: done, all equal. 1: the core
stopped with an error, or something differed. 2: bad input, said in one sentence.

The level says what executes: an engine of :data:`sim.vta_engine.ENGINES`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import Fault
from sim.golden.vta import first_divergence
from sim.vta_bench import BENCHES, bench
from sim.vta_engine import ENGINES, Conditions, IssEngine, differences, engine
from sim.vta_fuzz import fuzz_program

__all__ = ["main"]

_SHOWN = 10  # races and early reads quoted in a report


def _run(args) -> tuple[dict, int]:
    config = _config(args.config)
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
    config, cycles, count = _config(args.config), 0, 0
    tested, model = engine(args.level, config), IssEngine(config)
    report = {"status": "done", "programs": args.programs, "seed": args.seed,
              "level": args.level}
    for seed in range(args.seed, args.seed + args.programs):
        program = fuzz_program(config, seed, extensions=config.extensions and not args.plain)
        conditions = Conditions(args.latency, args.stall, seed)
        expected = model.run(program.image, program.insn_addr, program.insn_count, conditions)
        # The simulator is compared with itself, with its units in another order.
        options = {"order": seed} if args.level == "iss" else {}
        actual = tested.run(program.image, program.insn_addr, program.insn_count, conditions,
                            **options)
        cycles, count = cycles + actual.cycles, count + program.insn_count
        problem = differences(expected, actual)
        if problem is None and expected.notes["races"]:
            problem = expected.notes["races"][0]
        if problem is not None:
            expected, actual = (
                e.run(program.image, program.insn_addr, program.insn_count, conditions,
                      trace=True, **o) for e, o in ((model, {}), (tested, options)))
            divergence = (first_divergence(expected.trace, actual.trace, config, program.words)
                          if actual.trace else None)
            return report | {"status": "mismatch", "program": seed, "message": problem,
                             "divergence": divergence}, 1
    return report | {"instructions": count, "cycles": cycles}, 0


def _bench(args) -> tuple[dict, int]:
    config = _config(args.config)
    report = bench(args.what, config, engine(args.level, config),
                   Conditions(args.latency, args.stall, args.seed)) | {"level": args.level}
    return report, int(report["status"] != "done")


def _config(name: str) -> VtaConfig:
    if name in PRESETS:
        return preset(name)
    try:
        return VtaConfig.from_json(Path(name).read_text())
    except OSError as error:
        raise ValueError(f"config must be {', '.join(PRESETS)} or a file: {error}") from None
    except TypeError as error:
        raise ValueError(str(error)) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m sim.vta", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="run|fuzz|bench")
    run = commands.add_parser("run", help="execute a DRAM image that holds a stream")
    run.add_argument("--image", type=Path, required=True, help="DRAM, from address 0")
    run.add_argument("--insn-addr", type=_integer, required=True, help="byte address of the stream")
    run.add_argument("--insn-count", type=_integer, required=True, help="its instructions")
    run.add_argument("--out", type=Path, required=True, help="where DRAM is written afterwards")
    fuzz = commands.add_parser("fuzz", help="random legal programs against the simulator")
    fuzz.add_argument("--programs", type=_integer, default=100, help="how many; default 100")
    fuzz.add_argument("--plain", action="store_true", help="no extensions")
    bench = commands.add_parser("bench", help="cycles of one unit")
    bench.add_argument("what", choices=tuple(BENCHES))
    for command, action in ((run, _run), (fuzz, _fuzz), (bench, _bench)):
        command.set_defaults(action=action)
        command.add_argument("--config", default="default",
                             help=f"JSON file, or {', '.join(PRESETS)}")
        command.add_argument("--level", choices=tuple(ENGINES), default="iss")
        command.add_argument("--latency", type=_integer, default=Conditions.latency,
                             help="memory latency in cycles; default %(default)s")
        command.add_argument("--stall", type=float, default=Conditions.stall,
                             help="chance that a bus channel pauses in a cycle; default 0")
        command.add_argument("--seed", type=_integer, default=Conditions.seed,
                             help="of everything random; default 0")
    return parser


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        report, code = args.action(args)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(json.dumps(report))
    return code


if __name__ == "__main__":
    sys.exit(main())
