"""The report: its figures agree with each other, and its page stands on its own."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hw.compiler.checker import check
from hw.compiler.link import compile_network
from hw.compiler.operators import Tensor
from hw.compiler.page import page
from hw.compiler.proof import extents, prove, words_of
from hw.compiler.report import PARTS, report
from hw.compiler.zoo import Builder
from hw.vta.config import preset
from hw.vta.isa import TOKENS, Isa
from sim.vta_cycles import cycles

_EMPTY = {"meta", "rect", "line", "circle", "br"}


@pytest.fixture(scope="module")
def program():
    b = Builder(0, Tensor("x", 20, 12, 10))
    x = b.max_pool(b.inputs[0], (2, 2), stride=(2, 2))
    y = b.conv(x, 20, (3, 3), pads=(1, 1, 1, 1))
    y = b.add(b.conv(y, 20, (3, 3), pads=(1, 1, 1, 1), groups=20), x)
    return compile_network(b.network(b.conv(b.sum_pool(y, (6, 5)), 7)), preset("small"))


@pytest.fixture(scope="module")
def made(program):
    timings = [cycles(program.config, words_of(program, launch), program.image,
                      insn_addr=launch.insn_addr) for launch in program.steps]
    errors = {step.name: {"worst_lsb": 1, "unequal": 0.01} for step in program.network.steps}
    accuracy = {"n": 100, "operators": {"accuracy": 0.5, "interval_95": [0.4, 0.6]}}
    return report("<script>&", program, timings, latency=16, clock_mhz=50, level="tested",
                  accuracy=accuracy, errors=errors, notes=["a <note>"])


def test_figures_agree(program, made):
    layers = made["layers"]
    assert [layer["operators"] for layer in layers] == ["MaxPool", "Conv", "Depthwise+Add",
                                                       "SumPool", "Conv"]
    assert sum(layer["cycles"] for layer in layers) == made["cycles"] == layers[-1]["end"]
    assert all(a["end"] == b["begin"] for a, b in zip(layers, layers[1:]))
    assert made["macs"] == sum(step.macs for step in program.network.steps)
    assert all(0 <= layer["utilisation"] <= 1 for layer in layers)
    assert made["milliseconds"] == made["cycles"] / 50e3
    assert sum(layer["instructions"] for layer in layers) == made["instructions"] == \
        program.steps[0].insn_count
    beat = program.config.bus_width // 8
    fetched = made["counters"]["fetch_beats"]
    assert made["read_bytes"] <= (made["counters"]["read_beats"] - fetched) * beat
    assert made["write_bytes"] == made["counters"]["write_beats"] * beat  # elements are two beats


def test_timeline_is_disjoint(made):
    for part in PARTS:
        spans = np.array(made["timeline"][part])
        assert len(spans), part
        assert (spans[:, 0] <= spans[:, 1]).all() and (spans[1:, 0] >= spans[:-1, 1]).all()
        assert spans[-1, 1] <= made["cycles"]
    products = sum(b - a for a, b, _ in made["timeline"]["gemm"])
    assert products >= made["counters"]["cycles_gemm"]


def test_memory_map(made):
    found = made["memory_map"]
    tensors = {tensor["name"]: tensor for tensor in found["tensors"]}
    assert tensors["x"]["first"] == tensors["x"]["last"] == 0
    assert tensors["t0"]["last"] == 2  # the sum reads what the pool made
    alive = [sum(t["size"] for t in tensors.values() if t["first"] <= n <= t["last"])
             for n in range(found["layers"])]
    assert max(alive) <= found["bound"] <= found["peak"]
    assert max(t["address"] + t["size"] for t in tensors.values()) == found["peak"]


def test_json_holds_everything(made):
    assert json.loads(json.dumps(made)) == made


class _Checker(HTMLParser):
    """Tags must nest; collects what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.count = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if tag not in _EMPTY:
            assert self.open.pop() == tag


def parsed(text):
    checker = _Checker()
    checker.feed(re.sub(r"<(rect|line|circle)( [^>]*[^/])>", r"<g\2>", text)
                 .replace("</rect>", "</g>").replace("</circle>", "</g>"))
    assert checker.open == []
    return checker


def test_page_stands_on_its_own(made):
    text = page(made)
    checker = parsed(text)
    assert checker.fetched == [] and "http" not in text and "@import" not in text
    assert "url(" not in text and checker.count.get("script", 0) == 0
    assert "<title>&lt;script&gt;&amp;: " in text and "a &lt;note&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert "50.0 %" in text and "40.0 % to 60.0 %, n = 100" in text and "1 LSB" in text
    assert f"{made['cycles']:,}" in text


def test_page_of_little(made):
    """Nothing on the core, no accuracy: the page still comes."""
    host = {"name": "h", "operators": "Host", "place": "host", "reason": "no such operator"}
    empty = made | {
        "layers": [host], "cycles": 0, "milliseconds": 0.0, "accuracy": None, "causes": {},
        "timeline": {part: [] for part in PARTS}, "notes": [], "utilisation": 0.0,
        "memory_map": {"layers": 1, "tensors": [], "bound": 0, "peak": 0, "constants": 4096}}
    assert "no such operator" in page(empty)
    parsed(page(empty))


def test_page_of_much(made):
    """Thousands of instructions are drawn as a density."""
    many = made | {"cycles": 100_000, "timeline": {
        part: [[100 * n, 100 * n + 50, n] for n in range(1000)] for part in PARTS}}
    assert len(page(many)) < 2_000_000
    parsed(page(many))


def test_bad_clock(program):
    with pytest.raises(ValueError, match="clock must be above 0 MHz, not 0"):
        report("x", program, [], latency=16, clock_mhz=0, level="")


def test_injured_streams_are_found(program):
    """Any of a compiled stream's tokens dropped, or a base shifted: proved wrong, or harmless."""
    launch, config = program.steps[0], program.config
    isa, words = Isa(config), words_of(program, launch)
    given = extents(program, launch)
    rng = np.random.default_rng(0)

    def found(index, word):
        return check(config, [*words[:index], word, *words[index + 1:]], program.image, given,
                     insn_addr=launch.insn_addr)

    assert check(config, words, program.image, given, insn_addr=launch.insn_addr) == []
    tokens = [(index, word ^ 1 << isa.places[insn.opcode][flag][0])
              for index, (word, insn) in enumerate((word, isa.decode(word)) for word in words)
              for flag in TOKENS[insn.unit] if insn.fields[flag]]
    for n in rng.choice(len(tokens), 40, replace=False):
        assert found(*tokens[n]), tokens[n]
    loads = [index for index, word in enumerate(words)
             if (insn := isa.decode(word)).is_memory and insn.x_size]
    caught = 0
    for index in rng.choice(loads, 40, replace=False):
        name = rng.choice(["sram_base", "dram_base"])
        offset, _, width = isa.places[isa.decode(words[index]).opcode][name]
        far = 1 << (width - 1) if name == "dram_base" else 64
        caught += bool(found(index, words[index] + (far << offset)))
    assert caught >= 36, caught  # others fetch what is there, too: wrong data, but no fault


def test_prove_knows_what_is_given(program):
    launch = program.steps[0]
    found = {extent.name: extent.given for extent in extents(program, launch)}
    assert found["the constants"] and found["x"] and not found["t0"]
    prove(program)
