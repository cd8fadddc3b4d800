"""The compiler: ``python -m hw.compiler check model.onnx``.

Each command is a row of ``COMMANDS``; ``python -m hw.compiler COMMAND --help`` tells its options.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from hw.options import Parser, command
from hw.tools import require

__all__ = ["COMMANDS", "main"]


@dataclass(frozen=True)
class Command:
    """``options`` fills a parser, ``run`` takes what it parsed and returns the exit code.

    Both are functions of ``module``, which is imported only when the command is used.
    """
    module: str
    help: str

    def load(self) -> tuple[Callable, Callable]:
        found = import_module(self.module)
        return found.options, found.run


COMMANDS = {
    "compile": Command("hw.compiler.commands.compile", "a program, weights and a manifest"),
    "run": Command("hw.compiler.commands.run", "a model on inputs, at any level, with a report"),
    "check": Command("hw.compiler.commands.check", "node by node: core, host or refused, and why"),
    "accuracy": Command("hw.compiler.commands.accuracy",
                        "labels and layers against the reference executor, on data"),
    "passes": Command("hw.compiler.commands.passes", "what each pass does, and what it keeps"),
    "bench": Command("hw.compiler.commands.bench", "cycles of well-known networks"),
    "nodetests": Command("hw.compiler.commands.nodetests", "ONNX's own tests of single nodes"),
}


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    names = "\n".join(f"  {name:10} {each.help}" for name, each in COMMANDS.items())
    if not argv or argv[0] in ("-h", "--help") or argv[0] not in COMMANDS:
        parser = Parser(prog="python -m hw.compiler", description=__doc__,
                        epilog=f"commands:\n{names}")
        parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
        parser.parse_args(argv[:1])
        parser.error("a command is needed")
    for package in ("onnx", "onnxruntime", "onnxsim", "onnxscript"):
        require(package, package, "compile")
    options, run = COMMANDS[argv[0]].load()
    parser = Parser(prog=f"python -m hw.compiler {argv[0]}", description=run.__doc__)
    options(parser)
    return run(parser.parse_args(argv[1:]))


if __name__ == "__main__":
    command(main)()
