"""Train a perceptron on digits and classify the test images on the RTL of a systolic array.

    python -m sim.perceptron                          scikit-learn's digits, 8x8 array
    python -m sim.perceptron --data FOLDER --rows 16 --cols 16 --hidden 128
                                                      MNIST from a folder of its four files
    python -m sim.perceptron --data openml:mnist_784  MNIST through scikit-learn, online

Prints a summary, and one JSON line: accuracy with n, that of float32, bit_exact (every logit and
hidden value against the golden model), cycles, formula_cycles, utilisation, files.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hw.build import build
from hw.cache import cached_dir
from hw.lutnet.data import Dataset
from hw.lutnet.data import load as load_data
from hw.options import Parser, command, output_folder
from hw.systolic.config import ArrayConfig
from sim.perceptron import model as files
from sim.perceptron.model import Perceptron
from sim.perceptron.run import classify
from sim.perceptron.train import train


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                    TimeRemainingColumn(), console=Console(stderr=True))


def _trained(data: Dataset, x: np.ndarray, options: argparse.Namespace) -> Perceptron:
    """Weights for these data and options, trained once."""
    key = hashlib.sha256(x.tobytes() + data.y_train.tobytes()).hexdigest()

    def make(folder: Path) -> None:
        with _progress() as bar:
            task = bar.add_task("training", total=options.epochs)
            model = train(x, data.y_train, hidden=options.hidden, epochs=options.epochs,
                          seed=options.seed, progress=lambda n: bar.update(task, completed=n))
        files.save(folder / "weights.npz", model)

    folder = cached_dir("perceptron", key, options.hidden, options.epochs, options.seed, make=make)
    return files.load(folder / "weights.npz")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.perceptron", description=__doc__)
    parser.add_argument("--data", default="digits",
                        help="digits, a folder of four IDX files, an .npz, or openml:NAME "
                        "(default: digits)")
    parser.add_argument("--weights", metavar="FILE", help="use these weights (.npz with w1, b1, "
                        "w2, b2) and do not train")
    parser.add_argument("--hidden", type=int, default=64, help="hidden units (default: 64)")
    parser.add_argument("--epochs", type=int, default=30, help="of training (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of training (default: 0)")
    parser.add_argument("--rows", type=int, default=8, help="rows of the array (default: 8)")
    parser.add_argument("--cols", type=int, default=8, help="columns of the array (default: 8)")
    parser.add_argument("-o", "--output", metavar="DIR", default="build/perceptron",
                        help="folder for Verilog, weights and result (default: build/perceptron)")
    options = parser.parse_args(argv)
    for name, limit in (("hidden", 4096), ("epochs", 1000)):
        if getattr(options, name) not in range(1, limit + 1):
            raise ValueError(f"{name} must be 1 to {limit}, not {getattr(options, name)}")
    if options.seed < 0:
        raise ValueError(f"seed must be 0 or more, not {options.seed}")
    config = ArrayConfig(rows=options.rows, cols=options.cols)
    data = load_data(options.data)
    if data.regression:
        raise ValueError(f"data must have classes to tell apart, which {data.name} has not")
    top = float(data.x_train.max()) or 1.0
    x_train, x_test = data.x_train / top, data.x_test / top
    given = files.load(options.weights) if options.weights else None
    if given is not None:
        given.check(x_test)
    folder = output_folder(options.output)

    model = _trained(data, x_train, options) if given is None else given
    files.save(folder / "weights.npz", model)
    console = Console(stderr=True)
    with console.status("generating the Verilog"):
        written = build("systolic", config, folder)
    began = time.perf_counter()
    with _progress() as bar:
        task = bar.add_task("simulating the RTL", total=len(x_test))
        outcome = classify(config, model, x_test,
                           progress=lambda images: bar.advance(task, images))
    seconds = time.perf_counter() - began

    accuracy = float((outcome.labels == data.y_test).mean())
    float32 = float((model.logits(x_test).argmax(axis=1) == data.y_test).mean())
    line = {
        "data": data.name, "n": len(x_test), "accuracy": round(accuracy, 5),
        "accuracy_float32": round(float32, 5), "bit_exact": outcome.bit_exact,
        "cycles": outcome.cycles, "formula_cycles": outcome.formula_cycles,
        "cycles_per_image": round(outcome.cycles / len(x_test), 2),
        "utilisation": round(outcome.utilisation, 5),
        "rows": config.rows, "cols": config.cols, "hidden": model.w2.shape[0],
        "seconds": round(seconds, 1),
        "files": [str(path) for path in (*written, folder / "weights.npz")],
    }
    (folder / "result.json").write_text(json.dumps(line, indent=2) + "\n")
    console.print(
        f"\n[bold]{len(x_test)} test images of {data.name}[/bold] on a {config.rows} x "
        f"{config.cols} bfloat16 array, simulated at register-transfer level\n"
        f"  accuracy     {accuracy:.2%} (n = {len(x_test)}; float32: {float32:.2%})\n"
        f"  logits       {'all bits equal the golden model' if outcome.bit_exact else 'DIFFER'}\n"
        f"  cycles       {outcome.cycles} ({line['cycles_per_image']} an image; "
        f"formula: {outcome.formula_cycles})\n"
        f"  utilisation  {outcome.utilisation:.1%}\n"
        f"  files        {folder}/\n")
    print(json.dumps(line))
    return 0 if outcome.bit_exact else 1


if __name__ == "__main__":
    command(main)()
