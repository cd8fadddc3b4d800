import numpy as np
import pytest

from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Fault, Isa, Memory, Opcode
from sim.golden.vta import Machine, VtaError
from sim.golden.vta.alu import levels, requantise

CONFIG = VtaConfig()
ISA = Isa(CONFIG)
MIN, MAX = -1 << 31, (1 << 31) - 1


def run(machine, opcode, dram=None, **fields):
    insn = ISA.decode(ISA.encode(opcode, **fields))
    return machine.execute(insn, np.zeros(0, np.uint8) if dram is None else dram)


def alu(operation, x, y, *, imm=None, bias=0):
    """Result of one micro-operation: acc[0] op acc[1], or op imm; all lanes are alike."""
    machine = Machine(CONFIG)
    machine.acc[0], machine.acc[1] = x, y
    machine.acc[2] = bias
    machine.uop[0] = ISA.encode_uop(0, 1)
    fields = {"use_imm": 1, "imm": imm} if imm is not None and operation != AluOp.RQT else {}
    if operation == AluOp.RQT:
        fields = {"imm": imm, "bias": int(bias != 0)}
    run(machine, Opcode.ALU, uop_end=1, iter_out=1, iter_in=1, alu_opcode=operation, **fields)
    assert (machine.acc[0] == machine.acc[0, 0, 0]).all()
    return int(machine.acc[0, 0, 0])


#    operation     x           y       result
VECTORS = [
    (AluOp.MIN,   -5,          3,      -5),
    (AluOp.MIN,   MIN,         MAX,    MIN),
    (AluOp.MAX,   -5,          -7,     -5),
    (AluOp.ADD,   MAX,         1,      MIN),       # wraps
    (AluOp.ADD,   MIN,         -1,     MAX),
    (AluOp.SHR,   -5,          1,      -3),        # arithmetic, towards minus infinity
    (AluOp.SHR,   MIN,         31,     -1),
    (AluOp.SHR,   5,           -2,     20),        # a negative amount shifts left
    (AluOp.SHR,   3,           -31,    MIN),       # and drops what leaves
    (AluOp.SHR,   -5,          32,     -1),        # beyond 31 nothing but the sign is left
    (AluOp.SHR,   5,           1000,   0),
    (AluOp.SHR,   -1,          -32,    0),         # nothing at all
    (AluOp.SHR,   -1,          -33,    0),
    (AluOp.MUL,   65537,       65537,  131073),    # low 32 bits
    (AluOp.MUL,   MIN,         -1,     MIN),
    (AluOp.CLIP,  300,         127,    127),
    (AluOp.CLIP,  -300,        127,    -127),
    (AluOp.CLIP,  5,           -3,     3),         # max comes last
    (AluOp.MOV,   5,           -9,     -9),
]


@pytest.mark.parametrize("operation, x, y, result", VECTORS)
def test_alu(operation, x, y, result):
    assert alu(operation, x, y) == result
    if -32768 <= y <= 32767:
        assert alu(operation, x, 77, imm=y) == result


@pytest.mark.parametrize("x, y, result", [
    (5, MIN, 0), (-5, MAX, -1),                     # amounts that the immediate cannot hold
])
def test_shift_by_anything(x, y, result):
    assert alu(AluOp.SHR, x, y) == result


def test_clip_at_the_smallest_bound():
    assert alu(AluOp.CLIP, 5, MIN) == MIN


def word(multiplier, shift, zero=0, spare=0):
    value = multiplier | shift << 16 | spare << 22 | (zero & 0xff) << 24
    return value - (value >> 31 << 32)


WIDE = 127 << 8 | 0x80  # clamp to -128 ... 127


#    x        parameters                 bias   clamp   result
@pytest.mark.parametrize("x, parameters, bias, imm, result", [
    (100,     word(1, 0),                0,     WIDE,   100),
    (1000,    word(1, 0),                0,     WIDE,   127),      # saturates
    (-1000,   word(1, 0),                0,     WIDE,   -128),
    (1,       word(1, 1),                0,     WIDE,   1),        # 0.5: ties go up
    (-1,      word(1, 1),                0,     WIDE,   0),        # -0.5
    (-3,      word(1, 1),                0,     WIDE,   -1),       # -1.5
    (12345,   word(40000, 22),           0,     WIDE,   118),      # 117.73
    (100,     word(32768, 15, -5),       0,     WIDE,   95),
    (100,     word(32768, 15, 100),      0,     WIDE,   127),      # the zero point comes first
    (-7,      word(1, 0),                0,     6 << 8, 0),        # ReLU6
    (9,       word(1, 0),                0,     6 << 8, 6),
    (MIN,     word(65535, 47, 3),        0,     WIDE,   2),        # the largest product
    (MIN,     word(65535, 48, 3),        0,     WIDE,   3),        # beyond it nothing is left
    (MIN,     word(65535, 63, 3),        0,     WIDE,   3),
    (MAX,     word(65535, 47),           0,     WIDE,   1),
    (MAX,     word(65535, 0),            0,     WIDE,   127),      # no wrap before the clamp
    (3,       word(1, 0, spare=3),       0,     WIDE,   3),        # bits 23:22 are ignored
    (3,       word(1, 0),                4,     WIDE,   7),
    (MAX,     word(1, 0),                1,     WIDE,   -128),     # the bias wraps as ADD does
    (0,       word(1, 0),                0,     0x0510, 16),       # low above high: low wins
])
def test_requantise(x, parameters, bias, imm, result):
    imm -= imm >> 15 << 16
    assert alu(AluOp.RQT, x, parameters, imm=imm, bias=bias) == result


def test_requantise_against_integers_without_bounds():
    rng = np.random.default_rng(0)
    x = rng.integers(MIN, MAX, 2000).astype(np.int32) >> rng.integers(0, 32, 2000).astype(np.int32)
    parameters = rng.integers(MIN, MAX, 2000).astype(np.int32)
    for value, parameter, result in zip(x.tolist(), parameters.tolist(),
                                        requantise(x, parameters, 0x7f80).tolist()):
        shift = parameter >> 16 & 63
        exact = (value * (parameter & 0xffff) * 2 + (1 << shift)) >> (shift + 1)
        assert result == max(min(exact + (parameter >> 24), 127), -128)


@pytest.mark.parametrize("saturate, expected", [
    (0, [44, -128, -1, 5]),   # low 8 bits
    (1, [127, -128, -1, 5]),
])
def test_store_narrows(saturate, expected):
    machine, dram = Machine(CONFIG), np.zeros(64, np.uint8)
    machine.acc[0, 0, :4] = [300, -128, -1, 5]
    run(machine, Opcode.STORE, dram, memory_type=Memory.OUT, y_size=1, x_size=1,
        saturate=saturate)
    assert dram[:4].view(np.int8).tolist() == expected


@pytest.mark.parametrize("fields, sources", [
    ({"x_size": 3, "y_size": 2, "x_stride": 3},                    [0, 1, 2, 3, 4, 5]),
    ({"x_size": 3, "y_size": 2, "x_stride": 3, "sram_stride": 8},  [0, 1, 2, 8, 9, 10]),
    ({"x_size": 3, "y_size": 2, "x_stride": 3, "sram_skip": 1},    [0, 2, 4, 6, 8, 10]),
    # Pooling by two of rows of eight: one STORE where plain VTA needs one per result.
    ({"x_size": 3, "y_size": 2, "x_stride": 3, "sram_skip": 1, "sram_stride": 16},
     [0, 2, 4, 16, 18, 20]),
    ({"x_size": 2, "y_size": 3, "x_stride": 1},                    [0, 2, 4, 5]),  # rows overlap
])
def test_store_strides(fields, sources):
    machine, dram = Machine(CONFIG), np.full(16 * 16, 99, np.uint8)
    machine.acc[:] = np.arange(2048)[:, None, None]
    run(machine, Opcode.STORE, dram, memory_type=Memory.OUT, **fields)
    assert dram[::16].tolist() == sources + [99] * (16 - len(sources))


@pytest.mark.parametrize("kind, value", [
    (Memory.INP, -3), (Memory.WGT, -3), (Memory.ACC, -3), (Memory.ACC_8BIT, -3),
    (Memory.UOP, 0xfffffffd),
])
def test_pad_value_of_every_type(kind, value):
    machine, dram = Machine(CONFIG), np.full(4096, 1, np.uint8)
    run(machine, Opcode.LOAD_PAD, dram, memory_type=kind, sram_base=2, y_size=1, x_size=1,
        x_pad_0=1, x_pad_1=2, y_pad_0=1, y_pad_1=1, pad_value=-3)
    pad = machine.scratchpads()[kind.scratchpad].reshape(machine.config.depth(kind.scratchpad), -1)
    data = {Memory.ACC: 0x01010101, Memory.UOP: 0x01010101}.get(kind, 1)
    assert pad[:15, 0].tolist() == [0, 0] + [value] * 5 + [data] + [value] * 6 + [0]


def test_load_without_rows_writes_pads():
    machine = Machine(CONFIG)
    machine.inp[:] = 7
    run(machine, Opcode.LOAD, memory_type=Memory.INP, x_size=2, y_pad_0=1, y_pad_1=1, x_pad_0=1)
    assert machine.inp[:8, 0, 0].tolist() == [0] * 6 + [7] * 2


@pytest.mark.parametrize("fields, fault", [
    ((Opcode.LOAD, {"memory_type": Memory.INP, "sram_base": 2047, "x_size": 2, "y_size": 1}),
     Fault.INP_RANGE),
    ((Opcode.LOAD, {"memory_type": Memory.ACC_8BIT, "sram_base": 2047, "x_size": 1, "y_size": 1,
                    "x_pad_1": 1}), Fault.ACC_RANGE),
    ((Opcode.LOAD, {"memory_type": Memory.UOP, "sram_base": 9000, "x_size": 1}), Fault.UOP_RANGE),
    ((Opcode.LOAD, {"memory_type": Memory.INP, "dram_base": 64, "x_size": 1, "y_size": 1}),
     Fault.BUS_ERROR),
    ((Opcode.STORE, {"memory_type": Memory.OUT, "sram_base": 2047, "x_size": 2, "y_size": 1}),
     Fault.ACC_RANGE),
    ((Opcode.STORE, {"memory_type": Memory.OUT, "x_size": 1, "y_size": 2, "x_stride": 64}),
     Fault.BUS_ERROR),
    ((Opcode.GEMM, {"uop_bgn": 8191, "uop_end": 8193, "iter_out": 1, "iter_in": 1}),
     Fault.UOP_RANGE),
    ((Opcode.GEMM, {"uop_end": 1, "iter_out": 3, "iter_in": 1, "dst_factor_out": 1024}),
     Fault.ACC_RANGE),
    ((Opcode.GEMM, {"uop_end": 1, "iter_out": 3, "iter_in": 1, "src_factor_out": 1024}),
     Fault.INP_RANGE),
    ((Opcode.GEMM, {"uop_end": 1, "iter_out": 3, "iter_in": 1, "wgt_factor_out": 512}),
     Fault.WGT_RANGE),
    # The first micro-operation that fails counts, then the first operand.
    ((Opcode.GEMM, {"uop_end": 1, "iter_out": 3, "iter_in": 3, "wgt_factor_in": 600,
                    "dst_factor_out": 1100}), Fault.WGT_RANGE),
    ((Opcode.GEMM, {"uop_end": 1, "iter_out": 3, "iter_in": 1, "wgt_factor_out": 600,
                    "dst_factor_out": 1100}), Fault.ACC_RANGE),
    ((Opcode.ALU, {"uop_end": 1, "iter_out": 3, "iter_in": 1, "src_factor_out": 1024}),
     Fault.ACC_RANGE),
    ((Opcode.ALU, {"uop_end": 1, "iter_out": 2, "iter_in": 1, "src_factor_out": 2047,
                   "alu_opcode": 7, "bias": 1}), Fault.ACC_RANGE),
])
def test_out_of_range(fields, fault):
    machine = Machine(CONFIG)
    opcode, fields = fields
    with pytest.raises(VtaError) as error:
        run(machine, opcode, np.zeros(1024, np.uint8), **fields)
    assert error.value.fault == fault
    assert not any(mask.any() for mask in machine.written.values())


@pytest.mark.parametrize("opcode, fields", [
    (Opcode.GEMM, {"reset_reg": 1, "src_factor_out": 2047, "wgt_factor_out": 1023}),
    (Opcode.ALU, {"use_imm": 1, "src_factor_out": 2047}),
    (Opcode.GEMM, {"iter_out": 0, "uop_end": 16383}),
    (Opcode.GEMM, {"uop_bgn": 5, "uop_end": 3, "dst_factor_out": 2047}),
    (Opcode.DEPTHWISE, {"wgt_factor_out": 1023}),      # rows, of which there are 16 times as many
    (Opcode.LOAD, {"memory_type": Memory.INP, "y_size": 9, "y_pad_0": 15, "sram_base": 65535}),
])
def test_unused_indices_are_not_checked(opcode, fields):
    defaults = {"uop_end": 1, "iter_out": 9, "iter_in": 1} if opcode != Opcode.LOAD else {}
    run(Machine(CONFIG), opcode, **(defaults | fields))


def test_base_registers_are_added():
    machine, dram = Machine(CONFIG), np.arange(64, dtype=np.uint8)
    insn = ISA.decode(ISA.encode(Opcode.LOAD, memory_type=Memory.INP, dram_base=1, x_size=1,
                                 y_size=1))
    machine.execute(insn, dram, {"inp": 5})  # upstream's Chisel would OR them: 16 | 5
    assert machine.inp[0, 0].tolist() == list(range(21, 37))


def test_levels_keep_the_order():
    #      a <- b: 1<-0, 0<-1 (after), 2<-0 (after), 1<-1
    dst, src = np.array([1, 0, 2, 1]), np.array([[0], [1], [0], [1]])
    assert levels(dst, src).tolist() == [0, 1, 2, 1]
    assert levels(np.array([3, 3, 4, 3]), None).tolist() == [0, 1, 0, 2]
    assert levels(np.array([3, 3, 4]), np.array([[3], [3], [4]])).tolist() == [0, 1, 0]
