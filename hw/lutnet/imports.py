"""``python -m hw.lutnet import SOURCE``: networks of others as LUT networks, checked on data.

======================  ========================================================================
``.json``               boosted trees that XGBoost saved, or dumped (then with ``--classes``)
``.joblib``, ``.pkl``   boosted trees of scikit-learn; a pickle runs what it holds: trust its maker
``.onnx``               QONNX, dense layers of 1 to 3 bits
======================  ========================================================================

With ``--data`` the line says how the network does on its test part: ``accuracy`` (or ``r2``) beside
the source's own, ``equal_to_source`` and ``rtl_equal``.

Trees: features are quantised to ``--width`` bits over the range of the training part; without data
they are taken to be whole numbers from 0 on. Equal to the source means that every sum is that of
its trees with quantised leaves. QONNX: the graph has its own quantiser, and pixels are divided by
255 before it. Equal means that every output is what onnx's reference evaluator gives, but for the
rounding of float32, which tells no two sums apart.
"""

from pathlib import Path

import numpy as np

from hw.options import output_folder
from hw.tools import require

from . import data as datasets
from . import forest as forests
from .config import NetworkConfig
from .edges import EdgeNetwork
from .forest_files import load_forest
from .model import Encoder, Model, ModelError, save
from .network import Network
from .thermometer import scaling

__all__ = ["import_forest", "add_options", "run"]

PACKAGES = {".json": (), ".joblib": (("sklearn", "scikit-learn", "train"),),
            ".pkl": (("sklearn", "scikit-learn", "train"),),
            ".onnx": (("onnx", "onnx", "compile"),)}


def add_options(parser) -> None:
    parser.add_argument("source", help="the file to import, see above")
    parser.add_argument("--data", default="", help="check on this set, as for train")
    parser.add_argument("--width", type=int, default=0,
                        help="bits of a feature's code (default: 8 with data, else what the "
                        "thresholds need)")
    parser.add_argument("--leaf-bits", type=int, default=4,
                        help="bits of the largest leaf of a tree (default: 4)")
    parser.add_argument("--inputs", type=int, default=6, help="inputs of a node (default: 6)")
    parser.add_argument("--classes", type=int, default=0,
                        help="of a dump: 1 is a regression, 2 has one score")
    parser.add_argument("--limit", type=int, default=500,
                        help="test samples of a QONNX network to compare (default: 500)")
    parser.add_argument("-o", "--output", default="", metavar="DIR",
                        help="of trees: write DIR/model.npz (default: do not)")


def _scales(forest: forests.Forest, data: datasets.Dataset | None, width: int) -> Encoder:
    """Width, offset and step of the features' codes."""
    empty = np.zeros(0, np.int32)
    if data is not None:
        if data.features != forest.features:
            raise ModelError(f"data must have {forest.features} columns, not {data.features}")
        return Encoder(width or 8, *scaling(data.x_train, width or 8), empty, empty)
    top = max(float(tree.threshold.max()) for tree in forest.trees)
    width = width or max(int(np.ceil(max(top, 1))).bit_length(), 1)
    return Encoder(width, np.zeros(forest.features), np.ones(forest.features), empty, empty)


def import_forest(forest: forests.Forest, *, data: datasets.Dataset | None = None, width: int = 0,
                  leaf_bits: int = 4, inputs: int = 6) -> tuple[Model, forests.Quantised]:
    """The network of a forest, and the quantised forest that it equals."""
    encoder = _scales(forest, data, width)
    values = forests.values_of(encoder.width, encoder.offset, encoder.step)
    quantised = forests.quantise(forest, values, leaf_bits)
    return forests.to_model(quantised, encoder, inputs), quantised


def _measures(forest, model: Model, quantised, data: datasets.Dataset) -> dict:
    """How network, RTL and source do on the test part of ``data``."""
    from sim.golden import forest as golden_forest  # the edge may reach across
    from sim.golden import lutnet as golden
    from sim.lutnet import payload
    from sim.verilated import Engine

    codes = model.encoder.codes(data.x_test)
    trace, own = golden.run(model, codes), forest.result(data.x_test)
    network = Network(model, NetworkConfig())
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, model.encoder.width)}, ["o"],
                          latency=network.latency)["o"]
    if model.classes == 1:
        spread = ((data.y_test - data.y_test.mean()) ** 2).sum()
        ours = golden.regress(model, trace.result)
        scores = {name: float(1 - ((y - data.y_test) ** 2).sum() / spread)
                  for name, y in (("r2", ours), ("source_r2", own))}
    else:
        scores = {"accuracy": float((trace.result == data.y_test).mean()),
                  "source_accuracy": float((own == data.y_test).mean()),
                  "same_labels": float((own == trace.result).mean())}
    wanted = golden_forest.sums(quantised, codes)
    return {"data": data.name, "n": len(codes), **scores,
            "equal_to_source": bool((trace.sums == wanted).all()),
            "rtl_equal": bool((out == trace.result).all()), "latency_cycles": network.latency}


def _qonnx(source: Path, data: datasets.Dataset | None, limit: int) -> dict:
    """The line of a QONNX network."""
    from . import qonnx

    imported = qonnx.load(source)
    model = imported.model
    first = model.layers[0]
    line = {"source": source.name, "features": first.tables.shape[0], "width": first.in_bits,
            "layers": [list(layer.edges.shape) for layer in model.layers],
            "edges": [int(layer.edges.sum()) for layer in model.layers]}
    if data is None:
        return line
    if data.features != line["features"]:
        raise ModelError(f"data must have {line['features']} columns, not {data.features}")
    from sim.golden import edges as golden  # the edge may reach across
    from sim.golden import qonnx as golden_qonnx
    from sim.lutnet import payload
    from sim.verilated import Engine

    x = data.x_test[:limit].astype(np.float32)
    x = x / np.float32(255) if data.x_test.dtype == np.uint8 else x
    codes = imported.codes(x)
    results = golden.run(model, codes)
    outputs, own = imported.results(results), golden_qonnx.run(source, x)
    network, bits = EdgeNetwork(model, NetworkConfig(registers=("layers",))), model.layers[-1]
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes.astype(np.uint8), first.in_bits)}, ["o"],
                          latency=network.latency)["o"]
    wanted = payload(results & (1 << bits.out_bits) - 1, bits.out_bits)
    y = data.y_test[:limit]
    return line | {"data": data.name, "n": len(x),
                   "accuracy": float((outputs.argmax(1) == y).mean()),
                   "source_accuracy": float((own.argmax(1) == y).mean()),
                   "equal_to_source": bool(np.allclose(outputs, own, rtol=1e-5, atol=1e-5)),
                   "rtl_equal": bool((out == wanted).all()), "latency_cycles": network.latency}


def run(options) -> dict:
    """Import as the command line says; the line that is printed."""
    source = Path(options.source)
    if source.suffix not in PACKAGES:
        raise ModelError("the source must be a file .json (XGBoost), .joblib or .pkl "
                         f"(scikit-learn) or .onnx (QONNX), not {source.name!r}")
    for name, least, most in (("classes", 0, 256), ("width", 0, 16), ("limit", 1, 10 ** 6)):
        if getattr(options, name) not in range(least, most + 1):
            raise ValueError(f"{name} must be {least} to {most}, not {getattr(options, name)}")
    for needed in PACKAGES[source.suffix]:
        require(*needed)
    data = datasets.load(options.data) if options.data else None
    if source.suffix == ".onnx":
        if options.output:
            raise ValueError(f"output must not be given for QONNX, not {options.output!r}")
        return _qonnx(source, data, options.limit)
    forest, _ = load_forest(source, classes=options.classes,
                            features=data.features if data is not None else 0)
    model, quantised = import_forest(forest, data=data, width=options.width,
                                     leaf_bits=options.leaf_bits, inputs=options.inputs)
    line = {"source": source.name, "trees": len(forest.trees), "features": model.features,
            "classes": model.classes, "width": model.encoder.width,
            "encoder_bits": model.encoder.bits, "nodes": [layer.nodes for layer in model.layers]}
    if data is not None:
        line |= _measures(forest, model, quantised, data)
    if options.output:
        path = output_folder(options.output) / "model.npz"
        save(path, model, f"python -m hw.lutnet import {source.name} --leaf-bits "
             f"{options.leaf_bits}")
        line["model"] = str(path)
    return line
