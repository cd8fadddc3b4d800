"""Model of the arrays: a matrix product, bit for bit, in the hardware's order of additions."""

import numpy as np

from hw.formats import FLOAT32, FloatFormat, Format, IntFormat
from sim.golden.formats import convert, decode, storage

__all__ = ["gemm"]


def gemm(a: np.ndarray, w: np.ndarray, *, contract: str, operand: Format, result: Format,
         bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """``relu(bias + a @ w)`` under ``contract`` (``fma``, ``exact`` or ``int``).

    ``a``: words of ``operand``, shape (m, k); ``w``: (k, n); ``bias``: (n,), words of float32
    (``fma``), of ``operand`` (``exact``) or int32 (``int``). Returns words of ``result``, unsigned,
    shape (m, n).
    """
    out = _CONTRACTS[contract](a, w, bias, operand, result)
    if relu:
        width = result.width
        out = np.where(out >> (width - 1) & 1 != 0, out.dtype.type(0), out)
    return out


def _int(a, w, bias, operand: IntFormat, result: IntFormat) -> np.ndarray:
    # Sums of int8 products are exact in float64, which has a fast product, up to 2**53 / 2**14.
    total = (a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)
    if bias is not None:
        total += bias.astype(np.int64)
    return total.astype(np.uint32)


def _fma(a, w, bias, operand: FloatFormat, result: FloatFormat) -> np.ndarray:
    from sim.golden.arith.fma import fma  # noqa: PLC0415

    start = np.zeros(w.shape[1], np.uint32) if bias is None else bias
    total = np.broadcast_to(start, (a.shape[0], w.shape[1])).astype(np.uint32)
    if _plain(a, w, total, operand):
        total = _fma_plain(a, w, total, operand)
    else:
        for k in range(a.shape[1]):
            total = fma(a[:, k, None], w[None, k, :], total, operand, FLOAT32)
    return total if result == FLOAT32 else convert(total, FLOAT32, result)


def _plain(a, w, start, operand: FloatFormat) -> bool:
    """No product or sum can leave the normal numbers: the processor's float32 does the same.

    Then every product is a multiple of ``2**-114``, and so is every sum, rounded or not.
    """
    def limits(bits, fmt):
        values = np.abs(decode(bits, fmt))
        if not np.isfinite(values).all():
            return 0.0, np.inf
        return values[values > 0].min(initial=np.inf), values.max(initial=0.0)

    low_a, high_a = limits(a, operand)
    low_w, high_w = limits(w, operand)
    low_c, high_c = limits(start[:1], FLOAT32)
    subnormal = 2.0 ** operand.min_exponent
    return bool(min(low_a, low_w) >= subnormal
                and low_a * low_w >= 2.0 ** -100
                and low_c >= 2.0 ** -90
                and high_a * high_w * a.shape[1] + high_c < 2.0 ** 126)


def _fma_plain(a, w, start, operand: FloatFormat) -> np.ndarray:
    a = decode(a, operand).astype(np.float32)
    w = decode(w, operand).astype(np.float32)
    total = start.view(np.float32).copy()
    for rows in range(0, len(a), 256):  # a block that stays in the cache
        block = total[rows:rows + 256]
        for k in range(a.shape[1]):
            block += a[rows:rows + 256, k, None] * w[None, k, :]
    return total.view(np.uint32)


def _exact(a, w, bias, operand: FloatFormat, result: FloatFormat) -> np.ndarray:
    from sim.golden.arith.exact import exact_matmul  # noqa: PLC0415

    if bias is not None:  # one more term: bias * 1
        one = storage(operand)(operand.bias << operand.fraction)
        a = np.concatenate([np.full((a.shape[0], 1), one), a], axis=1)
        w = np.concatenate([bias[None, :], w])
    return exact_matmul(a, w, operand, result)


_CONTRACTS = {"int": _int, "fma": _fma, "exact": _exact}
