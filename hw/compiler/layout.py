"""How tensors, weights and parameters lie in DRAM: blocks of channels are the lanes of elements."""

import numpy as np

from hw.compiler.operators import Conv, Requantise, Tensor, Window
from hw.vta.config import VtaConfig

__all__ = ["blocks", "elements", "pack", "unpack", "parameters", "dense_weights",
           "depthwise_weights", "patches", "patch_conv"]


def blocks(channels: int, config: VtaConfig) -> int:
    """Blocks of lanes that ``channels`` need; the last one may be filled in part."""
    return -(-channels // config.block)


def elements(tensor: Tensor, config: VtaConfig) -> int:
    """Elements of ``tensor`` in DRAM."""
    return blocks(tensor.channels, config) * tensor.height * tensor.width


def pack(x: np.ndarray, config: VtaConfig) -> np.ndarray:
    """int8 (samples, channels, height, width) as elements.

    Returns (blocks, height, width, batch, block); lanes and rows of the batch left over are 0.
    """
    samples, channels, height, width = x.shape
    full = np.zeros((config.batch, blocks(channels, config) * config.block, height, width), np.int8)
    full[:samples, :channels] = x
    full = full.reshape(config.batch, -1, config.block, height, width)
    return np.ascontiguousarray(full.transpose(1, 3, 4, 0, 2))


def unpack(raw: np.ndarray, tensor: Tensor, config: VtaConfig, samples: int) -> np.ndarray:
    """The reverse of :func:`pack`, of the bytes in DRAM."""
    x = raw.view(np.int8).reshape(-1, tensor.height, tensor.width, config.batch, config.block)
    x = x.transpose(3, 0, 4, 1, 2).reshape(config.batch, -1, tensor.height, tensor.width)
    return x[:samples, :tensor.channels].copy()


def parameters(requantise: Requantise, config: VtaConfig) -> np.ndarray:
    """Pairs of accumulator elements for RQT with bias.

    Returns int32 (blocks, 2, batch, block): multiplier, shift and zero point; then the bias.
    """
    count = blocks(len(requantise.bias), config) * config.block
    words = (requantise.multiplier | requantise.shift << 16
             | (requantise.zero_point & 0xff) << 24)
    pairs = np.zeros((2, count), np.int64)
    pairs[0, :len(words)], pairs[1, :len(words)] = words, requantise.bias
    pairs = pairs.astype(np.uint32).view(np.int32).reshape(2, -1, 1, config.block)
    pairs = np.broadcast_to(pairs, (2, pairs.shape[1], config.batch, config.block))
    return np.ascontiguousarray(pairs.transpose(1, 0, 2, 3))


def dense_weights(weights: np.ndarray, config: VtaConfig) -> np.ndarray:
    """int8 (outputs, inputs, kh, kw) as weight elements.

    Returns (output blocks, input blocks, kh, kw, block, block).
    """
    outputs, inputs, kh, kw = weights.shape
    block = config.block
    full = np.zeros((blocks(outputs, config) * block, blocks(inputs, config) * block, kh, kw),
                    np.int8)
    full[:outputs, :inputs] = weights
    full = full.reshape(-1, block, full.shape[1] // block, block, kh, kw)
    return np.ascontiguousarray(full.transpose(0, 2, 4, 5, 1, 3))


def depthwise_weights(weights: np.ndarray, config: VtaConfig) -> np.ndarray:
    """int8 (channels, kh, kw) as rows of taps for DEPTHWISE.

    Returns (blocks, elements, block, block), where row ``r`` of a block's elements is tap ``r``.
    """
    channels, kh, kw = weights.shape
    block, taps = config.block, kh * kw
    full = np.zeros((-(-taps // block) * block, blocks(channels, config) * block), np.int8)
    full[:taps, :channels] = weights.reshape(channels, taps).T
    return np.ascontiguousarray(
        full.reshape(-1, block, full.shape[1] // block, block).transpose(2, 0, 1, 3))


def patches(x: np.ndarray, window: Window, both: bool, pad_value: int) -> np.ndarray:
    """Taps of ``window`` moved into the channels, for inputs that fill few lanes.

    Horizontal taps, or ``both`` directions: channel ``(c * kh + ky) * kw + kx`` of the result
    (without ``both``: ``c * kw + kx``) is what that tap of the window sees.
    """
    top, left, bottom, right = window.pads
    (kh, kw), (sy, sx), (dy, dx) = window.kernel, window.stride, window.dilation
    high, wide = window.outputs(*x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom) if both else (0, 0), (left, right)),
               constant_values=pad_value)
    columns = [x[..., kx * dx:kx * dx + (wide - 1) * sx + 1:sx] for kx in range(kw)]
    if both:
        columns = [c[:, :, ky * dy:ky * dy + (high - 1) * sy + 1:sy] for ky in range(kh)
                   for c in columns]
    stacked = np.stack(columns, axis=2)
    return stacked.reshape(len(x), -1, *stacked.shape[3:])


def patch_conv(conv: Conv, both: bool) -> Conv:
    """The convolution that makes of :func:`patches` what ``conv`` makes of the tensor itself."""
    (kh, kw), window = conv.window.kernel, conv.window
    outputs, inputs = conv.weights.shape[:2]
    x = Tensor(f"{conv.x.name}/{kh if both else 1}x{kw}/{conv.name}",
               conv.x.channels * kw * (kh if both else 1),
               conv.y.height if both else conv.x.height, conv.y.width)
    if both:
        weights, new = conv.weights.reshape(outputs, -1, 1, 1), Window()
    else:
        weights = conv.weights.transpose(0, 1, 3, 2).reshape(outputs, inputs * kw, kh, 1)
        new = Window((kh, 1), (window.stride[0], 1), (window.dilation[0], 1),
                     (window.pads[0], 0, window.pads[2], 0))
    return Conv(conv.name, x, conv.y, np.ascontiguousarray(weights), conv.requantise, new, 1,
                conv.pad_value)
