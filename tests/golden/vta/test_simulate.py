import dataclasses
import itertools

import numpy as np
import pytest

from hw.vta.assembler import Program
from hw.vta.config import VtaConfig, preset
from hw.vta.isa import AluOp, Fault, Isa, Memory, Opcode, Unit
from sim.golden.vta import (
    Machine,
    first_divergence,
    read_trace,
    replay,
    schedules,
    simulate,
    write_trace,
)
from sim.vta_fuzz import fuzz_program

CONFIG = preset("small")
ISA = Isa(CONFIG)


def pipeline():
    """Two rounds of load, multiply, store, double buffered, with every kind of token."""
    rng = np.random.default_rng(0)
    with Program(CONFIG) as p:
        x = p.buffer("x", Memory.INP, rng.integers(-128, 128, (8, 16), np.int8))
        w = p.buffer("w", Memory.WGT, rng.integers(-128, 128, (1, 16, 16), np.int8))
        y = p.buffer("y", Memory.OUT, 8)
        p.load(w)
        kernel = p.kernel([(0, 0, 0)])
        for t in range(4):
            # One buffer of inputs and of results: each round waits until the other is free.
            p.load(x, sram=0, dram=2 * t, x=2, pop="g2l" if t else "", push="l2g")
            p.gemm(kernel, (2, 1, 1), reset=True, pop="l2g s2g" if t else "l2g")
            p.gemm(kernel, (2, 1, 1), push="g2l" if t < 3 else "")
            p.alu(AluOp.SHR, kernel, (2, 1), imm=7, push="g2s")
            p.store(y, sram=0, dram=2 * t, x=2, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    return p


def run(words, dram, **options):
    return simulate(Machine(CONFIG), words, dram.copy(), **options)


def image(p):
    return np.frombuffer(p.image(), np.uint8)


def test_pipeline_is_correct():
    p = pipeline()
    orders = ["program", *itertools.permutations(Unit), *range(20)]
    result, races = replay(Machine(CONFIG), p.words, image(p), orders, insn_addr=p.insn_addr)
    assert (result.status, races) == (Fault.DONE, None)
    assert (result.races, result.unwritten, result.late) == ([], [], [])


def test_every_schedule_ends_alike():
    """All of the orders that the tokens allow, not a sample."""
    p = pipeline()
    orders = list(schedules(CONFIG, p.words))
    assert len(orders) > 10 and len({tuple(order) for order in orders}) == len(orders)
    assert replay(Machine(CONFIG), p.words, image(p), orders)[1] is None


def test_removing_any_token_is_caught():
    """Take away one flag: the run deadlocks, or two instructions collide, or FINISH is not last."""
    p, caught = pipeline(), {"deadlock": 0, "race": 0, "late": 0}
    for index, word in enumerate(p.words):
        for bit in range(3, 7):
            if word >> bit & 1:
                words = [*p.words[:index], word & ~(1 << bit), *p.words[index + 1:]]
                result = run(words, image(p))
                kind = ("deadlock" if result.status == Fault.DEADLOCK else
                        "race" if result.races else "late")
                assert kind != "late" or result.late, (index, bit)
                caught[kind] += 1
    assert min(caught.values()) > 0


def test_a_race_that_shows():
    """Two orders, two results, and the two instructions that are the reason."""
    p = pipeline()
    first_store = next(i for i, w in enumerate(p.words) if w & 7 == Opcode.STORE)
    words = [w & ~(1 << 3) if i == first_store else w for i, w in enumerate(p.words)]
    result, races = replay(Machine(CONFIG), words, image(p),
                           [(Unit.STORE, Unit.LOAD, Unit.COMPUTE), "program"])
    assert {(r.first, r.second) for r in races} >= {(first_store - 1, first_store)}
    assert str(races[0]) == (f"instructions {races[0].first} and {races[0].second} collide at "
                             f"acc[{races[0].element}] ({races[0].kinds}): no token orders them")


def test_a_race_in_dram():
    """A LOAD of what a STORE writes, with nothing between them."""
    with Program(CONFIG) as p:
        y = p.buffer("y", Memory.OUT, 4)
        p.load(p.buffer("a", Memory.ACC, np.zeros((4, 16), np.int32)), push="g2s")
        p.store(y, x=4, pop="g2s", push="s2g")
        p.load(Memory.INP, dram=y.base + 3, x=1, push="l2g")
        p.finish(pop="l2g s2g")
    races = run(p.words, image(p)).races
    assert [str(race) for race in races] == [
        f"instructions 1 and 2 collide at byte {y.address + 48:#x} of dram (write/read): "
        f"no token orders them"]


def test_storing_into_the_program():
    p = pipeline()
    words = [ISA.encode(Opcode.LOAD, memory_type=Memory.ACC, y_size=1, x_size=1, push_next=1),
             ISA.encode(Opcode.STORE, memory_type=Memory.OUT, dram_base=p.insn_addr // 16 + 2,
                        y_size=1, x_size=1, pop_prev=1, push_prev=1),
             ISA.encode(Opcode.FINISH, pop_next=1)]
    races = run(words, np.zeros(p.insn_addr + 48, np.uint8), insn_addr=p.insn_addr).races
    assert [(r.first, r.second, r.kinds) for r in races] == [(1, 2, "write/fetch")]


def test_deadlock_says_who_waits_for_whom():
    words = [ISA.encode(Opcode.LOAD, memory_type=Memory.INP, pop_next=1, push_next=1),
             ISA.encode(Opcode.GEMM, pop_prev=1, push_prev=1),
             ISA.encode(Opcode.STORE, memory_type=Memory.OUT, pop_prev=1)]
    result = run(words, np.zeros(0, np.uint8))
    assert (result.status, result.instruction) == (Fault.DEADLOCK, 0)
    assert result.message == (
        "LOAD waits for a token g2l from COMPUTE, which waits, too, at instruction 0 "
        "(load.inp -g2l +l2g); "
        "COMPUTE waits for a token l2g from LOAD, which waits, too, at instruction 1 "
        "(gemm -l2g +g2l); "
        "STORE waits for a token g2s from COMPUTE, which waits, too, at instruction 2 "
        "(store.out -g2s)")
    lone = run([ISA.encode(Opcode.FINISH, pop_prev=1)], np.zeros(0, np.uint8))
    assert "from LOAD, which has executed all its instructions, at instruction 0" in lone.message


def test_both_pops_at_once():
    """Neither token is taken while the other is missing, and both are taken together."""
    words = [ISA.encode(Opcode.LOAD, memory_type=Memory.INP, push_next=1),
             ISA.encode(Opcode.FINISH, pop_prev=1, pop_next=1)]
    machine = Machine(CONFIG)
    result = simulate(machine, words, np.zeros(0, np.uint8))
    assert result.status == Fault.DEADLOCK
    assert {t.name: n for t, n in machine.tokens.items() if n} == {"L2G": 1}
    words = [ISA.encode(Opcode.STORE, memory_type=Memory.OUT, push_prev=1), words[1]]
    assert simulate(machine, words, np.zeros(0, np.uint8)).status == Fault.DONE  # tokens persist
    assert not any(machine.tokens.values())


def test_instructions_behind_finish_execute():
    """LOAD INP; FINISH hangs upstream for most seeds."""
    p = pipeline()
    words = [ISA.encode(Opcode.FINISH), *p.words[:1]]
    for order in itertools.permutations(Unit):
        result = run(words, image(p), order=order)
        assert result.status == Fault.DONE and len(result.executed) == 2
        assert result.late == [1]


@pytest.mark.parametrize("word, fault", [
    (Opcode.ILLEGAL, Fault.ILLEGAL_OPCODE),
    (ISA.encode(Opcode.LOAD, memory_type=7, x_size=1), Fault.ILLEGAL_MEMORY),
    (ISA.encode(Opcode.STORE, memory_type=Memory.OUT, push_next=1), Fault.ILLEGAL_TOKEN),
    (ISA.encode(Opcode.ALU, uop_end=1, iter_out=3, iter_in=1, dst_factor_out=255),
     Fault.ACC_RANGE),
    (ISA.encode(Opcode.LOAD, memory_type=Memory.INP, dram_base=1 << 20, y_size=1, x_size=1),
     Fault.BUS_ERROR),
])
def test_errors_name_the_instruction(word, fault):
    p = pipeline()
    words = [*p.words[:3], int(word), *p.words[3:]]
    result = run(words, image(p))
    assert (result.status, result.instruction) == (fault, 3)
    assert result.message.startswith("instruction 3 (") and fault.status in result.message


def test_no_finish():
    assert run(pipeline().words[:2], image(pipeline())).status == Fault.NO_FINISH


def test_reads_of_what_nothing_wrote():
    with Program(CONFIG) as p:
        kernel = p.kernel([(0, 5, 0)])
        p.load(Memory.WGT, x=1, push="l2g")
        p.gemm(kernel, (3, 1, 2), overwrite=True, pop="l2g")
        p.gemm(kernel, (4, 1), reset=True, push="g2s")
        p.store(Memory.OUT, x=5, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    result = run(p.words, image(p))
    assert [str(read) for read in result.unwritten] == [
        "instruction 2 reads inp[5] and 2 more, which nothing has written",
        "instruction 4 reads acc[4], which nothing has written"]


def test_traces_tell_the_first_divergence():
    p = pipeline()
    good = run(p.words, image(p), trace=True)
    assert read_trace(write_trace(good.trace)) == good.trace
    assert first_divergence(good.trace, run(p.words, image(p), trace=True, order=3).trace) is None
    other = image(p).copy()
    other[p.buffers["x"].address + 5 * 16] ^= 1  # the third pair of inputs
    bad = run(p.words, other, trace=True)
    index = next(i for i, (a, b) in enumerate(zip(good.trace, bad.trace)) if a != b)
    text = first_divergence(good.trace, bad.trace, CONFIG, p.words)
    assert text.startswith(f"instruction {index} (load.inp ") and "2 elements of inp" in text
    assert "that it does not execute" in first_divergence(good.trace, good.trace[:-1])
    with pytest.raises(ValueError, match="^line 2 of a trace must be index, unit, .*, not 'x'$"):
        read_trace("0 load inp 1 00000000\nx\n")


def test_wrong_order():
    with pytest.raises(ValueError, match="^order must be 'program', units, .*, not 'backwards'$"):
        run([], np.zeros(0, np.uint8), order="backwards")


def test_machine_persists():
    p = pipeline()
    machine, dram = Machine(CONFIG), image(p).copy()
    assert simulate(machine, p.words, dram).status == Fault.DONE
    before = machine.acc.copy()
    assert simulate(machine, [ISA.encode(Opcode.FINISH)], dram).status == Fault.DONE
    assert (machine.acc == before).all() and machine.written["acc"].any()


#   preset     programs
@pytest.mark.parametrize("name, count", [("default", 6), ("block4", 40), ("batch2", 4)])
def test_random_programs_do_not_depend_on_the_order(name, count):
    for seed in range(1000, 1000 + count):
        p = fuzz_program(preset(name), seed)
        result, races = replay(Machine(p.config), p.words, p.image,
                               ["program", seed, *list(itertools.permutations(Unit))[:2]],
                               insn_addr=p.insn_addr)
        assert (result.status, races, result.races, result.unwritten) == (
            Fault.DONE, None, [], []), seed


def test_plain_core():
    config = dataclasses.replace(VtaConfig(), extensions=False)
    words = [Isa(config).encode(Opcode.DEPTHWISE)]
    result = simulate(Machine(config), words, np.zeros(0, np.uint8))
    assert (result.status, result.instruction) == (Fault.ILLEGAL_OPCODE, 0)
