"""The self-test names the layer that is wrong, and no other."""

import json

import numpy as np
import onnx
import pytest

from boards.engine import BoardEngine
from boards.host import VtaHost, main
from boards.link import Link
from boards.model import ModelBoard
from boards.selftest import WHOLE, selftest
from hw.compiler.accesses import GRANULE, Footprints
from hw.compiler.builder import Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from hw.compiler.front import load
from hw.compiler.link import compile_network
from hw.compiler.program import Launch
from hw.compiler.proof import words_of
from hw.vta.config import preset
from hw.vta.isa import Memory, Opcode

CONFIG = preset("block4")


@pytest.fixture(scope="module")
def front():
    return load(Sequential((2, 8, 8), [
        Conv2D(6, 3, padding="same"), ReLU(), MaxPool(2), Conv2D(5, 3, padding="same"), ReLU(),
        Conv2D(7, 1), ReLU(), Flatten(), Dense(4)]).graph(), checked=False)


@pytest.fixture(scope="module")
def program(front):
    return compile_network(front.network, CONFIG, keep=True, split=True)


def launches(program):
    return [step for step in program.steps if isinstance(step, Launch)]


class Board(ModelBoard):
    """A board whose memory, or core, is damaged before a launch, or after it."""

    def __init__(self, before=None, after=None):
        super().__init__(CONFIG)
        core, launch = self.core, self.core._launch

        def damaged():
            if before:
                before(core)
            launch()
            if after:
                after(core)

        core._launch = damaged


def weights_of(program, number):
    """Granules of weights that launch ``number`` alone loads."""
    found = []
    for step in launches(program):
        reads = Footprints(CONFIG, program.image)
        loads = [reads.isa.decode(word) for word in words_of(program, step)]
        found.append({int(g) for each in loads if each.opcode == Opcode.LOAD
                      and each.memory_type == Memory.WGT for g in reads.of(each).reads["dram"]})
    others = set().union(*found[:number], *found[number + 1:])
    return sorted(found[number] - others)


def names(program):
    return [" + ".join(o.name for o in plan.visit.operators)
            for step in launches(program) for plan in step.plans]


def test_a_sound_board(front, program):
    found = selftest(BoardEngine(VtaHost(Link(ModelBoard(CONFIG)))), front)
    assert found == {"layers": len(names(program)), "samples": 1, "first": None}
    assert found["layers"] >= 4


def test_a_wrong_weight(front, program):
    with_weights = [n for n in range(len(names(program))) if weights_of(program, n)]
    assert len(with_weights) == 4
    for number in with_weights:
        granules = weights_of(program, number)

        def spoil(core, granules=granules):
            for granule in granules:  # of memory whose highest bit is stuck at the wrong value
                core.dram[GRANULE * granule] = program.image[GRANULE * granule] ^ 0x80

        found = selftest(BoardEngine(VtaHost(Link(Board(spoil)))), front)
        first = found["first"]
        assert first["layer"] == names(program)[number], number
        assert first["wrong"] >= 1 and first["expected"] != first["got"]


def test_a_wrong_bit_of_a_result(front, program):
    for number, step in enumerate(launches(program)):
        place = program._slice(program.network.tensors[step.results[0]])
        runs = []

        def flip(core, number=number, place=place, runs=runs):
            if len(runs) == number:
                core.dram[place.start] ^= 1
            runs.append(number)

        first = selftest(BoardEngine(VtaHost(Link(Board(after=flip)))), front)["first"]
        assert (first["layer"], first["tensor"]) == (names(program)[number], step.results[0])
        assert (first["wrong"], abs(first["expected"] - first["got"])) == (1, 1)
        assert len(runs) == number + 1  # nothing after it was run


def test_a_wrong_bit_of_the_whole(front, program):
    def flip(core, runs=[]):  # noqa: B006 - counts its calls
        runs.append(0)
        if len(runs) > len(launches(program)):
            core.dram[program.base:] ^= 1

    assert selftest(BoardEngine(VtaHost(Link(Board(after=flip)))), front)["first"]["layer"] == WHOLE


def test_a_core_that_stops(front, program):
    def spoil(core, runs=[]):  # noqa: B006 - counts its calls
        runs.append(0)
        if len(runs) == 3:
            core.dram[launches(program)[2].insn_addr:][:16] = 0xff

    first = selftest(BoardEngine(VtaHost(Link(Board(spoil)))), front)["first"]
    assert first["layer"] == names(program)[2] and "instruction 0 stops the core" in first["error"]


def test_command(front, tmp_path, capsys):
    onnx.save(front.model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((2, 2, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert main(["model:vta?preset=block4", "selftest", str(tmp_path / "model.onnx"),
                 "--input", str(tmp_path / "x.npy")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["samples"] == 2 and said["first"] is None
