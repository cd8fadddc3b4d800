"""The core as a whole, in the native engine, against the instruction-set simulator."""

import numpy as np
import pytest

from hw.vta.alu_long import LONG
from hw.vta.assembler import Program, to_binary
from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import AluOp, Fault, Isa, Memory, Opcode
from hw.vta.registers import COUNTERS, IDENTITY, register_map
from sim.golden.vta import Machine, simulate
from sim.vta_bench import bench
from sim.vta_engine import Conditions
from sim.vta_faults import wrong_programs
from sim.vta_fuzz import fuzz_program
from sim.vta_rtl import RtlEngine, SequentialRtl, VtaRtl

CONFIG = preset("block4")
ISA = Isa(CONFIG)


@pytest.fixture(scope="module", params=[VtaRtl, SequentialRtl])
def powered(request):
    return request.param(CONFIG)


@pytest.fixture
def core(powered):
    """Of either kind."""
    powered.restart()
    return powered


@pytest.fixture(scope="module")
def powered_parallel():
    return VtaRtl(CONFIG)


@pytest.fixture
def parallel(powered_parallel):
    powered_parallel.restart()
    return powered_parallel


def check_random(core, seed, **conditions):
    """One random program: status, DRAM and scratchpads as the simulator has them."""
    program = fuzz_program(core.config, seed)
    machine, expected, image = Machine(core.config), program.image.copy(), program.image.copy()
    model = simulate(machine, program.words, expected, insn_addr=program.insn_addr)
    if model.races:
        pytest.fail(f"program {seed} has a race: {model.races[0]}")
    core.restart()
    result = core.run(image, program.insn_addr, program.insn_count, seed=seed, **conditions)
    assert result.status == model.status == Fault.DONE
    np.testing.assert_array_equal(image, expected, err_msg=f"DRAM, program {seed}")
    for name, content in core.scratchpads().items():
        np.testing.assert_array_equal(content, machine.scratchpads()[name],
                                      err_msg=f"{name}, program {seed}")


#                 latency  spread  stall
CONDITIONS = [
    dict(latency=1,   spread=0,   stall=0.0),
    dict(latency=1,   spread=0,   stall=0.5),
    dict(latency=16,  spread=5,   stall=0.3),
    dict(latency=200, spread=0,   stall=0.5),
    dict(latency=7,   spread=100, stall=0.0),  # answers in bunches
]


@pytest.mark.parametrize("seed", range(50))
def test_random_programs_match_simulator(core, seed):
    check_random(core, seed, **CONDITIONS[seed % len(CONDITIONS)])


@pytest.mark.parametrize("origin", [0x5A5A_5000, 0xA5A5_A000, 0xFFFF_0000])
def test_random_programs_anywhere_in_memory(core, origin):
    check_random(core, 51, latency=3, origin=origin)


VARIANTS = {
    **PRESETS,
    "bus128": VtaConfig(bus_width=128),
    "bus256": VtaConfig(log_block=2, log_uop_buff_size=12, log_inp_buff_size=12,
                        log_wgt_buff_size=12, log_acc_buff_size=13, bus_width=256),
    "bus512": VtaConfig(log_block=2, log_uop_buff_size=12, log_inp_buff_size=12,
                        log_wgt_buff_size=12, log_acc_buff_size=13, bus_width=512),
    "narrow": VtaConfig(log_block=2, log_uop_buff_size=12, log_inp_buff_size=12,
                        log_wgt_buff_size=12, log_acc_buff_size=13, address_width=40,
                        burst_beats=3, reads=1, writes=1, queue_depth=64, token_width=8),
    "plain":  VtaConfig(log_block=2, log_uop_buff_size=12, log_inp_buff_size=12,
                        log_wgt_buff_size=12, log_acc_buff_size=13, extensions=False),
}


@pytest.mark.slow  # scripts/nightly runs 1000 of each preset besides
@pytest.mark.parametrize("name", VARIANTS)
def test_random_programs_of_every_configuration(name):
    core = VtaRtl(VARIANTS[name])
    for seed in range(100):
        check_random(core, seed, **CONDITIONS[seed % len(CONDITIONS)])


# Errors -----------------------------------------------------------------------------------------

DEPTH = {name: CONFIG.depth(name) for name in ("uop", "inp", "wgt", "acc")}
DONE = ISA.encode(Opcode.FINISH)
ERRORS = wrong_programs(CONFIG)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_errors_stop_the_core_with_their_cause(core, name, stall):
    words, fault, number = ERRORS[name]
    image = np.zeros(8192, np.uint8)
    image[4096:4096 + 16 * len(words)] = np.frombuffer(bytes(to_binary(words)), np.uint8)
    model = simulate(Machine(CONFIG), words, image.copy())
    assert (model.status, model.instruction) == (fault, number)
    result = core.run(image, 4096, len(words), stall=stall)
    assert (result.status, result.instruction) == (fault, number)


def saturated(core):
    """A program that stores what it loaded; its image, and what must be in the buffer ``y``."""
    values = np.random.default_rng(0).integers(-300, 300, (8, 1, 4)).astype(np.int32)
    with Program(core.config) as p:
        p.load(p.buffer("x", Memory.ACC, values), push="g2s")
        p.store(p.buffer("y", Memory.OUT, 8), saturate=True, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    return p, np.clip(values, -128, 127).astype(np.int8).ravel()


def test_after_an_error_nothing_starts_until_reset(core):
    program, expected = saturated(core)
    image = np.frombuffer(bytes(program.image()), np.uint8).copy()
    core.run(image, program.insn_addr, 1)  # NO_FINISH, and a token is left over
    assert core.read("control") == 0b10
    core.write("control", 1)
    core.engine.step(50)
    assert core.read("status") & 0x10f == Fault.NO_FINISH  # not running
    core.reset()
    assert (core.read("status"), core.read("error_insn")) == (0, 0xffff_ffff)
    for _ in range(2):  # without an error no reset is needed
        result = core.run(image, program.insn_addr, program.insn_count)
        assert result.status == Fault.DONE
        np.testing.assert_array_equal(image[program.buffers["y"].slice].view(np.int8), expected)


def test_what_was_stored_stays_stored(core):
    program, expected = saturated(core)
    program.words[-1:] = [ISA.encode(Opcode.GEMM, pop_next=1, uop_end=1, iter_out=1, iter_in=3,
                               wgt_factor_in=DEPTH["wgt"] // 2)]
    image = np.frombuffer(bytes(program.image()), np.uint8).copy()
    result = core.run(image, program.insn_addr, program.insn_count)
    assert (result.status, result.instruction) == (Fault.WGT_RANGE, 2)
    np.testing.assert_array_equal(image[program.buffers["y"].slice].view(np.int8), expected)


def test_tokens_and_scratchpads_outlive_a_launch(core):
    program, expected = saturated(core)
    image = np.frombuffer(bytes(program.image()), np.uint8).copy()
    words = [program.words[0], DONE, *program.words[1:]]
    image = np.concatenate([image, np.frombuffer(bytes(to_binary(words)), np.uint8)])
    assert core.run(image, len(image) - 64, 2).status == Fault.DONE
    assert core.run(image, len(image) - 32, 2).status == Fault.DONE
    np.testing.assert_array_equal(image[program.buffers["y"].slice].view(np.int8), expected)


@pytest.mark.parametrize("dead_after", [0, 20, 60, 90])
def test_a_silent_memory_ends_in_the_watchdog(core, dead_after):
    program, _ = saturated(core)
    image = np.frombuffer(bytes(program.image()), np.uint8).copy()
    result = core.run(image, program.insn_addr, program.insn_count, watchdog=500,
                      dead_after=dead_after)
    assert result.status == Fault.DEADLOCK
    assert 500 <= result.cycles <= 1300


def test_base_registers_are_added(core):
    program, expected = saturated(core)
    image = np.frombuffer(bytes(program.image()), np.uint8)
    shifted = np.concatenate([np.zeros(4096 + 128, np.uint8), image])
    bases = dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), 4096 + 128)
    result = core.run(shifted, 4096 + 128 + program.insn_addr, program.insn_count, bases=bases)
    assert result.status == Fault.DONE
    stored = shifted[4096 + 128:][program.buffers["y"].slice]
    np.testing.assert_array_equal(stored.view(np.int8), expected)


# Registers --------------------------------------------------------------------------------------

def test_registers_of_published_vta_are_where_they_were():
    offsets = {name: register.offset for name, register in register_map(VtaConfig()).items()}
    published = ["control", "cycles", "insn_count", "insn_base", "uop_base", "inp_base",
                 "wgt_base", "acc_base", "out_base", "user"]
    assert [offsets[name] for name in published] == list(range(0, 0x28, 4))
    wide = register_map(VtaConfig(address_width=40))
    assert (wide["insn_base"].offset, wide["insn_base_high"].offset,
            wide["uop_base"].offset) == (0x0c, 0x10, 0x14)
    assert len({register.offset for register in wide.values()}) == len(wide)


def test_software_can_read_the_configuration(core):
    assert core.read("identity") == IDENTITY
    assert core.read("fingerprint") == CONFIG.fingerprint
    for name, value in CONFIG.to_dict().items():
        assert core.read(f"config_{name.lower()}") == value


def test_registers_keep_what_was_written(core):
    for name, register in core.registers.items():
        if register.access == "rw" and name not in ("control", "irq"):
            core.write(name, 0xdead_beef)
            assert core.read(name) == 0xdead_beef
            core.write(name, 0)


def test_counters_add_up(parallel):
    program, _ = saturated(parallel)
    image = np.frombuffer(bytes(program.image()), np.uint8).copy()
    result = parallel.run(image, program.insn_addr, program.insn_count, latency=10)
    counters = result.counters
    assert set(counters) == {"cycles", "user", *COUNTERS}
    assert counters["write_beats"] == 8 * 4 // 8
    assert counters["read_beats"] == 8 * 16 // 8 + 2 * program.insn_count
    assert counters["store_wait_g2s"] > counters["compute_memory"] > 10
    assert all(value <= result.cycles for value in counters.values())
    assert parallel.engine.get("irq") == 1
    parallel.write("irq", 2)
    assert parallel.engine.get("irq") == 0


# Speed ------------------------------------------------------------------------------------------

def cycles_of(parallel, build):
    with Program(parallel.config) as p:
        build(p)
        p.finish()
    image = np.frombuffer(bytes(p.image()), np.uint8).copy()
    result = parallel.run(image, p.insn_addr, p.insn_count)
    assert result.status == Fault.DONE
    return result.cycles


ALU_FORMS = {
    "min imm":  (AluOp.MIN, dict(imm=3), (0, 0)),
    "add imm":  (AluOp.ADD, dict(imm=3), (0, 0)),
    "add src":  (AluOp.ADD, {}, (0, 256)),
    "max same": (AluOp.MAX, {}, (0, 0)),
    "shr imm":  (AluOp.SHR, dict(imm=3), (0, 0)),
    "mul src":  (AluOp.MUL, {}, (0, 256)),
    "rqt":      (AluOp.RQT, dict(bias=True), (0, 256)),
}


@pytest.mark.parametrize("form", ALU_FORMS)
def test_alu_takes_a_cycle_per_micro_operation(parallel, form):
    operation, options, uop = ALU_FORMS[form]

    def program(count):
        return lambda p: p.alu(operation, p.kernel([uop]), (count, 1, 1), **options)

    constant = 16 if operation in LONG else 8
    assert cycles_of(parallel, program(200)) == cycles_of(parallel, program(0)) + 200 + constant
    assert cycles_of(parallel, program(200)) == cycles_of(parallel, program(100)) + 100


@pytest.mark.parametrize("turns, factor", [(200, 0), (200, 1), (100, 2)])  # 0: all on one sum
def test_gemm_takes_a_cycle_per_micro_operation(parallel, turns, factor):
    def program(count):
        return lambda p: p.gemm(p.kernel([(0, 0, 0)]), (count, factor, factor))

    half = turns // 2
    assert cycles_of(parallel, program(turns)) == cycles_of(parallel, program(half)) + turns - half


def test_a_reduction_is_not_slower(parallel):
    def program(count):
        return lambda p: p.alu(AluOp.ADD, p.kernel([(0, 1)]), (count, 0, 1))

    assert cycles_of(parallel, program(200)) == cycles_of(parallel, program(100)) + 100


def test_gemm_alu_and_load_overlap_when_apart(parallel):
    def program(first, second):
        def build(p):
            one, two = p.kernel([(0, 0, 0)]), p.kernel([(second, second)])
            p.gemm(one, (100, 1), (2, 0))
            p.alu(AluOp.ADD, two, (100, 1, 1), (2, 0, 0), imm=1)
        return build

    together, apart = cycles_of(parallel, program(0, 0)), cycles_of(parallel, program(0, 200))
    assert apart < together - 180  # one of the two is hidden, but for the conflicts of banks


def test_memory_that_answers_in_time_is_used_in_full(parallel):
    count = CONFIG.depth("inp")
    inputs = np.zeros(count * 4, np.int8)

    def loads(times):
        def build(p):
            source = p.buffer("x", Memory.INP, inputs)
            for _ in range(times):
                p.load(source)
        return build

    beats = count * 4 // 8
    assert cycles_of(parallel, loads(6)) - cycles_of(parallel, loads(2)) <= 4 * beats / 0.95




@pytest.mark.parametrize("latency", [1, 16, 100])
def test_what_cannot_overlap_is_a_constant(latency):
    """Double buffered: the cycles of the busiest part and a constant, however long it runs."""
    engine, overheads = RtlEngine(CONFIG), []
    for tiles in (8, 48):
        report = bench("overlap", CONFIG, engine, Conditions(latency=latency), tiles=tiles)
        assert report["status"] == "done"
        assert report["overhead_cycles"] <= report["overhead_limit"]
        # Without overlap it takes the sum of all parts.
        assert 0.9 < report["serialised_cycles"] / report["serial_cycles"] < 1.05
        assert report["serialised_cycles"] > 1.4 * report["cycles"]
        overheads.append(report["overhead_cycles"])
    assert overheads[1] <= overheads[0] + 8
