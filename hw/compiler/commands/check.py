"""``check``: what of a model runs on the core, what on the host, and what is refused."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hw.compiler import front, importer
from hw.compiler.integer import obstacles
from hw.compiler.onnx_io import node_from_onnx
from hw.compiler.operators import Host
from hw.compiler.types import Refusal

__all__ = ["options", "run", "model_options", "load"]

_COLOURS = {"core": "green", "host": "yellow", "refused": "red"}


def model_options(parser) -> None:
    """Options of every command that takes a model."""
    parser.add_argument("model", help="an ONNX file, float or quantised")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE",
                        help="size of a symbolic dimension; the first one of an input is 1")
    parser.add_argument("--calibration", default="", metavar="FILE",
                        help=".npy or .npz with inputs to quantise a float model with "
                        "(default: 32 standard normal ones)")
    parser.add_argument("--seed", type=int, default=importer.CALIBRATION_SEED,
                        help="of everything random (default: 0)")
    parser.add_argument("--unchecked", action="store_true",
                        help="do not compare the steps of the compiler with each other")


def load(options, progress=lambda what, how: None, calibration=None) -> front.Front:
    """The front end with the options of :func:`model_options`.

    ``calibration``: a function from the prepared graph to samples, instead of the option's file.
    """
    dims = {}
    for text in options.dim:
        name, _, size = text.partition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise ValueError(f"dim must be NAME=SIZE with a size of at least 1, not {text!r}")
        dims[name] = int(size)
    if options.calibration:
        def calibration(graph):
            return front.calibration_of(options.calibration,
                                        {i: graph.types[i] for i in graph.inputs})
    return front.load(Path(options.model), dims=dims, calibration=calibration or (),
                      seed=options.seed, checked=not options.unchecked, progress=progress)


def options(parser) -> None:
    model_options(parser)


def rows(made: front.Front) -> list[tuple[str, str, str, str, str]]:
    """Name, operator and shape, place, reason and nearest of every step."""
    why, table = obstacles(made.graph), []
    for step in made.network.steps:
        if isinstance(step, Host):
            nearest = why[step.name].nearest if step.name in why else ""
            shape = made.graph.types[step.ys[0]]
            table.append((step.name, f"{step.node.op} to {shape.element}{list(shape.shape)}",
                          "host", step.reason, nearest))
        else:
            size = "x".join(map(str, step.y.shape))
            macs = f", {step.macs:,} MACs" if step.macs else ""
            table.append((step.name, f"{type(step).__name__} to {size}{macs}", "core", "", ""))
    return table


def run(options) -> int:
    """Prints each node's place (core, host, refused), the reason, and the nearest that works.

    Exit code 2 when the model is refused.
    """
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(title=escape(Path(options.model).name), title_justify="left")
    for column in ("node", "what", "where", "reason", "nearest that works"):
        table.add_column(column, overflow="fold")
    try:
        made = load(options)
    except Refusal as refusal:
        for each in _refused(options.model) or [refusal]:
            table.add_row(escape(_short(each.node)), "", "[red]refused[/]", escape(each.reason),
                          escape(each.nearest))
        console.print(table)
        raise
    found = rows(made)
    for name, what, place, reason, nearest in found:
        table.add_row(escape(_short(name)), escape(what), f"[{_COLOURS[place]}]{place}[/]",
                      escape(reason), escape(nearest))
    console.print(table)
    counts = Counter(place for _, _, place, _, _ in found)
    macs = sum(step.macs for step in made.network.steps)
    console.print(f"{counts['core']} on the core ({macs:,} MACs), {counts['host']} on the host")
    for note in made.notes:
        console.print(escape(note))
    return 0


def _refused(path: str) -> list[Refusal]:
    """Every node of the file that no one can execute, and not only the first."""
    found = []
    try:
        nodes = importer.read(path).graph.node
    except Refusal:
        return found
    for node in nodes:
        try:
            node_from_onnx(node)
        except Refusal as refusal:
            found.append(refusal)
    return found


def _short(name: str) -> str:
    """Names of converters can be hundreds of characters: the last part tells most."""
    return name if len(name) <= 40 else "..." + name[-37:]
