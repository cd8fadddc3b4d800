"""Benchmark programs of the VTA core: their results are checked, their cycles reported."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hw.vta.assembler import Program
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Fault, Memory
from sim.vta_cycles import cycles
from sim.vta_engine import Conditions, IssEngine, Outcome, differences

__all__ = ["BENCHES", "Workload", "bench"]


@dataclass(frozen=True)
class Workload:
    """A program, and what it would take if nothing were lost.

    ``ideal_cycles`` are those of the resource it is about; ``baseline`` is a program without the
    work, whose cycles are subtracted. ``outputs`` is what the buffers must hold afterwards.
    ``serial`` is the same work with tokens that let only one instruction execute at a time;
    ``overhead_limit``: so many cycles are allowed above those of the busiest resource.
    """
    program: Program
    ideal_cycles: int
    about: dict
    outputs: dict[str, np.ndarray]
    baseline: Program | None = None
    serial: Program | None = None
    overhead_limit: Callable[[Conditions], int] | None = None


def gemm(config: VtaConfig, size: int = 512) -> Workload:
    """``size`` cubed, blocked: weights come once and stay, all else is double buffered.

    The first tile of rows brings the weights, one column of blocks at a time. The ALU shifts one
    column of results while GEMM makes the next.
    """
    batch, block, rng = config.batch, config.block, np.random.default_rng(0)
    while (size // block) ** 2 > config.depth("wgt"):
        size //= 2
    blocks, rows = size // block, size // batch
    tile = min(rows, config.depth("inp") // (2 * blocks), config.depth("acc") // (2 * blocks))
    while rows % tile:
        tile -= 1
    tiles, shift = rows // tile, 10
    x = rng.integers(-128, 128, (size, size), np.int8)
    w = rng.integers(-128, 128, (size, size), np.int8)
    first = 1 if config.extensions else 0  # blocks of the sum that overwrite; else reset first
    with Program(config) as p:
        xs = p.buffer("x", Memory.INP, x.reshape(rows, batch, blocks, block).transpose(0, 2, 1, 3))
        ws = p.buffer("w", Memory.WGT, w.reshape(blocks, block, blocks, block)
                      .transpose(0, 2, 1, 3))
        y = p.buffer("y", Memory.OUT, rows * blocks)
        # For each half of the buffers and each column of blocks, the sum over k.
        kernels = p.kernel((half * tile * blocks + n * tile, half * tile * blocks + k,
                            n * blocks + k)
                           for half in range(2) for n in range(blocks) for k in range(blocks))
        for t in range(tiles):
            half, reused = t % 2, t >= 2
            p.note(f"rows {t * tile} to {(t + 1) * tile - 1}")
            p.load(xs, sram=half * tile * blocks, dram=t * tile * blocks, x=tile * blocks,
                   pop="g2l" if reused else "", push="l2g")
            if t == 0:
                for n in range(blocks):
                    p.load(ws, sram=n * blocks, dram=n * blocks, x=blocks, push="l2g")
                p.sync(Memory.UOP, pop="l2g")  # the inputs; each column waits for its weights
            for n in range(blocks):
                uops = kernels[(half * blocks + n) * blocks:][:blocks]
                pop = ["l2g"] * (t == 0 or n == 0) + ["s2g"] * reused
                p.gemm(uops[:1], (tile, 1, blocks), pop=" ".join(pop),
                       overwrite=config.extensions, reset=not config.extensions)
                last = n == blocks - 1 and t + 2 < tiles
                p.gemm(uops[first:], (tile, 1, blocks), push="g2l" if last else "")
                p.alu(AluOp.SHR, uops[:1], (tile, 1), imm=shift, push="g2s")
                p.store(y, sram=half * tile * blocks + n * tile, dram=(t * blocks + n) * tile,
                        x=tile, pop="g2s", push="s2g")
        for _ in range(min(tiles, 2) * blocks - 1):
            p.sync(Memory.UOP, pop="s2g")
        p.finish(pop="s2g")
    product = (x.astype(np.int64) @ w.T.astype(np.int64) >> shift).astype(np.int8)
    return Workload(p, rows * blocks * blocks, {"size": size},
                    {"y": product.reshape(tiles, tile, batch, blocks, block)
                     .transpose(0, 3, 1, 2, 4)})


def alu(config: VtaConfig, count: int = 1024) -> Workload:
    """``count`` micro-operations of ADD with a source."""
    count = min(count, config.depth("acc") // 2)
    a, b = np.random.default_rng(0).integers(
        -1 << 31, 1 << 31, (2, count, config.batch, config.block)).astype(np.int32)

    def program(turns):
        with Program(config) as p:
            kernel = p.kernel([(0, count)])
            p.load(p.buffer("a", Memory.ACC, a))
            p.load(p.buffer("b", Memory.ACC, b), sram=count)
            p.alu(AluOp.ADD, kernel, (turns, 1, 1), push="g2s")
            p.store(p.buffer("y", Memory.OUT, count), pop="g2s", push="s2g")
            p.finish(pop="s2g")
        return p

    return Workload(program(count), count, {"micro_operations": count},
                    {"y": (a + b).astype(np.int8)}, program(0))


def depthwise(config: VtaConfig, side: int = 16) -> Workload:
    """A 3x3 depthwise convolution of one block of channels, ``side`` x ``side`` results.

    Counted are all of its rows but the first: what that takes is what the others take, and all that
    comes before and after them.
    """
    while (side + 2) ** 2 > config.depth("inp") or side ** 2 > config.depth("acc"):
        side //= 2
    wide, batch, block = side + 2, config.batch, config.block
    rng = np.random.default_rng(0)
    elements = -(-9 // block)
    x = rng.integers(-128, 128, (wide, wide, batch, block), np.int8)
    taps = np.zeros((elements * block, block), np.int8)
    taps[:9] = rng.integers(-8, 8, (9, block), np.int8)

    def program(turns):
        with Program(config) as p:
            kernel = p.kernel((0, r * wide + c, 3 * r + c) for r in range(3) for c in range(3))
            p.load(p.buffer("x", Memory.INP, x))
            p.load(p.buffer("w", Memory.WGT, np.resize(taps, (elements, block, block))), push="l2g")
            p.gemm(kernel[:1], (side, side), (side, 1), reset=True, pop="l2g")
            p.gemm(kernel, (turns, side, wide), (side, 1, 1), depthwise=True, push="g2s")
            p.store(p.buffer("y", Memory.OUT, side * side), pop="g2s", push="s2g")
            p.finish(pop="s2g")
        return p

    sums = sum(x[r:r + side, c:c + side].astype(np.int32) * taps[3 * r + c]
               for r in range(3) for c in range(3))
    counted = 9 * side * (side - 1)
    return Workload(program(side), counted,
                    {"micro_operations": counted, "macs_per_cycle": batch * block},
                    {"y": sums.astype(np.int8)}, program(1))


def load(config: VtaConfig, total: int = 1 << 17) -> Workload:
    """Inputs, weights and accumulators, ``total`` bytes, in large blocks."""
    kinds = {Memory.INP: np.int8, Memory.WGT: np.int8, Memory.ACC: np.int32}
    rng, loaded = np.random.default_rng(0), 0
    with Program(config) as p:
        sources = {kind: p.buffer(kind.name, kind, rng.integers(
            -128, 128, config.depth(kind.scratchpad) * config.element_bytes(kind.scratchpad)
            // np.dtype(dtype).itemsize, dtype)) for kind, dtype in kinds.items()}
        while loaded < total:
            for source in sources.values():
                p.load(source)
                loaded += source.count * source.element_bytes
        p.sync(Memory.INP, push="l2g")
        p.finish(pop="l2g")
    return Workload(p, -(-loaded // (config.bus_width // 8)), {"bytes": loaded}, {})


def store(config: VtaConfig, total: int = 1 << 17) -> Workload:
    """All accumulators, again and again, ``total`` bytes or a little more."""
    count, size = config.depth("acc"), config.element_bytes("out")
    a = np.random.default_rng(0).integers(
        -1 << 31, 1 << 31, (count, config.batch, config.block)).astype(np.int32)
    times = -(-total // (count * size))

    def program(times):
        with Program(config) as p:
            source = p.buffer("a", Memory.ACC, a)
            p.load(source, push="g2s")
            p.sync(Memory.OUT, pop="g2s")
            for i in range(times):
                p.store(p.buffer(f"y{i}", Memory.OUT, count))
            p.sync(Memory.OUT, push="s2g")
            p.finish(pop="s2g")
        return p

    return Workload(program(times), -(-times * count * size // (config.bus_width // 8)),
                    {"bytes": times * count * size},
                    {f"y{i}": a.astype(np.int8) for i in range(times)}, program(0))


def overlap(config: VtaConfig, tiles: int = 32) -> Workload:
    """Tiles that are loaded, multiplied, shifted and stored, double buffered.

    Four products for each result keep GEMM busier than the bus and ALU. Above its cycles there is
    what cannot overlap: before the first product its operands have to come, and after the last one
    its tile has to be shifted and stored.
    """
    batch, block, rng = config.batch, config.block, np.random.default_rng(0)
    terms = max(4, 2 * config.element_bytes("wgt") // config.element_bytes("inp") // block)
    rows = min(config.depth("inp") // 2, config.depth("acc") // 2, 64)
    x = rng.integers(-128, 128, (tiles, rows, batch, block), np.int8)
    w = rng.integers(-128, 128, (terms, block, block), np.int8)
    beat = config.bus_width // 8
    tile = -(-rows * config.element_bytes("inp") // beat)

    def program(serial):
        with Program(config) as p:
            xs = p.buffer("x", Memory.INP, x)
            p.load(p.buffer("w", Memory.WGT, w), push="l2g")
            halves = [p.kernel((half * rows, half * rows, k) for k in range(terms))
                      for half in range(2)]
            y = p.buffer("y", Memory.OUT, tiles * rows)
            for t in range(tiles):
                if serial and t:
                    p.sync(Memory.UOP, pop="s2g", push="g2l")
                p.load(xs, sram=t % 2 * rows, dram=t * rows, x=rows, push="l2g",
                       pop="g2l" if t >= (1 if serial else 2) else "")
                if t == 0:
                    p.sync(Memory.UOP, pop="l2g")  # the weights
                pop = "l2g s2g" if t >= 2 and not serial else "l2g"
                p.gemm(halves[t % 2][:1], (rows, 1, 1), reset=True, pop=pop)
                p.gemm(halves[t % 2], (rows, 1, 1),
                       push="g2l" if not serial and t + 2 < tiles else "")
                p.alu(AluOp.SHR, halves[t % 2][:1], (rows, 1), imm=7, push="g2s")
                p.store(y, sram=t % 2 * rows, dram=t * rows, x=rows, pop="g2s", push="s2g")
            for _ in range(0 if serial else min(tiles, 2) - 1):
                p.sync(Memory.UOP, pop="s2g")
            p.finish(pop="s2g")
        return p

    sums = np.einsum("trnl,kol->trno", x.astype(np.int32), w.astype(np.int32))
    fill = terms * config.element_bytes("wgt") // beat + tile
    return Workload(program(False), tiles * rows * (terms + 1),
                    {"tiles": tiles, "rows": rows, "products": terms},
                    {"y": (sums >> 7).astype(np.int8)}, serial=program(True),
                    overhead_limit=lambda c: fill + rows + tile + 4 * c.latency + 150)


BENCHES = {"gemm": gemm, "alu": alu, "load": load, "store": store, "depthwise": depthwise,
           "overlap": overlap}


def bench(what: str, config: VtaConfig, engine, conditions: Conditions, **size: int) -> dict:
    """Run a benchmark: its cycles, those predicted, the share of them that did useful work.

    ``size``: the parameter of the workload's function, if not its default.

    ``lower_bound_cycles`` are those of the busiest of read bus, write bus, GEMM and ALU;
    ``serial_cycles`` is the sum of what the instructions take one after the other, as the model
    has it, ``serialised_cycles`` what the engine needs if the tokens let it overlap nothing.
    ``status`` is ``done``, or the name of the core's error, or ``mismatch`` if the results are
    wrong.
    """
    work = BENCHES[what](config, **size)
    measured = _run(engine, work.program, conditions)
    predicted = _run(IssEngine(config), work.program, conditions)
    problem = differences(predicted, measured)
    for name, expected in work.outputs.items():
        got = measured.image[work.program.buffers[name].slice].view(np.int8)
        if problem is None and not np.array_equal(got, expected.ravel()):
            problem = f"buffer {name} is wrong"
    if measured.status != Fault.DONE:
        return {"bench": what, "status": measured.status.status, "message": measured.message}
    if problem is not None:
        return {"bench": what, "status": "mismatch", "message": problem}
    took, expected = measured.cycles, predicted.cycles
    if work.baseline is not None:
        took -= _run(engine, work.baseline, conditions).cycles
        expected -= _run(IssEngine(config), work.baseline, conditions).cycles
    bound = max(predicted.counters[name] for name in (
        "cycles_gemm", "cycles_alu", "read_beats", "write_beats"))
    extra = {}
    if work.serial is not None:
        extra["serialised_cycles"] = _run(engine, work.serial, conditions).cycles
    if work.overhead_limit is not None:
        extra |= {"overhead_cycles": measured.cycles - bound,
                  "overhead_limit": work.overhead_limit(conditions)}
    return {"bench": what, "status": "done", "cycles": took, "predicted_cycles": expected,
            "ideal_cycles": work.ideal_cycles, "utilisation": round(work.ideal_cycles / took, 4),
            "lower_bound_cycles": bound,
            "serial_cycles": _serial(config, work.program, conditions), **extra, **work.about,
            "bus_width": config.bus_width, "tile": [config.batch, config.block, config.block],
            "latency": conditions.latency, "stall": conditions.stall, "seed": conditions.seed}


def _serial(config, program: Program, conditions: Conditions) -> int:
    image = np.frombuffer(bytes(program.image()), np.uint8)
    return cycles(config, program.words, image, insn_addr=program.insn_addr,
                  latency=conditions.latency, serial=True).cycles


def _run(engine, program: Program, conditions: Conditions) -> Outcome:
    image = np.frombuffer(bytes(program.image()), np.uint8)
    return engine.run(image, program.insn_addr, program.insn_count, conditions)
