"""KANELE's tables as a circuit, compared: published vectors, RTL, netlist, proof, LUTs."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import edges
from .config import NetworkConfig
from .edge_proof import prove
from .report import figures, netlist

__all__ = ["measure_edges"]


def measure_edges(folder: Path, samples: int, seed: int, proof: bool = False) -> dict:
    """RTL and netlist of KANELE's tables in ``folder`` on random codes, and on its own vectors.

    ``proof``: prove the netlist on all reachable codes, too.
    """
    from sim.golden import edges as golden  # the edge may reach across
    from sim.lutnet import payload
    from sim.verilated import Engine

    network, config = edges.load(folder), NetworkConfig(registers=("layers",))
    first, last = network.layers[0], network.layers[-1]
    codes = np.random.default_rng(seed).integers(
        0, 2 ** first.in_bits, (samples, first.tables.shape[0])).astype(np.uint8)
    given = None
    if (folder / "vectors_in.txt").exists():
        vectors = np.loadtxt(folder / "vectors_in.txt", dtype=np.int64, ndmin=2)
        expected = np.loadtxt(folder / "vectors_out.txt", dtype=np.int64, ndmin=2)
        given = bool((golden.run(network, vectors) == expected).all())
    wanted = payload(golden.run(network, codes) & (1 << last.out_bits) - 1, last.out_bits)
    component = edges.EdgeNetwork(network, config)
    equal = {}
    for name, source in (("rtl", component), ("netlist", netlist(network, config))):
        with Engine(source, "lutnet") as engine:
            out = engine.pipe({"i": payload(codes, first.in_bits)}, ["o"],
                              latency=component.latency)["o"]
        equal[name] = bool((out == wanted).all())
    counted = figures(network, config)
    proven = {"proven": asdict(prove(network, config))} if proof else {}
    return {"model": folder.name, "published_vectors_equal": given, "rtl_equal": equal["rtl"],
            "netlist_equal": equal["netlist"], "n": samples, "seed": seed, **proven,
            "lut_total": counted.lut_total, "carry": counted.carry, "ff": counted.ff,
            "fabric": "xc7", "latency_cycles": counted.latency, "tool": counted.tool}
