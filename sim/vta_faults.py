"""Programs that a core must stop, each with the cause and the instruction that is to blame."""

from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Fault, Isa, Memory, Opcode

__all__ = ["wrong_programs"]

LOAD = dict(memory_type=Memory.INP, y_size=1, x_size=1)
STORE = dict(memory_type=Memory.OUT, y_size=1, x_size=1)
ONE = dict(uop_end=1, iter_out=1, iter_in=1)


def wrong_programs(config: VtaConfig) -> dict[str, tuple[list[int], Fault, int | None]]:
    """By name: instruction words, how the run ends, and at which instruction.

    DRAM may hold zeros, and must have less than a megabyte.
    """
    insn = Isa(config).encode
    done = insn(Opcode.FINISH)
    depth = {name: config.depth(name) for name in ("uop", "inp", "wgt", "acc")}
    return {
        "no finish":    ([insn(Opcode.LOAD, **LOAD)], Fault.NO_FINISH, None),
        "opcode":       ([done, 7], Fault.ILLEGAL_OPCODE, 1),
        "token":        ([insn(Opcode.LOAD, **LOAD, push_prev=1), done], Fault.ILLEGAL_TOKEN, 0),
        "memory":       ([insn(Opcode.LOAD, **LOAD | {"memory_type": 6}), done],
                         Fault.ILLEGAL_MEMORY, 0),
        "store type":   ([insn(Opcode.STORE, **STORE | {"memory_type": Memory.ACC}), done],
                         Fault.ILLEGAL_MEMORY, 0),
        "inp range":    ([insn(Opcode.LOAD, **LOAD, sram_base=depth["inp"]), done],
                         Fault.INP_RANGE, 0),
        "pads count":   ([insn(Opcode.LOAD, **LOAD, sram_base=depth["inp"] - 2, x_pad_1=2), done],
                         Fault.INP_RANGE, 0),
        "product":      ([insn(Opcode.LOAD, memory_type=Memory.WGT, y_size=65535, x_size=65535),
                          done], Fault.WGT_RANGE, 0),
        "uop range":    ([insn(Opcode.GEMM, uop_bgn=depth["uop"] - 1, uop_end=depth["uop"] + 1,
                               iter_out=1, iter_in=1), done], Fault.UOP_RANGE, 0),
        "alu uop range": ([insn(Opcode.ALU, uop_bgn=depth["uop"] - 1, uop_end=depth["uop"] + 1,
                                use_imm=1, iter_out=1, iter_in=1), done], Fault.UOP_RANGE, 0),
        "alu dst range": ([insn(Opcode.ALU, uop_end=1, iter_out=3, iter_in=1, use_imm=1,
                                dst_factor_out=depth["acc"] // 2), done], Fault.ACC_RANGE, 0),
        "reset range":  ([insn(Opcode.GEMM, uop_end=1, iter_out=3, iter_in=1, reset_reg=1,
                               dst_factor_out=depth["acc"] // 2), done], Fault.ACC_RANGE, 0),
        "dst range":    ([insn(Opcode.GEMM, uop_end=1, iter_out=3, iter_in=1,
                               dst_factor_out=depth["acc"] // 2), done], Fault.ACC_RANGE, 0),
        "src range":    ([insn(Opcode.GEMM, uop_end=1, iter_out=1, iter_in=3,
                               src_factor_in=depth["inp"] // 2), done], Fault.INP_RANGE, 0),
        "wgt range":    ([insn(Opcode.GEMM, uop_end=1, iter_out=1, iter_in=3,
                               wgt_factor_in=depth["wgt"] // 2), done], Fault.WGT_RANGE, 0),
        "alu range":    ([insn(Opcode.ALU, uop_end=1, iter_out=1, iter_in=3,
                               src_factor_in=depth["acc"] // 2), done], Fault.ACC_RANGE, 0),
        "bias range":   ([insn(Opcode.ALU, uop_end=1, iter_out=1, iter_in=2, alu_opcode=AluOp.RQT,
                               src_factor_in=depth["acc"] - 1, bias=1), done], Fault.ACC_RANGE, 0),
        "store range":  ([insn(Opcode.STORE, **STORE, sram_base=depth["acc"]), done],
                         Fault.ACC_RANGE, 0),
        "skip range":   ([insn(Opcode.STORE, memory_type=Memory.OUT, y_size=2, x_size=3,
                               sram_base=depth["acc"] - 30, sram_skip=5), done],
                         Fault.ACC_RANGE, 0),
        "no such dram": ([insn(Opcode.LOAD, **LOAD, dram_base=1 << 20), done], Fault.BUS_ERROR, 0),
        "beyond 4 GiB": ([insn(Opcode.LOAD, **LOAD, dram_base=0xffff_ffff), done],
                         Fault.BUS_ERROR, 0),
        "store there":  ([insn(Opcode.STORE, **STORE, dram_base=1 << 20), done],
                         Fault.BUS_ERROR, 0),
        "no token":     ([done, insn(Opcode.LOAD, **LOAD, pop_next=1)], Fault.DEADLOCK, 1),
        "first waits":  ([insn(Opcode.STORE, **STORE, pop_prev=1), insn(Opcode.FINISH, pop_next=1)],
                         Fault.DEADLOCK, 0),
        "first error":  ([insn(Opcode.ALU, **ONE), insn(Opcode.LOAD, memory_type=Memory.ACC,
                                                       x_size=1, y_size=1, sram_base=depth["acc"]),
                          insn(Opcode.GEMM, uop_end=1, iter_out=1, iter_in=3,
                               wgt_factor_in=depth["wgt"] // 2), done], Fault.ACC_RANGE, 1),
    }
