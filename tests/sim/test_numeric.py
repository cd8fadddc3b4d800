"""The bulk checks of arithmetic in their quick forms, and that they see what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hw.options import command
from sim import numeric, processor
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import class_names, directed
from sim.golden.arith.multiply import multiply
from sim.numeric import failed, main, run_check
from sim.numeric_checks import CHECKS

ROWS = {"products": 10**8, "small-fma": 1 << 20, "fma": 10**7, "exact": 10**5}


@pytest.mark.parametrize("name", CHECKS)
def test_quick(name):
    line = run_check(name, quick=True)
    assert line["n"] == ROWS[name]
    assert line["mismatches"] == 0 and "examples" not in line
    assert line["references"]
    if "classes" in line:
        assert min(line["classes"].values()) > 0 and sum(line["classes"].values()) == ROWS[name]
    assert not failed(line)


def test_full_forms_are_complete():
    """Block by block, without running them: every pair and every triple once."""
    check = CHECKS["products"](False)
    rows = [check.draw(index, np.random.default_rng(0)).operands for index in (0, 1, 4095)]
    assert check.blocks * rows[0]["a"].size == 1 << 32
    for index, block in zip((0, 1, 4095), rows):
        pairs = block["a"].astype(np.int64) << 16 | block["b"]
        assert (pairs == np.arange(index << 20, index + 1 << 20)).all()
    check = CHECKS["small-fma"](False)
    block = check.draw(255, np.random.default_rng(0)).operands
    triples = block["a"].astype(np.int64) << 20 | block["b"].astype(np.int64) << 12 | block["c"]
    assert check.blocks == 256
    assert (triples == np.arange(255 << 20, 256 << 20)).all()
    assert CHECKS["fma"](False).blocks * 1_000_000 == 10**9


# Broken expectations -----------------------------------------------------------------------------

def broken(monkeypatch, name, wrong):
    """The check with one block, and a reference that ``wrong`` changes."""
    def make(quick, real=CHECKS[name]):
        check = real(quick)
        (reference, model), *_ = check.references.items()
        return replace(check, blocks=1, references={
            reference: lambda **operands: wrong(model(**operands), **operands)})

    monkeypatch.setitem(numeric.CHECKS, name, make)


@pytest.mark.parametrize("name", CHECKS)
def test_a_wrong_bit_is_found(name, monkeypatch, capsys):
    def wrong(words, **operands):
        words[4321] ^= 1
        return words

    broken(monkeypatch, name, wrong)
    assert main([name, "--quick", "--jobs", "1"]) == 1
    line = json.loads(capsys.readouterr().out)
    assert line["mismatches"] == 1 and failed(line)
    assert len(line["examples"]) == 1 and line["examples"][0].startswith("a=")


def test_operands_are_shown_in_hexadecimal(monkeypatch):
    """As if nothing were rounded up where the addend is odd: ties to even go wrong, and say so."""
    def wrong(words, a, b, c):
        half = (a & 0x7fff == 0x3f80) & (b == 0x3380) & (c == 0x3f800001)
        words[half] -= 1
        return words

    real = CHECKS["fma"](True)
    rows = np.array([0x3f80] * 4), np.array([0x3380] * 4), np.array([0x3f800001] * 4)
    tie = class_names().index("tie, plus, odd")
    block = numeric.compare(
        replace(real, references={"wrong": lambda a, b, c: wrong(fma(a, b, c), a, b, c)}),
        numeric.Rows({name: array.astype(kind) for name, array, kind in zip(
            "abc", rows, (np.uint16, np.uint16, np.uint32))}, np.full(4, tie)), fma(*rows))
    assert (block.n, block.mismatches) == (4, 4)
    assert block.examples[0] == ("a=3f80 b=3380 c=3f800001 gives 3f800002, wrong 3f800001 "
                                 "(tie, plus, odd)")
    assert block.classes[tie] == 4 == block.classes.sum()


def test_an_empty_class_fails():
    line = {"mismatches": 0, "classes": {"one": 3, "other": 0}}
    assert failed(line) and not failed(line | {"classes": {"one": 3}})


def test_blocks_do_not_depend_on_the_number_of_processes(monkeypatch):
    """The same line but for the time."""
    lines = [run_check("exact", quick=True, seed=5, jobs=jobs) for jobs in (1, 2)]
    assert lines[0] | {"seconds": 0} == lines[1] | {"seconds": 0}


# The processor -----------------------------------------------------------------------------------

def test_processor_multiplies_as_the_model():
    a, b = np.random.default_rng(0).integers(0, 1 << 16, (2, 1 << 20), np.uint16)
    np.testing.assert_array_equal(processor.multiply(a, b), multiply(a, b))


def test_processor_adds_as_the_model():
    a, b, c, _ = directed(np.random.default_rng(1), 1_000_003)  # not a multiple of any vector
    for name in processor.instructions():
        np.testing.assert_array_equal(processor.fma(name, a, b, c), fma(a, b, c))


def test_processor_leaves_the_mode_as_it_was():
    processor.multiply(np.zeros(4), np.zeros(4))
    tiny = np.float32(1e-40)
    assert tiny * np.float32(1) == tiny and tiny != 0


def test_wrong_operands_of_the_processor():
    with pytest.raises(ValueError, match=r"^operands must have one length, not \[1, 2\]$"):
        processor.multiply(np.zeros(1), np.zeros(2))
    with pytest.raises(ValueError, match=r"^instruction must be one of this processor \(.*\), "
                                         "not 'FMA5'$"):
        processor.fma("FMA5", *np.zeros((3, 1)))


# Command line ------------------------------------------------------------------------------------

def test_list(capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CHECKS)


@pytest.mark.parametrize("options, message", [
    (["product"],       "error: check must be one of products, small-fma, fma, exact, "
                        "not 'product'"),
    (["--seed", "-1"],  "error: seed must be 0 or more, not -1"),
    (["--jobs", "0"],   "error: jobs must be 1 to 256, not 0"),
    (["--seed", "one"], "python -m sim.numeric: argument --seed: invalid int value: 'one' "
                        "(--help shows what is allowed)"),
    (["--fast"],        "python -m sim.numeric: unrecognized arguments: --fast "
                        "(--help shows what is allowed)"),
])
def test_wrong_options(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command(main)(options)
    assert stop.value.code == 2
    assert capsys.readouterr().err == message + "\n"
