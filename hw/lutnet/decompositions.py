"""``python -m hw.lutnet decompose SOURCE``: what decomposition saves, or that it does not pay.

SOURCE is a folder with KANELE's tables, or a model file. Tables of KANELE: each edge's table, on
the codes that reach it, in its cheapest form of ``--inputs``-input cells; a line for each layer. A
model file with ``--data``: the addresses that fewer than ``--share`` of the training samples make
become don't-cares, and the line says how many nodes need fewer inputs, and the accuracy on the test
part before and after. ``pays`` is false where nothing is gained.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from . import data as datasets
from .compressed import cheapest
from .edges import load as load_edges
from .model import ModelError, load
from .rare import narrowed

__all__ = ["add_options", "run"]


def add_options(parser) -> None:
    parser.add_argument("source", help="folder of tables, or a model file")
    parser.add_argument("--inputs", type=int, default=4, help="of a cell, 3 to 6 (default: 4)")
    parser.add_argument("--data", default="", help="of a model: what it was trained on")
    parser.add_argument("--share", type=float, default=0.005,
                        help="of the samples, below it an address is rare (default: 0.005)")


def _edges(folder: Path, k: int) -> list[dict]:
    model = load_edges(folder)
    lines = []
    for index, layer in enumerate(model.layers):
        ok = model.reachable(index)
        forms, costs = Counter(), Counter()
        for i, j in np.argwhere(layer.edges):
            values = layer.tables[i, j] - layer.tables[i, j][ok[i]].min()
            width = int(values[ok[i]].max()).bit_length()
            if not width:
                continue
            bits = np.stack([values >> b & 1 for b in range(width)]).astype(bool)
            choice = cheapest(bits, k, ok[i])
            forms[choice.form] += 1
            costs.update(choice.costs)
            costs["cheapest"] += choice.net.cost
        lines.append({"layer": index, "tables": sum(forms.values()), "in_bits": layer.in_bits,
                      "inputs": k, "cells": dict(costs), "forms": dict(forms),
                      "pays": costs["cheapest"] < costs["shannon"]})
    return lines


def _rare(path: Path, spec: str, share: float) -> list[dict]:
    from sim.golden import lutnet as golden  # the edge may reach across

    model, data = load(path), datasets.load(spec)
    if model.front:
        raise ModelError(f"{path.name} must be a network without a front")
    trace = golden.run(model, model.encoder.codes(data.x_train))
    smaller, counts = narrowed(model, [trace.bits, *trace.outputs[:-1]], share)
    codes = model.encoder.codes(data.x_test)
    before, after = (float((golden.run(m, codes).result == data.y_test).mean())
                     for m in (model, smaller))
    return [{"model": path.name, "share": share, "nodes": [n.nodes for n in model.layers],
             "narrower": counts, "n": len(codes), "accuracy_before": before,
             "accuracy_after": after, "pays": any(counts)}]


def run(options) -> list[dict]:
    """The lines of the command."""
    source = Path(options.source)
    if options.inputs not in range(3, 7):
        raise ValueError(f"inputs must be 3 to 6, not {options.inputs}")
    if source.is_dir():
        return _edges(source, options.inputs)
    if not options.data:
        raise ValueError("data must be given for a model file")
    return _rare(source, options.data, options.share)
