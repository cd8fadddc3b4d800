"""The ALU's operations on whole arrays, and in which groups micro-operations may be done."""

import numpy as np

from hw.vta.isa import AluOp

__all__ = ["MODEL", "requantise", "levels"]


def _shift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x >> y`` or ``x << -y`` of any size: beyond 31 only signs, or nothing, are left."""
    amount = y.astype(np.int64)
    right = x >> np.clip(amount, 0, 31)
    left = x.astype(np.int64) << np.clip(-amount, 0, 32)
    return np.where(amount < 0, left, right).astype(np.int32)


MODEL = {  # on int32 arrays, which wrap as the hardware does
    AluOp.MIN:  np.minimum,
    AluOp.MAX:  np.maximum,
    AluOp.ADD:  np.add,
    AluOp.SHR:  _shift,
    AluOp.MUL:  np.multiply,
    AluOp.CLIP: lambda x, y: np.maximum(np.minimum(x, y), np.negative(y)),
    AluOp.MOV:  lambda x, y: y,
}


def requantise(x: np.ndarray, parameters: np.ndarray, imm: int) -> np.ndarray:
    """RQT: ``clamp(((x * multiplier + half) >> shift) + zero_point)``, lane by lane.

    ``x``, ``parameters``: int32 of the same shape; a parameter is multiplier (bits 15:0, unsigned),
    shift (21:16) and zero point (31:24, signed). ``imm``: low bound (7:0) and high bound (15:8).
    """
    multiplier = (parameters & 0xffff).astype(np.int64)
    shift = (parameters >> 16 & 63).astype(np.int64)
    product = x.astype(np.int64) * multiplier
    # 48 bits at most, so a shift above 47 leaves 0; and the shifted sum fits 64 bits up to 47.
    half = np.where(shift > 0, np.int64(1) << np.maximum(np.minimum(shift, 48) - 1, 0), 0)
    rounded = np.where(shift > 47, 0, (product + half) >> np.minimum(shift, 47))
    low, high = (imm & 0xff ^ 0x80) - 0x80, (imm >> 8 & 0xff ^ 0x80) - 0x80
    return np.maximum(np.minimum(rounded + (parameters >> 24), high), low).astype(np.int32)


def levels(dst: np.ndarray, src: np.ndarray | None) -> np.ndarray:
    """For each micro-operation the group it belongs to; doing whole groups in order is sequential.

    ``dst``: the element each one reads and writes, shape (n,); ``src``: those it reads, (n, m),
    or none. Within a group no element is written twice, and all reads come before all writes.
    """
    if src is not None and not (src == dst[:, None]).all() and np.isin(src, dst).any():
        return _levels_by_element(dst.tolist(), src.tolist())
    # Nothing is read that another one writes: only micro-operations on one destination are ordered.
    order = np.argsort(dst, kind="stable")
    first = np.flatnonzero(np.diff(dst[order], prepend=-1))
    rank = np.arange(len(dst)) - np.repeat(first, np.diff(first, append=len(dst)))
    result = np.empty(len(dst), np.int64)
    result[order] = rank
    return result


def _levels_by_element(dst: list[int], src: list[list[int]]) -> np.ndarray:
    written: dict[int, int] = {}  # element -> first level that sees its last write
    read: dict[int, int] = {}     # element -> last level that reads it
    result = []
    for a, sources in zip(dst, src):
        level = max(written.get(a, 0), read.get(a, 0), *(written.get(b, 0) for b in sources))
        for b in sources:
            read[b] = max(read.get(b, 0), level)
        written[a] = level + 1
        result.append(level)
    return np.array(result, np.int64)
