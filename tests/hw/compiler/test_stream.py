"""Tokens that follow from what instructions touch."""

import random

import numpy as np
import pytest

from hw.compiler.slots import assign
from hw.compiler.stream import Stream, Touch
from hw.vta.config import preset
from hw.vta.isa import Isa, Memory, Opcode, Unit

CONFIG = preset("small")
LOAD = (Opcode.LOAD, {"memory_type": Memory.INP})
GEMM = (Opcode.GEMM, {})
STORE = (Opcode.STORE, {"memory_type": Memory.OUT})


def decoded(stream):
    return [Isa(CONFIG).decode(word) for word in stream.words({})]


def flags(insn):
    return [name for name in ("pop_prev", "pop_next", "push_prev", "push_next")
            if insn.fields[name]]


def test_tokens_of_a_chain():
    stream = Stream(CONFIG, 16)
    x, acc, y = Touch("inp", True, 0, 4), Touch("acc", True, 8, 12), Touch("dram", True, 0, 4)
    stream.add(*LOAD, [x])
    stream.add(*GEMM, [Touch("inp", False, 3, 4), acc])
    stream.add(*STORE, [Touch("acc", False, 8, 9), y])
    stream.add(*LOAD, [Touch("inp", True, 4, 8)])                 # elsewhere: waits for nothing
    stream.add(*LOAD, [x, Touch("dram", False, 3, 4)])            # over COMPUTE, for STORE
    stream.finish()
    insns = decoded(stream)
    assert [flags(insn) for insn in insns] == [
        ["push_next"],              # for the products
        ["pop_prev", "push_next"],
        ["pop_prev", "push_prev"],
        [],
        ["pop_next", "push_prev"],  # the relay, in front of the LOAD that it is for
        ["pop_next", "push_next"],  # comes after STORE, and so after the products
        ["pop_prev"],               # FINISH
    ]
    assert insns[4].unit == Unit.COMPUTE and insns[4].x_size == 0


def test_what_is_known_costs_no_token():
    stream = Stream(CONFIG, 0)
    stream.add(*LOAD, [Touch("inp", True, 0, 4)])
    stream.add(*LOAD, [Touch("inp", True, 4, 8)])
    stream.add(*GEMM, [Touch("inp", False, 4, 8)])
    stream.add(*GEMM, [Touch("inp", False, 0, 4)])  # the first LOAD was before the second
    stream.finish()
    assert [flags(insn) for insn in decoded(stream)] == [
        [], ["push_next"], ["pop_prev"], [], []]


@pytest.mark.parametrize("seed", range(5))
def test_random_streams_are_in_order(seed):
    """Any two that touch an element are ordered, by a clock computed from the tokens alone."""
    rng = random.Random(seed)
    stream, touched = Stream(CONFIG, 8), []
    kinds = {Unit.LOAD: (LOAD, [("inp", True), ("dram", False)]),
             Unit.COMPUTE: (GEMM, [("inp", False), ("acc", True)]),
             Unit.STORE: (STORE, [("acc", False), ("dram", True)])}
    for _ in range(200):
        kind, memories = kinds[rng.choice(list(kinds))]
        touches = []
        for memory, write in memories:
            bgn = rng.randrange(8)
            touches.append(Touch(memory, write, bgn, rng.randrange(bgn, 8) + 1))
        touched.append((stream.add(*kind, touches), touches))
    stream.finish()
    insns = decoded(stream)
    clocks, queues = {unit: np.zeros(3, int) for unit in Unit}, {}
    before = []
    for insn in insns:  # program order is one in which they can execute
        clock = clocks[insn.unit]
        for token in insn.pops:
            np.maximum(clock, queues[token].pop(0), out=clock)
        before.append(clock.copy())
        clock[insn.unit] += 1
        for token in insn.pushes:
            queues.setdefault(token, []).append(clock.copy())
    assert not any(queues.values()), "tokens are left over"
    number, counts = [], dict.fromkeys(Unit, 0)
    for insn in insns:
        counts[insn.unit] += 1
        number.append(counts[insn.unit])
    for n, (late, second) in enumerate(touched):
        for early, first in touched[:n]:
            meets = any(a.memory == b.memory and a.write | b.write and a.bgn < b.end
                        and b.bgn < a.end for a in first for b in second)
            unit = insns[early].unit
            if meets and unit != insns[late].unit:
                assert before[late][unit] >= number[early], (early, late)


#   chunks by step, places, fetched at steps
ASSIGNED = [
    ("abab", 2, [0, 1]),              # both stay
    ("abab", 1, [0, 1, 2, 3]),        # one at a time
    ("abcabc", 3, [0, 1, 2]),
    ("abcdabcd", 3, [0, 1, 2, 3, 5, 7]),  # d takes the place of b: c's is in use before it
    ("aaaa", 4, [0]),
]


@pytest.mark.parametrize("keys, slots, fetched", ASSIGNED)
def test_assign(keys, slots, fetched):
    uses = assign(keys, slots)
    assert [n for n, use in enumerate(uses) if use.fresh] == fetched
    holds = {}
    for n, use in enumerate(uses):
        if use.fresh:
            assert holds.get(use.slot, ("", -1))[1] < n, "still in use"
            holds[use.slot] = (keys[n], use.last)
        assert holds[use.slot][0] == keys[n] and n <= holds[use.slot][1]
