"""Streams with one fault each, made by hand and by injuring real ones."""

import re

import numpy as np
import pytest

from hw.compiler.checker import Extent, StreamError, check, verify
from hw.vta.assembler import Program
from hw.vta.config import VtaConfig, preset
from hw.vta.isa import TOKENS, AluOp, Isa, Memory, Opcode
from sim.golden.vta import Machine, simulate
from sim.vta_bench import BENCHES

CONFIG = preset("block4")
OUT = Memory.OUT


def extents_of(program):
    """Its buffers: what they hold before the launch, and where STORE writes."""
    return [Extent(name, buffer.address, buffer.count * buffer.element_bytes,
                   given=buffer.kind != OUT) for name, buffer in program.buffers.items()]


def findings(program, extents=None, words=None):
    image = np.frombuffer(bytes(program.image()), np.uint8)
    return check(program.config, program.words if words is None else words, image,
                 extents_of(program) if extents is None else extents, insn_addr=program.insn_addr)


def small(change="", config=CONFIG):
    """Two products, requantised by a shift and stored; ``change`` names what is wrong."""
    lanes = config.batch * config.block
    with Program(config) as p:
        x = p.buffer("x", Memory.INP, np.ones((8, lanes), np.int8))
        w = p.buffer("w", Memory.WGT, np.ones((2, config.block ** 2), np.int8))
        y = p.buffer("y", OUT, 8)
        kernel = p.kernel([(0, 0, 0), (4, 4, 1)])
        p.load(x, x=4 if change == "half of the inputs" else None, push="l2g")
        p.load(w, push="" if change == "no token" else "l2g")
        pops = 1 if change in ("no token", "no wait") else 2
        p.sync(Memory.UOP, pop="l2g")
        if change == "one kernel more":
            kernel = (kernel.bgn, kernel.end + 1)
        p.gemm(kernel, (4, 1, 1), overwrite=change != "sums of nothing",
               pop="l2g" if pops == 2 else "")
        if change == "writes its parameters":
            p.alu(AluOp.ADD, (0, 1), (4, config.depth("acc") // 2), imm=1)
        p.alu(AluOp.SHR, (0, 2), (4, 1), imm=1, push="g2s")
        p.store(y, dram=4 if change == "beyond its tensor" else 0,
                pop="" if change == "too early" else "g2s", push="s2g")
        if change != "no end":
            p.finish(pop="" if change == "open end" else "s2g")
        if change == "no end":
            p.sync(Memory.UOP, pop="s2g")
            p.words.append(p.isa.encode(Opcode.FINISH))
    if change == "no end":
        p.words.pop()
    return p


#   change                  what is said of it
HAND_MADE = [
    ("half of the inputs",  r"instruction 4 \(gemm .*\) reads inp\[4\] and 3 more, which nothing "
                            r"has written"),
    ("sums of nothing",     r"instruction 4 .* reads acc\[0\] and 7 more, which nothing "
                            r"has written"),
    ("one kernel more",     r"instruction 4 .* reads uop\[2\], which nothing has written"),
    ("writes its parameters", r"instruction 5 .* reaches acc\[\d+\] of \d+ elements"),
    ("no wait",             r"instruction 2 \(load.wgt .*\) writes wgt\[0\], and instruction 4 "
                            r"\(gemm .*\) reads it, in an order that no token fixes"),
    ("too early",           r"instruction 5 \(alu.shr .*\) writes acc\[0\], and instruction 6 "
                            r"\(store.out .*\) reads it, in an order that no token fixes"),
    ("beyond its tensor",   r"instruction 6 .* writes byte 0x\w+ of DRAM, which is in no tensor"),
    ("no end",              r"no instruction is FINISH"),
    ("open end",            r"1 token s2g is left over, the first posted by instruction 6 .*"),
]


@pytest.mark.parametrize("change, message", HAND_MADE)
def test_hand_made_faults(change, message):
    found = findings(small(change))
    assert any(re.fullmatch(message, sentence) for sentence in found), found


def test_nothing_is_wrong():
    assert findings(small()) == []


def test_deadlock():
    with Program(CONFIG) as p:
        p.load(p.buffer("x", Memory.INP, 4), pop="g2l", push="l2g")
        p.finish(pop="l2g", push="g2l")
    assert [re.sub(r" \(.*?\)", "", text) for text in findings(p)] == [
        "instruction 0 waits for a token g2l that never comes from COMPUTE, which waits, too",
        "instruction 1 waits for a token l2g that never comes from LOAD, which waits, too"]


def test_after_finish():
    with Program(CONFIG) as p:
        p.load(p.buffer("x", Memory.INP, 4))
        p.finish()
        p.finish()
    found = findings(p)
    assert any(re.fullmatch(r"instruction 0 \(.*\) may execute after FINISH, instruction 2", text)
               for text in found)
    assert "instruction 2 is FINISH, but so is instruction 1" in found


def test_illegal_instruction():
    p = small()
    words = [*p.words[:-1], 7]
    assert findings(p, words=words) == [
        f"instruction {len(words) - 1} (illegal) is in error by itself, illegal_opcode"]


def test_outside_of_dram():
    p = small()
    words = list(p.words)
    words[1] = Isa(CONFIG).encode(Opcode.LOAD, memory_type=Memory.INP, dram_base=1 << 30, y_size=1,
                                  x_size=1, x_stride=1)
    assert any(re.search(r"instruction 1 .* reaches byte 0x\w+ of 0x\w+ in DRAM", text)
               for text in findings(p, words=words))


def test_tensors():
    """Lifetimes: two that share bytes, one after the other, and what is wrong about them."""
    config, lanes = CONFIG, CONFIG.batch * CONFIG.block
    with Program(config) as p:
        a = p.buffer("a", Memory.ACC, np.ones((4, lanes), np.int32))
        y = p.buffer("y", OUT, 4)
        p.load(a, push="g2s")                            # 0
        p.store(y, pop="g2s", push="s2g")                # 1: the first tensor
        p.load(Memory.ACC_8BIT, dram=y.base, x=4, pop="s2g", push="g2s")   # 2
        p.store(y, pop="g2s", push="s2g")                # 3: the second, in its place
        p.load(Memory.ACC_8BIT, dram=y.base, x=4, pop="s2g")               # 4
        p.finish()
    size = 4 * config.element_bytes("out")

    def found(*tensors):
        given = Extent("a", a.address, a.count * a.element_bytes, given=True)
        return [re.sub(r" \(.*?\)", "", text) for text in findings(p, [given, *tensors])]

    one, two = Extent("t1", y.address, size, 1, 2), Extent("t2", y.address, size, 3, 4)
    assert found(one, two) == []
    assert found(one, Extent("t2", y.address, size, 2, 4)) == [
        "tensors t1 and t2 overlap, and both are alive at instruction 2"]
    at = f"{y.address:#x}"
    assert found(one, Extent("t2", y.address, size, 4, 4)) == [
        f"instruction 3 writes byte {at} of DRAM, which is in t1, alive at instructions 1 to 2",
        f"instruction 4 reads byte {at} of DRAM and {size // 4 - 1} more, which nothing has "
        f"written"]
    assert found(Extent("t1", y.address, size, given=True))[0] == \
        f"instruction 1 overwrites t1 at byte {at} of DRAM"


def test_the_stream_itself_is_a_tensor():
    p = small()
    extents = [*extents_of(p), Extent("z", p.insn_addr - 4, 8)]
    assert re.fullmatch(r"tensors z \(bytes .*\) and the instructions \(bytes .*\) overlap, and "
                        r"both are alive at instruction 0", findings(p, extents)[0])


@pytest.mark.parametrize("what", BENCHES)
@pytest.mark.parametrize("name", ["block4", "small"])
def test_benches_are_right(what, name):
    config = preset(name)
    program = BENCHES[what](config, *([4096] if what in ("load", "store") else [])).program
    found = findings(program)
    # The load bench reads its inputs again and again; nothing else is special about it.
    assert found == []


def flips(program):
    """Every stream that has one token flag less, or one more."""
    isa = program.isa
    for index, word in enumerate(program.words):
        insn = isa.decode(word)
        for flag in TOKENS[insn.unit]:
            change = 1 << isa.places[insn.opcode][flag][0]
            yield index, [*program.words[:index], word ^ change, *program.words[index + 1:]]


def test_every_token_counts():
    """With any token dropped or added, the stream is refused."""
    program = BENCHES["gemm"](VtaConfig(log_block=2, log_uop_buff_size=12, log_inp_buff_size=9,
                                        log_wgt_buff_size=9, log_acc_buff_size=11), 32).program
    assert findings(program) == []
    for index, words in flips(program):
        assert findings(program, words=words), f"instruction {index}"


def test_shifted_bases_are_found():
    """Bases moved by one: found here, unless the simulator sees no difference that counts."""
    program = small()
    places, caught, harmless = program.isa.places, 0, 0
    image = np.frombuffer(bytes(program.image()), np.uint8)
    for index, word in enumerate(program.words):
        insn = program.isa.decode(word)
        for name in ("sram_base", "dram_base", "uop_bgn", "uop_end", "x_size", "y_size"):
            if insn.fields.get(name) is None or (insn.is_memory and not insn.x_size):
                continue
            moved = word + (1 << places[insn.opcode][name][0])
            words = [*program.words[:index], moved, *program.words[index + 1:]]
            found = findings(program, words=words)
            result = simulate(Machine(CONFIG), words, image.copy(), insn_addr=program.insn_addr)
            seen = result.status != 0 or result.races or result.unwritten
            assert found or not seen, (index, name, result)
            caught += bool(found)
            harmless += not found
    assert caught > 10 * harmless, (caught, harmless)


def test_verify_raises_the_first():
    p = small("no token")
    image = np.frombuffer(bytes(p.image()), np.uint8)
    with pytest.raises(StreamError, match=r"^instruction 2 .* writes wgt\[0\]") as error:
        verify(CONFIG, p.words, image, extents_of(p), insn_addr=p.insn_addr)
    assert error.value.findings == findings(p)


@pytest.mark.parametrize("options, message", [
    ({"address": -1, "size": 4}, "extent of t must have an address and a size of 0 or more, "
                                 "not -1 and 4"),
    ({"address": 0, "size": 4, "first": 3, "last": 2},
     "t must be alive from an instruction to a later one, not 3 to 2"),
])
def test_bad_extents(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Extent("t", **options)
