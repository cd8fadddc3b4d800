"""The model of the core's timing is the core's timing: cycles and counters are equal."""

import numpy as np
import pytest

from hw.vta.assembler import Program
from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import AluOp, Memory
from hw.vta.registers import COUNTERS
from hw.vta.stages import Stages
from sim.vta_bench import BENCHES
from sim.vta_cycles import CAUSES, PARTS, cycles
from sim.vta_fuzz import fuzz_program
from sim.vta_rtl import VtaRtl

TINY = VtaConfig(log_block=2, log_uop_buff_size=10, log_inp_buff_size=10, log_wgt_buff_size=10,
                 log_acc_buff_size=12, burst_beats=16, reads=2, writes=2, queue_depth=16)


def image_of(program):
    return np.frombuffer(bytes(program.image()), np.uint8)


def model(config, program, **options):
    return cycles(config, program.words, image_of(program), insn_addr=program.insn_addr, **options)


def conv_tile(config, side=8, taps=3, blocks=2, tiles=4):
    """Tiles of a convolution as a compiler emits them: inputs with padding, double buffered; sums
    requantised with parameters from DRAM, a residual added, stored; the ALU beside GEMM."""
    wide = side + 2
    area, halo = side * side, wide * wide
    rng = np.random.default_rng(0)
    lanes = config.batch * config.block
    with Program(config) as p:
        x = p.buffer("x", Memory.INP, rng.integers(-128, 128, (tiles * area, lanes), np.int8))
        w = p.buffer("w", Memory.WGT, rng.integers(
            -128, 128, (taps * taps * blocks, config.block ** 2), np.int8))
        s = p.buffer("s", Memory.ACC_8BIT, rng.integers(-128, 128, (tiles * area, lanes), np.int8))
        q = p.buffer("q", Memory.ACC, np.full((2, lanes), 9 << 16 | 1000, np.int32))
        y = p.buffer("y", Memory.OUT, tiles * area)
        top = config.depth("acc") - 2  # the parameters
        kernels = [p.kernel((half * 2 * area, half * halo + r * wide + c, r * taps + c)
                            for r in range(taps) for c in range(taps)) for half in range(2)]
        moves = [p.kernel([(half * 2 * area, half * 2 * area + area)]) for half in range(2)]
        scales = [p.kernel([(half * 2 * area, top)]) for half in range(2)]
        p.load(q, sram=top)
        p.load(w, push="l2g")
        p.sync(Memory.UOP, pop="l2g")
        for t in range(tiles):
            half = t % 2
            p.load(x, sram=half * halo, dram=t * area, y=side, x=side, pad=(1, 1, 1, 1),
                   pad_value=3, pop="g2l" if t > 1 else "", push="l2g")
            p.load(s, sram=half * 2 * area + area, dram=t * area, x=area,
                   pop="s2g" if t > 1 else "")
            p.gemm(kernels[half][:1], (side, side, wide), (side, 1, 1), overwrite=True, pop="l2g")
            p.gemm(kernels[half][1:], (side, side, wide), (side, 1, 1),
                   push="g2l" if t + 2 < tiles else "")
            p.alu(AluOp.ADD, moves[half], (area, 1, 1))
            p.alu(AluOp.RQT, scales[half], (area, 1), bias=True, push="g2s")
            p.store(y, sram=half * 2 * area, dram=t * area, x=area, pop="g2s", push="s2g")
        p.sync(Memory.UOP, pop="s2g")
        p.finish(pop="s2g")
    return p


def pool(config, side=8):
    """Maxima of 2x2 windows with a stride of 2, by the ALU alone, stored every other element."""
    area = side * side
    with Program(config) as p:
        x = p.buffer("x", Memory.ACC_8BIT,
                     np.arange(area * config.batch * config.block).astype(np.int8))
        y = p.buffer("y", Memory.OUT, area)
        kernel = p.kernel([(0, 1), (0, side), (0, side + 1)])
        p.load(x)
        p.alu(AluOp.MAX, kernel, (side // 2, 2 * side, 2 * side), (side // 2, 2, 2), push="g2s")
        p.store(y, y=side // 2, x=side // 2, stride=side // 2, sram_skip=1, sram_stride=2 * side,
                pop="g2s", push="s2g")
        p.finish(pop="s2g")
    return p


def empty_loads(config):
    """LOADs of no rows at both ends of the scratchpads, beside an ALU at work."""
    with Program(config) as p:
        a = p.buffer("a", Memory.ACC, np.ones((8, config.batch * config.block), np.int32))
        kernel = p.kernel([(0, 1), (2, 3)])
        p.load(a)
        for kind in (Memory.UOP, Memory.ACC):
            for sram in (0, config.depth(kind.scratchpad)):
                p.alu(AluOp.SHR, kernel, (20, 0), (3, 0), imm=1)
                p.load(kind, sram=sram, y=0, x=3, dram=a.base)
        p.finish()
    return p


@pytest.fixture(scope="module", params=["tiny", "block4"])
def core(request):
    return VtaRtl(TINY if request.param == "tiny" else preset(request.param))


def equal(core, words, image, insn_addr, latency):
    core.restart()
    measured = core.run(image.copy(), insn_addr, len(words), latency=latency)
    assert measured.status == 0
    predicted = cycles(core.config, words, image, insn_addr=insn_addr, latency=latency)
    assert predicted.cycles == measured.cycles
    assert {name: predicted.counters[name] for name in COUNTERS} == \
        {name: measured.counters[name] for name in COUNTERS}


@pytest.mark.parametrize("latency", [1, 16, 150])
@pytest.mark.parametrize("what", [*BENCHES, "conv", "pool", "empty"])
def test_programs(core, what, latency):
    config = core.config
    if what == "gemm":
        program = BENCHES[what](config, 8 * config.block).program
    elif what in BENCHES:
        program = BENCHES[what](config, *([4096] if what in ("load", "store") else [])).program
    elif what in ("pool", "empty"):
        program = {"pool": pool, "empty": empty_loads}[what](config)
    else:
        program = conv_tile(config, side=4 if config is TINY else 8)
    equal(core, program.words, image_of(program), program.insn_addr, latency)


@pytest.mark.parametrize("seed", range(10))
def test_fuzz(core, seed):
    program = fuzz_program(core.config, seed)
    equal(core, program.words, program.image, program.insn_addr, 1 + 7 * seed % 40)


@pytest.mark.slow
@pytest.mark.parametrize("config", [
    *PRESETS.values(),
    # Elements shorter than a beat, several instructions in a beat.
    *(VtaConfig(log_block=block, log_uop_buff_size=12, log_inp_buff_size=12, log_wgt_buff_size=12,
                log_acc_buff_size=13, bus_width=width)
      for block, width in ((2, 128), (3, 256), (2, 512))),
], ids=lambda config: f"{config.batch}x{config.block} {config.bus_width}")
def test_all_sizes(config):
    core = VtaRtl(config)
    for make in BENCHES.values():
        program = make(config).program
        equal(core, program.words, image_of(program), program.insn_addr, 16)
    for seed in range(100):
        program = fuzz_program(config, seed)
        equal(core, program.words, program.image, program.insn_addr, 1 + seed)


def test_times_and_causes():
    """Tokens order what they say, and each part is somewhere in every cycle."""
    config = preset("block4")
    program = conv_tile(config)
    found = model(config, program)
    assert (found.taken <= found.begin).all() and (found.begin <= found.done).all()
    assert (found.done <= found.left).all() and found.left.max() == found.cycles - 2
    store = [n for n, word in enumerate(program.words) if word & 7 == 1]
    assert all(found.taken[n] > found.left[n - 1] for n in store)  # the requantise before it
    for part in PARTS:
        assert list(found.causes[part]) == list(CAUSES)
        assert sum(found.causes[part].values()) == found.cycles
    assert found.causes["gemm"]["busy"] == found.counters["cycles_gemm"]


def test_overlap():
    config = preset("block4")
    program = conv_tile(config)
    assert model(config, program).cycles < 0.8 * model(config, program, serial=True).cycles


@pytest.mark.parametrize("name", Stages.__dataclass_fields__)
def test_every_cost_counts(name):
    """One more of any of the stages, or no queue, shows in what some program counts."""
    config = preset("block4")
    changed = Stages(**{name: 1 if name in ("window", "waiting") else getattr(Stages(), name) + 1})
    programs = [conv_tile(config), *(fuzz_program(config, seed, length=60) for seed in range(10))]
    for program in programs:
        image = program.image if hasattr(program, "seed") else image_of(program)
        known, other = (cycles(config, program.words, image, insn_addr=program.insn_addr, costs=c)
                        for c in (Stages(), changed))
        if known.counters != other.counters:
            return
    raise AssertionError(f"{name} changes nothing")


def test_bad_programs():
    config = preset("block4")
    with Program(config) as p:
        p.load(p.buffer("x", Memory.INP, 4), pop="g2l")
        p.finish()
    with pytest.raises(ValueError, match=r"nothing moves after cycle \d+: instruction 0 waits "
                                         r"\(load.inp .*-g2l\)"):
        model(config, p)
    with pytest.raises(ValueError, match=r"must be legal, not illegal \(illegal_opcode\)"):
        cycles(config, [7], np.zeros(16, np.uint8), insn_addr=0)
    with pytest.raises(ValueError, match="latency must be at least 1 cycle, not 0"):
        model(config, p, latency=0)
