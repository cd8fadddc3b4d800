"""The trainer's inner loops, compiled by numba for one thread.

A layer sees its inputs as bit planes: uint8 of shape (features, samples), one row per bit, so that
a pin is a row and an address is a sum of shifted rows. A node of n inputs has 2**n table entries;
whatever a node computes on binary inputs depends only on the address, so the forward pass and both
gradients are look-ups in small per-node tables (see :mod:`hw.lutnet.nodes`), and the sums over
samples that the table gradient needs are sums by address.
"""

import numpy as np
from numba import njit

__all__ = ["forward", "address_sums", "pin_gradient", "group_sums", "scatter_rows", "encode",
           "adam", "adam_wiring", "shift", "warp"]


@njit(cache=True)
def forward(bits, pins, luts, addr, out):
    """``addr[j] = sum_i bits[pins[j, i]] << i``; ``out[j]`` is that bit of ``luts[j]``.

    bits: uint8 (features + 1, samples), the last row is zero and is what an unused pin reads;
    pins: int32 (nodes, n); luts: uint64 (nodes,); addr, out: uint8 (nodes, samples), results.
    """
    nodes, n = pins.shape
    samples = bits.shape[1]
    for j in range(nodes):
        row = bits[pins[j, 0]]
        a = addr[j]
        for s in range(samples):
            a[s] = row[s]
        for i in range(1, n):
            row = bits[pins[j, i]]
            for s in range(samples):
                a[s] |= row[s] << i
        lut, o = luts[j], out[j]
        for s in range(samples):
            o[s] = (lut >> np.uint64(a[s])) & np.uint64(1)


@njit(cache=True)
def address_sums(addr, rows, grad, total, count):
    """``total[j, a]``: sum of ``grad[rows[j]]`` over samples at address a; ``count``: how many.

    addr: uint8 (nodes, samples); rows: int32 (nodes,); grad: float32 (any, samples);
    total: float32 (nodes, 2**n), count: int32 (nodes, 2**n), both overwritten.
    """
    nodes, samples = addr.shape
    size = total.shape[1]
    part = np.zeros((4, 64), np.float32)  # four sums at once: their additions do not wait
    for j in range(nodes):
        a, g = addr[j], grad[rows[j]]
        part[:] = 0
        count[j] = 0
        whole = samples // 4 * 4
        for s in range(0, whole, 4):
            part[0, a[s]] += g[s]
            part[1, a[s + 1]] += g[s + 1]
            part[2, a[s + 2]] += g[s + 2]
            part[3, a[s + 3]] += g[s + 3]
        for s in range(whole, samples):
            part[0, a[s]] += g[s]
        for s in range(samples):
            count[j, a[s]] += 1
        for k in range(size):
            total[j, k] = (part[0, k] + part[1, k]) + (part[2, k] + part[3, k])


@njit(cache=True)
def pin_gradient(addr, rows, grad, slope, offset, n, out):
    """``out[s, n j + i] = grad[rows[j], s] * slope[j, a, i] + offset[j, a, i]``, a = addr[j, s].

    slope, offset: float32 (nodes, 2**n, 8), zero from column n on; out: float32 (samples, at least
    n * nodes + 8 - n), overwritten: eight columns are written at once, and the next node's follow.
    """
    nodes, samples = addr.shape
    for j in range(nodes):
        a, g, d, e = addr[j], grad[rows[j]], slope[j], offset[j]
        base = n * j
        for s in range(samples):
            k, w = a[s], g[s]
            for i in range(8):
                out[s, base + i] = w * d[k, i] + e[k, i]


@njit(cache=True)
def group_sums(out, group, counts):
    """``counts[c]``: sum of the rows of ``out`` whose group is c; float32 (classes, samples)."""
    counts[:] = 0
    nodes, samples = out.shape
    for j in range(nodes):
        o, c = out[j], counts[group[j]]
        for s in range(samples):
            c[s] += o[s]


@njit(cache=True)
def scatter_rows(pin, pins, first, grad):
    """``grad[pins[first + j, i]] += pin[:, n j + i]``: the gradient of what the pins read."""
    samples, n = pin.shape[0], pins.shape[1]
    for j in range(min(pin.shape[1] // n, pins.shape[0] - first)):
        for i in range(n):
            row = grad[pins[first + j, i]]
            for s in range(samples):
                row[s] += pin[s, n * j + i]


@njit(cache=True)
def encode(x, feature, threshold, bits):
    """``bits[e] = x[feature[e]] > threshold[e]``; the row after the last is zero.

    x: (features, samples); bits: uint8 (bits + 1, samples), overwritten.
    """
    for e in range(feature.shape[0]):
        row, t, b = x[feature[e]], threshold[e], bits[e]
        for s in range(b.shape[0]):
            b[s] = row[s] > t
    bits[feature.shape[0]] = 0


@njit(cache=True)
def adam(w, m, v, g, rate, step, low, high):
    """One step of Adam (0.9, 0.999) on flat arrays, then ``w`` is held in [low, high]."""
    c1, c2 = 1 - 0.9 ** step, 1 - 0.999 ** step
    scale, eps = np.float32(rate * np.sqrt(c2) / c1), np.float32(1e-8 * np.sqrt(c2))
    b1, b2 = np.float32(0.9), np.float32(0.999)
    one = np.float32(1)
    for i in range(w.size):
        m[i] = b1 * m[i] + (one - b1) * g[i]
        v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
        w[i] = min(max(w[i] - scale * m[i] / (np.sqrt(v[i]) + eps), low), high)


@njit(cache=True)
def adam_wiring(w, m, v, g, rate, step, best):
    """Adam on the scores ``w`` (candidates, pins) of a block; ``best``: the winner of each pin."""
    c1, c2 = 1 - 0.9 ** step, 1 - 0.999 ** step
    scale, eps = np.float32(rate * np.sqrt(c2) / c1), np.float32(1e-8 * np.sqrt(c2))
    b1, b2 = np.float32(0.9), np.float32(0.999)
    one = np.float32(1)
    candidates, pins = w.shape
    top = np.full(pins, -np.inf, np.float32)
    for k in range(candidates):
        wk, mk, vk, gk = w[k], m[k], v[k], g[k]
        for p in range(pins):
            mk[p] = b1 * mk[p] + (one - b1) * gk[p]
            vk[p] = b2 * vk[p] + (one - b2) * gk[p] * gk[p]
            wk[p] -= scale * mk[p] / (np.sqrt(vk[p]) + eps)
        for p in range(pins):
            if wk[p] > top[p]:
                top[p] = wk[p]
                best[p] = k


@njit(cache=True)
def shift(images, height, width, by, out):
    """Copies moved by ``by[s]`` whole pixels (down, right); what comes in is 0. As :func:`warp`."""
    for s in range(images.shape[0]):
        image, down, right = images[s], by[s, 0], by[s, 1]
        for r in range(height):
            for c in range(width):
                y, x = r - down, c - right
                inside = 0 <= y < height and 0 <= x < width
                out[r * width + c, s] = image[y * width + x] if inside else np.uint8(0)


@njit(cache=True)
def warp(images, height, width, matrix, out):
    """Affine copies: pixel (r, c) of copy s comes from ``matrix[s] @ (r, c, 1)``, bilinear.

    Coordinates are relative to the centre of the image; what lies outside is 0.
    images: uint8 (samples, height * width); matrix: float32 (samples, 2, 3); out: uint8
    (height * width, samples), one row per pixel, as :func:`encode` takes it.
    """
    samples = images.shape[0]
    mid_r, mid_c = np.float32((height - 1) / 2), np.float32((width - 1) / 2)
    tile = np.empty(height * width, np.uint8)
    one = np.float32(1)
    for s in range(samples):
        image, t = images[s], matrix[s]
        for r in range(height):
            for c in range(width):
                y = np.float32(r) - mid_r
                x = np.float32(c) - mid_c
                fr = t[0, 0] * y + t[0, 1] * x + t[0, 2] + mid_r
                fc = t[1, 0] * y + t[1, 1] * x + t[1, 2] + mid_c
                r0, c0 = int(np.floor(fr)), int(np.floor(fc))
                ar, ac = fr - np.float32(r0), fc - np.float32(c0)
                value = np.float32(0)
                if 0 <= r0 < height:
                    if 0 <= c0 < width:
                        value += (one - ar) * (one - ac) * image[r0 * width + c0]
                    if 0 <= c0 + 1 < width:
                        value += (one - ar) * ac * image[r0 * width + c0 + 1]
                if 0 <= r0 + 1 < height:
                    if 0 <= c0 < width:
                        value += ar * (one - ac) * image[(r0 + 1) * width + c0]
                    if 0 <= c0 + 1 < width:
                        value += ar * ac * image[(r0 + 1) * width + c0 + 1]
                tile[r * width + c] = np.uint8(value + np.float32(0.5))
        for p in range(height * width):
            out[p, s] = tile[p]
