import random

import numpy as np
import pytest

from hw.vta.assembler import Kernel, Program, assemble, from_binary, listing, to_binary
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Memory, Opcode
from sim.golden.vta import Machine, simulate

LISTING = """\
; 1x16x16, configuration 0x35c8c54b
; 0x00001000 x: 4 of INP
; 0x00002000 w: 2 of WGT
; 0x00003000 y: 2 of OUT
; 0x00003040 kernel1: 2 of UOP
;   0: dst=0 src=0 wgt=0
;   1: dst=0 src=1 wgt=1
; fill
   0  load.inp dram_base=256 y_size=1 x_size=4 x_stride=4
   1  load_pad.wgt dram_base=32 y_size=1 pad_value=-3 x_size=2 x_stride=2 x_pad_1=1 +l2g
   2  load.uop dram_base=3088 y_size=1 x_size=2 x_stride=2
; multiply
   3  gemm reset_reg=1 uop_end=1 iter_out=1 iter_in=2 dst_factor_in=1 -l2g
   4  gemm uop_end=2 iter_out=1 iter_in=2 dst_factor_in=1 src_factor_in=2
   5  depthwise uop_end=1 iter_out=1 iter_in=1 overwrite=1
   6  alu.shr uop_end=1 iter_out=1 iter_in=2 dst_factor_in=1 use_imm=1 imm=4
   7  alu.rqt uop_end=1 iter_out=1 iter_in=1 bias=1 imm=32640 +g2s
   8  store.out dram_base=768 saturate=1 y_size=1 x_size=2 x_stride=2 -g2s +s2g
   9  load.inp
  10  finish -s2g
"""


def small_program():
    with Program(VtaConfig()) as p:
        x = p.buffer("x", Memory.INP, np.arange(64, dtype=np.int8).reshape(4, 1, 16))
        w = p.buffer("w", Memory.WGT, np.ones((2, 16, 16), np.int8))
        y = p.buffer("y", Memory.OUT, 2)
        p.note("fill")
        p.load(x)
        p.load(w, pad=(0, 0, 0, 1), pad_value=-3, push="l2g")
        kernel = p.kernel((0, k, k) for k in range(2))
        p.note("multiply")
        p.gemm(kernel[:1], (2, 1), reset=True, pop="l2g")
        p.gemm(kernel, (2, 1, 2))
        p.gemm(kernel[:1], depthwise=True, overwrite=True)
        p.alu(AluOp.SHR, kernel[:1], (2, 1), imm=4)
        p.alu(AluOp.RQT, kernel[:1], bias=True, push="g2s")
        p.store(y, saturate=True, pop="g2s", push="s2g")
        p.sync(Memory.INP)
        p.finish(pop="s2g")
    return p


def test_listing():
    assert small_program().listing() == LISTING


def test_listing_is_source():
    p = small_program()
    assert assemble(p.config, LISTING) == p.words


def test_image_holds_everything():
    p = small_program()
    image = p.image()
    assert image[p.buffers["x"].slice] == bytes(range(64))
    assert image[p.buffers["kernel1"].slice] == bytes([0, 0, 0, 0, 0, 8, 64, 0])
    assert from_binary(bytes(image[p.insn_addr:])) == p.words
    assert p.insn_count == len(p.words) == 11 and p.insn_addr % 4096 == 0


def test_foreign_stream():
    """Any bits become text and come back, instruction or not."""
    rng = random.Random(0)
    binary = rng.randbytes(16 * 200)
    words = from_binary(binary)
    assert to_binary(assemble(VtaConfig(), listing(VtaConfig(), words))) == binary
    with pytest.raises(ValueError, match="^a stream must be a multiple of 16 bytes, not 17$"):
        from_binary(bytes(17))


def test_matrix_product():
    """A matrix product that loops of Python write gives what NumPy gives."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (6, 64), np.int8)
    w = rng.integers(-128, 128, (32, 64), np.int8)
    with Program(VtaConfig()) as p:
        xs = p.buffer("x", Memory.INP, x.reshape(6, 4, 16))
        ws = p.buffer("w", Memory.WGT, w.reshape(2, 16, 4, 16).transpose(0, 2, 1, 3))
        y = p.buffer("y", Memory.OUT, 12)
        p.load(xs)
        p.load(ws, push="l2g")
        kernel = p.kernel([(n, k, 4 * n + k) for n in range(2) for k in range(4)], pop="l2g")
        for n in range(2):
            p.gemm(kernel[4 * n:4 * n + 1], (6, 2), reset=True)
        p.gemm(kernel, (6, 2, 4))
        p.alu(AluOp.SHR, kernel[:1], (12, 1), imm=8)
        p.alu(AluOp.CLIP, kernel[:1], (12, 1), imm=100, push="g2s")
        p.store(y, pop="g2s", push="s2g")
        p.finish(pop="s2g")
    dram = np.frombuffer(p.image(), np.uint8).copy()
    result = simulate(Machine(p.config), p.words, dram, insn_addr=p.insn_addr)
    assert (result.status.status, result.races, result.unwritten) == ("done", [], [])
    expected = np.clip((x.astype(int) @ w.T.astype(int)) >> 8, -100, 100)
    np.testing.assert_array_equal(dram[y.slice].view(np.int8).reshape(6, 32), expected)


@pytest.mark.parametrize("wrong, message", [
    (lambda p: p.gemm((0, 1), pop="s2l"), "pop of a COMPUTE instruction must be among l2g, s2g, "
                                          "not 's2l'"),
    (lambda p: p.load(Memory.INP, x=1, pop="l2g"), "pop of a LOAD instruction must be among g2l, "
                                                   "not 'l2g'"),
    (lambda p: p.load(Memory.INP), "x must be given, if the place in DRAM is not a buffer"),
    (lambda p: p.load(Memory.OUT, x=1), "the core refuses it, illegal_memory: load.out .*"),
    (lambda p: p.gemm((0, 1), (1,), (1,), (1,)), "loops must be at most 2, not 3"),
    (lambda p: p.alu(AluOp.ADD, (0, 1), (1, 2, 3, 4)),
     r"a loop must be \(turns, dst, src\), not \(1, 2, 3, 4\)"),
    (lambda p: p.alu(AluOp.RQT, (0, 1), imm=1),
     "imm must be left out of RQT, whose operand is the source, not 1"),
    (lambda p: p.alu(AluOp.RQT, (0, 1), clamp=(0, 255)),
     r"clamp must be two of -128 to 127, not \(0, 255\)"),
    (lambda p: p.load(Memory.INP, x=1, pad_value=200),
     "pad_value of LOAD_PAD must be -128 to 127, not 200"),
    (lambda p: p.load(Memory.INP, x=1, y=256, pad_value=1),
     "y_size of LOAD_PAD must be 0 to 255, not 256"),
    (lambda p: p.kernel([(4096, 0)]), "dst_idx of micro-operation must be 0 to 2047, not 4096"),
    (lambda p: Kernel(0, 8)[::2], "a slice of a kernel must have step 1, not 2"),
    (lambda p: [p.buffer("a", Memory.INP, 1) for _ in range(2)],
     "the name of a buffer must be new, not 'a'"),
    (lambda p: p.buffer("a", Memory.INP, np.zeros(8, np.int8)),
     "data of a must be elements of 16 bytes, not 8 bytes"),
    (lambda p: p.__exit__(None, None, None), "a program must have a FINISH"),
])
def test_wrong(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        wrong(Program(VtaConfig()))


def test_wrong_data():
    with pytest.raises(TypeError, match="^data of a must be int32, not int8$"):
        Program(VtaConfig()).buffer("a", Memory.ACC, np.zeros(16, np.int8))


def test_plain_core_refuses_extensions():
    with pytest.raises(ValueError, match="^the core refuses it, illegal_opcode: "):
        Program(VtaConfig(extensions=False)).alu(AluOp.RQT, (0, 1))


def test_error_in_the_body_is_not_hidden():
    with pytest.raises(KeyError), Program(VtaConfig()):
        raise KeyError("from the body")


def test_opcode_of_pad_value():
    p = Program(VtaConfig())
    p.load(Memory.ACC, x=1, pad_value=0)
    assert p.words[0] & 7 == Opcode.LOAD_PAD
