"""Stages of the core's pipelines, for those who say when an instruction runs."""

from dataclasses import dataclass

__all__ = ["Stages"]


@dataclass(frozen=True)
class Stages:
    """Stages of the core's pipelines, as the docstrings in :mod:`hw.vta` give them."""
    window:        int = 8  # instructions under way in the compute unit
    waiting:       int = 2  # of them in front of GEMM, and of ALU
    loops:         int = 4  # from a command to its first micro-operation's indices
    gemm_read:     int = 10  # from there to the read of the accumulator
    gemm_write:    int = 14  # and to its write
    alu_short:     int = 4  # from an operand's request to the write of a result
    alu_long:      int = 12  # the same, of SHR, MUL, CLIP and RQT
    scan_turns:    int = 6  # products that a range takes
    load_prepare:  int = 8  # from an instruction to its plan
    store_prepare: int = 8  # from an instruction to its label
