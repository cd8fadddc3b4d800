import json

import numpy as np
import pytest

from hw.tools import ToolError
from sim import mutate
from sim.mutate import SELECT, MutantEngine, mutants, survivors

# y = 3 a + b, by way of a register and a term that is always 0.
DESIGN = """
module dut(input clk, input [3:0] a, b, output reg [6:0] y);
  wire [5:0] twice = {1'b0, a, 1'b0};
  wire [3:0] nothing = a & ~(a | b);
  wire [6:0] sum = twice + a + b;
  always @(posedge clk) y <= sum | nothing;
endmodule
"""
A, B = np.divmod(np.arange(256), 16)
N = 40


def exact(engine):
    """All inputs: no mutant that differs can pass."""
    y = engine.pipe({"a": A, "b": B}, ["y"], latency=1)["y"]
    return bool((y == 3 * A + B).all())


def careless(engine):
    """Only sums of which b is no part."""
    y = engine.pipe({"a": A[B == 0], "b": 0 * A[B == 0]}, ["y"], latency=1)["y"]
    return bool((y == 3 * A[B == 0]).all())


@pytest.fixture(scope="module")
def outcome():
    return survivors(DESIGN, exact, N, name="dut")


def test_complete_check_leaves_only_equivalents(outcome):
    assert outcome.total == N
    assert outcome.caught + len(outcome.survivors) == N
    assert outcome.caught >= N // 2
    assert {survivor.verdict for survivor in outcome.survivors} == {"equivalent"}
    assert outcome.score == 1


def test_careless_check_leaves_real_survivors(outcome):
    found = survivors(DESIGN, careless, N, name="dut")
    verdicts = [survivor.verdict for survivor in found.survivors]
    assert verdicts.count("equivalent") == outcome.equivalent == found.equivalent
    assert verdicts.count("different") == len(verdicts) - found.equivalent > 0
    assert found.caught == outcome.caught - verdicts.count("different")
    assert found.score == found.caught / (N - found.equivalent) < 1
    assert all("b=0x" in s.detail for s in found.survivors if s.verdict == "different")


# A stream whose payload is 0 while it is not valid, where nobody looks at it.
STREAM = """
module stream(input clk, i__valid, input [3:0] i__payload,
              output reg o__valid, output reg [3:0] o__payload);
  always @(posedge clk) o__valid <= i__valid;
  always @(posedge clk) o__payload <= i__valid ? i__payload : 4'b0;
endmodule
"""


def only_what_is_valid(engine):
    valid, payload = np.divmod(np.random.default_rng(0).permutation(32), 16)
    got = engine.pipe({"i__valid": valid, "i__payload": payload}, ["o__valid", "o__payload"],
                      latency=1)
    return bool((got["o__valid"] == valid).all()
                and (got["o__payload"] == payload)[valid == 1].all())


def test_payloads_count_where_they_are_valid():
    outcome = survivors(STREAM, only_what_is_valid, N, name="stream")
    assert outcome.survivors
    assert {survivor.verdict for survivor in outcome.survivors} == {"equivalent"}


def test_json(outcome):
    line = json.loads(outcome.to_json())
    assert line["caught"] == outcome.caught
    assert line["equivalent"] == outcome.equivalent == len(line["survivors"])


def test_mutants_are_those_asked_for():
    folder, mutations = mutants(DESIGN, N, name="dut")
    assert [mutation.index for mutation in mutations] == list(range(1, N + 1))
    assert len({str(mutation) for mutation in mutations}) > N * 3 // 4
    assert mutants(DESIGN, N, seed=2, name="dut")[1] != mutations
    with MutantEngine((folder / "mutants.v").read_text(), "dut") as engine:
        assert engine.ports[SELECT].is_input
        good = []
        for index in range(N + 1):
            engine.select(index)
            engine.restart()  # keeps the selection
            good.append(exact(engine))
    assert good[0]
    assert not all(good[1:])


def test_component_names_its_lines():
    from hw.arith.multiply import FloatMultiply
    _, mutations = mutants(FloatMultiply(), 20)
    assert any(source.startswith("hw/arith/multiply.py:")
               for mutation in mutations for source in mutation.sources)


def test_check_that_fails_by_itself():
    with pytest.raises(ValueError, match="^check must pass on dut itself, which it does not$"):
        survivors(DESIGN, lambda engine: False, N, name="dut")


def test_wrong_count():
    with pytest.raises(ValueError, match="^n must be at least 1, not 0$"):
        mutants(DESIGN, 0, name="dut")


def test_nothing_to_mutate():
    with pytest.raises(ToolError, match="^lone has no cell to mutate$"):
        mutants("module lone(input a, output y); assign y = a; endmodule", name="lone")


@pytest.mark.parametrize("check, code", [(exact, 0), (careless, 1)])
def test_command(monkeypatch, capsys, check, code):
    import sim.mutation_checks
    monkeypatch.setattr(sim.mutation_checks, "CHECKS", {"dut": (lambda: DESIGN, check)})
    assert mutate.main(["-n", str(N)]) == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["name"] == "dut"
    assert ("dut: " in shown.err) == bool(code)  # survivors that no proof excuses
    assert "score" in shown.err


@pytest.mark.parametrize("options, message", [
    (["nand"], "design must be one of dut, not 'nand'"),
    (["-n", "0"], "n must be 1 or more, not 0"),
    (["--seed", "-1"], "seed must be 0 or more, not -1"),
    (["--jobs", "0"], "jobs must be 1 or more, not 0"),
])
def test_wrong_options(monkeypatch, options, message):
    import sim.mutation_checks
    monkeypatch.setattr(sim.mutation_checks, "CHECKS", {"dut": (lambda: DESIGN, exact)})
    with pytest.raises(ValueError, match=f"^{message}$"):
        mutate.main(options)


# A term that is always 0, in front of a memory.
MEMORY = """
module memory(input clk, write, input [1:0] at, input [2:0] d, output reg [2:0] q);
  reg [2:0] m [0:3];
  wire [2:0] nothing = d & ~(d | {3{write}});
  always @(posedge clk) begin
    if (write) m[at] <= d | nothing;
    q <= m[at];
  end
endmodule
"""


def test_a_memory_outside_proves_as_much_as_one_of_registers():
    inside, outside = (
        [survivor.verdict == "equivalent" for survivor in
         survivors(MEMORY, lambda engine: True, 12, name="memory", steps=steps).survivors]
        for steps in (2, 0))
    assert 1 <= sum(inside) == sum(outside) < 12
    assert inside == outside
