"""``passes``: what each pass does, and how it keeps the model's meaning."""

from rich.console import Console
from rich.table import Table

from hw.compiler.passes import PASSES

__all__ = ["options", "run"]


def options(parser) -> None:
    pass


def run(options) -> int:
    """Prints the passes in their order, the class each declares, and what it does."""
    console = Console(width=None if Console().is_terminal else 160)
    table = Table("pass", "keeps", "what")
    for step in PASSES:
        table.add_row(step.name, str(step.keeps), step.run.__doc__.split("\n\n")[0].strip())
    console.print(table)
    return 0
