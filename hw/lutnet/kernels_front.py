"""The trainer's inner loops over pictures, compiled by numba for one thread.

A map is bit planes, uint8 (channels, height, width * samples): the samples of a place are
neighbours, so that a row of a window's bits is one run of bytes wherever the window starts.
"""

import numpy as np
from numba import njit

__all__ = ["convolve", "convolve_pins", "pool", "pool_gradient"]


@njit(cache=True)
def convolve(bits, taps, luts, samples, addr, out):
    """``addr[j, r] = sum_i bits[k, r + y, x * samples:] << i``; ``out`` is that bit of ``luts[j]``.

    taps: int32 (nodes, n, 3), rows (k, y, x): channel and place in the window; luts: uint64
    (nodes,); addr, out: uint8 (nodes, rows, columns * samples), results.
    """
    nodes, n = taps.shape[:2]
    rows, run = addr.shape[1:]
    for j in range(nodes):
        lut = luts[j]
        for r in range(rows):
            a, o = addr[j, r], out[j, r]
            k, y, x = taps[j, 0]
            row = bits[k, r + y, x * samples:x * samples + run]
            for s in range(run):
                a[s] = row[s]
            for i in range(1, n):
                k, y, x = taps[j, i]
                row = bits[k, r + y, x * samples:x * samples + run]
                for s in range(run):
                    a[s] |= row[s] << i
            for s in range(run):
                o[s] = (lut >> np.uint64(a[s])) & np.uint64(1)


@njit(cache=True)
def convolve_pins(addr, grad, slope, offset, taps, samples, below):
    """Add to ``below`` what the pins read: ``grad[j] * slope[j, a, i] + offset[j, a, i]``.

    addr, taps as in :func:`convolve`; grad: float32 of addr's shape; slope, offset: float32
    (nodes, 2**n, 8); below: float32 (channels, height, width * samples).
    """
    nodes, n = taps.shape[:2]
    rows, run = addr.shape[1:]
    for j in range(nodes):
        for i in range(n):
            d, e = slope[j, :, i].copy(), offset[j, :, i].copy()
            k, y, x = taps[j, i]
            for r in range(rows):
                a, g = addr[j, r], grad[j, r]
                row = below[k, r + y, x * samples:x * samples + run]
                for s in range(run):
                    row[s] += g[s] * d[a[s]] + e[a[s]]


@njit(cache=True)
def pool(bits, height, width, samples, count, out):
    """OR of the tiles of ``bits``; ``count``: how many bits of each are set; both of out's shape.

    out: uint8 (channels, rows, columns * samples).
    """
    channels, rows, run = out.shape
    columns = run // samples
    for k in range(channels):
        for r in range(rows):
            for c in range(columns):
                n = count[k, r, c * samples:(c + 1) * samples]
                n[:] = 0
                for y in range(height):
                    for x in range(width):
                        start = (c * width + x) * samples
                        row = bits[k, r * height + y, start:start + samples]
                        for s in range(samples):
                            n[s] += row[s]
            o, n = out[k, r], count[k, r]
            for s in range(run):
                o[s] = n[s] > 0


@njit(cache=True)
def pool_gradient(bits, count, grad, factor, height, width, samples, below):
    """``below`` = grad * factor[number of the tile's other bits that are set].

    bits, count: as in :func:`pool`; grad: float32 of count's shape; factor: float32 (height *
    width,); below: float32 of bits' shape, overwritten within the tiles.
    """
    channels, rows, run = count.shape
    columns = run // samples
    for k in range(channels):
        for r in range(rows):
            for c in range(columns):
                n = count[k, r, c * samples:(c + 1) * samples]
                g = grad[k, r, c * samples:(c + 1) * samples]
                for y in range(height):
                    for x in range(width):
                        start = (c * width + x) * samples
                        row = bits[k, r * height + y, start:start + samples]
                        to = below[k, r * height + y, start:start + samples]
                        for s in range(samples):
                            to[s] = g[s] * factor[n[s] - row[s]]
