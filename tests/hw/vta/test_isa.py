import ctypes
import random
import re

import numpy as np
import pytest

from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import (
    EXTENSIONS,
    FORMS,
    TOKENS,
    AluOp,
    Fault,
    Instruction,
    Isa,
    Memory,
    Opcode,
    Token,
    Unit,
)

ISAS = {name: Isa(preset(name)) for name in PRESETS}
ISA = ISAS["default"]

# The published layout at the default configuration, bit for bit: last and first bit.
HEAD = {"opcode": (2, 0), "pop_prev": (3, 3), "pop_next": (4, 4), "push_prev": (5, 5),
        "push_next": (6, 6)}
MEMORY = HEAD | {"memory_type": (9, 7), "sram_base": (25, 10), "dram_base": (57, 26),
                 "y_size": (79, 64), "x_size": (95, 80), "x_stride": (111, 96)}
LOOPS = HEAD | {"reset_reg": (7, 7), "uop_bgn": (20, 8), "uop_end": (34, 21),
                "iter_out": (48, 35), "iter_in": (62, 49), "dst_factor_out": (74, 64),
                "dst_factor_in": (85, 75), "src_factor_out": (96, 86), "src_factor_in": (107, 97)}
PUBLISHED = {
    Opcode.LOAD: MEMORY | {"y_pad_0": (115, 112), "y_pad_1": (119, 116), "x_pad_0": (123, 120),
                           "x_pad_1": (127, 124)},
    Opcode.STORE: MEMORY,
    Opcode.GEMM: LOOPS | {"wgt_factor_out": (117, 108), "wgt_factor_in": (127, 118)},
    Opcode.ALU: LOOPS | {"alu_opcode": (110, 108), "use_imm": (111, 111), "imm": (127, 112)},
    Opcode.FINISH: HEAD,
}
# The extensions, in bits that are free in it.
OWN = {
    Opcode.STORE: {"saturate": (58, 58), "sram_skip": (63, 59), "sram_stride": (127, 112)},
    Opcode.GEMM: {"overwrite": (63, 63)},
    Opcode.ALU: {"bias": (63, 63)},
}

FIELDS = [(name, opcode, field.name) for name in PRESETS for opcode, words in FORMS.items()
          for word in words for field in word if field.name != "opcode"]


@pytest.mark.parametrize("opcode", PUBLISHED)
def test_layout_is_the_published_one(opcode):
    places = {name: (offset + width - 1, offset)
              for name, (offset, _, width) in ISA.places[opcode].items()}
    assert places == PUBLISHED[opcode] | OWN.get(opcode, {})


@pytest.mark.parametrize("name", PRESETS)
def test_layout_is_that_of_a_c_compiler(name):
    """Upstream declares bit-fields of uint64_t, in this order, and lets the compiler place them."""
    config, isa = preset(name), ISAS[name]
    rng = random.Random(name)
    for opcode in PUBLISHED:
        places = {field: place for field, place in isa.places[opcode].items()
                  if not place[1].extension}
        struct = type("Struct", (ctypes.LittleEndianStructure,), {"_fields_": [
            (field, ctypes.c_uint64, width) for field, (_, _, width) in places.items()]})
        assert opcode == Opcode.FINISH or ctypes.sizeof(struct) == 16
        fields = {field: rng.getrandbits(width) for field, (_, _, width) in places.items()}
        word = int.from_bytes(bytes(struct(**fields)), "little")
        fields["opcode"] = opcode
        word = word & ~7 | opcode
        if "imm" in fields:
            fields["imm"] -= fields["imm"] >> 15 << 16
        del fields["opcode"]
        assert isa.encode(opcode, **fields) == word
        assert isa.decode(word) == Instruction(opcode, dict.fromkeys(
            (f for f in isa.places[opcode] if f != "opcode"), 0) | fields)
    wide = max(config.log_acc_depth, config.log_inp_depth)
    uop = type("Uop", (ctypes.LittleEndianStructure,), {"_fields_": [
        ("dst", ctypes.c_uint32, config.log_acc_depth), ("src", ctypes.c_uint32, wide),
        ("wgt", ctypes.c_uint32, config.log_wgt_depth)]})(3, 2, 1)
    assert isa.encode_uop(3, 2, 1) == int.from_bytes(bytes(uop), "little")


@pytest.mark.parametrize("name, opcode, field", FIELDS)
def test_each_field_alone(name, opcode, field):
    """Largest and smallest value of a field come back, and touch nothing else."""
    isa = ISAS[name]
    offset, spec, width = isa.places[opcode][field]
    values = [-1 << (width - 1), -1] if spec.signed else [1, (1 << width) - 1]
    for value in values:
        word = isa.encode(opcode, **{field: value})
        assert word & ~(((1 << width) - 1) << offset) == opcode
        assert {f: v for f, v in isa.decode(word).fields.items() if v} == {field: value}
        assert isa.layouts[opcode].const({"opcode": int(opcode), field: value}).as_bits() == word


def test_out_of_range():
    for opcode, fields, message in (
        (Opcode.GEMM, {"iter_in": 1 << 14}, "iter_in of GEMM must be 0 to 16383, not 16384"),
        (Opcode.ALU, {"imm": 32768}, "imm of ALU must be -32768 to 32767, not 32768"),
        (Opcode.STORE, {"x_pad_0": 1}, "a field of STORE must be one of opcode, .*, not 'x_pad_0'"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            ISA.encode(opcode, **fields)
    with pytest.raises(ValueError, match="^wgt_idx of micro-operation must be 0 to 1023, not -1$"):
        ISA.encode_uop(0, 0, -1)


@pytest.mark.parametrize("name", PRESETS)
def test_text_round_trip_of_any_bits(name):
    isa, rng = ISAS[name], random.Random(name)
    for _ in range(500):
        word = rng.getrandbits(128)
        assert isa.assemble(isa.disassemble(word)) == word
        assert isa.decode(word).unit in Unit


@pytest.mark.parametrize("fields, text", [
    ((Opcode.LOAD, {"memory_type": Memory.INP, "dram_base": 7, "y_size": 2, "x_size": 3,
                    "x_stride": 4, "x_pad_0": 1, "pop_next": 1, "push_next": 1}),
     "load.inp dram_base=7 y_size=2 x_size=3 x_stride=4 x_pad_0=1 -g2l +l2g"),
    ((Opcode.LOAD_PAD, {"memory_type": Memory.ACC_8BIT, "pad_value": -128}),
     "load_pad.acc_8bit pad_value=-128"),
    ((Opcode.LOAD, {"memory_type": 7}), "load memory_type=7"),
    ((Opcode.LOAD, {"memory_type": Memory.INP, "push_prev": 1}), "load.inp push_prev=1"),
    ((Opcode.ALU, {"alu_opcode": AluOp.SHR, "use_imm": 1, "imm": -3, "push_prev": 1}),
     "alu.shr use_imm=1 imm=-3 +g2l"),
    ((Opcode.STORE, {"memory_type": Memory.OUT, "saturate": 1, "pop_prev": 1, "push_prev": 1}),
     "store.out saturate=1 -g2s +s2g"),
    ((Opcode.FINISH, {"pop_prev": 1, "pop_next": 1}), "finish -l2g -s2g"),
])
def test_text(fields, text):
    opcode, fields = fields
    assert ISA.disassemble(ISA.encode(opcode, **fields)) == text


@pytest.mark.parametrize("line, message", [
    ("sub x=1", "mnemonic must be one of load.uop, .*, not 'sub'"),
    ("load.sram", "mnemonic must be one of .*, not 'load.sram'"),
    ("finish +s2g", r"token of a COMPUTE instruction must be one of -l2g, -s2g, \+g2l, \+g2s, "
                    r"not '\+s2g'"),
    ("gemm imm=1", "a field of GEMM must be one of .*, not 'imm'"),
])
def test_wrong_text(line, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ISA.assemble(line)


@pytest.mark.parametrize("fields, unit", [
    ((Opcode.LOAD, {"memory_type": Memory.INP}), Unit.LOAD),
    ((Opcode.LOAD, {"memory_type": Memory.WGT}), Unit.LOAD),
    ((Opcode.LOAD_PAD, {"memory_type": Memory.INP}), Unit.LOAD),
    ((Opcode.LOAD, {"memory_type": Memory.UOP}), Unit.COMPUTE),
    ((Opcode.LOAD, {"memory_type": Memory.ACC}), Unit.COMPUTE),
    ((Opcode.LOAD, {"memory_type": Memory.ACC_8BIT}), Unit.COMPUTE),
    ((Opcode.LOAD, {"memory_type": 6}), Unit.COMPUTE),
    ((Opcode.GEMM, {}), Unit.COMPUTE),
    ((Opcode.DEPTHWISE, {}), Unit.COMPUTE),
    ((Opcode.FINISH, {}), Unit.COMPUTE),
    ((Opcode.ILLEGAL, {}), Unit.COMPUTE),
    ((Opcode.STORE, {"memory_type": Memory.OUT}), Unit.STORE),
    ((Opcode.STORE, {"memory_type": Memory.INP}), Unit.STORE),
])
def test_unit(fields, unit):
    opcode, fields = fields
    assert ISA.decode(ISA.encode(opcode, **fields)).unit == unit


def test_tokens_join_two_units_each():
    for token, (first, second) in {Token.L2G: (Unit.LOAD, Unit.COMPUTE),
                                   Token.G2L: (Unit.COMPUTE, Unit.LOAD),
                                   Token.G2S: (Unit.COMPUTE, Unit.STORE),
                                   Token.S2G: (Unit.STORE, Unit.COMPUTE)}.items():
        ends = {(unit, flag[:3]) for unit, flags in TOKENS.items()
                for flag, queue in flags.items() if queue == token}
        assert ends == {(first, "pus"), (second, "pop")}


MEM = {"x_size": 1, "y_size": 1}


@pytest.mark.parametrize("opcode, fields, with_extensions, plain", [
    (Opcode.LOAD, {"memory_type": Memory.INP} | MEM, Fault.DONE, Fault.DONE),
    (Opcode.LOAD, {"memory_type": Memory.OUT} | MEM, Fault.ILLEGAL_MEMORY, Fault.ILLEGAL_MEMORY),
    (Opcode.LOAD, {"memory_type": 6} | MEM, Fault.ILLEGAL_MEMORY, Fault.ILLEGAL_MEMORY),
    (Opcode.LOAD, {"memory_type": 6}, Fault.DONE, Fault.DONE),  # x_size 0: only tokens
    (Opcode.STORE, {"memory_type": Memory.ACC} | MEM, Fault.ILLEGAL_MEMORY, Fault.ILLEGAL_MEMORY),
    (Opcode.STORE, {"memory_type": Memory.ACC}, Fault.DONE, Fault.DONE),
    (Opcode.LOAD, {"memory_type": Memory.INP, "pop_prev": 1}, Fault.ILLEGAL_TOKEN,
     Fault.ILLEGAL_TOKEN),
    (Opcode.LOAD, {"memory_type": Memory.WGT, "push_prev": 1}, Fault.ILLEGAL_TOKEN,
     Fault.ILLEGAL_TOKEN),
    (Opcode.LOAD, {"memory_type": Memory.UOP, "push_prev": 1}, Fault.DONE, Fault.DONE),
    (Opcode.STORE, {"memory_type": Memory.OUT, "pop_next": 1}, Fault.ILLEGAL_TOKEN,
     Fault.ILLEGAL_TOKEN),
    (Opcode.STORE, {"memory_type": Memory.OUT, "push_next": 1}, Fault.ILLEGAL_TOKEN,
     Fault.ILLEGAL_TOKEN),
    (Opcode.STORE, {"memory_type": Memory.OUT, "sram_stride": 16} | MEM, Fault.DONE,
     Fault.ILLEGAL_FIELD),  # pads, in plain VTA
    (Opcode.ALU, {"alu_opcode": 4}, Fault.DONE, Fault.DONE),
    (Opcode.ALU, {"alu_opcode": 5}, Fault.DONE, Fault.ILLEGAL_OPCODE),
    (Opcode.ALU, {"alu_opcode": 7}, Fault.DONE, Fault.ILLEGAL_OPCODE),
    (Opcode.DEPTHWISE, {}, Fault.DONE, Fault.ILLEGAL_OPCODE),
    (Opcode.LOAD_PAD, {}, Fault.DONE, Fault.ILLEGAL_OPCODE),
    (Opcode.ILLEGAL, {}, Fault.ILLEGAL_OPCODE, Fault.ILLEGAL_OPCODE),
])
def test_fault(opcode, fields, with_extensions, plain):
    for isa, expected in ((ISA, with_extensions), (Isa(VtaConfig(extensions=False)), plain)):
        assert isa.fault(isa.decode(isa.encode(opcode, **fields))) == expected


def test_plain_core_does_not_see_extension_bits():
    isa = Isa(VtaConfig(extensions=False))
    for opcode in PUBLISHED:
        insn = isa.decode((1 << 128) - 8 | opcode)
        extended = {field.name for word in FORMS[opcode] for field in word if field.extension}
        assert not any(insn.fields[name] for name in extended - {"sram_stride"})


def test_every_extension_is_in_free_bits():
    """Upstream uses none of these; 1.3 of the reference notes lists them."""
    for opcode, words in FORMS.items():
        for word in words:
            for field in word:
                if field.extension and opcode not in EXTENSIONS:
                    assert field.name in OWN[opcode]
    assert min(EXTENSIONS) > Opcode.ALU


def test_uop_arrays():
    words = np.array([ISA.encode_uop(2047, 5, 1023), ISA.encode_uop(1, 2047, 0)], np.uint32)
    assert [list(map(int, part)) for part in ISA.decode_uop(words)] == [
        [2047, 1], [5, 2047], [1023, 0]]


def test_unknown_attribute():
    with pytest.raises(AttributeError, match=re.escape("has no field x_pad_0")):
        _ = ISA.decode(Opcode.STORE).x_pad_0
