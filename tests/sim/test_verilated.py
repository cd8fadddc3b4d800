# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sim import tools, verilated
from sim.verilated import Engine, StreamError, StreamTimeout, storage

BEAT = data.StructLayout({"value": data.ArrayLayout(signed(23), 4), "last": 1})


class Everything(wiring.Component):
    """Ports of every size: a pipelined product, a wide sum, a stream register, a counter."""

    a: In(signed(12))
    b: In(signed(16))
    y: Out(signed(28))
    wide: In(100)
    wide_sum: Out(101)
    i: In(stream.Signature(BEAT))
    o: Out(stream.Signature(BEAT))
    count: Out(8, init=5)

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(28))
        m.d.sync += [product.eq(self.a * self.b), self.y.eq(product), self.count.eq(self.count + 1)]
        m.d.comb += self.wide_sum.eq(self.wide + self.b.as_unsigned())
        with m.If(~self.o.valid | self.o.ready):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p)]
        return m


class Rude(wiring.Component):
    """Breaks the stream rules when `fault` is set: 1 changes a waiting beat, 2 takes it back,
    3 doubles the last beat.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    fault: In(2)

    def elaborate(self, platform):
        m = Module()
        tick, double = Signal(4), Signal()
        m.d.sync += tick.eq(tick + 1)
        m.d.comb += [
            self.o.payload.eq(self.i.payload ^ Mux(self.fault == 1, tick[3], 0)),
            self.o.valid.eq((self.i.valid & ~((self.fault == 2) & tick[3])) | double),
            self.i.ready.eq(self.o.ready & self.o.valid & ~double),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += double.eq((self.fault == 3) & (self.i.payload == 99) & ~double)
        return m


@pytest.fixture(scope="module")
def everything():
    return Engine(Everything(), "everything")


@pytest.fixture
def engine(everything):
    everything.restart()
    return everything


@pytest.fixture(scope="module")
def rude():
    return Engine(Rude(), "rude")


def test_ports(engine):
    assert {name: (port.width, port.is_input) for name, port in engine.ports.items()} == {
        "clk": (1, True), "rst": (1, True), "a": (12, True), "b": (16, True), "y": (28, False),
        "wide": (100, True), "wide_sum": (101, False), "count": (8, False),
        "i__payload": (93, True), "i__valid": (1, True), "i__ready": (1, False),
        "o__payload": (93, False), "o__valid": (1, False), "o__ready": (1, True),
    }


def test_steps_and_reset(engine):
    assert engine.get("count") == 5  # initial values stand before any clock
    engine.step(3)
    assert engine.get("count") == 8
    engine.reset()
    assert engine.get("count") == 5
    engine.step(252)
    assert engine.get("count") == 1
    engine.set("a", -7)
    engine.set("b", 1000)
    engine.step(2)
    assert engine.get("y") == -7000 & 2**28 - 1
    assert engine.get("a") == 0xff9


def test_wide_ports(engine):
    engine.set("wide", 2**100 - 1)
    engine.set("b", 1)
    assert engine.get("wide_sum") == 2**100  # combinational: no step needed
    engine.set("wide", -1)
    assert engine.get("wide") == 2**100 - 1


def test_engines_are_independent(engine):
    other = Engine(Everything(), "everything")
    other.step(10)
    assert (engine.get("count"), other.get("count")) == (5, 15)


@pytest.mark.parametrize("latency", [2, 3])
def test_pipe(engine, latency):
    rng = np.random.default_rng(latency)
    a, b = rng.integers(-2**11, 2**11, 1001), rng.integers(-2**15, 2**15, 1001, np.int16)
    y = engine.pipe({"a": a, "b": b}, ["y"], latency=latency)["y"]
    expected = a * b & 2**28 - 1
    assert y.dtype == np.uint32
    if latency == 2:
        np.testing.assert_array_equal(y, expected)
    else:  # row n is seen a cycle later, when row n + 1 has come out
        np.testing.assert_array_equal(y[:-1], expected[1:])


def test_pipe_of_wide_ports(engine):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 2**64, (50, 2), np.uint64) & np.array([2**64 - 1, 2**36 - 1], np.uint64)
    rows = engine.pipe({"wide": wide, "b": np.arange(50)}, ["wide_sum"])["wide_sum"]
    for n in range(50):
        expected = int(wide[n, 0]) + (int(wide[n, 1]) << 64) + n
        assert int(rows[n, 0]) + (int(rows[n, 1]) << 64) == expected


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8, {"i": 0.9}, {"o": 0.9}])
def test_streams(engine, stall):
    rng = np.random.default_rng(7)
    beats = np.stack([rng.integers(0, 2**64, 301, np.uint64),
                      rng.integers(0, 2**29, 301, np.uint64)], axis=1)
    run = engine.run_streams({"i": beats}, {"o": 301}, stall=stall, seed=3, linger=5)
    np.testing.assert_array_equal(run.outputs["o"], beats)
    assert (np.diff(run.cycles["i"]) > 0).all() and (run.cycles["o"] > run.cycles["i"]).all()
    assert run.total == run.cycles["o"][-1] + 1 + 5
    if stall == 0.0:
        np.testing.assert_array_equal(run.cycles["i"], np.arange(301))
        np.testing.assert_array_equal(run.cycles["o"], np.arange(301) + 1)
    else:
        assert run.total > 380


def test_same_seed_same_cycles(engine):
    beats = np.zeros((50, 2), np.uint64)

    def cycles(seed):
        engine.restart()
        run = engine.run_streams({"i": beats}, {"o": 50}, stall=0.5, seed=seed)
        return run.cycles["o"].tolist()

    assert cycles(1) == cycles(1) != cycles(2)


def test_streams_time_out(engine):
    with pytest.raises(StreamTimeout) as caught:
        engine.run_streams({"i": np.zeros((3, 2), np.uint64)}, {"o": 5}, timeout=40)
    assert str(caught.value) == "everything: after 40 cycles: i 3 of 3 beats, o 3 of 5 beats"
    assert len(caught.value.run.outputs["o"]) == 3
    assert engine.get("count") == 45


#   fault   what is said of it
FAULTS = [
    (1, "o changed a beat while it waited"),
    (2, "o took back a beat that nobody had taken"),
    (3, "o offers more beats than the 100 asked for"),
]


@pytest.mark.parametrize("fault, message", FAULTS)
def test_broken_rules_are_seen(rude, fault, message):
    rude.restart()
    rude.set("fault", fault)
    with pytest.raises(StreamError, match=rf"^rude: cycle \d+: {message}$"):
        rude.run_streams({"i": np.arange(100)}, {"o": 100}, stall=0.5, linger=3)
    rude.restart()
    run = rude.run_streams({"i": np.arange(100)}, {"o": 100}, stall=0.5, linger=3)
    np.testing.assert_array_equal(run.outputs["o"], np.arange(100))


#   call                                                    message
WRONG = [
    (lambda e: e.set("z", 0), "name must be an input of everything (a, b, clk, i__payload, "
     "i__valid, o__ready, rst, wide), not 'z'"),
    (lambda e: e.set("y", 0), "name must be an input of everything (a, b, clk, i__payload, "
     "i__valid, o__ready, rst, wide), not 'y'"),
    (lambda e: e.set("a", 4096), "a must fit 12 bits, not 4096"),
    (lambda e: e.pipe({"a": [-2049]}, ["y"]), "a must fit 12 bits, not -2049"),
    (lambda e: e.pipe({"a": [1.5]}, ["y"]),
     "a must be a one-dimensional array of integers, not float64 (1,)"),
    (lambda e: e.pipe({"wide": [1]}, ["y"]),
     "wide must be a uint64 array of shape (rows, 2), not int64 (1,)"),
    (lambda e: e.pipe({"a": [1], "b": [1, 2]}, ["y"]), "inputs must have one length, not [1, 2]"),
    (lambda e: e.pipe({"a": [1]}, ["y"], latency=-1), "latency must be at least 0, not -1"),
    (lambda e: e.run_streams({}, {"o": 1}, stall=1),
     "stall must be at least 0 and below 1, not 1"),
]


@pytest.mark.parametrize("call, message", WRONG)
def test_wrong(engine, call, message):
    with pytest.raises(ValueError) as caught:
        call(engine)
    assert str(caught.value) == message


@pytest.mark.parametrize("width, dtype", [(1, np.uint8), (8, np.uint8), (9, np.uint16),
                                          (32, np.uint32), (33, np.uint64), (65, np.uint64)])
def test_storage(width, dtype):
    assert storage(width) is dtype


def test_verilog_text():
    engine = Engine("module inv(input [2:0] a, output [2:0] y); assign y = ~a; endmodule", "inv")
    assert engine.pipe({"a": range(8)}, ["y"])["y"].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_waveform(tmp_path):
    path = tmp_path / "new" / "wave.fst"
    with Engine(Everything(), "everything", trace=path) as engine:
        engine.step(1000)
    content = path.read_bytes()
    assert content[0] == 0  # a header block
    assert content[9:17] == bytes(8) and int.from_bytes(content[17:25]) == 1999  # first, last time
    assert b"wide_sum" in content


# The tools --------------------------------------------------------------------------------------

def test_second_build_is_found(monkeypatch):
    text = "module inv(input [2:0] a, output [2:0] y); assign y = ~a; endmodule"
    first = Engine(text, "inv")
    monkeypatch.setattr(verilated, "verilate", None)  # must not be called
    assert Engine(text, "inv").library == first.library


def test_bad_verilog(tmp_path, monkeypatch):
    monkeypatch.setenv("NPUGEN_CACHE", str(tmp_path))
    with pytest.raises(tools.ToolError, match="^verilator failed: %Error: broken.sv.*syntax"):
        Engine("module broken(", "broken")
    assert not list(tmp_path.rglob("model.so"))


def test_missing_tools(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.versions.cache_clear()
    with pytest.raises(tools.ToolError) as caught:
        Engine("module one(output y); assign y = 1; endmodule", "one")
    assert str(caught.value) == ("g++ not found, which the simulator is built with: "
                                 "apt-get install g++")
    with pytest.raises(tools.ToolError) as caught:
        tools.require_native("g++", "make", "perl")
    assert str(caught.value) == ("g++ and make and perl not found, which the simulator is built "
                                 "with: apt-get install g++ make perl")
