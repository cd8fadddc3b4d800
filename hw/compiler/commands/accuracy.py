"""``accuracy``: operators and reference on labelled data, and layer by layer."""

import json
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import Progress

from hw.compiler.commands.check import load, model_options

__all__ = ["options", "run"]

_LAYER_SAMPLES = 8


def options(parser) -> None:
    model_options(parser)
    parser.add_argument("--data", required=True, metavar="PATH",
                        help="folder of IDX files, folder or tar archive of test/CLASS/PICTURE, "
                        "or an .npz with x and labels")
    parser.add_argument("--images", type=int, default=0, metavar="N",
                        help="evenly spread ones of them (default: all)")
    parser.add_argument("--factor", type=float, default=1.0,
                        help="of pixels 0 to 255 for float inputs (default: 1)")
    parser.add_argument("--calibrate", type=int, default=0, metavar="N",
                        help="quantise a float model with N pictures of the data's training part, "
                        "without one with N of the test's, which are not counted then (default: "
                        "as --calibration says)")


def run(options) -> int:
    """Labels of the operators' golden model and of the reference executor; one JSON line.

    The reference is onnxruntime (ORT_DISABLE_ALL) on the quantised model. Intervals are Wilson's,
    95 %. Exit code 1 when the accuracies are more than 0.3 points apart, or a layer more than 1
    LSB from the reference on the same input.
    """
    from sim import pictures, rungs  # the edge may reach across
    from sim.rungs import wilson

    images, labels = pictures.load(options.data)
    held, images, labels = _choose(options, images, labels)
    calibration = _calibration(options, held)
    began = time.monotonic()
    made = load(options, calibration=calibration)
    compiled = time.monotonic() - began
    if len(made.graph.inputs) != 1:
        raise ValueError(f"model must have one input, not {', '.join(made.graph.inputs)}")
    (name,) = made.graph.inputs
    x = pictures.as_input(images, made.graph.types[name], options.factor)
    ways = {"operators": lambda p: rungs.operators(made, {name: x}, progress=p),
            "reference": lambda p: rungs.reference(made.model, {name: x}, p)}
    if made.real is not None:
        ways["float"] = lambda p: rungs.reference(made.real, {name: x}, p)
    line, outputs = {"model": options.model, "data": options.data, "n": len(x)}, {}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        for way, compute in ways.items():
            task = bar.add_task(way, total=len(x))
            outputs[way] = next(iter(compute(lambda n, t=task: bar.advance(t, n)).values()))
    for way, result in outputs.items():
        right = int((result.reshape(len(x), -1).argmax(1) == labels).sum())
        low, high = wilson(right, len(x))
        line[way] = {"accuracy": right / len(x), "interval_95": [round(low, 5), round(high, 5)]}
    a, b = (outputs[w].reshape(len(x), -1) for w in ("operators", "reference"))
    line["labels_agree"] = float((a.argmax(1) == b.argmax(1)).mean())
    spread = np.linspace(0, len(x) - 1, min(_LAYER_SAMPLES, len(x))).astype(int)
    found = rungs.layers(made, [{name: x[i]} for i in spread])
    line["layers"] = {each.name: {"worst_lsb": each.worst, "unequal": round(each.unequal, 6)}
                      for each in found}
    line["compile_seconds"] = round(compiled, 2)
    line["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(line))
    apart = abs(line["operators"]["accuracy"] - line["reference"]["accuracy"])
    return 0 if apart <= 0.003 and all(each.worst <= 1 for each in found) else 1


def _choose(options, images, labels):
    """Pictures to calibrate with, and those to be counted with their labels."""
    from sim import pictures

    training = pictures.load(options.data, "train")[0] if options.calibrate > 0 else images[:0]
    pool = training if len(training) else images
    if not 0 <= options.calibrate < len(pool):
        raise ValueError(f"calibrate must be 0 to {len(pool) - 1}, not {options.calibrate}")
    held = np.linspace(0, len(pool) - 1, options.calibrate).astype(int)
    rest = np.arange(len(images)) if len(training) else np.setdiff1d(np.arange(len(images)), held)
    wanted = options.images or len(rest)
    if not 0 < wanted <= len(rest):
        raise ValueError(f"images must be 1 to {len(rest)}, not {options.images}")
    kept = rest[np.linspace(0, len(rest) - 1, wanted).astype(int)]
    return pool[held], images[kept], labels[kept]


def _calibration(options, held):
    """A function from the prepared graph to its calibration samples, or None."""
    if not len(held):
        return None
    if options.calibration:
        raise ValueError("calibrate and calibration exclude each other")
    from sim import pictures

    def samples(graph):
        (name,) = graph.inputs
        return [{name: each} for each in pictures.as_input(held, graph.types[name],
                                                           options.factor)]
    return samples
