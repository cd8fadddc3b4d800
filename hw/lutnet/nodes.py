"""What a node is while it is trained: three families, one form.

A trained node ends as a Boolean table of 2**n bits. While it is trained its weights W are real, and
the families differ in how the bit and the gradients come from them. On binary inputs all of it
depends on the address only, so each family is a few fixed matrices on the table (:class:`Family`):

``dwn``
    Differentiable weightless node. Bit: ``W > 0``, W in [-1, 1]. The gradient goes straight to the
    entry that was addressed; that of an input is the extended finite difference,
    ``sum_b W[b] (+-1) prod_{k != i} s(a_k, b_k) / 2`` with s = 3/4 where the bits agree and 1/4
    where they differ.
``bb``
    BinaryBrain's differentiable table. W in [0, 1]; inputs are taken as 1/4 and 3/4, the value is
    the multilinear interpolation of W there, normalised over the batch with the fixed gain 0.3 and
    bias 0.5; bit: that exceeds 1/2. Gradients pass where the normalised value lies in (0, 1).
``hybrid``
    Bit as in ``dwn``, gradients of the interpolation: every entry gets its share.

The input gradient of ``bb`` and of ``dwn`` is the same function of the table, so one kernel serves
all. Sources: Bacellar et al., arXiv:2410.11112; BinaryBrain 4 (R. Fuchikami), DifferentiableLutN.
"""

from functools import cache

import numpy as np

__all__ = ["FAMILIES", "multilinear", "multilinear_gradient", "smoothing", "slopes",
           "initial", "bits_of", "backward_tables"]

FAMILIES = ("dwn", "bb", "hybrid")
GAMMA, BETA, EPSILON = 0.3, 0.5, 1e-5
NEAR, FAR = 0.75, 0.25  # what a bit is taken for: 0.5 +- 0.25


def _shares(x: np.ndarray) -> np.ndarray:
    """``prod_i (a_i ? x_i : 1 - x_i)`` for every address a: (..., n) to (..., 2**n)."""
    share = np.ones((*x.shape[:-1], 1), x.dtype)
    for i in range(x.shape[-1]):
        xi = x[..., i:i + 1]
        share = np.concatenate([share * (1 - xi), share * xi], axis=-1)
    return share


def multilinear(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate tables ``w`` (..., 2**n) at ``x`` (..., n) in [0, 1]; bit 0 is the first input.

    On the corners of the cube it is the table itself.
    """
    return (w * _shares(x)).sum(-1)


def multilinear_gradient(w: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of :func:`multilinear` by ``w`` and by ``x``, of their shapes."""
    dx = np.empty_like(x)
    for i in range(x.shape[-1]):
        high, low = x.copy(), x.copy()
        high[..., i], low[..., i] = 1, 0
        dx[..., i] = multilinear(w, high) - multilinear(w, low)
    return _shares(x), dx


def _kron(factors: list[np.ndarray]) -> np.ndarray:
    """Kronecker product with the first factor on the lowest address bit."""
    out = np.ones((1, 1))
    for factor in factors:
        out = np.kron(factor, out)
    return out


_SMOOTH = np.array([[NEAR, FAR], [FAR, NEAR]])


@cache
def smoothing(n: int) -> np.ndarray:
    """Matrix S of the interpolation at 1/4 and 3/4: value at address a is ``(W @ S)[a]``."""
    return _kron([_SMOOTH] * n).astype(np.float32)


@cache
def slopes(n: int) -> np.ndarray:
    """Matrix (2**n, 2**n * 8): ``W @ slopes`` is d value / d input i at address a, column 8 a + i.

    Columns of the inputs n to 7 are zero.
    """
    difference = np.array([[-1.0, -1.0], [1.0, 1.0]])
    out = np.zeros((2 ** n, 2 ** n, 8), np.float32)
    for i in range(n):
        out[:, :, i] = _kron([difference if k == i else _SMOOTH for k in range(n)])
    return out.reshape(2 ** n, -1)


def initial(family: str, nodes: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Weights to start from, float32 (nodes, 2**n)."""
    if family == "bb":
        return np.clip(rng.normal(0.5, 0.01, (nodes, 2 ** n)), 0, 1).astype(np.float32)
    return rng.uniform(-1, 1, (nodes, 2 ** n)).astype(np.float32)


def _normalised(w, count):
    """``bb``: value at each address after the batch norm, and the gain that led to it."""
    s = w @ smoothing(w.shape[1].bit_length() - 1)
    weight = count / count.sum(1, keepdims=True)
    mean = (weight * s).sum(1, keepdims=True)
    var = (weight * (s - mean) ** 2).sum(1, keepdims=True)
    gain = 1 / np.sqrt(var + EPSILON)
    return (s - mean) * gain, gain


def bits_of(family: str, w: np.ndarray, count: np.ndarray | None = None) -> np.ndarray:
    """The Boolean tables, bool (nodes, 2**n).

    ``bb`` needs ``count``, how often each address occurred in the batch; without it, uniformly.
    """
    if family != "bb":
        return w > 0
    count = np.ones_like(w) if count is None else count.astype(np.float32)
    return _normalised(w, count)[0] * GAMMA + BETA > 0.5


def backward_tables(family, w, total, count, want_slope=True):
    """Gradient of the weights, and the per-address form of the input gradient.

    ``total[j, a]`` is the sum over the batch of dL/d(output j) at address a, ``count`` how many
    samples were there. Returns ``(dw, slope, offset)``: dL/d(input i) of a sample at address a with
    output gradient g is ``g * slope[j, a, i] + offset[j, a, i]``. Both are None unless wanted.
    """
    n = w.shape[1].bit_length() - 1
    slope = offset = None
    if want_slope:
        slope = (w @ slopes(n)).reshape(len(w), 2 ** n, 8)
    if family != "bb":
        if want_slope:
            slope, offset = np.float32(0.5) * slope, np.zeros_like(slope)
        return (total if family == "dwn" else total @ smoothing(n).T), slope, offset
    centred, gain = _normalised(w, count)
    value = centred * GAMMA + BETA
    passed = ((value > 0) & (value < 1)).astype(np.float32)
    samples = count.sum(1, keepdims=True)
    dhat = total * passed
    mean = dhat.sum(1, keepdims=True) / samples
    skew = (dhat * centred).sum(1, keepdims=True) / samples
    scale = (GAMMA * gain).astype(np.float32)
    drift = -scale * (mean + centred * skew)          # what every sample at a gets
    ds = scale * dhat + count * drift                 # summed by address
    dw = ds @ smoothing(n).T
    if want_slope:
        slope, offset = (scale * passed)[..., None] * slope, drift[..., None] * slope
        offset = offset.astype(np.float32)
    return dw.astype(np.float32), slope, offset
