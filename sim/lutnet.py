"""Run a LUT network's RTL on a whole test set: ``python -m sim.lutnet --model FILE --data digits``.

Prints one JSON line: accuracy (of the RTL), n, ci95 (half the width of its 95 % interval),
equal_to_model (every answer against the golden model), latency_cycles (the longest) and interval
(cycles between results) as measured, lut_core, lut_encoder, lut_total (null without ``--synth``). A
regression has r2 instead of accuracy; ``--netlist`` adds netlist_n and netlist_equal.
"""

import json
from collections.abc import Sequence

import numpy as np

from hw.lutnet import data as datasets
from hw.lutnet.config import FABRICS, NetworkConfig
from hw.lutnet.model import Model, load
from hw.lutnet.network import Network
from hw.lutnet.serial import SerialNetwork
from hw.lutnet.streaming import StreamingNetwork
from hw.options import Parser, command
from sim.golden import lutnet as golden
from sim.verilated import Engine

__all__ = ["payload", "golden_results", "report"]


def payload(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes (samples, features) as rows that :class:`sim.verilated.Engine` drives into ``i``."""
    bits = (codes[:, :, None] >> np.arange(width, dtype=codes.dtype) & 1).astype(np.uint8)
    bits = bits.reshape(len(codes), -1)
    words = -(-bits.shape[1] // 64)
    raw = np.packbits(np.pad(bits, ((0, 0), (0, 64 * words - bits.shape[1]))), axis=1,
                      bitorder="little").view(np.uint64)
    return raw[:, 0] if words == 1 else raw


def golden_results(model: Model, codes: np.ndarray) -> np.ndarray:
    """Results of the golden model, in parts that fit a small memory."""
    return np.concatenate([golden.run(model, codes[i:i + 2000]).result
                           for i in range(0, len(codes), 2000)])


def _score(model: Model, results: np.ndarray, y: np.ndarray) -> dict[str, float]:
    if model.classes == 1:
        error = golden.regress(model, results.astype(np.int64)) - y
        return {"r2": float(1 - (error ** 2).sum() / ((y - y.mean()) ** 2).sum())}
    accuracy = float((results == y).mean())
    return {"accuracy": accuracy,
            "ci95": float(1.96 * (accuracy * (1 - accuracy) / len(y)) ** 0.5)}


def _run(engine: Engine, network: Network | SerialNetwork | StreamingNetwork, codes: np.ndarray,
         stall: float, seed: int) -> tuple[np.ndarray, int, float]:
    """Results, the longest latency and the mean interval of ``codes`` (samples, features)."""
    model, deciding = network.model, 0
    beat = model.features
    if isinstance(network, SerialNetwork):
        beat, deciding = 1, model.features - 1
    elif isinstance(network, StreamingNetwork):
        beat, deciding = model.encoder.features, network.deciding
    rows = payload(codes.reshape(-1, beat), model.encoder.width)
    if not network.config.stream:
        return engine.pipe({"i": rows}, ["o"], latency=network.latency)["o"], network.latency, 1.0
    run = engine.run_streams({"i": rows}, {"o": len(codes)}, stall=stall, seed=seed,
                             timeout=100 * len(rows) + 1000)
    taken, given = run.cycles["i"][deciding::model.features // beat], run.cycles["o"]
    interval = (given[-1] - given[0]) / max(len(given) - 1, 1)
    return run.outputs["o"], int((given - taken).max()), float(interval)


def report(model: Model, config: NetworkConfig, codes: np.ndarray, y: np.ndarray, *,
           stall: float = 0.0, seed: int = 0, synth: bool = False, netlist: int = 0,
           serial: bool = False) -> dict:
    """The line that is printed; ``netlist``: samples that the netlist is run on, too."""
    kind = StreamingNetwork if model.front else SerialNetwork if serial else Network
    network = kind(model, config)
    with Engine(network, "lutnet") as engine:
        results, latency, interval = _run(engine, network, codes, stall, seed)
    expected = golden_results(model, codes)
    line = {**_score(model, results, y), "n": len(y),
            "equal_to_model": bool((results == expected).all()),
            "latency_cycles": latency, "interval": interval}
    if netlist:
        from hw.lutnet.report import netlist as synthesised

        with Engine(synthesised(model, config), "lutnet") as engine:
            results = _run(engine, network, codes[:netlist], stall, seed)[0]
        line |= {"netlist_n": len(results),
                 "netlist_equal": bool((results == expected[:netlist]).all())}
    counts = dict.fromkeys(("lut_core", "lut_encoder", "lut_total"))
    if synth:
        from hw.lutnet.report import figures

        figure = figures(model, config)
        counts = {name: getattr(figure, name) for name in counts} | {
            "carry": figure.carry, "ff": figure.ff, "fabric": figure.fabric, "tool": figure.tool}
    return line | counts


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.lutnet", description=__doc__)
    parser.add_argument("--model", required=True, metavar="FILE", help="model.npz")
    parser.add_argument("--data", default="digits",
                        help="digits, diabetes, a folder of IDX files or an .npz (default: digits)")
    parser.add_argument("--limit", type=int, default=0, metavar="N",
                        help="only the first N test samples (default: all)")
    parser.add_argument("--fabric", default="xc7", help=f"one of {', '.join(FABRICS)}")
    parser.add_argument("--stream", action="store_true", help="the form with back-pressure")
    parser.add_argument("--serial", action="store_true", help="a feature per clock; networks for "
                        "pictures always take a pixel per clock")
    parser.add_argument("--stall", type=float, default=0.0,
                        help="probability that a stream pauses in a cycle (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the pauses (default: 0)")
    parser.add_argument("--synth", action="store_true", help="count LUTs, too")
    parser.add_argument("--netlist", type=int, default=0, metavar="N",
                        help="run the synthesised netlist on the first N samples, too")
    options = parser.parse_args(argv)
    if not 0 <= options.stall < 1:
        raise ValueError(f"stall must be at least 0 and below 1, not {options.stall}")
    for name in ("limit", "netlist"):
        if getattr(options, name) < 0:
            raise ValueError(f"{name} must be 0 or more, not {getattr(options, name)}")
    if options.netlist and options.serial:
        raise ValueError("netlist must be 0 for a network of serial features")
    config = NetworkConfig(fabric=options.fabric, stream=options.stream or options.stall > 0)
    model = load(options.model)
    data = datasets.load(options.data)
    codes, y = model.codes(data.x_test), data.y_test
    if options.limit:
        codes, y = codes[:options.limit], y[:options.limit]
    line = report(model, config, codes, y, stall=options.stall, seed=options.seed,
                  synth=options.synth, netlist=options.netlist,
                  serial=options.serial)
    print(json.dumps(line))
    return 0 if line["equal_to_model"] and line.get("netlist_equal", True) else 1


if __name__ == "__main__":
    command(main)()
