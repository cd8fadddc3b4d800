"""``compile``: a model becomes a program for a core."""

import json
import sys
from pathlib import Path

from rich.console import Console

from hw.compiler.api import Model
from hw.compiler.api import compile as compile_model
from hw.compiler.commands.check import load, model_options
from hw.compiler.folder import check_folder
from hw.compiler.operators import Host
from hw.vta.config import PRESETS, read_config

__all__ = ["options", "run", "core_options", "compiled"]


def core_options(parser) -> None:
    """Options of every command that compiles."""
    model_options(parser)
    parser.add_argument("--config", default="default", metavar="FILE",
                        help=f"of the core: a JSON file, or {', '.join(PRESETS)} "
                        "(default: %(default)s)")


def compiled(options, console: Console) -> Model:
    """The compiled model of :func:`core_options`; ``console`` shows the steps, if it is watched."""
    def progress(what, how):
        if console.is_terminal:
            console.print(f"[green]done[/] {what}: {how}", highlight=False)

    config = read_config(options.config)
    with console.status("front end"):
        made = load(options, progress)
    with console.status("back end"):
        return compile_model(made, config, name=Path(options.model).stem,
                             checked=not options.unchecked, progress=progress)


def options(parser) -> None:
    core_options(parser)
    parser.add_argument("-o", "--output", required=True, metavar="DIR",
                        help="folder to be written: program.bin (DRAM with weights and "
                        "instructions), manifest.json, reference.onnx")


def run(options) -> int:
    """Compiles a model, proves its streams, writes the program, and prints one JSON line."""
    folder = check_folder(options.output)
    model = compiled(options, Console(stderr=True))
    model.save(folder)
    steps = model.program.steps
    print(json.dumps({
        "model": model.name, "output": str(folder), "image_bytes": len(model.program.image),
        "instructions": sum(step.insn_count for step in steps if not isinstance(step, Host)),
        "launches": sum(not isinstance(step, Host) for step in steps),
        "host_steps": sum(isinstance(step, Host) for step in steps),
        "activation_bytes": model.program.peak, "activation_bound": model.program.bound,
        "proved": not options.unchecked}))
    sys.stdout.flush()
    return 0
