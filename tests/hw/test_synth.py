import json
import re

import numpy as np
import pytest
from amaranth import Module, signed
from amaranth.lib import wiring

from hw.arith.fma import FusedMultiplyAdd
from hw.arith.multiply import FloatMultiply, IntegerMultiply
from hw.formats import FLOAT16, FloatFormat
from hw.mult18x18d import MULTIPLIER_MODEL
from hw.netlist import netlist
from hw.synth import TARGETS, Report, synthesise
from hw.tools import ToolError
from hw.verilog import to_verilog
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import directed
from sim.golden.arith.multiply import multiply
from sim.verilated import Engine

ADD = """
module add(input clk, input [7:0] a, b, output reg [8:0] y);
  always @(posedge clk) y <= a + b;
endmodule
"""
MEMORY = """
module memory(input clk, input [3:0] where, from, input write, input [3:0] d, output [3:0] q);
  reg [3:0] words[15:0];
  assign q = words[from];
  always @(posedge clk) if (write) words[where] <= d;
endmodule
"""
BLOCK = """
module block(input clk, input [9:0] where, input write, input [17:0] d, output reg [17:0] q);
  reg [17:0] words[1023:0];
  always @(posedge clk) if (write) words[where] <= d; else q <= words[where];
endmodule
"""
NOTHING = dict.fromkeys(("lut", "ff", "bram", "dsp", "carry", "lutram"), 0)


# Counts that can be told by hand.
@pytest.mark.parametrize("text, top, target, expected", [
    # 9 bits of sum in pairs: 5 CCU2C, which count as 10 LUT4
    (ADD,    "add",    "ecp5",  {"lut": 10, "ff": 9, "carry": 5}),
    (ADD,    "add",    "ice40", {"lut": 8, "ff": 9, "carry": 8}),
    (MEMORY, "memory", "ecp5",  {"lut": 6, "lutram": 1}),      # 16x4 is one DPR16X4
    (BLOCK,  "block",  "ecp5",  {"bram": 1}),                  # 1024x18 is one block
    (BLOCK,  "block",  "ice40", {"bram": 5, "lut": 1}),        # 1024x4 each; no read in a write
])
def test_counts(text, top, target, expected):
    report = synthesise(text, top, target)
    assert {key: getattr(report, key) for key in NOTHING} == NOTHING | expected
    assert (report.target, report.top) == (target, top)
    assert re.fullmatch(r"yosys \d+\.\d+", report.tool)


class Product(wiring.Component):
    """A registered multiplier and nothing else."""

    def __init__(self, shape):
        self.multiply = IntegerMultiply(shape, shape)
        super().__init__(dict(self.multiply.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules[self.multiply.name] = inner = self.multiply
        m.d.comb += [inner.a.eq(self.a), inner.b.eq(self.b), self.p.eq(inner.p)]
        return m


@pytest.mark.parametrize("shape", [8, 18, signed(8)])
def test_ecp5_multiplier_has_its_registers_inside(shape):
    report = synthesise(to_verilog(Product(shape), "top"), "top", "ecp5")
    assert report.cells == {"MULT18X18D": 1}


def test_json():
    report = synthesise(ADD, "add", "ecp5")
    assert Report.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["cells"] == {"CCU2C": 5, "TRELLIS_FF": 9}


# The ladder's last rung -------------------------------------------------------------------------

@pytest.mark.parametrize("target", TARGETS)
def test_netlist_computes_as_the_model(target):
    """Multiplier, adder, registers and rounding of a small float format, every pair of operands."""
    operand = FloatFormat("e4m3", 4, 3)
    dut = FloatMultiply(operand, FLOAT16)
    a, b = np.divmod(np.arange(1 << 16), 1 << 8)
    engine = Engine(netlist(to_verilog(dut, "dut"), "dut", target), "dut")
    got = engine.pipe({"a": a, "b": b}, ["y"], latency=dut.latency)["y"]
    np.testing.assert_array_equal(got, multiply(a, b, operand, FLOAT16))


def test_ice40_netlist_of_a_fused_multiply_add():
    """Its factors have constant bits, and a register follows that of the product."""
    dut = FusedMultiplyAdd()
    a, b, c, _ = directed(np.random.default_rng(0), 3000)
    engine = Engine(netlist(to_verilog(dut, "dut"), "dut", "ice40"), "dut")
    got = engine.pipe({"a": a, "b": b, "c": c}, ["y"], latency=dut.latency)["y"]
    np.testing.assert_array_equal(got, fma(a, b, c))
    assert synthesise(to_verilog(dut, "dut"), "dut", "ice40").dsp == 1


def test_netlist_of_memory():
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(0, high, 1000)
              for name, high in (("where", 16), ("from", 16), ("write", 2), ("d", 16))}
    words, want = [0] * 16, []
    for where, source, write, d in zip(*inputs.values()):
        want.append(words[source])
        words[where] = d if write else words[where]
    got = Engine(netlist(MEMORY, "memory", "ecp5"), "memory").pipe(inputs, ["q"])["q"]
    np.testing.assert_array_equal(got, want)


# Registers in use, and the latency they make.
REGISTERS = [
    ("", 0),
    ("INPUTA INPUTB", 1),
    ("PIPELINE", 1),
    ("INPUTA INPUTB OUTPUT", 2),
    ("INPUTA INPUTB PIPELINE OUTPUT", 3),
]
SIGNS = [(0, 0), (1, 1), (1, 0)]


def test_multiplier_model():
    """All of the table in one simulator, because building one takes longer than running it."""
    cases = [(*registers, *signs) for registers in REGISTERS for signs in SIGNS]
    text = MULTIPLIER_MODEL + "module top(input clk, input [17:0] a, b"
    text += "".join(f", output [35:0] p{n}" for n in range(len(cases))) + ");\n"
    for number, (registers, _, signed_a, signed_b) in enumerate(cases):
        used = ", ".join(f'.REG_{place}_CLK("CLK0")' for place in registers.split())
        pins = ", ".join([f".{x.upper()}{n}({x}[{n}])" for x in "ab" for n in range(18)]
                         + [f".P{n}(p{number}[{n}])" for n in range(36)])
        text += f"MULT18X18D #({used}) dut{number}({pins}, .SIGNEDA(1'b{signed_a}), " \
                f".SIGNEDB(1'b{signed_b}), .CLK0(clk), .CE0(1'b1), .RST0(1'b0));\n"
    a, b = np.random.default_rng(1).integers(0, 1 << 18, (2, 500))
    a[:3], b[:3] = (1 << 17, (1 << 18) - 1, 0), (1 << 17, (1 << 18) - 1, 1)
    engine = Engine(text + "endmodule\n", "top")
    for number, (_, latency, signed_a, signed_b) in enumerate(cases):
        engine.restart()
        got = engine.pipe({"a": a, "b": b}, [f"p{number}"], latency=latency)[f"p{number}"]
        exact_a = np.where(signed_a & a >> 17, a - (1 << 18), a)
        exact_b = np.where(signed_b & b >> 17, b - (1 << 18), b)
        np.testing.assert_array_equal(got, exact_a * exact_b & (1 << 36) - 1)


# What is wrong ----------------------------------------------------------------------------------

def test_unknown_target():
    with pytest.raises(ValueError, match="^target must be one of ecp5, ice40, xc7, not 'ecp6'$"):
        synthesise(ADD, "add", "ecp6")


def test_unknown_top():
    with pytest.raises(ValueError, match="^top must be a module of the Verilog text, not 'sub'$"):
        synthesise(ADD, "sub", "ecp5")


def test_bare_multiplier():
    with pytest.raises(ValueError, match="^top must not be a bare multiplier, dsp_8x8_u$"):
        synthesise("module dsp_8x8_u(a);\ninput a;\nendmodule\n", "dsp_8x8_u", "ecp5")


def test_wrong_verilog():
    with pytest.raises(ToolError, match="^yosys failed: design.v:3: ERROR: syntax error, "
                                        r"unexpected ';' \(log: \S+/synth\.log\)$"):
        synthesise(ADD.replace("a + b", "a +"), "add", "ecp5")


def test_multiplier_with_other_ports():
    text = "module top(input clk); \\top.dsp_8x8_u x(clk); endmodule\n" \
           "module \\top.dsp_8x8_u (clk);\n  input clk;\nendmodule\n"
    with pytest.raises(ToolError, match="^dsp_8x8_u must have the inputs clk, a, b and one output, "
                                        "not clk$"):
        synthesise(text, "top", "ecp5")


def test_netlist_without_model():
    with pytest.raises(ToolError, match=r"^cells without a simulation model: DP16KD \(netlist: "
                                        r"\S+/netlist\.v\)$"):
        netlist(BLOCK, "block", "ecp5")


def test_an_ice40_makes_small_memories_of_what_it_has():
    text = """
module small(input clk, write, input [2:0] at, input d, output q);
  (* ram_style = "distributed" *) reg m [0:7];
  always @(posedge clk) if (write) m[at] <= d;
  assign q = m[at];
endmodule
"""
    assert synthesise(text, "small", "ice40").ff >= 8
    assert synthesise(text, "small", "ecp5").lutram == 1
