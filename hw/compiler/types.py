"""Types of the graph's values: shape, element, and the fixed-point format that gives it meaning."""

from dataclasses import dataclass

import numpy as np

__all__ = ["ELEMENTS", "ADDRESS_SPACE", "Refusal", "Format", "TensorType"]

# Element types by ONNX's names; the others (strings, 4 bits, float8, ...) are refused.
ELEMENTS = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
            "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13}
ADDRESS_SPACE = 1 << 32  # bytes of DRAM that the core can address


class Refusal(ValueError):
    """A model that cannot be compiled: one sentence that names the node, and the nearest that can.

    Attributes
    ----------
    node : :class:`str`
        Name of the node at fault, or "" when the file as a whole is.
    nearest : :class:`str`
        What to do instead, or "".
    """

    def __init__(self, message: str, node: str = "", nearest: str = ""):
        super().__init__(message + (f" ({nearest})" if nearest else ""))
        self.reason, self.node, self.nearest = message, node, nearest


@dataclass(frozen=True)
class Format:
    """A number ``q`` stands for ``(q - zero_point) * scale``.

    Attributes
    ----------
    scale, zero_point : tuple
        One value, or one for each index of ``axis``.
    axis : :class:`int` or None
        None: per tensor.
    """
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self):
        scale = np.asarray(self.scale)
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"scale must be positive and finite, not {_short(self.scale)}")
        if len(self.scale) != len(self.zero_point) or (self.axis is None and len(self.scale) != 1):
            raise ValueError(f"scale and zero point must have one size, not {len(self.scale)} and "
                             f"{len(self.zero_point)}")

    def shaped(self, values, rank: int) -> np.ndarray:
        """``values`` (one per channel) so that they broadcast against a tensor of ``rank``."""
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = -1
        return np.asarray(values).reshape(shape) if rank else np.asarray(values)[0]

    def real(self, q: np.ndarray) -> np.ndarray:
        """What integers stand for, in float32 as DequantizeLinear computes it."""
        zero = self.shaped(self.zero_point, q.ndim).astype(np.int64)
        return (q - zero).astype(np.float32) * self.shaped(self.scale, q.ndim).astype(np.float32)

    def quantise(self, value, low: int, high: int) -> int:
        """Integer of a real number, per tensor, as QuantizeLinear computes it."""
        ratio = np.rint(np.float32(value) / np.float32(self.scale[0]))
        return int(np.clip(float(ratio) + self.zero_point[0], low, high))

    def __str__(self):
        axis = "" if self.axis is None else f" axis {self.axis}"
        return f"{_short(self.scale)} zero {_short(self.zero_point)}{axis}"


@dataclass(frozen=True)
class TensorType:
    """``element`` (a key of ``ELEMENTS``) and a static ``shape``; a format where it is known."""
    element: str
    shape: tuple[int, ...]
    format: Format | None = None

    @property
    def bytes(self) -> int:
        size = np.dtype(self.element).itemsize
        for each in self.shape:
            size *= int(each)
        return size

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self):
        text = f"{self.element}[{', '.join(map(str, self.shape))}]"
        return text if self.format is None else f"{text} * {self.format}"


def _short(values) -> str:
    shown = {f"{v:.6g}" for v in values}
    return shown.pop() if len(shown) == 1 else f"{min(values):.6g}..{max(values):.6g}"
