"""Programs that are hard on one part of the core: each makes a crowd of its difficult cases.

Random programs visit everything, but rarely often. These are for cores with few accumulators,
where a crowd is soon complete.
"""

from collections.abc import Iterator

import numpy as np

from hw.vta.assembler import Program
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Memory

__all__ = ["storms"]

_MIN, _MAX = -1 << 31, (1 << 31) - 1


def _crowd(rng, shape) -> np.ndarray:
    """int32 of all sizes, and next to each power of two."""
    corner = (1 << rng.integers(0, 32, shape)) + rng.integers(-1, 2, shape)
    corner = np.clip(np.where(rng.random(shape) < 0.5, corner, -corner), _MIN, _MAX)
    plain = rng.integers(_MIN, _MAX + 1, shape) >> rng.integers(0, 32, shape)
    return np.where(rng.random(shape) < 0.4, corner, plain).astype(np.int32)


def _requantise_words(rng, shape) -> np.ndarray:
    """Parameters of RQT whose results are mostly near the bounds of int8."""
    multiplier = np.where(rng.random(shape) < 0.3, 1 << rng.integers(0, 16, shape),
                          rng.integers(0, 1 << 16, shape))
    shift = np.where(rng.random(shape) < 0.7, rng.integers(0, 20, shape),
                     rng.integers(0, 64, shape))
    zero = rng.integers(0, 256, shape)
    word = multiplier | shift << 16 | rng.integers(0, 4, shape) << 22 | zero << 24
    return word.astype(np.uint32).view(np.int32)


def storms(config: VtaConfig, seeds: int = 8) -> Iterator[tuple[str, Program]]:
    """Programs by name. What they leave in the scratchpads shows what went wrong."""
    for seed in range(seeds):
        for operation in AluOp:
            if config.extensions or operation <= AluOp.MUL:
                yield f"{operation.name} {seed}", _alu(config, operation, seed)
        yield f"gemm {seed}", _gemm(config, seed)
        yield f"loads {seed}", _loads(config, seed)
        yield f"all at once {seed}", _all_at_once(config, seed)
    yield "long loops", _long_loops(config)
    yield "long rows", _long_rows(config)
    yield "full queues", _full_queues(config)
    if config.extensions:
        yield "sources and stores", _sources_and_stores(config)
        yield "strided stores", _strided_stores(config)


def _alu(config, operation, seed) -> Program:
    """One operation, in both forms, on a crowd of operands."""
    rng = np.random.default_rng([1, operation, seed])
    half = min(config.depth("acc") // 2, 64)
    shape = half, config.batch, config.block
    a, b = _crowd(rng, shape), _crowd(rng, shape)
    if operation == AluOp.SHR:
        b = rng.integers(-36, 37, shape).astype(np.int32)
    low, high = -128, 127
    if operation == AluOp.RQT:
        b = _requantise_words(rng, shape)
        if seed % 2:
            low, high = np.sort(rng.integers(-128, 128, 2)).tolist()
        # Operands that bring the result to where the clamp decides.
        near = (rng.choice([low, high, 0], shape) + rng.integers(-3, 4, shape) - (b >> 24)
                + rng.choice([0, 0.5], shape)) * 2.0 ** (b >> 16 & 63) / np.maximum(b & 0xffff, 1)
        a = np.where((np.abs(near) < 2**31 - 1) & (rng.random(shape) < 0.8), near, a)
        a = (a.astype(np.int64) + rng.integers(-1, 2, shape)).clip(_MIN, _MAX).astype(np.int32)
        if seed & 2:  # every other one is a bias
            bias = rng.integers(-200, 200, shape) << rng.choice([0, 0, 8, 20], shape)
            b[1::2] = bias[1::2].astype(np.int32)
            a[::2] = (a[::2].astype(np.int64) - b[1::2]).clip(_MIN, _MAX).astype(np.int32)
    with Program(config) as p:
        count = half // 2
        uops = p.kernel((n, half + n) for n in range(min(count, 16)))
        p.load(p.buffer("a", Memory.ACC, a))
        p.load(p.buffer("b", Memory.ACC, b), sram=half)
        loops = (count // len(uops), len(uops), len(uops)), (1,)
        if operation == AluOp.RQT:
            bias = bool(seed & 2)
            p.alu(operation, uops, *loops, clamp=(low, high), bias=bias)
            p.alu(operation, uops, (count // len(uops), len(uops), len(uops) - bias), (1,),
                  clamp=(-5, int(rng.integers(0, 128))), bias=bias)
        else:
            p.alu(operation, uops, *loops)
            loops = (count // len(uops), len(uops)), (1,)
            upper = p.kernel((count + n, 0) for n in range(len(uops)))
            p.alu(operation, upper, *loops, imm=int(rng.integers(-1 << 15, 1 << 15))
                  if operation != AluOp.SHR else int(rng.integers(-33, 34)))
        chain = p.kernel(rng.integers(0, 6, (12, 2)).tolist())  # results used at once
        p.alu(operation, chain)
        p.finish()
    return p


def _gemm(config, seed) -> Program:
    """Sums that come back after one, two, three, four micro-operations, with full operands."""
    rng = np.random.default_rng([2, seed])
    with Program(config) as p:
        for name, kind, shape in (("x", Memory.INP, (16, config.batch, config.block)),
                                  ("w", Memory.WGT, (16, config.block, config.block))):
            p.load(p.buffer(name, kind, rng.choice(
                np.array([-128, 127, -1, 1, *rng.integers(-128, 128, 12)]), shape)
                .astype(np.int8)), push="l2g")
        p.load(p.buffer("a", Memory.ACC, _crowd(rng, (8, config.batch, config.block))))
        p.sync(Memory.UOP, pop="l2g")
        uops = p.kernel([(int(dst), int(src), int(wgt)) for dst, src, wgt in zip(
            rng.integers(0, 4, 24), rng.integers(0, 8, 24), rng.integers(0, 8, 24))], pop="l2g")
        kinds = [{}, {}, {"reset": True}]
        if config.extensions:
            kinds += [{"overwrite": True}, {"depthwise": True},
                      {"depthwise": True, "overwrite": True}]
        for _ in range(12):
            bgn = int(rng.integers(0, 20))
            loops = [(int(rng.integers(1, 4)), *rng.integers(0, 3, 3).tolist()) for _ in range(2)]
            p.gemm(uops[bgn:bgn + int(rng.integers(1, 5))], *loops,
                   **kinds[int(rng.integers(0, len(kinds)))])
        p.finish()
    return p


def _loads(config, seed) -> Program:
    """Padding of all sizes around rows of all sizes, as much as a scratchpad holds."""
    rng = np.random.default_rng([6, seed])
    kinds = {Memory.INP: np.int8, Memory.WGT: np.int8, Memory.ACC: np.int32,
             Memory.ACC_8BIT: np.int8, Memory.UOP: np.uint32}
    with Program(config) as p:
        for kind, dtype in kinds.items():
            depth = min(config.depth(kind.scratchpad), 128)
            lanes = config.element_bytes(kind.dram_element) // np.dtype(dtype).itemsize
            limits = np.iinfo(dtype)
            source = p.buffer(kind.name, kind, rng.integers(
                limits.min, limits.max, (2 * depth, lanes), dtype, endpoint=True))
            for _ in range(6):
                x, y, top, bottom, left, right = rng.integers(0, 16, 6).tolist()
                if rng.random() < 0.5:
                    top, bottom = (0, top) if rng.random() < 0.5 else (top, 0)
                if rng.random() < 0.5:
                    left, right = (0, left) if rng.random() < 0.5 else (left, 0)
                y = 0 if rng.random() < 0.2 else y
                width = left + max(x, 1) + right
                while width * (top + y + bottom) > depth:
                    top, y, bottom = top // 2, (y + 1) // 2 if y > 1 else 0, bottom // 2
                stride = int(rng.integers(0, 16))
                p.load(source, sram=int(rng.integers(0, depth - width * (top + y + bottom) + 1)),
                       dram=int(rng.integers(0, 2 * depth - stride * y - max(x, 1) + 1))
                       if stride * y + x < 2 * depth else 0,
                       x=max(x, 1), y=y, stride=stride if stride * y + x < 2 * depth else 1,
                       pad=(top, bottom, left, right),
                       pad_value=int(rng.integers(-128, 128)) if config.extensions
                       and rng.random() < 0.5 else None)
        p.finish()
    return p


def _all_at_once(config, seed) -> Program:
    """GEMM, ALU, LOAD and STORE on quarters of the accumulators of their own, all the time."""
    rng = np.random.default_rng([3, seed])
    quarter = min(config.depth("acc"), 128) // 4
    a = _crowd(rng, (4 * quarter, config.batch, config.block))
    order = rng.permutation(4)
    gemm, alu, load, store = (int(n) * quarter for n in order)
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, a))
        for name, kind, shape in (("x", Memory.INP, (16, config.batch, config.block)),
                                  ("w", Memory.WGT, (4, config.block, config.block))):
            p.load(p.buffer(name, kind, rng.integers(-128, 128, shape).astype(np.int8)),
                   push="l2g")
        p.sync(Memory.UOP, pop="l2g")
        one = p.kernel([(gemm, 0, 0), (gemm + 1, 1, 1), (alu, alu + 1), (alu + 1, alu)], pop="l2g")
        p.sync(Memory.UOP, push="g2s")
        y = p.buffer("y", Memory.OUT, 24 * quarter)
        p.sync(Memory.OUT, pop="g2s")
        for n in range(12):
            count = int(rng.integers(1, quarter))
            turns = quarter // 2 - 1
            p.store(y, sram=store + int(rng.integers(0, quarter - count + 1)), x=count,
                    dram=2 * n * quarter + int(rng.integers(0, 4)), saturate=bool(n & 1),
                    push="s2g" if n == 11 else "")
            p.gemm(one[:1 + n % 2], (turns, 1, 0, 0), (1 + n % 3, n % 2, 1, 1))
            p.alu(AluOp(int(rng.integers(0, 5))), one[2 + n % 2:4], (turns, 1, 1), (1, 0, 0))
            p.load(p.buffers["a"], sram=load + int(rng.integers(0, quarter - count + 1)), x=count,
                   dram=int(rng.integers(0, quarter)))
        p.finish(pop="s2g")
    return p


def _long_loops(config) -> Program:
    """Counts next to each power of two, whose sums tell how many turns there were."""
    rng = np.random.default_rng(4)
    with Program(config) as p:
        p.load(p.buffer("x", Memory.INP, rng.integers(
            1, 128, (1, config.batch, config.block)).astype(np.int8)))
        p.load(p.buffer("w", Memory.WGT, rng.integers(
            1, 128, (1, config.block, config.block)).astype(np.int8)), push="l2g")
        k = p.kernel([(0, 0, 0), (1, 0, 0)], pop="l2g")
        p.gemm(k, (1, 2), reset=True)
        for bit in range(3, 14):
            for turns, loops in (((1 << bit) + 1, slice(None)),
                                 ((1 << bit) + 1, slice(None, None, -1)),
                                 ((1 << bit) - 1, slice(None, None, -1))):
                p.gemm(k[:1 + bit % 2], *((turns,), (1,))[loops])
                p.alu(AluOp.ADD, k[1:], *((1,), (turns,))[loops], imm=1)
        for turns in (0x1555, 0x2AAA):
            p.gemm(k[:1], (2,), (turns,))
            p.alu(AluOp.ADD, k[1:], (2,), (turns,), imm=1)
        p.finish()
    return p


def _long_rows(config) -> Program:
    """Rows of many bursts across 4 KiB, from and to addresses at which no beat begins."""
    rng = np.random.default_rng(5)
    depth = {name: min(config.depth(name), 256) for name in ("inp", "wgt", "acc")}
    batch, block = config.batch, config.block
    with Program(config) as p:
        x = p.buffer("x", Memory.INP, rng.integers(
            -128, 128, (2600, batch, block)).astype(np.int8))
        a = p.buffer("a", Memory.ACC, _crowd(rng, (600, batch, block)))
        w = p.buffer("w", Memory.WGT, rng.integers(
            -128, 128, (700, block, block)).astype(np.int8))
        y = p.buffer("y", Memory.OUT, 2600)
        p.load(x, x=depth["inp"] - 1, dram=1001, sram=1)
        p.load(w, x=depth["wgt"], dram=240)
        p.load(w, y=3, x=5, stride=193, sram=2, dram=1, pad=(1, 0, 2, 1))
        p.load(x, y=5, x=3, stride=601, sram=7, dram=11, pad=(0, 1, 1, 2))
        p.load(a, x=depth["acc"], dram=215, push="g2s")
        p.store(y, x=depth["acc"], dram=1001, pop="g2s")
        p.store(y, y=7, x=9, stride=301, dram=2)
        extra = dict(saturate=True, sram_skip=2, sram_stride=31) if config.extensions else {}
        p.store(y, y=2, x=20, stride=23, dram=2501, sram=3, **extra)
        p.store(y, y=3, x=3, stride=1, dram=2560, sram=100, push="s2g")
        p.load(Memory.ACC_8BIT, dram=y.base + 1003, x=77, sram=5, pop="s2g")
        p.load(Memory.ACC_8BIT, dram=a.base * 4, y=2, x=11, stride=33, sram=85, pad=(0, 1, 1, 0))
        p.finish()
    return p


def _full_queues(config) -> Program:
    """More tokens than a counter of 4 bits holds, each way: the poster has to wait."""
    with Program(config) as p:
        for _ in range(22):
            p.sync(Memory.INP, push="l2g")
        for _ in range(22):
            p.sync(Memory.UOP, pop="l2g", push="g2l g2s")
        for _ in range(22):
            p.sync(Memory.OUT, pop="g2s", push="s2g")
            p.sync(Memory.INP, pop="g2l")
        for _ in range(22):
            p.sync(Memory.UOP, pop="s2g")
        p.finish()
    return p


def _sources_and_stores(config) -> Program:
    """ALU reads two banks in each cycle, STORE one, and then the next one."""
    rng = np.random.default_rng(6)
    depth = min(config.depth("acc"), 128)
    half, banks = depth // 2, 4
    values = _requantise_words(rng, (depth, config.batch, config.block))
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, values), push="g2s")
        k = p.kernel((n % 8, half // 2 + n) for n in range(banks + 1))
        y = p.buffer("y", Memory.OUT, 2 * depth)
        p.sync(Memory.OUT, pop="g2s")
        for n in range(4 * banks):
            first = half + n % banks
            p.alu(AluOp.RQT, k[n % banks:n % banks + 2], (16, 0, 0), bias=n & 4 == 0)
            p.store(y, x=(depth - first + banks - 1) // banks, sram=first, sram_skip=banks - 1,
                    dram=16 * n % depth + n, push="s2g" if n == 4 * banks - 1 else "")
        p.finish(pop="s2g")
    return p


def _strided_stores(config) -> Program:
    """Every second element, every third, and so on, of all accumulators."""
    rng = np.random.default_rng(7)
    depth = min(config.depth("acc"), 256)
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, _crowd(rng, (depth, config.batch, config.block))),
               push="g2s")
        p.sync(Memory.OUT, pop="g2s")
        for skip in (1, 2, 3, 7, 15, 16, 30, 31):
            p.store(p.buffer(f"y{skip}", Memory.OUT, depth), x=-(-depth // (skip + 1)),
                    sram_skip=skip, dram=skip % 3, push="s2g" if skip == 31 else "")
        p.finish(pop="s2g")
    return p
