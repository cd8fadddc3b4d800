"""How long large networks take: generation and synthesis of drawn tables and wiring."""

import os
import tempfile
from pathlib import Path

import numpy as np

from hw.tools import yosys_version

from .config import NetworkConfig
from .model import Encoder, Layer, Model
from .report import synthesis_text, synthesise

__all__ = ["drawn", "measure"]


def drawn(nodes: int, inputs: int, seed: int, features: int = 784, classes: int = 10) -> Model:
    """One layer of drawn tables on features of one bit, each read equally often."""
    rng = np.random.default_rng(seed)
    times = -(-nodes * inputs // features)
    pins = np.concatenate([rng.permutation(features) for _ in range(times)])
    layer = Layer(pins[:nodes * inputs].reshape(nodes, inputs),
                  rng.integers(0, 2, (nodes, 2 ** inputs)))
    encoder = Encoder(1, np.zeros(features), np.ones(features), np.arange(features),
                      np.zeros(features, np.int32))
    return Model(encoder, (layer,), np.arange(nodes) * classes // nodes, classes)


def _since(began: os.times_result) -> tuple[float, float]:
    """Wall time and processor time, with that of the tools, in seconds."""
    now = os.times()
    return round(now.elapsed - began.elapsed, 1), round(sum(now[:4]) - sum(began[:4]), 1)


def measure(nodes: int, fabric: str, seed: int) -> dict:
    """Seconds of wall and of processor time for Verilog and for the netlist, and its cells."""
    config = NetworkConfig(fabric=fabric)
    model = drawn(nodes, config.inputs, seed)
    began = os.times()
    text, latency = synthesis_text(model, config)
    generation = _since(began)
    with tempfile.TemporaryDirectory() as folder:
        began = os.times()
        cells = synthesise(Path(folder), text, fabric)
        synthesis = _since(began)
    return {"nodes": nodes, "inputs": config.inputs, "fabric": fabric, "seed": seed,
            "generation_seconds": generation[0], "generation_cpu_seconds": generation[1],
            "synthesis_seconds": synthesis[0], "synthesis_cpu_seconds": synthesis[1],
            "cells": dict(cells), "latency_cycles": latency, "tool": yosys_version()}
