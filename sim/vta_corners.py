"""Programs in which every bit counts: of counters, factors, bounds, shift amounts, and row counts.

Each leaves in the scratchpads what a single wrong bit would have changed. They are for cores with
small scratchpads, which are filled.
"""

from collections.abc import Iterator

import numpy as np

from hw.vta.assembler import Program
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Memory

__all__ = ["corners"]

_MIN, _MAX = -1 << 31, (1 << 31) - 1


def corners(config: VtaConfig) -> Iterator[tuple[str, Program]]:
    """Programs by name."""
    for seed in range(6):
        yield f"far indices {seed}", _far_indices(config, seed)
    yield "kernels of all lengths", _kernels(config)
    for operation in (AluOp.MIN, AluOp.MAX):
        yield f"{operation.name} of a bit", _one_bit(config, operation)
    yield from _shifts(config)
    yield "distances", _distances(config)
    for kind in Memory:
        if kind != Memory.OUT:
            yield f"sizes of {kind.name}", _sizes(config, kind)
            yield f"pitches of {kind.name}", _pitches(config, kind)
    yield "stores ahead of their tokens", _stores_ahead(config)
    yield "loads ahead of their tokens", _loads_ahead(config)
    if config.extensions:
        for upper in (False, True):
            yield f"CLIP {'above' if upper else 'below'}", _one_bit(config, AluOp.CLIP, upper)
        for seed in range(8):
            yield f"RQT, halves {seed}", _halves(config, seed)
        for bounds in _BOUNDS:
            yield f"RQT, bounds {bounds}", _bounds(config, bounds)


def _random(p: Program, rng, kind: Memory, count: int | None = None):
    """A buffer of any contents, as large as the scratchpad."""
    config = p.config
    shape = {Memory.INP: (config.batch, config.block), Memory.WGT: (config.block, config.block),
             Memory.ACC: (config.batch, config.block)}[kind]
    dtype = np.int32 if kind == Memory.ACC else np.int8
    limits = np.iinfo(dtype)
    return p.buffer(kind.name, kind, rng.integers(
        limits.min, limits.max, (count or config.depth(kind.scratchpad), *shape), dtype,
        endpoint=True))


# Loops ------------------------------------------------------------------------------------------

def _reach(rng, limit: int, turns: tuple[int, int], depth: int) -> tuple[int, list[int]]:
    """An index and two factors, below ``depth``, whose largest sum is often ``limit - 1``."""
    left = limit - 1 if rng.random() < 0.5 else int(rng.integers(0, limit))
    factors = []
    for count in turns:
        most = min(depth - 1, left // (count - 1)) if count > 1 else depth - 1
        factors.append(int(rng.integers(0, most + 1)) if rng.random() < 0.7 else most)
        left -= (count - 1) * factors[-1]
    return min(left, depth - 1), factors


def _far_indices(config, seed) -> Program:
    """Few turns with factors of all sizes, up to the last element of each scratchpad."""
    rng = np.random.default_rng([11, seed])
    depth = {name: config.depth(name) for name in ("inp", "wgt", "acc")}
    uops, work = [], []
    for _ in range(min(48, config.depth("uop"))):
        turns = tuple(rng.integers(1, 4, 2).tolist())
        operation = AluOp(int(rng.choice([AluOp.ADD, AluOp.MUL, AluOp.MAX, AluOp.RQT
                                          if config.extensions else AluOp.MIN])))
        kind = rng.choice(["gemm", "depthwise" if config.extensions else "gemm", "alu"])
        source = depth["acc"] - (operation == AluOp.RQT) if kind == "alu" else depth["inp"]
        limits = {"dst": (depth["acc"], depth["acc"]),
                  "src": (source, depth["acc"] if kind == "alu" else depth["inp"]),
                  "wgt": (depth["wgt"] * (config.block if kind == "depthwise" else 1),
                          depth["wgt"])}
        found = {name: _reach(rng, limit, turns, below)
                 for name, (limit, below) in limits.items()}
        uops.append([index for index, _ in found.values()][:2 if kind == "alu" else 3])
        loops = [(count, *(factors[loop] for _, factors in found.values()))
                 for loop, count in enumerate(turns)]
        work.append((kind, operation, loops))
    with Program(config) as p:
        p.load(_random(p, rng, Memory.INP))
        p.load(_random(p, rng, Memory.WGT), push="l2g")
        p.load(_random(p, rng, Memory.ACC))
        k = p.kernel(uops, pop="l2g")
        for n, (kind, operation, loops) in enumerate(work):
            if kind == "alu":
                p.alu(operation, k[n:n + 1], *(loop[:3] for loop in loops),
                      bias=operation == AluOp.RQT)
            else:
                p.gemm(k[n:n + 1], *loops, depthwise=kind == "depthwise")
        p.finish()
    return p


def _kernels(config) -> Program:
    """Micro-operations from anywhere to anywhere in a full scratchpad."""
    rng = np.random.default_rng(12)
    depth = config.depth("uop")
    parts = [(0, depth), (depth // 3, depth), (1, 2 * depth // 3)]
    for bit in range(depth.bit_length()):
        for length in ((1 << bit), (1 << bit) - 1):
            bgn = int(rng.integers(0, depth - length + 1))
            parts += [(bgn, bgn + length)] if length else []
    with Program(config) as p:
        p.load(_random(p, rng, Memory.INP))
        p.load(_random(p, rng, Memory.WGT), push="l2g")
        p.load(_random(p, rng, Memory.ACC))
        columns = [rng.integers(0, config.depth(name), depth) for name in ("acc", "inp", "wgt")]
        p.kernel(zip(*(column.tolist() for column in columns)), pop="l2g")
        for n, part in enumerate(parts):
            p.gemm(part, (1 + n % 2, 0), (1 + n // 2 % 2, 0))
            p.alu(AluOp.ADD, part, (1 + n // 2 % 2, 0), (1 + n % 2, 0), imm=n + 1)
        p.finish()
    return p


def _distances(config) -> Program:
    """A result that is used one to nine micro-operations later, as each of the three operands."""
    rng = np.random.default_rng(13)
    batch, block = config.batch, config.block
    # Even elements are parameters of RQT that change nothing, odd ones small numbers.
    values = rng.integers(-50, 50, (40, batch, block)).astype(np.int32)
    values[0:18:2] = 1
    distances = range(1, 10)
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, values))
        first = p.kernel((n, n) for n in range(1, 18, 2))
        as_dst = p.kernel((19 - 2 * d, 20) for d in distances)
        as_src = p.kernel((20 + d, 19 - 2 * d) for d in distances)
        as_bias = p.kernel((30 + d, 18 - 2 * d) for d in distances)
        uses = [(AluOp.RQT, as_bias)] * config.extensions + [
            (AluOp.ADD, as_src), (AluOp.MUL, as_src), (AluOp.ADD, as_dst), (AluOp.MUL, as_dst)]
        for operation, kernel in uses:
            for before, imm in ((AluOp.ADD, 1), (AluOp.MUL, -1)):
                for n in range(len(distances)):
                    p.alu(before, first, (3, 0), imm=imm)
                    p.alu(operation, kernel[n:n + 1], bias=operation == AluOp.RQT)
        p.finish()
    return p


# ALU --------------------------------------------------------------------------------------------

def _operate(config, operation, a, b, **options) -> Program:
    """``operation`` on pairs of elements."""
    half = config.depth("acc") // 2
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, a.astype(np.int32)))
        p.load(p.buffer("b", Memory.ACC, b.astype(np.int32)), sram=half)
        p.alu(operation, p.kernel([(0, half)]), (len(a), 1, 1), **options)
        p.finish()
    return p


def _one_bit(config, operation, upper=True) -> Program:
    """A number next to another one, or to its negative, that differs from it in one bit."""
    rng = np.random.default_rng([14, operation, upper])
    half = min(config.depth("acc") // 2, 64)
    b = rng.integers(_MIN + 1, _MAX, (half, config.batch, config.block))
    if operation == AluOp.CLIP:
        b = abs(b)
    bit = (np.arange(half) // 2 % 32)[:, None, None]
    a = b if upper else -b
    # The first of two is the one with the bit, then the one without.
    a = np.where((np.arange(half) % 2)[:, None, None], a & ~(1 << bit), a | 1 << bit)
    changed = a == (b if upper else -b)
    b = np.where(changed, (a ^ 1 << bit) * (1 if upper else -1), b)
    return _operate(config, operation, _wrap(a), _wrap(b))


def _wrap(values):
    return (values + (1 << 31)) % (1 << 32) - (1 << 31)


def _shifts(config) -> Iterator[tuple[str, Program]]:
    """By every amount, and by every amount with one bit more or less."""
    rng = np.random.default_rng(15)
    amounts = [*range(-36, 37), _MIN, _MAX]
    for bit in range(5, 31):
        amounts += [(1 << bit) + int(rng.integers(0, 31)),
                    *(-(1 << bit) - int(n) for n in rng.integers(1, 32, 2))]
    half = min(config.depth("acc") // 2, 64)
    for n in range(0, len(amounts), half):
        part = amounts[n:n + half]
        shape = len(part), config.batch, config.block
        yield f"SHR by {part[0]} to {part[-1]}", _operate(
            config, AluOp.SHR, rng.integers(_MIN, _MAX, shape),
            np.broadcast_to(np.array(part)[:, None, None], shape))


def _parameters(multiplier, shift, zero):
    return _wrap(multiplier | shift << 16 | (zero & 0xff) << 24)


def _halves(config, seed) -> Program:
    """RQT by every shift of numbers next to half of what the shift drops."""
    rng = np.random.default_rng([16, seed])
    shape = min(config.depth("acc") // 2, 64), config.batch, config.block
    shift = np.broadcast_to(np.arange(shape[0])[:, None, None] % 64, shape)
    low = np.maximum(1, (2.0 ** (shift - 31)).clip(0, 60_000).astype(int))
    multiplier = rng.integers(low, 1 << 16)
    most = np.minimum(100, 2.0 ** 31 * multiplier / 2.0 ** shift).astype(int)
    target = rng.integers(-most, most + 1) + rng.choice([0.5, 0.5, 0.499, 0.501], shape)
    a = np.rint(target * 2.0 ** shift / multiplier) + rng.integers(-1, 2, shape)
    return _operate(config, AluOp.RQT, a.clip(_MIN, _MAX).astype(np.int64),
                    _parameters(multiplier, shift, rng.integers(-20, 21, shape)))


_BOUNDS = [(-128, 127), (-1, 0), (0, 0), (-86, 85), (-43, 106), (42, -43), (85, -86), (127, 127),
           (-128, -128), (0, 127)]


def _bounds(config, bounds) -> Program:
    """RQT of numbers that differ from one of the bounds in one bit, or in very high ones."""
    rng = np.random.default_rng([17, *(bound + 128 for bound in bounds)])
    shape = min(config.depth("acc") // 2, 64), config.batch, config.block
    zero = rng.integers(-128, 128, shape)
    edge = rng.choice(np.array(bounds), shape) - zero
    bit = np.broadcast_to(np.arange(shape[0])[:, None, None], shape)
    near = np.where(bit < 31, edge ^ 1 << bit % 31, edge + rng.integers(-1, 2, shape))
    # Products of 31 bits and more; what they should be equal to does not matter any more.
    far = (bit >= 31) & (bit < 47)
    a = np.where(far, rng.choice([-1, 1], shape) << bit.clip(31, 46) - 15, near)
    return _operate(config, AluOp.RQT, _wrap(a),
                    _parameters(np.where(far, 1 << 15, 1), 0, zero), clamp=bounds)


# LOAD -------------------------------------------------------------------------------------------

def _pitches(config, kind) -> Program:
    """Two rows as far apart as one bit says, or two bits side by side, up to 64 KiB."""
    rng = np.random.default_rng([19, kind])
    dtype = {Memory.UOP: np.uint32, Memory.ACC: np.int32}.get(kind, np.int8)
    size = config.element_bytes(kind.dram_element)
    count, limits = (1 << 16) // size, np.iinfo(dtype)
    with Program(config) as p:
        source = p.buffer("x", kind, rng.integers(
            limits.min, limits.max, (count, size // np.dtype(dtype).itemsize), dtype,
            endpoint=True))
        strides = [bits << n for n in range(count.bit_length()) for bits in (1, 3)
                   if bits << n < count]
        for n, stride in enumerate(strides):
            p.load(source, x=1, y=2, stride=stride,
                   sram=2 * n % (config.depth(kind.scratchpad) - 1))
        p.finish()
    return p


def _stores_ahead(config) -> Program:
    """More STOREs than tokens have room for, while the one who takes them is busy."""
    values = np.arange(2 * config.batch * config.block, dtype=np.int32)
    with Program(config) as p:
        p.load(p.buffer("a", Memory.ACC, values.reshape(2, config.batch, config.block)))
        k = p.kernel([(0, 0), (1, 1)])
        p.alu(AluOp.ADD, k[:1], imm=1, push="g2s")
        p.alu(AluOp.ADD, k[1:2], (2000, 0), imm=1)
        for n in range(24):
            p.store(p.buffer(f"y{n}", Memory.OUT, 1), pop="" if n else "g2s", push="s2g")
        for _ in range(24):
            p.sync(Memory.UOP, pop="s2g")
        p.finish()
    return p


def _loads_ahead(config) -> Program:
    """More LOADs than tokens have room for, while the one who takes them is busy."""
    values = np.arange(24 * config.batch * config.block).astype(np.int8)
    with Program(config) as p:
        x = p.buffer("x", Memory.INP, values.reshape(24, config.batch, config.block))
        p.load(p.buffer("a", Memory.ACC, np.ones((1, config.batch, config.block), np.int32)))
        p.alu(AluOp.ADD, p.kernel([(0, 0)]), (2000, 0), imm=1)
        for n in range(24):
            p.load(x, x=1, dram=n, sram=n, push="l2g")
        for _ in range(24):
            p.sync(Memory.UOP, pop="l2g")
        p.finish()
    return p


def _sizes(config, kind) -> Program:
    """Rows, columns and padding of as many elements as one bit says; the longest first."""
    rng = np.random.default_rng([18, kind])
    depth = min(config.depth(kind.scratchpad), 256)
    dtype = {Memory.UOP: np.uint32, Memory.ACC: np.int32}.get(kind, np.int8)
    limits = np.iinfo(dtype)
    lanes = config.element_bytes(kind.dram_element) // np.dtype(dtype).itemsize
    pad = {} if kind == Memory.UOP or not config.extensions else {"pad_value": 0x5A}
    with Program(config) as p:
        source = p.buffer("x", kind, rng.integers(limits.min, limits.max, (2 * depth, lanes),
                                                  dtype, endpoint=True))
        for bit in reversed(range(depth.bit_length())):
            size = 1 << bit
            p.load(source, x=size, dram=bit)
            p.load(source, y=size, x=1, stride=2)
            if size > 1:
                p.load(source, y=size // 2, x=1, stride=1, dram=1, pad=(0, 0, 0, 1), **pad)
                p.load(source, y=1, x=size // 2, dram=3, pad=(1, 0, 0, 0), **pad)
                p.load(source, y=1, x=size // 2, dram=5, pad=(0, 1, 0, 0), **pad)
            p.load(source, y=0, x=size, pad=(1, 0, 0, 0), **pad)
            p.load(source, x=max(1, size // 2), dram=7)
        p.finish()
    return p
