"""Run one bench: ``python -m sim.bench NAME [--waves [FILE]] [--seed S]``; ``--list`` shows them.

A bench is a file in ``sim/benches``: its docstring is its line in the list, ``component()`` makes
what is tested, and its cocotb tests do the rest.
"""

import ast
import importlib
from collections.abc import Sequence
from pathlib import Path

from hw.options import Parser, command
from hw.verilog import to_verilog

__all__ = ["benches"]

FOLDER = Path(__file__).parent / "benches"


def benches() -> dict[str, str]:
    """Names of all benches and the line that tells what each shows."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "component"
               for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    known = benches()
    parser = Parser(prog="python -m sim.bench", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a bench of the list")
    parser.add_argument("--list", action="store_true", help="show the benches with a line each")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument("--waves", nargs="?", const="", default=None, metavar="FILE",
                        help="write waveforms (default: NAME.fst)")
    options = parser.parse_args(argv)
    if options.list:
        width = max(map(len, known))
        for name, line in known.items():
            print(f"{name:{width}}  {line}")
        return 0
    if options.name is None:
        parser.error(f"a bench is needed: one of {', '.join(known)}")
    if options.name not in known:
        parser.error(f"NAME must be one of {', '.join(known)}, not {options.name!r}")
    if options.seed < 0:
        raise ValueError(f"seed must be 0 or more, not {options.seed}")
    return _run(options.name, options.seed, options.waves)


def _run(name: str, seed: int, waves: str | None) -> int:
    from sim.benches.build import TOP, run_bench  # needs cocotb; the list does not

    module = f"sim.benches.{name}"
    file = None
    if waves is not None:
        file = Path(waves or f"{name}.fst").absolute()
        if not file.parent.is_dir():
            raise ValueError(f"--waves must be in a folder that exists, not {waves!r}")
    component = importlib.import_module(module).component()
    results = run_bench(module, to_verilog(component, TOP), seed=seed, waves=file)
    for result in results:
        print(f"{'FAIL' if result.failure else 'pass'}  {result.name}  {result.seconds:.1f} s")
        if result.failure:
            print(f"      {result.failure}")
    failed = sum(result.failure is not None for result in results)
    print(f"{name}: {len(results) - failed} of {len(results)} tests passed, seed {seed}")
    if file:
        print(f"waveforms: {file}")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    command(main)()
