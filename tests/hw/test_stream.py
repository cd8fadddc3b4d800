# amaranth: UnusedElaboratable=no
from dataclasses import replace

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.stream import Fork, Gather, Join, Queue, RegisterSlice, Scatter
from sim.payload import pack
from sim.verilated import Engine

PAIR = data.StructLayout({"x": 7, "y": signed(6)})

#   name             component                                    latency
COMPONENTS = {
    "slice":         (lambda: RegisterSlice(PAIR),                  1),
    "queue_1":       (lambda: Queue(PAIR, depth=1),                 1),  # no memory
    "queue_2":       (lambda: Queue(PAIR, depth=2),                 1),
    "queue_5":       (lambda: Queue(PAIR, depth=5),                 1),  # indices wrap early
    "queue_3_block": (lambda: Queue(PAIR, depth=3, block=True),     2),  # two places, a register
    "queue_6_block": (lambda: Queue(PAIR, depth=6, block=True),     2),
    "fork":          (lambda: Fork(PAIR, 3),                        0),
    "join":          (lambda: Join({"x": 7, "y": signed(6)}),       0),
    "gather":        (lambda: Gather(PAIR, 3),                      1),
    "gather_1":      (lambda: Gather(PAIR, 1),                      1),
    "scatter":       (lambda: Scatter(PAIR, 3),                     1),
    "scatter_1":     (lambda: Scatter(PAIR, 1),                     1),
}


class All(wiring.Component):
    """All components side by side, so that one build serves all tests."""

    def __init__(self):
        self.parts = {name: component() for name, (component, _) in COMPONENTS.items()}
        super().__init__({name: Out(part.signature) for name, part in self.parts.items()})

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for path, member, inner in part.signature.flatten(part):
                outer = getattr(self, name)
                for step in path:
                    outer = outer[step] if isinstance(step, int) else getattr(outer, step)
                a, b = (inner, outer) if member.flow == In else (outer, inner)
                m.d.comb += Value.cast(a).eq(Value.cast(b))
        return m


class Part:
    """One of the components, freshly powered."""

    def __init__(self, engine, name):
        self.engine, self.name = engine, name
        engine.restart()
        self.step, self.reset = engine.step, engine.reset

    def has(self, port):
        return f"{self.name}__{port}" in self.engine.ports

    def set(self, port, value):
        self.engine.set(f"{self.name}__{port}", value)

    def get(self, port):
        return self.engine.get(f"{self.name}__{port}")

    def run_streams(self, inputs, outputs, stall=0.0, **options):
        def full(names):
            return {f"{self.name}__{name}": value for name, value in names.items()}

        run = self.engine.run_streams(full(inputs), full(outputs),
                                      stall=full(stall) if isinstance(stall, dict) else stall,
                                      **options)
        short = len(self.name) + 2
        return replace(run, outputs={name[short:]: beats for name, beats in run.outputs.items()},
                       cycles={name[short:]: cycles for name, cycles in run.cycles.items()})


@pytest.fixture(scope="module")
def everything():
    return Engine(All(), "all_streams")


@pytest.fixture
def part(everything):
    return lambda name: Part(everything, name)


def traffic(name, beats, rng):
    """Inputs and expected outputs of a component; `beats` of its slower side."""
    x, y = rng.integers(0, 128, 3 * beats), rng.integers(-32, 32, 3 * beats)
    pairs = pack(PAIR, {"x": x, "y": y})
    one, three = pairs[:beats], pairs
    arrays = pack(data.ArrayLayout(13, 3), three.reshape(-1, 3))
    match name:
        case "fork":
            return {"i": one}, {f"o__{n}": one for n in range(3)}
        case "join":
            return {"i_x": x[:beats], "i_y": y[:beats]}, {"o": one}
        case "gather":
            return {"i": three}, {"o": arrays}
        case "scatter":
            return {"i": arrays}, {"o": three}
        case _:
            return {"i": one}, {"o": one}


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("beats", [1, 7, 501])
def test_beats_come_out_in_order(part, name, stall, beats):
    inputs, expected = traffic(name, beats, np.random.default_rng(beats))
    dut = part(name)
    run = dut.run_streams(inputs, {o: len(values) for o, values in expected.items()},
                          stall=stall, seed=beats, timeout=20_000, linger=10)
    for o, values in expected.items():
        np.testing.assert_array_equal(run.outputs[o], values)


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("slow", ["inputs", "outputs"])
def test_one_side_stalls(part, name, slow):
    inputs, expected = traffic(name, 200, np.random.default_rng(5))
    dut = part(name)
    run = dut.run_streams(inputs, {o: len(values) for o, values in expected.items()},
                          stall=dict.fromkeys(inputs if slow == "inputs" else expected, 0.7),
                          timeout=20_000, linger=10)
    for o, values in expected.items():
        np.testing.assert_array_equal(run.outputs[o], values)


@pytest.mark.parametrize("name", COMPONENTS)
def test_timing_is_as_documented(part, name):
    component, latency = COMPONENTS[name]
    assert component().latency == latency
    inputs, expected = traffic(name, 50, np.random.default_rng(9))
    dut = part(name)
    run = dut.run_streams(inputs, {o: len(values) for o, values in expected.items()})
    for i in inputs:
        for o in expected:
            sent, received = run.cycles[i], run.cycles[o]
            if len(sent) > len(received):    # an array is there when its last beat is
                sent = sent[2::3]
            elif len(sent) < len(received):  # an array goes out over three cycles
                received = received[::3]
            assert (received - sent == latency).all()
    assert all((np.diff(cycles) == 1).all() for cycles in run.cycles.values()
               if len(cycles) == max(map(len, run.cycles.values())))


@pytest.mark.parametrize("name, depth", [
    ("slice", 2), ("queue_1", 1), ("queue_2", 2), ("queue_5", 5), ("queue_3_block", 3),
    ("queue_6_block", 6),
])
def test_holds_its_depth(part, name, depth):
    dut = part(name)
    dut.set("i__valid", 1)
    levels = []
    for _ in range(2 * depth + 4):
        dut.step()
        levels.append(dut.get("level") if dut.has("level") else None)
    assert dut.get("i__ready") == 0
    dut.set("i__valid", 0)
    dut.set("o__ready", 1)
    taken = 0
    for _ in range(2 * depth + 4):
        taken += dut.get("o__valid")
        dut.step()
    assert taken == depth
    if dut.has("level"):
        assert max(levels) == depth and dut.get("level") == 0


@pytest.mark.parametrize("name", [name for name in COMPONENTS if name not in ("fork", "join")])
def test_reset_forgets(part, name):
    dut = part(name)
    dut.set("i__valid", 1)
    dut.step(5)
    dut.set("i__valid", 0)
    dut.reset()
    inputs, expected = traffic(name, 20, np.random.default_rng(2))
    run = dut.run_streams(inputs, {"o": len(expected["o"])}, linger=10)
    np.testing.assert_array_equal(run.outputs["o"], expected["o"])


@pytest.mark.parametrize("name", [name for name in COMPONENTS
                                  if name.startswith(("slice", "queue")) and name != "queue_1"])
def test_no_path_from_side_to_side(part, name):
    for held in range(3):
        dut = part(name)
        dut.set("i__valid", 1)
        dut.step(held)
        seen = set()
        for valid in (0, 1):
            for ready in (0, 1):
                dut.set("i__valid", valid)
                dut.set("o__ready", ready)
                seen.add((dut.get("i__ready"), dut.get("o__valid"), dut.get("o__payload")))
        assert len(seen) == 1


#   call                                        error       message
WRONG = [
    (lambda: Queue(8, depth=0),                 ValueError, "depth must be at least 1, not 0"),
    (lambda: Queue(8, depth=2.0),               TypeError,  "depth must be an integer, not 2.0"),
    (lambda: Queue(8, depth=2, block=True),     ValueError,
     "depth must be at least 3 with block RAM, not 2"),
    (lambda: Fork(8, 0),                        ValueError, "outputs must be at least 1, not 0"),
    (lambda: Fork(8, "2"),                      TypeError,  "outputs must be an integer, not '2'"),
    (lambda: Join({}),                          ValueError,
     "shapes must name at least one stream, not {}"),
    (lambda: Gather(8, 0),                      ValueError, "count must be at least 1, not 0"),
    (lambda: Scatter(8, None),                  TypeError,  "count must be an integer, not None"),
]


@pytest.mark.parametrize("call, error, message", WRONG)
def test_wrong(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_deep_queues_use_block_memory():
    assert not Queue(8, depth=64).block
    assert Queue(8, depth=65).block
