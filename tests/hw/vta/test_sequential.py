# amaranth: UnusedElaboratable=no
"""What only the sequential core has; what both must do is in test_core, test_limits, test_traps."""

import numpy as np
import pytest

from hw.netlist import netlist
from hw.verilog import to_verilog
from hw.vta.assembler import Program, to_binary
from hw.vta.config import VtaConfig, preset
from hw.vta.firmware import firmware, layout
from hw.vta.isa import AluOp, Fault, Isa, Opcode
from hw.vta.microcode import LINK, Op, assemble
from hw.vta.sequential import SequentialVta
from sim.golden.vta import Machine, simulate
from sim.verilated import Engine
from sim.vta_engine import EngineError
from sim.vta_fuzz import fuzz_program
from sim.vta_rtl import SequentialRtl, VtaRtl

CONFIG = preset("block4")
BLOCK4 = dict(log_block=2, log_uop_buff_size=12, log_inp_buff_size=12, log_wgt_buff_size=12,
              log_acc_buff_size=13)


@pytest.fixture(scope="module")
def core():
    return SequentialRtl(CONFIG)


def cycles_of(core, build):
    with Program(CONFIG) as p:
        build(p)
        p.finish()
    image = np.frombuffer(bytes(p.image()), np.uint8).copy()
    core.restart()
    result = core.run(image, p.insn_addr, p.insn_count, latency=1)
    assert result.status == Fault.DONE
    return result.cycles


def test_cycles_of_a_micro_operation(core):
    kernel = [(n, n, n) for n in range(8)]

    def gemm(turns):
        return cycles_of(core, lambda p: p.gemm(p.kernel(kernel), (turns, 1, 1)))

    def alu(turns, operation, **options):
        return cycles_of(core, lambda p: p.alu(operation, p.kernel(kernel), (turns, 1, 1),
                                               **options))

    assert gemm(20) - gemm(10) == 80 * 55 + 10 * 6
    assert alu(20, AluOp.ADD, imm=3) - alu(10, AluOp.ADD, imm=3) == 80 * 82 + 10 * 6
    assert alu(20, AluOp.RQT) - alu(10, AluOp.RQT) < 80 * 190


def test_a_reset_ends_what_would_take_for_ever(core):
    """The microprogram looks for it at each turn of the inner loop."""
    isa = Isa(CONFIG)
    words = [isa.encode(Opcode.GEMM, uop_end=1, iter_out=2**14 - 1, iter_in=2**14 - 1),
             isa.encode(Opcode.FINISH)]
    image = np.zeros(4096, np.uint8)
    image[:32] = np.frombuffer(to_binary(words), np.uint8)
    core.restart()
    with pytest.raises(EngineError, match="still running after 5000 cycles"):
        core.run(image, 0, 2, timeout=5000)
    assert core.read("control") == 1 and core.read("status") == 0x100
    core.reset()
    assert (core.read("control"), core.read("status")) == (0, 0)
    image[:32] = np.frombuffer(to_binary([words[1], words[1]]), np.uint8)
    assert core.run(image, 0, 2).status == Fault.DONE


def test_a_reset_of_the_device_clears_what_the_host_wrote(core):
    core.restart()
    for name in ("insn_count", "insn_base", "out_base", "watchdog"):
        core.write(name, 0x1234_5678)
    core.engine.reset(2)
    assert [core.read(name) for name in ("insn_count", "insn_base", "out_base", "watchdog")] == [
        0, 0, 0, 100_000]
    assert core.read("fingerprint") == CONFIG.fingerprint


def test_the_host_sees_no_register_of_the_program(core):
    core.restart()
    for offset in (0x200, 0x3fc, 0xffc):  # what is behind the table reads as 0
        core.engine.set("s_axi__araddr", offset)
        core.engine.set("s_axi__arvalid", 1)
        core._until("arready")
        core.engine.step()
        core.engine.set("s_axi__arvalid", 0)
        core._until("rvalid")
        assert core.engine.get("s_axi__rdata") == 0
        core.engine.step()


@pytest.mark.slow
def test_programs_on_the_netlist():
    """After synthesis for iCE40: look-up tables, block RAM, and multipliers as Yosys maps them."""
    text = netlist(to_verilog(SequentialVta(CONFIG), "vta"), "vta", "ice40")
    core = VtaRtl(CONFIG, engine=Engine(text, "vta", extra=("axi_memory.cpp",)))
    for seed in range(30):
        program = fuzz_program(CONFIG, seed)
        expected, image = program.image.copy(), program.image.copy()
        simulate(Machine(CONFIG), program.words, expected, insn_addr=program.insn_addr)
        core.restart()
        result = core.run(image, program.insn_addr, program.insn_count, latency=3, stall=0.2,
                          seed=seed)
        assert result.status == Fault.DONE
        np.testing.assert_array_equal(image, expected, err_msg=f"program {seed}")


def test_scratchpads_have_their_places():
    places = layout(CONFIG)
    assert [(part.start, part.stop) for part in places.values()] == [
        (0, 1024), (1024, 2048), (2048, 3072), (3072, 5120)]


@pytest.mark.parametrize("values, said", [
    (dict(), "the tile of a sequential core must be 1x4x4, not 1x16x16"),
    (BLOCK4 | {"extensions": False}, "a sequential core must have addresses of 32 bits and "
                                     "extensions"),
])
def test_what_it_cannot_be(values, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        SequentialVta(VtaConfig(**values))


# The assembler ----------------------------------------------------------------------------------

def test_assembler():
    made = assemble("""
        start: add d, @seen, #ten   ; a register by name, one of the host, a number
               beq d, =0x12345678, start
               jal start
               st d, link, #3
    """, {"ten": 10}, {"seen": 5})
    assert made.words == [
        Op.ADD << 27 | 1 << 26 | 128 << 16 | 5 << 8 | 10,
        Op.BEQ << 27 | 128 << 8 | 129,
        Op.JAL << 27,
        Op.ST << 27 | 3 << 16 | LINK << 8 | 128]
    assert made.constants == {129: 0x12345678} and made.labels == {"start": 0}


def test_a_far_label():
    made = assemble("\n".join(["time x"] * 700 + ["here: jal here"]), {}, {})
    assert made.words[-1] == Op.JAL << 27 | 700 >> 8 << 24 | (700 & 255) << 16


@pytest.mark.parametrize("text, said", [
    ("add a, b", "line 1, 'add a, b': ADD must have 3 operands"),
    ("jump a", "line 1, 'jump a': 'JUMP'"),
    ("mov a, #256", "line 1, 'mov a, #256': a number must be 0 to 255 and the last operand, "
                    "not #256"),
    ("add a, #1, b", "line 1, 'add a, #1, b': a number must be 0 to 255 and the last operand, "
                     "not #1"),
    ("a: time x\na: time y", "line 2: the label a is there already"),
])
def test_wrong_text(text, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        assemble(text, {}, {})


def test_the_program_fits():
    made = firmware(CONFIG)
    assert len(made.words) <= 1 << 10  # targets have ten bits
    assert made.labels["start"] == 0   # where it begins
