"""Error against passes of an oversampled network: ``python -m sim.oversample --data diabetes``.

Trains networks on frames of bits (:mod:`hw.lutnet.frames`), one for each of ``--seeds``, then runs
modulator, network and counters as RTL on the test part, once for each number of passes, and prints
a JSON line each: passes, mse and r2 (accuracy for labels) of the RTL as means over the seeds, with
the lowest and the highest; equal_to_model (every total against the golden model), latency_cycles
and interval (cycles from sample to sample) as measured.

``--held-out`` prints what settings are chosen by instead: the golden model's error by
cross-validation within the training part of a regression; the test part is not looked at.
"""

import json
from collections.abc import Sequence

import numpy as np

from hw.lutnet import data as datasets
from hw.lutnet.frames import held_out_errors, train_on_frames
from hw.lutnet.model import Encoder, Model
from hw.lutnet.oversample import OversampledNetwork
from hw.lutnet.settings import TrainConfig
from hw.options import Parser, command
from hw.tools import require
from sim.golden import lutnet as golden
from sim.lutnet import payload
from sim.verilated import Engine

__all__ = ["measure"]


def measure(model: Model, encoder: Encoder, data: datasets.Dataset, passes: int) -> dict:
    """The line of one number of passes."""
    codes, y = encoder.codes(data.x_test), data.y_test
    network = OversampledNetwork(model, encoder.width, passes)
    with Engine(network, "oversampled") as engine:
        run = engine.run_streams({"i": payload(codes, encoder.width)}, {"o": len(y)},
                                 timeout=100 * len(y) * passes + 1000)
    result, cycles = run.outputs["o"], run.cycles
    if model.classes == 1:
        error = ((golden.regress(model, result.astype(np.int64) / passes) - y) ** 2).mean()
        scores = {"mse": float(error), "r2": float(1 - error / y.var())}
    else:
        scores = {"accuracy": float((result == y).mean())}
    wanted = golden.oversample(model, codes, encoder.width, passes)
    return {"passes": passes, **scores, "n": len(y),
            "equal_to_model": bool((result == wanted).all()),
            "latency_cycles": int(cycles["o"][0] - cycles["i"][0]),
            "interval": float(np.diff(cycles["o"]).mean())}


def _together(lines: list[dict]) -> dict:
    """The lines of several seeds as one: mean scores, their ranges."""
    line = dict(lines[0])
    for name in {"mse", "r2", "accuracy"} & set(line):
        values = [entry[name] for entry in lines]
        line |= {name: float(np.mean(values)), f"{name}_spread": [min(values), max(values)]}
    return line | {"equal_to_model": all(entry["equal_to_model"] for entry in lines)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.oversample", description=__doc__)
    parser.add_argument("--data", default="diabetes", help="as for hw.lutnet (default: diabetes)")
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 8],
                        help="numbers of passes (default: 1 2 4 8)")
    parser.add_argument("--width", type=int, default=8, help="bits of a code (default: 8)")
    parser.add_argument("--frames", type=int, default=16,
                        help="frames of a sample in training (default: 16)")
    parser.add_argument("--nodes", type=int, default=200, help="of the network (default: 200)")
    parser.add_argument("--inputs", type=int, default=2, help="of a node (default: 2)")
    parser.add_argument("--epochs", type=int, default=60, help="of training (default: 60)")
    parser.add_argument("--tau", type=float, default=24.0, help="as for hw.lutnet (default: 24)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3],
                        help="of training (default: 1 2 3)")
    parser.add_argument("--held-out", action="store_true",
                        help="cross-validation within the training part instead")
    options = parser.parse_args(argv)
    if options.width not in range(2, 17):
        raise ValueError(f"width must be 2 to 16, not {options.width}")
    for name, values in (("passes", options.passes), ("frames", [options.frames])):
        wrong = [v for v in values if v not in range(1, 2 ** options.width)]
        if wrong:
            raise ValueError(f"{name} must be 1 to {2 ** options.width - 1} with codes of "
                             f"{options.width} bits, not {wrong[0]}")
    require("numba", "numba", "train")
    configs = [TrainConfig(nodes=(options.nodes,), inputs=options.inputs, epochs=options.epochs,
                           tau=options.tau, seed=seed, batch=128) for seed in options.seeds]
    data = datasets.load(options.data)
    if options.held_out:
        if not data.regression:
            raise ValueError(f"held-out needs data with real targets, not {data.name}")
        found = [held_out_errors(data, config, options.width, options.frames, options.passes)
                 for config in configs]
        for passes in options.passes:
            print(json.dumps({"data": data.name, "passes": passes, "seeds": options.seeds,
                              "held_out_mse": float(np.mean([errors[passes] for errors in found])),
                              "n": len(data.y_train)}))
        return 0
    trained = [train_on_frames(data, config, options.width, options.frames) for config in configs]
    equal = True
    for passes in options.passes:
        lines = [measure(model, encoder, data, passes) for model, encoder in trained]
        line = _together(lines)
        equal &= line["equal_to_model"]
        print(json.dumps({"data": data.name, "seeds": options.seeds, **line}), flush=True)
    return 0 if equal else 1


if __name__ == "__main__":
    command(main)()
