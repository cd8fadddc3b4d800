"""Command lines made of configurations: one option per field, one sentence per mistake."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, NoReturn

from hw.tools import ToolError

__all__ = ["option", "add_options", "from_options", "Parser", "command", "output_folder"]


def option(default: Any, help: str) -> Any:
    """A dataclass field that explains itself on a command line."""
    return field(default=default, metadata={"help": help})


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line on stderr and exit code 2."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help shows what is allowed)\n")


def add_options(parser: argparse._ActionsContainer, config: type) -> None:
    """An option ``--name`` for each field of the dataclass ``config``."""
    for each in fields(config):
        shown = each.default if each.default != "" else "by the others"
        parser.add_argument(f"--{each.name.replace('_', '-')}", dest=each.name,
                            type=_type_of(each), default=each.default, metavar=each.name.upper(),
                            help=f"{each.metadata.get('help', '')} (default: {shown})")


def _type_of(each: Field) -> Callable[[str], Any]:
    return {int: int, str: str, float: float}[type(each.default)]


def from_options(config: type, options: argparse.Namespace) -> Any:
    """The configuration that the options describe."""
    return config(**{each.name: getattr(options, each.name) for each in fields(config)})


def output_folder(path: str | Path) -> Path:
    """``path`` as a folder that can be written, made if need be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"output must be a folder that can be written, not {str(path)!r} "
                         f"({error.strerror})") from None
    return folder


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[..., NoReturn]:
    """``main`` as a program: what a user did wrong, or a missing tool, is one line and code 2."""
    def program(argv: Sequence[str] | None = None) -> NoReturn:
        try:
            sys.exit(main(argv))
        except (ValueError, TypeError, ToolError, OSError) as error:
            said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) \
                and error.filename else str(error)
            print(f"error: {said}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
    return program
