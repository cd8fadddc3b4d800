"""LUT networks: ``python -m hw.lutnet train --data digits --nodes 300 -o build/lutnet``.

``train`` learns a network and writes DIR/model.npz; ``sweep`` searches for the best ones, on
several processes or machines, and goes on where it stopped; ``table`` measures the committed
networks again: accuracy on the whole test set and LUTs by synthesis, a JSON line each. ``edges``
builds a network of edge tables in KANELE's form and compares its RTL and its netlist with the
golden model; ``scale`` measures how long a large network of drawn tables takes; ``import`` makes
networks of others' boosted trees and quantised layers; ``decompose`` says what splitting tables
into smaller ones saves.
"""

import json
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hw.options import Parser, command, output_folder
from hw.tools import require

from . import data as datasets
from . import decompositions, imports, table
from . import model as models
from .config import NetworkConfig
from .edge_report import measure_edges
from .picture import picture
from .settings import TrainConfig

_HELP = {
    "nodes": "nodes of each layer, as in 500,100",
    "stages": "in front of the layers, for images: conv24:5, conv24:5b (border), pool2, "
              "separated by commas",
    "inputs": "inputs of a node, 2 to 6",
    "narrow": "share of the last layer's nodes with one input less, for carry-chain counters",
    "family": "dwn, bb or hybrid",
    "encoder": "uniform, distributive or bit",
    "levels": "thresholds for each feature",
    "width": "bits of a feature's code",
    "candidates": "inputs a pin can choose among, 0 for all",
    "wiring_every": "batches between two updates of the wiring",
    "deep_wiring": "learn the wiring of later layers, too",
    "tau": "divisor of the sums, 0 chooses",
    "epochs": "passes over the training set",
    "batch": "samples per step, 0 chooses",
    "rate": "of Adam for the tables",
    "wiring_rate": "of Adam for the wiring",
    "shift": "augmentation: pixels",
    "degrees": "augmentation: rotation",
    "zoom": "augmentation: parts of 1",
    "smooth": "label smoothing",
    "validation": "share of the training set held out",
    "seed": "of everything random",
}


def _nodes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _stages(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


_TUPLES = {"nodes": _nodes, "stages": _stages}


def _train_options(parser) -> None:
    _data_option(parser)
    parser.add_argument("-o", "--output", default="build/lutnet", metavar="DIR",
                        help="folder of model.npz (default: build/lutnet)")
    parser.add_argument("--checkpoint", type=int, default=0, metavar="N",
                        help="write DIR/checkpoint.npz every N epochs (default: never)")
    parser.add_argument("--resume", action="store_true", help="continue from DIR/checkpoint.npz")
    _config_options(parser)


def _data_option(parser) -> None:
    parser.add_argument("--data", default="digits",
                        help="digits, diabetes, a folder of IDX files or an .npz (default: digits)")


def _config_options(parser) -> None:
    group = parser.add_argument_group("training")
    for field in fields(TrainConfig):
        default, name = field.default, f"--{field.name.replace('_', '-')}"
        if isinstance(default, bool):
            group.add_argument(name, dest=field.name, action="store_true", help=_HELP[field.name])
        else:
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            shown = "none" if shown == "" else shown
            group.add_argument(name, dest=field.name, default=default,
                               type=_TUPLES.get(field.name, type(default)),
                               metavar=field.name.upper(),
                               help=f"{_HELP[field.name]} (default: {shown})")


def _sweep_options(parser) -> None:
    _data_option(parser)
    parser.add_argument("--search", action="append", nargs="+", default=[], metavar="WORD",
                        help="a parameter of training or hardware and its choices, as in --search "
                        "nodes 100 300, or its range, as in --search tau 1:8:log; may be given "
                        "several times")
    parser.add_argument("--trials", type=int, default=20,
                        help="points that the study shall have in the end (default: 20)")
    parser.add_argument("--processes", type=int, default=1,
                        help="points at a time on this machine (default: 1)")
    parser.add_argument("--dask", default="", metavar="ADDRESS",
                        help="evaluate on the cluster of this scheduler, as tcp://host:8786")
    parser.add_argument("--fabric", default="xc7", help="xc7, ecp5 or ice40 (default: xc7)")
    parser.add_argument("--cost", default="lut_total", choices=("lut_total", "lut_core"),
                        help="what is to be small (default: lut_total)")
    parser.add_argument("-o", "--output", default="build/sweep", metavar="DIR",
                        help="folder of journal.log, sweep.json and the models; shared by all who "
                        "work on the study (default: build/sweep)")
    _config_options(parser)


def _sweep(options) -> int:
    for module, package, extra in (("optuna", "optuna", "sweep"), ("numba", "numba", "train"),
                                   ("pyosys", "pyosys", "synth")):
        require(module, package, extra)
    if options.dask:
        require("distributed", "distributed", "cluster")
    from . import sweep as sweeps

    for name, top in (("trials", 1_000_000), ("processes", 1024)):
        if getattr(options, name) not in range(1, top + 1):
            raise ValueError(f"{name} must be 1 to {top}, not {getattr(options, name)}")
    space = sweeps.Space(options.search)
    train = TrainConfig(**{f.name: getattr(options, f.name) for f in fields(TrainConfig)})
    folder, console = output_folder(options.output), Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/"
               "{task.total:.0f}"), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("points", total=options.trials)

        def report(number, measures):
            bar.advance(task)
            console.print(f"point {number}: validation {measures['score']:.4f}, core "
                          f"{measures['lut_core']}, encoder {measures['lut_encoder']}, total "
                          f"{measures['lut_total']} LUT")

        study = sweeps.sweep(options.data, train, NetworkConfig(fabric=options.fabric), space,
                             trials=options.trials, folder=folder, processes=options.processes,
                             dask=options.dask, seed=options.seed, cost=options.cost,
                             report=report)
    rows = sweeps.front(study, space)
    (folder / "sweep.json").write_text(json.dumps(rows, indent=2) + "\n")
    failed = [t.user_attrs["error"] for t in study.trials if "error" in t.user_attrs]
    print(json.dumps({"points": len(study.trials), "failed": len(failed),
                      "why": sorted(set(failed))[:3], "front": rows,
                      "journal": str(folder / "journal.log")}))
    return 0


def _prune_options(parser) -> None:
    parser.add_argument("model", help="model.npz of one layer")
    _data_option(parser)
    parser.add_argument("--pairs", type=int, default=1, help="how many classes lose a node with an "
                        "open pin and one without (default: 1)")
    parser.add_argument("--tau", type=float, default=2.0, help="as in training (default: 2)")
    parser.add_argument("-o", "--output", default="build/lutnet", metavar="DIR",
                        help="folder of model.npz (default: build/lutnet)")


def _prune(options) -> int:
    require("numba", "numba", "train")
    from .prune import run

    print(json.dumps(run(options)))
    return 0


def _run(trainer, options, folder: Path, console: Console) -> None:
    """All epochs, with a bar on a terminal and a line per epoch elsewhere."""
    epochs = trainer.config.epochs
    score = "R2" if trainer.regression else "accuracy"
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/"
               "{task.total:.0f}"), TimeRemainingColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=epochs, completed=trainer.epoch)
        began, first = time.monotonic(), trainer.epoch
        while trainer.epoch < epochs:
            epoch, loss, train, held = trainer.step()
            each = (time.monotonic() - began) / (epoch - first)
            said = f"loss {loss:.4f}  {score} {train:.4f}  validation {held:.4f}"
            bar.update(task, completed=epoch, description=said)
            if not console.is_terminal:
                console.print(f"{epoch}/{epochs}  {said}  {each:.1f} s/epoch, "
                              f"{each * (epochs - epoch):.0f} s left")
            if options.checkpoint and epoch % options.checkpoint == 0:
                trainer.save(folder / "checkpoint.npz")


def _train(options, argv: Sequence[str]) -> int:
    require("numba", "numba", "train")
    require("sklearn", "scikit-learn", "train")
    from .train import Trainer

    config = TrainConfig(**{f.name: getattr(options, f.name) for f in fields(TrainConfig)})
    if options.checkpoint < 0:
        raise ValueError(f"checkpoint must be 0 or more, not {options.checkpoint}")
    data = datasets.load(options.data)
    folder = output_folder(options.output)
    began = time.monotonic()
    trainer = Trainer(data, config)
    if options.resume:
        trainer.resume(folder / "checkpoint.npz")
    _run(trainer, options, folder, Console(stderr=True))
    test = trainer.score(trainer.encoder.codes(data.x_test), data.y_test)
    network = trainer.model()
    note = "python -m hw.lutnet " + " ".join(argv)
    models.save(folder / "model.npz", network, note)
    line = {
        "data": data.name, "metric": "r2" if data.regression else "accuracy",
        "validation": trainer.progress[-1][3] if len(trainer.held) else None,
        "test": test, "n": len(data.y_test), "nodes": list(config.nodes), "seed": config.seed,
        "epochs": trainer.epoch, "seconds": round(time.monotonic() - began, 1),
        "model": str(folder / "model.npz"),
    }
    print(json.dumps(line))
    return 0


def _table(options) -> int:
    points = []
    for line in table.run(options.goal, options.data, options.pnr):
        print(json.dumps(line), flush=True)
        if line.get("data") == "mnist" and line["fabric"] == "xc7":
            points.append((line["goal"], line[f"lut_{line['convention']}"],
                           100 * line["accuracy"], line["convention"] == "total"))
    if options.picture:
        Path(options.picture).write_text(picture(points))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(prog="python -m hw.lutnet", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _train_options(commands.add_parser("train", help="learn a network"))
    _sweep_options(commands.add_parser("sweep", help="search for the best networks"))
    again = commands.add_parser("table", help="measure the committed networks again")
    again.add_argument("--data", action="append", default=[], metavar="DATA",
                       help="folder or file of a data set that the networks were trained on; "
                       "may be given several times")
    again.add_argument("--pnr", action="store_true",
                       help="with the clock on ECP5 (nextpnr) of the rows that ask for one")
    again.add_argument("--goal", default="", help="only this one, as M3 (default: all)")
    again.add_argument("--picture", default="", metavar="FILE",
                       help="write accuracy against LUTs, MNIST, as SVG to FILE")
    edges = commands.add_parser("edges", help="build and check a network of edge tables")
    edges.add_argument("folder", help="with truth_tables.json and config.json")
    edges.add_argument("--samples", type=int, default=20_000, help="random codes (default: 20000)")
    edges.add_argument("--seed", type=int, default=0, help="of the codes (default: 0)")
    scale = commands.add_parser("scale", help="how long a large network takes")
    scale.add_argument("--nodes", type=int, default=10_000, help="of one layer (default: 10000)")
    scale.add_argument("--fabric", default="xc7", help="xc7, ecp5 or ice40 (default: xc7)")
    scale.add_argument("--seed", type=int, default=0, help="of tables and wiring (default: 0)")
    edges.add_argument("--prove", action="store_true",
                       help="prove the netlist equal on all reachable codes")
    imports.add_options(commands.add_parser("import", help="boosted trees of others",
                                            description=imports.__doc__,
                                            formatter_class=RawDescriptionHelpFormatter))
    decompositions.add_options(commands.add_parser("decompose", help="tables as smaller ones",
                                                   description=decompositions.__doc__))
    _prune_options(commands.add_parser("prune", help="take out the nodes that matter least"))
    options = parser.parse_args(argv)
    if options.command is None:
        parser.error("a command is needed: train, sweep, table, edges, scale, import, decompose or "
                     "prune")
    if options.command == "scale":
        if options.nodes not in range(10, 100_001):
            raise ValueError(f"nodes must be 10 to 100000, not {options.nodes}")
        from .scale import measure as measure_scale

        print(json.dumps(measure_scale(options.nodes, options.fabric, options.seed)))
        return 0
    if options.command == "decompose":
        for line in decompositions.run(options):
            print(json.dumps(line))
        return 0
    if options.command == "import":
        line = imports.run(options)
        print(json.dumps(line))
        return 0 if line.get("equal_to_source", True) and line.get("rtl_equal", True) else 1
    if options.command == "edges":
        if options.samples not in range(1, 10 ** 7 + 1):
            raise ValueError(f"samples must be 1 to 10000000, not {options.samples}")
        line = measure_edges(Path(options.folder), options.samples, options.seed, options.prove)
        print(json.dumps(line))
        return 0 if line["rtl_equal"] and line["netlist_equal"] else 1
    if options.command == "train":
        return _train(options, argv)
    return {"sweep": _sweep, "prune": _prune, "table": _table}[options.command](options)


if __name__ == "__main__":
    command(main)()
