"""``run``: a model on inputs, at any rung of the ladder, with a report."""

import io
import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from hw.compiler.api import LEVELS
from hw.compiler.commands.compile import compiled, core_options
from hw.compiler.folder import check_folder, new_folder, write_whole
from hw.compiler.types import Refusal
from hw.options import output_folder

__all__ = ["options", "run"]

_LAYER_SAMPLES = 8


def options(parser) -> None:
    core_options(parser)
    parser.add_argument("--input", required=True, metavar="FILE",
                        help=".npy with samples of the only input, or .npz with arrays by name")
    parser.add_argument("--level", choices=LEVELS, default="iss",
                        help="; ".join(f"{name}: {what}" for name, what in LEVELS.items())
                        + " (default: %(default)s)")
    parser.add_argument("--out", default="", metavar="FILE",
                        help="where outputs are written: .npy, or .npz if there are several")
    parser.add_argument("--report", default="", metavar="DIR",
                        help="folder to be written: index.html, and the same as report.json")
    parser.add_argument("--labels", default="", metavar="FILE",
                        help=".npy with the class of each sample: accuracy, in the report, too")
    parser.add_argument("--latency", type=int, default=16,
                        help="of memory, in cycles (default: %(default)s)")
    parser.add_argument("--clock", type=float, default=100.0, metavar="MHZ",
                        help="for times in the report (default: %(default)g)")


def run(options) -> int:
    """Compiles and runs a model, and prints one JSON line: level, samples, cycles, accuracy.

    Inputs are (samples, *shape of the input). Cycles are those of one launch sequence: measured at
    level rtl, predicted at level iss and in the report.
    """
    from sim.vta_engine import Conditions  # the edge may reach across

    arrays = _arrays(options.input)
    conditions = Conditions(latency=options.latency)
    if not options.clock > 0:
        raise ValueError(f"clock must be above 0 MHz, not {options.clock!r}")
    if options.report:
        check_folder(options.report)
    if options.out:
        output_folder(Path(options.out).absolute().parent)
    console = Console(stderr=True)
    model = compiled(options, console)
    inputs = model.inputs(arrays)
    count = len(next(iter(inputs.values())))
    labels = _labels(options.labels, count)

    def outputs(level):
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(LEVELS[level], total=count)
            return model.run(inputs, level=level, conditions=conditions,
                             progress=lambda n: bar.advance(task, n))

    results = outputs(options.level)
    line = {"model": model.name, "level": options.level, "samples": count}
    if model.cycles:
        line["cycles"] = sum(model.cycles[0])
    accuracy = None
    if labels is not None:
        accuracy = {"n": count, "operators": _accuracy(results, labels)}
        line["accuracy"] = accuracy["operators"]
    if options.out:
        _write(Path(options.out), results)
    if options.report:
        if labels is not None:
            accuracy["reference"] = _accuracy(_reference(model.front.model, inputs), labels)
            if model.front.real is not None:
                accuracy["float"] = _accuracy(_reference(model.front.real, inputs), labels)
        spread = np.linspace(0, count - 1, min(_LAYER_SAMPLES, count)).astype(int)
        with console.status("report"):
            made = model.report(
                latency=options.latency, clock_mhz=options.clock, accuracy=accuracy,
                level=f"run at level {options.level}, {count} sample{'s' * (count > 1)}",
                samples=[{name: each[n] for name, each in inputs.items()} for n in spread])
            if options.level == "rtl":
                made["measured_cycles"] = _measured(model, made)
            _report(options.report, made)
        line |= {"report": options.report, "utilisation": round(made["utilisation"], 4),
                 "cycles": line.get("cycles", made["cycles"])}
    print(json.dumps(line))
    sys.stdout.flush()
    return 0


def _arrays(path: str):
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return data
        with data as file:
            return dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise Refusal(f"input must be an .npy or .npz file of numbers, not {path!r} "
                      f"({error})") from None


def _labels(path: str, count: int) -> np.ndarray | None:
    if not path:
        return None
    labels = _arrays(path)
    if not isinstance(labels, np.ndarray) or labels.shape != (count,) or \
            labels.dtype.kind not in "iu":
        shape = list(labels.shape) if isinstance(labels, np.ndarray) else "several arrays"
        raise ValueError(f"labels must be {count} integers, one for each sample, not {shape}")
    return labels


def _accuracy(results, labels) -> dict:
    from sim.rungs import wilson
    if not isinstance(results, np.ndarray):
        raise ValueError(f"labels are for a model with one output, not {', '.join(results)}")
    right = int((results.reshape(len(labels), -1).argmax(1) == labels).sum())
    low, high = wilson(right, len(labels))
    return {"accuracy": right / len(labels), "interval_95": [round(low, 5), round(high, 5)]}


def _reference(model, inputs):
    from sim.rungs import reference
    return next(iter(reference(model, inputs).values()))


def _measured(model, made: dict) -> int:
    """Cycles of the core, which no data changes, and which the timing model has to predict."""
    (measured,) = {sum(cycles) for cycles in model.cycles}
    if measured != made["cycles"]:
        raise RuntimeError(f"the core took {measured} cycles, not {made['cycles']} as predicted")
    return measured


def _write(path: Path, results) -> None:
    content = io.BytesIO()
    if isinstance(results, np.ndarray):
        np.save(content, results)
    else:
        np.savez(content, **results)
    write_whole(path, content.getvalue())


def _report(folder: str, made: dict) -> None:
    from hw.compiler.page import page
    with new_folder(folder) as target:
        (target / "index.html").write_text(page(made), encoding="utf-8")
        (target / "report.json").write_text(json.dumps(made) + "\n")
