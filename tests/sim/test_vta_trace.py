"""What the core's instructions write, against what those of the simulator do."""

import json
import re

import numpy as np
import pytest

from hw.vta.config import preset
from hw.vta.isa import AluOp, Isa, Opcode
from sim.golden.vta import first_divergence
from sim.golden.vta.alu import MODEL
from sim.vta import main
from sim.vta_compare import compare
from sim.vta_engine import Conditions, IssEngine
from sim.vta_fuzz import fuzz_program
from sim.vta_rtl import RtlEngine

CONFIG = preset("block4")
ISA = Isa(CONFIG)


@pytest.fixture(scope="module")
def core():
    return RtlEngine(CONFIG)


def trace(engine, program, **conditions):
    return engine.run(program.image, program.insn_addr, program.insn_count,
                      Conditions(**conditions), trace=True).trace


@pytest.mark.parametrize("seed", range(12))
def test_traces_are_equal(core, seed):
    program = fuzz_program(CONFIG, seed)
    records = trace(core, program, latency=10, stall=0.3, seed=seed)
    assert len(records) == program.insn_count
    assert records == trace(IssEngine(CONFIG), program)


def test_a_fault_is_found_at_its_instruction(core, monkeypatch):
    """A simulator whose MAX is MIN: the first MAX that is not equal is where they part."""
    program = next(p for p in (fuzz_program(CONFIG, seed) for seed in range(100))
                   if sum(is_max(word) for word in p.words) >= 2)
    right = trace(IssEngine(CONFIG), program)
    monkeypatch.setitem(MODEL, AluOp.MAX, np.minimum)
    wrong = trace(IssEngine(CONFIG), program)
    index = next(a.index for a, b in zip(right, wrong) if a != b)
    assert is_max(program.words[index])
    result = compare(core, program, Conditions(latency=10, stall=0.3))
    assert result.problem is not None
    assert result.divergence == first_divergence(wrong, right, CONFIG, program.words)
    assert result.divergence.startswith(f"instruction {index} (alu.max ")


def is_max(word):
    insn = ISA.decode(word)
    return insn.opcode == Opcode.ALU and insn.alu_opcode == AluOp.MAX


def test_fuzz_prints_the_instruction(core, monkeypatch, capsys):
    monkeypatch.setitem(MODEL, AluOp.ADD, np.subtract)
    monkeypatch.setattr("sim.vta.engine", lambda *_: core)
    assert main(["fuzz", "--level", "rtl", "--config", "block4", "--programs", "50"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert re.match(r"instruction \d+ \(alu\.add .*\): expected COMPUTE to write \d+ elements of "
                    r"acc .*, got COMPUTE to write ", report["divergence"])


def test_after_an_error_only_what_was_written_is_there(core):
    program = fuzz_program(CONFIG, 3)
    image = program.image.copy()
    index = next(i for i in range(6, program.insn_count) if not program.words[i] & 0x78)
    image[program.insn_addr + 16 * index] |= 7  # no such opcode
    result = core.run(image, program.insn_addr, program.insn_count, Conditions(), trace=True)
    assert result.instruction == index
    expected = {r.index: r for r in trace(IssEngine(CONFIG), program)}
    assert all(expected[r.index] == r for r in result.trace if r.index < index)
    assert not any(r.index == index for r in result.trace)
