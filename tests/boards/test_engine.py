"""What goes over the line for a network on a board, and that it is enough."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from boards.engine import BoardEngine
from boards.host import VtaHost
from boards.link import Link
from boards.model import ModelBoard
from hw.compiler.api import compile
from hw.compiler.front import load
from hw.compiler.program import Launch
from hw.vta.config import preset

CONFIG = preset("block4")
SHAPE = [1, 4, 8, 8]


@pytest.fixture(scope="module")
def model():
    """Two launches, with the host between them; the second reads what only the first stores."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((4, 4, 3, 3)).astype(np.float32), name)
               for name in ("v", "w")]
    nodes = [helper.make_node("Conv", ["x", "v"], ["a"], pads=[1] * 4),
             helper.make_node("Conv", ["a", "w"], ["b"], pads=[1] * 4),
             helper.make_node("Tanh", ["b"], ["c"]),
             helper.make_node("Add", ["a", "c"], ["y"])]
    graph = helper.make_graph(
        nodes, "crossing", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return compile(load(made, checked=False), CONFIG, checked=False)


@pytest.fixture
def host():
    return VtaHost(Link(ModelBoard(CONFIG)))


def test_a_tensor_from_launch_to_launch(model, host):
    launches = [step for step in model.program.steps if isinstance(step, Launch)]
    crossing = [name for name, (first, _) in launches[1].alive.items()
                if first < 0 and name not in launches[0].results
                and name in {x.name for plan in launches[0].plans for x in plan.visit.stores}]
    assert len(launches) == 2 and crossing
    x = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(model.run(x, engine=BoardEngine(host)), model.run(x))


def test_nothing_is_sent_twice(model, host):
    engine, tally = BoardEngine(host), host.link.tally
    x = np.random.default_rng(2).standard_normal((2, *SHAPE)).astype(np.float32)
    sent = []
    for sample in (x[:1], x[:1], x[1:]):
        before = tally.bytes_out
        np.testing.assert_array_equal(model.run(sample, engine=engine), model.run(sample))
        sent.append(tally.bytes_out - before)
    assert sent[0] > 2 * 4 * 4 * 9 + 16 * sum(
        step.insn_count for step in model.program.steps if isinstance(step, Launch))
    # Then only registers, requests to read, the input, and what the host makes of `b`.
    assert max(sent[1:]) < 2 * np.prod(SHAPE) + 500 < sent[0]
