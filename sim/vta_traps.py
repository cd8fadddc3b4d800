"""Small programs about the corners of the instruction set, and what each must leave behind.

Five published implementations disagree on these. Each function builds a program on some core and
returns the int32 accumulators that it leaves in element 0 and up, computed by plain loops here, or
the bytes that it stores, by buffer. :func:`trap` makes a whole program of it, which stores all four
bytes of those accumulators as buffer ``y``.
"""

from collections.abc import Callable

import numpy as np

from hw.vta.assembler import Program
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Memory, Opcode

__all__ = ["TRAPS", "trap"]

TRAPS: dict[str, Callable] = {}


def trap(name: str, config: VtaConfig) -> tuple[Program, dict[str, np.ndarray]]:
    """The program called ``name`` in :data:`TRAPS`, and the bytes (int8) that buffers must hold."""
    rng = np.random.default_rng(list(name.encode()))
    with Program(config) as p:
        expected = TRAPS[name](p, rng)
        if isinstance(expected, np.ndarray):
            expected = {"y": _show(p, expected)}
        p.finish(pop="s2g")
    return p, {name: bytes_.astype(np.int8).ravel() for name, bytes_ in expected.items()}


def _trap(function):
    TRAPS[function.__name__] = function
    return function


def _show(p: Program, values: np.ndarray) -> np.ndarray:
    """Store the accumulators byte by byte; returns what that must give."""
    count = len(values)
    y = p.buffer("y", Memory.OUT, 4 * count)
    one = p.kernel([(0, 0)], sram=p.config.depth("uop") - 1)
    p.sync(Memory.UOP, push="g2s")
    for byte in range(4):
        p.store(y, x=count, dram=byte * count, pop="g2s", push="s2g")
        if byte < 3:
            p.alu(AluOp.SHR, one, (count, 1), imm=8, pop="s2g", push="g2s")
    return np.stack([values >> 8 * byte for byte in range(4)]).astype(np.int8)


def _words(p: Program, rng, count: int) -> np.ndarray:
    shape = count, p.config.batch, p.config.block
    return rng.integers(-1 << 31, 1 << 31, shape).astype(np.int32)


def _accumulators(p: Program, rng, count: int) -> np.ndarray:
    values = _words(p, rng, count)
    p.load(p.buffer("a", Memory.ACC, values))
    return values.copy()


def _operands(p: Program, rng, count: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, weights, and their products [i, w], loaded; the load unit has posted ``l2g``."""
    batch, block = p.config.batch, p.config.block
    x = rng.integers(-128, 128, (count, batch, block)).astype(np.int8)
    w = rng.integers(-128, 128, (count, block, block)).astype(np.int8)
    p.load(p.buffer("x", Memory.INP, x))
    p.load(p.buffer("w", Memory.WGT, w), push="l2g")
    return x, w, np.einsum("inl,wol->iwno", x.astype(np.int32), w.astype(np.int32))


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int8)


# Loops ------------------------------------------------------------------------------------------

@_trap
def empty_ranges_execute_nothing(p, rng):
    """Upstream's Chisel runs about 2**14 turns; the tokens are handled all the same."""
    a, k = _accumulators(p, rng, 4), p.kernel([(0, 0, 0), (1, 0, 0)])
    for turns in (((0,), (3, 1)), ((3, 1), (0,))):
        p.gemm(k, *turns, reset=True)
        p.alu(AluOp.ADD, k, *turns, imm=1)
    for empty in ((k.bgn, k.bgn), (k.end, k.bgn)):
        p.gemm(empty, (2, 1), reset=True, push="g2s")
        p.alu(AluOp.ADD, empty, (2, 1), imm=1, push="g2s")
    for _ in range(4):
        p.sync(Memory.OUT, pop="g2s", push="s2g")
        p.sync(Memory.UOP, pop="s2g")
    return a


@_trap
def two_loops_add_their_factors(p, rng):
    a, k = _accumulators(p, rng, 16), p.kernel([(1, 0), (2, 3)])
    p.alu(AluOp.ADD, k, (2, 7, 5), (3, 2, 1))
    for i in range(2):
        for j in range(3):
            for dst, src in ((1, 0), (2, 3)):
                a[dst + 7 * i + 2 * j] += a[src + 5 * i + j]
    return a


@_trap
def the_same_accumulator_back_to_back(p, rng):
    """HLS ignores the hazard: results are used one, two and three micro-operations later."""
    _, _, product = _operands(p, rng)
    uops = [(0, 0, 0), (0, 1, 1), (1, 2, 2), (0, 2, 3), (1, 3, 0), (1, 3, 1), (2, 0, 1), (0, 3, 3)]
    k = p.kernel(uops)
    p.gemm(k[:1], (3, 1), reset=True, pop="l2g")
    p.gemm(k, (2, 0), (2, 0))
    p.gemm(k[:1])
    p.gemm(k[1:2])
    a = np.zeros((3, *product.shape[2:]), np.int32)
    for dst, src, wgt in uops * 4 + uops[:2]:
        a[dst] += product[src, wgt]
    return a


@_trap
def a_source_is_the_destination_before(p, rng):
    """Where Chisel's simulation stops: "Bypass required"."""
    a = _accumulators(p, rng, 6)
    uops = [(1, 0), (2, 1), (3, 2), (3, 3), (4, 3), (0, 4), (5, 0)]
    k = p.kernel(uops)
    for operation, result in ((AluOp.ADD, np.add), (AluOp.MUL, np.multiply),
                              (AluOp.MAX, np.maximum)):
        p.alu(operation, k)
        for dst, src in uops:
            a[dst] = result(a[dst], a[src])
    return a


# LOAD -------------------------------------------------------------------------------------------

@_trap
def x_size_0_only_handles_tokens(p, rng):
    """Whatever the other fields say; the unit is that of the memory type."""
    a = _accumulators(p, rng, 4)
    noise = dict(sram_base=0xffff, dram_base=0xffff_ffff, y_size=9, x_stride=3,
                 y_pad_0=15, y_pad_1=1, x_pad_0=2, x_pad_1=3)
    for kind in (Memory.INP, Memory.WGT):
        p.insn(Opcode.LOAD, push="l2g", memory_type=kind, **noise)
    for kind in (Memory.UOP, Memory.ACC):
        p.insn(Opcode.LOAD, pop="l2g", memory_type=kind, **noise)
    p.insn(Opcode.LOAD, push="g2s", memory_type=Memory.ACC_8BIT, **noise)
    p.insn(Opcode.STORE, pop="g2s", push="s2g", memory_type=Memory.OUT, sram_base=0xffff, y_size=9)
    p.sync(Memory.UOP, pop="s2g")
    return a


@_trap
def y_size_0_writes_only_the_pads(p, rng):
    """Above and below, as wide as a row would be; Chisel hangs."""
    a = _accumulators(p, rng, 8)
    p.load(Memory.ACC, sram=1, y=0, x=2, pad=(1, 1, 1, 0))
    a[1:7] = 0
    return a


@_trap
def padding_of_accumulators(p, rng):
    """The destination is dense: rows follow each other with all of their padding."""
    a, tile = _accumulators(p, rng, 24), _words(p, rng, 8).reshape(
        2, 4, p.config.batch, p.config.block)
    b = p.buffer("b", Memory.ACC, tile)
    p.load(b, sram=1, dram=1, y=2, x=2, stride=4, pad=(1, 1, 1, 2))
    padded = np.pad(tile[:, 1:3], ((1, 1), (1, 2), (0, 0), (0, 0)))
    a[1:21] = padded.reshape(20, *a.shape[1:])
    return a


@_trap
def padding_of_inputs_and_weights(p, rng):
    """HLS ignores that of weights."""
    x, w, product = _operands(p, rng, 4)  # what the padding has to overwrite
    p.load(p.buffers["x"], x=1, dram=2, pad=(0, 0, 1, 1))
    p.load(p.buffers["w"], x=1, dram=3, pad=(0, 1, 1, 0), push="l2g")
    p.sync(Memory.UOP, pop="l2g")
    uops = [(n, i, j) for n, (i, j) in enumerate((i, j) for i in range(4) for j in range(4))]
    p.gemm(p.kernel(uops[:1]), (16, 1), reset=True, pop="l2g")
    p.gemm(p.kernel(uops))
    x[:3] = [0 * x[0], x[2], 0 * x[0]]
    w[:4] = [0 * w[0], w[3], 0 * w[0], 0 * w[0]]
    return np.stack([x[i].astype(np.int32) @ w[j].astype(np.int32).T for _, i, j in uops])


@_trap
def micro_operations_in_two_dimensions(p, rng):
    """Rows, a stride and padding of micro-operations; HLS loads one row."""
    a = _accumulators(p, rng, 8)
    words = np.array([p.isa.encode_uop(dst) for dst in (3, 4, 5, 6, 7, 1)], np.uint32)
    p.load(p.buffer("u", Memory.UOP, words), y=3, x=1, stride=2, pad=(0, 0, 0, 1))
    p.alu(AluOp.ADD, (0, 6), imm=1)  # 3, 0, 5, 0, 7, 0
    a[[3, 5, 7]] += 1
    a[0] += 3
    return a


@_trap
def acc_8bit_extends_the_sign(p, rng):
    shape = 8, p.config.batch, p.config.block
    values = rng.integers(-128, 128, shape).astype(np.int8)
    values[0] = -128
    p.load(p.buffer("b", Memory.ACC_8BIT, values))
    return values.astype(np.int32)


# ALU --------------------------------------------------------------------------------------------

def _shift(x: int, y: int) -> int:
    x, y = int(x), int(y)
    value = x >> min(y, 31) if y >= 0 else x << min(-y, 32)
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


_AMOUNTS = (0, 1, 15, 16, 17, 30, 31, 32, 33, 63, 1000, -1, -2, -16, -30, -31, -32, -33, -1000)


@_trap
def shifts_by_an_immediate(p, rng):
    """HLS shifts left by 16 to 31; upstream says nothing beyond 31."""
    a, k = _accumulators(p, rng, len(_AMOUNTS)), p.kernel((n, 0) for n in range(len(_AMOUNTS)))
    for n, amount in enumerate(_AMOUNTS):
        p.alu(AluOp.SHR, k[n:n + 1], imm=amount)
        a[n] = np.vectorize(_shift)(a[n], amount)
    return a


@_trap
def shifts_by_a_register(p, rng):
    """Of either sign; Chisel takes the direction from the immediate."""
    amounts = (*_AMOUNTS, (1 << 31) - 1, -1 << 31)
    count = len(amounts)
    a = _accumulators(p, rng, count)
    b = np.empty_like(a)
    b[:] = np.array(amounts)[:, None, None]
    p.load(p.buffer("b", Memory.ACC, b), sram=count)
    p.alu(AluOp.SHR, p.kernel([(0, count)]), (count, 1, 1))
    return np.vectorize(_shift)(a, b).astype(np.int32)


@_trap
def sums_and_products_wrap(p, rng):
    """And MIN and MAX are signed; every row of the batch is processed."""
    a, b = _accumulators(p, rng, 8), _words(p, rng, 8)
    a[:2], b[:2] = [[[(1 << 31) - 1]], [[-1 << 31]]], [[[1]], [[-1]]]
    p.load(p.buffer("c", Memory.ACC, a))
    p.load(p.buffer("b", Memory.ACC, b), sram=8)
    k = p.kernel([(0, 8)])
    for n, operation in enumerate((AluOp.ADD, AluOp.MUL, AluOp.MIN, AluOp.MAX)):
        p.alu(operation, k, (2, 1, 1), (2, 4, 4))
        for e in (0, 1, 4, 5):
            a[e] = (a[e] + b[e], a[e] * b[e], np.minimum(a[e], b[e]), np.maximum(a[e], b[e]))[n]
    return a


@_trap
def the_immediate_is_signed(p, rng):
    a, k = _accumulators(p, rng, 4), p.kernel((n, 0) for n in range(4))
    p.alu(AluOp.MAX, k[:1], imm=-32768)
    p.alu(AluOp.MIN, k[1:2], imm=-3)
    p.alu(AluOp.MUL, k[2:3], imm=-7)
    p.alu(AluOp.ADD, k[3:], imm=32767)
    a[0], a[1] = np.maximum(a[0], -32768), np.minimum(a[1], -3)
    a[2] *= -7
    a[3] += 32767
    return a


@_trap
def fields_that_alu_ignores(p, rng):
    """Bit 7, the weight of a micro-operation, and the source if there is an immediate."""
    depth = p.config.depth("acc") - 1
    a, k = _accumulators(p, rng, 4), p.kernel([(0, depth, p.config.depth("wgt") - 1)])
    p.insn(Opcode.ALU, uop_bgn=k.bgn, uop_end=k.end, iter_out=2, iter_in=2, alu_opcode=AluOp.ADD,
           use_imm=1, imm=5, reset_reg=1, dst_factor_out=2, dst_factor_in=1,
           src_factor_out=depth, src_factor_in=depth)
    return a + 5


# GEMM -------------------------------------------------------------------------------------------

@_trap
def a_reset_uses_no_source(p, rng):
    """Source and weight may be out of range; what is stored after it is 0, not what was before."""
    a, k = _accumulators(p, rng, 4), p.kernel([(0, 0, 0)])
    p.gemm(k, (4, 1, p.config.depth("inp") - 1, p.config.depth("wgt") - 1), reset=True)
    return 0 * a


@_trap
def gemm_and_alu_and_load_in_order(p, rng):
    """Within the compute unit no token is needed: it is sequential, however much overlaps."""
    _, _, product = _operands(p, rng)
    a, k = _accumulators(p, rng, 4), p.kernel([(0, 1, 2), (1, 2, 1), (0, 3, 3)])
    p.gemm(k, pop="l2g")
    p.alu(AluOp.MUL, k[:1], (2, 1), imm=3)
    p.gemm(k)
    p.load(p.buffers["a"], sram=1, dram=2, x=1)
    p.gemm(k[1:2])
    p.alu(AluOp.ADD, p.kernel([(0, 1)]))
    total = product[1, 2] + product[3, 3]
    first = (a[0] + total) * np.int32(3) + total
    a[1] = a[2] + product[2, 1]
    a[0] = first + a[1]
    return a


# STORE ------------------------------------------------------------------------------------------

@_trap
def a_store_after_a_load(p, rng):
    """Without an ALU between them: what was loaded, its low 8 bits, without saturation."""
    a = _words(p, rng, 4)
    a[0], a[1] = 300, -129
    p.load(p.buffer("a", Memory.ACC, a), push="g2s")
    p.store(p.buffer("y", Memory.OUT, 4), pop="g2s", push="s2g")
    return {"y": _bytes(a)}


@_trap
def a_store_is_dense_in_the_scratchpad(p, rng):
    """``x_stride`` is that of DRAM; what lies between the rows there stays as it was."""
    a = _accumulators(p, rng, 6)
    old = rng.integers(-128, 128, (2, 5, *a.shape[1:])).astype(np.int8)
    y = p.buffer("y", Memory.OUT, old)
    p.sync(Memory.UOP, push="g2s")
    p.store(y, sram=1, dram=1, y=2, x=2, stride=5, pop="g2s", push="s2g")
    old[:, 1:3] = _bytes(a[1:5]).reshape(2, 2, *a.shape[1:])
    return {"y": old}


@_trap
def rows_that_overlap_are_stored_in_order(p, rng):
    a = _accumulators(p, rng, 6)
    p.sync(Memory.UOP, push="g2s")
    p.store(p.buffer("y", Memory.OUT, 4), y=3, x=2, stride=1, pop="g2s", push="s2g")
    return {"y": _bytes(a[[0, 2, 4, 5]])}


# Tokens -----------------------------------------------------------------------------------------

@_trap
def both_tokens_are_taken_at_once(p, rng):
    """A GEMM that waits for its inputs and for the STORE of what it overwrites."""
    a, k = _accumulators(p, rng, 8), p.kernel([(0, 0, 0)])
    p.sync(Memory.UOP, push="g2s")
    p.store(p.buffer("old", Memory.OUT, 8), pop="g2s", push="s2g")
    x, _, product = _operands(p, rng, 4)
    p.gemm(k, (4, 1), reset=True, pop="l2g s2g")
    p.gemm(k, (4, 1, 1, 1))
    expected = a.copy()
    expected[:4] = [product[n, n] for n in range(4)]
    return {"old": _bytes(a), "y": _show(p, expected)}


@_trap
def a_token_comes_after_the_data(p, rng):
    """STORE, then LOAD of what it has stored, through all three units and back, twice."""
    a, k = _accumulators(p, rng, 4), p.kernel([(0, 1)])
    for turn in range(2):
        p.sync(Memory.UOP, push="g2s")
        y = p.buffer(f"y{turn}", Memory.OUT, 4)
        p.store(y, pop="g2s", push="s2g")
        p.load(Memory.ACC_8BIT, dram=y.base, x=4, pop="s2g")
        p.alu(AluOp.ADD, k)
        a = _bytes(a).astype(np.int32)
        a[0] += a[1]
    return a


@_trap
def what_is_behind_finish_executes(p, rng):
    """Upstream's simulator hangs for most seeds."""
    a, k = _accumulators(p, rng, 2), p.kernel([(0, 1)])
    p.finish()
    p.alu(AluOp.ADD, k)
    a[0] += a[1]
    return a
