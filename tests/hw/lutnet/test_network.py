"""The circuit against the golden model, on the RTL and on the netlist; timing as documented."""

from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.lutnet import popcount, report
from hw.lutnet.circuit import Circuit, Table, Wire, reduce_table
from hw.lutnet.config import NetworkConfig
from hw.lutnet.model import Encoder, Layer, Model, load
from hw.lutnet.network import Network, latency_of
from hw.lutnet.serial import SerialNetwork
from sim.golden import lutnet as golden
from sim.lutnet import payload
from sim.prove import prove_streams
from sim.verilated import Engine

from .networks import random_codes, random_model

ALL = ("encode", "layers", "sums", "label")
#   model                                                  configuration
CASES = [
    ({},                                                   {}),  # the default
    ({"nodes": (61,), "classes": 10, "narrow": 0.5},   {"registers": ()}),      # no clock
    ({"nodes": (61,), "classes": 10, "narrow": 1.0},   {"registers": ALL}),     # all narrow
    ({"nodes": (61,), "classes": 10, "narrow": 0.0},       {"head": "compressor"}),
    ({"nodes": (120,), "classes": 2, "width": 1},          {"sum_levels": 1}),  # deep counters
    ({"nodes": (50, 41), "classes": 7, "features": 9},     {"label_levels": 1}),       # two layers
    ({"nodes": (40, 30, 20), "inputs": 4, "classes": 5},   {"fabric": "ecp5", "sum_levels": 2}),
    ({"nodes": (33,), "inputs": 2, "classes": 3},          {"fabric": "ice40"}),
    ({"nodes": (29,), "classes": 1, "width": 8},  {"registers": ("sums",)}),  # regression
    ({"nodes": (5,), "classes": 5, "features": 1},  {"registers": ("label",)}),  # one node each
]


@pytest.mark.parametrize("shape, options", CASES)
def test_rtl_equals_golden(shape, options):
    model = random_model(len(str(shape)), **shape)
    codes = random_codes(model, 500)
    network = Network(model, NetworkConfig(**options))
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, model.encoder.width)}, ["o"],
                          latency=network.latency)["o"]
    np.testing.assert_array_equal(out, golden.run(model, codes).result)


@pytest.mark.parametrize("registers, latency", [((), 0), (("layers", "sums", "label"), 4)])
def test_latency_counts_the_registers(registers, latency):
    model = random_model(nodes=(20, 15))
    network = Network(model, NetworkConfig(registers=registers, stream=True))
    assert network.latency == latency
    codes = random_codes(model, 50)
    with Engine(network, "lutnet") as engine:
        run = engine.run_streams({"i": payload(codes, 3)}, {"o": 50}, linger=20)
    assert (run.cycles["o"] - run.cycles["i"] == latency).all()
    assert (np.diff(run.cycles["o"]) == 1).all()
    np.testing.assert_array_equal(run.outputs["o"], golden.run(model, codes).result)


@pytest.mark.parametrize("options", [{}, {"registers": ()}, {"sum_levels": 1, "label_levels": 1}])
def test_stream_with_stalls(options):
    model = random_model(7, nodes=(43,), classes=6)
    codes = random_codes(model, 300)
    with Engine(Network(model, NetworkConfig(stream=True, **options)), "lutnet") as engine:
        for stall in (0.3, 0.8):
            engine.restart()
            run = engine.run_streams({"i": payload(codes, 3)}, {"o": 300}, stall=stall, linger=30)
            np.testing.assert_array_equal(run.outputs["o"], golden.run(model, codes).result)


@pytest.mark.parametrize("kind", [Network, SerialNetwork])
def test_results_stay_offered(kind):
    """By k-induction; from any state of the sums, so a small network speaks for all."""
    model = random_model(nodes=(6,), inputs=2, features=2, bits=4, classes=2)
    assert prove_streams(kind(model, NetworkConfig(stream=True))) >= 1


@pytest.mark.parametrize("options", [{}, {"head": "compressor"}, {"fabric": "ecp5"},
                                     {"fabric": "ice40"}])
def test_netlist_equals_golden(options):
    inputs = 6 if options.get("fabric", "xc7") == "xc7" else 4
    model = random_model(3, nodes=(35,), inputs=inputs, classes=4)
    codes = random_codes(model, 1000)
    config = NetworkConfig(**options)
    with Engine(report.netlist(model, config), "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, 3)}, ["o"],
                          latency=latency_of(model, config))["o"]
    np.testing.assert_array_equal(out, golden.run(model, codes).result)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_serial_network_gives_the_same_labels(stall):
    model = random_model(7, nodes=(43,), classes=6)
    codes = random_codes(model, 60)
    network = SerialNetwork(model)
    with Engine(network, "serial") as engine:
        run = engine.run_streams({"i": codes.reshape(-1)}, {"o": 60}, stall=stall, linger=30)
    np.testing.assert_array_equal(run.outputs["o"], golden.run(model, codes).result)
    if not stall:
        last = run.cycles["i"][model.features - 1::model.features]
        assert (run.cycles["o"] - last == network.latency).all()
        assert (np.diff(run.cycles["o"]) == model.features).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind, beats", [(Network, 1), (SerialNetwork, 784)])
def test_mnist_at_an_image_per_clock_and_pixel_by_pixel(kind, beats):
    model = load(Path(report.__file__).parent / "models" / "mnist_m3_s0.npz")
    rng = np.random.default_rng(0)  # blots: strokes would do, noise has but one label
    blots = np.kron(rng.random((60, 7, 7)) < 0.3, np.full((4, 4), 255)).reshape(60, 784)
    codes = model.codes(blots.astype(np.uint8))
    expected = golden.run(model, codes).result
    assert len(set(expected)) > 3
    with Engine(kind(model, NetworkConfig(stream=True)), "lutnet") as engine:
        run = engine.run_streams({"i": payload(codes.reshape(60 * beats, -1),
                                               model.encoder.width)}, {"o": 60}, linger=20)
    np.testing.assert_array_equal(run.outputs["o"], expected)
    assert (np.diff(run.cycles["o"]) == beats).all()


def test_network_without_a_head():
    model = random_model(2, nodes=(30, 21), classes=3, narrow=0)
    codes = random_codes(model, 300)
    network = Network(model, NetworkConfig(head="none", registers=("layers",)))
    assert network.latency == 2
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, 3)}, ["o"], latency=2)["o"]
    last = golden.run(model, codes).outputs[-1]
    np.testing.assert_array_equal(out, last.astype(np.int64) @ (1 << np.arange(21)))


@pytest.mark.slow
def test_topology_of_binarybrain_takes_a_table_per_node():
    model = random_model(0, nodes=(1024, 360, 60, 10), features=784, bits=784, width=1,
                         classes=10, narrow=0)
    wiring_of = np.random.default_rng(0)
    layers, below = [], 784
    for layer in model.layers:  # as BinaryBrain draws it: every input is read equally often
        drawn = np.concatenate([wiring_of.permutation(below)
                                for _ in range(-(-layer.pins.size // below))])
        layers.append(Layer(drawn[:layer.pins.size].reshape(layer.pins.shape), layer.tables))
        below = layer.nodes
    model = replace(model, layers=tuple(layers))
    figures = report.figures(model, NetworkConfig(head="none", registers=("layers",)))
    assert figures.lut_core == 1024 + 360 + 60 + 10
    assert figures.latency == 4


def test_ties_go_to_the_lowest_label():
    # Every node is constant, so all sums are equal: 1 of 1 in each group.
    encoder = Encoder(1, [0.0], [1.0], [0], [0])
    layer = Layer(np.zeros((4, 2)), np.ones((4, 4)))
    model = Model(encoder, (layer,), [3, 1, 0, 2], 4)
    with Engine(Network(model, NetworkConfig(registers=())), "lutnet") as engine:
        assert engine.get("o") == 0


# Bits that are registered nodes, and narrow ones, of each counter.
COUNTERS = [(1, 0), (2, 0), (3, 0), (6, 0), (7, 1), (9, 8), (0, 5), (1, 9), (24, 23), (40, 0)]


class Counters(wiring.Component):
    """A counter for each entry of COUNTERS, all of them on the low bits of ``i``."""

    def __init__(self, style):
        self.style = style
        super().__init__({"i": In(48), "o": Out(8 * len(COUNTERS))})

    def elaborate(self, platform):
        m = Module()
        circuit = Circuit()
        for place, (wide, narrow) in enumerate(COUNTERS):
            bits = [Wire(bit) for bit in self.i[:wide + narrow]]
            tables = [Table(0b10, (bit,)) for bit in bits[wide:]]
            row = popcount.count(circuit, bits[:wide], tables, style=self.style)
            m.d.comb += self.o[8 * place:8 * place + 8].eq(Cat(w.value for w in row))
        circuit.emit(m)
        return m


@pytest.mark.parametrize("style", popcount.STYLES)
def test_counters_count(style):
    rng = np.random.default_rng(0)
    values = [0, 2 ** 48 - 1, *(int(x) for x in rng.integers(0, 2 ** 48, 300))]
    with Engine(Counters(style), "counters") as engine:
        out = engine.pipe({"i": np.array(values, np.uint64)}, ["o"])["o"]
    rows = [int.from_bytes(row.tobytes(), "little") for row in out]
    for place, (wide, narrow) in enumerate(COUNTERS):
        mask = (1 << wide + narrow) - 1
        assert [row >> 8 * place & 255 for row in rows] == \
            [(value & mask).bit_count() for value in values]


def test_plan_is_cheaper_than_compressors():
    # n ones cost 0.5 to 0.65 n tables with carry chains; compressors cost about n.
    for height in (12, 24, 48, 135):
        assert popcount._plan((height,))[0] <= 0.65 * height


@pytest.mark.parametrize("table, pins, expected", [
    (0b1000, ["a", "b"],  (0b1000, ["a", "b"])),   # and
    (0b1010, ["a", "b"],  (0b10, ["a"])),          # the first input alone
    (0b1111, ["a", "b"],  (1, [])),                # constant
    (0b1000, ["a", None], (0, [])),                # an input that is 0
    (0b0110, [None, "b"], (0b10, ["b"])),
])
def test_tables_lose_idle_inputs(table, pins, expected):
    assert reduce_table(table, pins) == expected


def test_core_has_no_encoder():
    model = random_model(5)
    codes = random_codes(model, 200)
    core = report.core_of(model)
    bits = golden.encode(codes, model.encoder.feature, model.encoder.threshold)
    np.testing.assert_array_equal(golden.run(core, bits[:, model.used_bits()]).result,
                                  golden.run(model, codes).result)


def test_figures_add_up():
    figures = report.figures(random_model(5), NetworkConfig())
    assert figures.lut_total == figures.lut_core + figures.lut_encoder
    assert figures.lut_core > 0 and figures.carry > 0 and figures.latency == 3


@pytest.mark.slow
def test_generation_of_ten_thousand_nodes():
    began = process_time()
    model = random_model(nodes=(10_000,), bits=700, features=700, width=1, classes=10)
    text, _ = report.synthesis_text(model, NetworkConfig())
    assert text.count("LUT6 #") + text.count("LUT5 #") > 9000
    assert process_time() - began < 30


#   options                     message
WRONG = [
    ({"fabric": "virtex2"},     "fabric must be one of xc7, ecp5, ice40, not 'virtex2'"),
    ({"head": "abacus"},        "head must be one of carry, compressor, none, not 'abacus'"),
    ({"fabric": "ecp5", "head": "carry"}, "head must be compressor on ecp5, not 'carry'"),
    ({"tables": "rom"},         "tables must be one of cells, rtl, not 'rom'"),
    ({"registers": ("foo",)},   "registers must be among encode, layers, sums, label, not 'foo'"),
    ({"sum_levels": -1},        "sum_levels must be 0 to 64, not -1"),
]


@pytest.mark.parametrize("options, message", WRONG)
def test_wrong_configuration(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        NetworkConfig(**options)
