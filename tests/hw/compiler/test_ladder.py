"""The ladder: the same inputs at every rung, from the graph to the core's Verilog."""

import functools
import hashlib

import numpy as np
import pytest

from hw.compiler.api import LEVELS, compile
from hw.compiler.builder import (
    AveragePool,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
    Softmax,
)
from hw.compiler.front import load
from hw.compiler.operators import Host
from hw.vta.config import PRESETS, VtaConfig
from sim import vta_rtl
from sim.golden.compiler.operators import run as golden
from sim.rungs import against_float, layers
from sim.vta_engine import Outcome

MODELS = {
    "dense": Sequential((7, 1, 1), [Flatten(), Dense(9), ReLU(), Dense(5), Softmax()], seed=1),
    "conv": Sequential((3, 9, 7), [Conv2D(6, (3, 2), padding="same"), ReLU(), Conv2D(5, 3, 2),
                                   Flatten(), Dense(4)], seed=2),
    "depthwise": Sequential((6, 8, 8), [DepthwiseConv2D(3, padding="same"), ReLU(), Conv2D(9, 1),
                                        ReLU(), DepthwiseConv2D(3, 2), GlobalAveragePool(),
                                        Flatten(), Dense(3)], seed=3),
    "residual": Sequential((4, 6, 6), [
        Residual([Conv2D(4, 3, padding="same"), ReLU(), Conv2D(4, 3, padding="same")]), ReLU(),
        Residual([Conv2D(8, 3, 2, "same")], [Conv2D(8, 1, 2)]), Flatten(), Dense(3)], seed=4),
    "pool": Sequential((5, 10, 9), [MaxPool(3, 2, (1, 1, 1, 1)), Conv2D(6, 1), AveragePool(2),
                                    Flatten(), Dense(3)], seed=5),
}
# Those without a mark are built for other quick tests, too.
TINY = VtaConfig(log_block=2, log_uop_buff_size=10, log_inp_buff_size=10, log_wgt_buff_size=10,
                 log_acc_buff_size=12, burst_beats=16, reads=2, writes=2, queue_depth=16)
TWO_ROWS = VtaConfig(log_batch=1, log_block=2, log_uop_buff_size=9, log_inp_buff_size=9,
                     log_wgt_buff_size=8, log_acc_buff_size=11)
CONFIGS = {"tiny": TINY, "two rows": TWO_ROWS, **PRESETS}
QUICK = ("tiny", "two rows", "block4")


@functools.cache
def front(name):
    return load(MODELS[name].graph())


@functools.cache
def engine(name):
    return vta_rtl.RtlEngine(CONFIGS[name])


def samples(name, count=3):
    return np.random.default_rng(0).standard_normal((count, *MODELS[name].shape)) \
        .astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("config", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CONFIGS])
def test_every_rung(config, name):
    model, x = compile(front(name), CONFIGS[config]), samples(name)
    results = {level: model.run(x, level=level, engine=engine(config) if level == "rtl" else None)
               for level in LEVELS}
    np.testing.assert_array_equal(results["graph"], results["operator"])
    np.testing.assert_array_equal(results["iss"], results["operator"])
    np.testing.assert_array_equal(results["rtl"], results["operator"])
    batch = model.config.batch
    assert len(model.cycles) == -(-len(x) // batch)
    predicted = [timing.cycles for timing in model.timings()]
    assert all(measured == predicted for measured in model.cycles)  # whatever the data


@pytest.mark.parametrize("name", MODELS)
def test_every_stored_tensor(name):
    """Not only the outputs: whatever the core stores is the operators' value."""
    made = front(name)
    model, host = compile(made, TWO_ROWS, checked=False), made.host()
    values = {key: array.reshape(-1, *array.shape[2:])
              for key, array in model.inputs(samples(name, 2)).items()}
    found = model.program.run(values, host=host)
    expected = golden(made.network, values, host)
    stored = [key for key in made.network.tensors if key in found]
    assert stored
    for key in stored:
        np.testing.assert_array_equal(found[key], expected[key].reshape(found[key].shape), key)


@pytest.mark.parametrize("name", MODELS)
def test_operators_are_the_graph_within_one(name):
    made = front(name)
    key, = made.graph.inputs
    found = layers(made, [{key: x[None]} for x in samples(name)])
    assert found and max(layer.worst for layer in found) <= 1


def test_what_quantisation_changes():
    made = front("residual")
    key, = made.graph.inputs
    given = [{key: x[None]} for x in samples("residual")]
    found = against_float(made, given)
    core = [step.name for step in made.network.steps if not isinstance(step, Host)]
    assert list(found) == core and all(0 < ratio < 0.1 for ratio in found.values())
    assert against_float(load(made.model, checked=False), given) == {}


class Running:
    """A core that stays switched on: scratchpads and tokens are what the program before left."""

    def __init__(self, config):
        self.config, self.core = config, vta_rtl.VtaRtl(config)

    def run(self, image, insn_addr, insn_count, conditions, *, reads=None):
        dram = image.copy()
        result = self.core.run(dram, insn_addr, insn_count, latency=conditions.latency)
        return Outcome(result.status, result.cycles, dram, {}, result.counters)


def test_one_core_three_models(monkeypatch):
    """One elaborated core executes one model after the other: nothing is built in between."""
    config = CONFIGS["block4"]
    text = hashlib.sha256(vta_rtl.core_verilog(config).encode()).hexdigest()
    core = Running(config)

    def refuse(*_, **__):
        raise AssertionError("another core is being built")

    with monkeypatch.context() as patched:
        patched.setattr(vta_rtl, "Engine", refuse)
        patched.setattr(vta_rtl, "to_verilog", refuse)
        for name in ("residual", "dense", "depthwise", "residual"):
            model, x = compile(front(name), config), samples(name)
            np.testing.assert_array_equal(model.run(x, engine=core), model.run(x, level="operator"))
    assert hashlib.sha256(vta_rtl.core_verilog(config).encode()).hexdigest() == text
