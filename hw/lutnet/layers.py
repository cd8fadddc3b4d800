"""Layers of a LUT network as data: dense ones, and those that pass over a picture.

A picture is a map of bits, bool (channels, height, width). Its stages are convolutions, whose nodes
look at a window and are the same at every place, and poolings. They take the pixels row by row, as
a camera sends them, and what they give for a place depends on that pixel and on earlier ones alone.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Convolution", "Front", "Layer", "ModelError", "Pooling", "vector"]


class ModelError(ValueError):
    """A model, or a model file, that contradicts itself; the message is one sentence."""


def vector(value, dtype) -> np.ndarray:
    value = np.ascontiguousarray(value, dtype)
    value.setflags(write=False)
    return value


@dataclass(frozen=True, eq=False)
class Layer:
    """Nodes of one layer: ``out[j] = tables[j, sum_i in[pins[j, i]] << i]``.

    Parameters
    ----------
    pins : int32 (nodes, n)
        The input of each pin; -1 is the constant 0. n is 2 to 6.
    tables : bool (nodes, 2**n)
    """

    pins: np.ndarray
    tables: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "pins", vector(self.pins, np.int32))
        object.__setattr__(self, "tables", vector(self.tables, np.bool_))
        if self.pins.ndim != 2 or self.n not in range(2, 7) or not self.nodes:
            raise ModelError("pins must be a matrix of 2 to 6 columns, not of shape "
                             f"{self.pins.shape}")
        if self.tables.shape != (self.nodes, 2 ** self.n):
            raise ModelError(f"tables of {self.nodes} nodes with {self.n} inputs must have shape "
                             f"{(self.nodes, 2 ** self.n)}, not {self.tables.shape}")
        if self.pins.min() < -1:
            raise ModelError(f"pins must be -1 or an input's index, not {self.pins.min()}")

    @property
    def nodes(self) -> int:
        return self.pins.shape[0]

    @property
    def n(self) -> int:
        return self.pins.shape[1]


@dataclass(frozen=True, eq=False)
class Convolution:
    """Nodes that look at a window of all channels, with the same tables at every place.

    ``out[j, r, c]`` is node j of ``layer`` on the bits ``window[(k * height + y) * width + x] =
    in[k, r + y, c + x]``, for every place where the window fits into the map. ``border`` puts
    height - 1 rows of 0 above the map and width - 1 columns of 0 to its left, so that the result is
    as large as the map, and its place (r, c) is known with pixel (r, c).

    Parameters
    ----------
    height, width : :class:`int`
        Of the window, 1 to 16.
    border : :class:`bool`
    layer : :class:`Layer`
        Its pins are window bits. Its nodes are the channels of the result.
    """

    height: int
    width: int
    border: bool
    layer: Layer

    def __post_init__(self):
        for name in ("height", "width"):
            value = getattr(self, name)
            if value not in range(1, 17):
                raise ModelError(f"{name} of a window must be 1 to 16, not {value!r}")

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Channels, height and width of the result on a map of that shape."""
        if self.layer.pins.max() >= channels * self.height * self.width:
            raise ModelError(f"pins of a convolution must be below {channels * self.height} x "
                             f"{self.width}, not {self.layer.pins.max()}")
        if self.border:
            return self.layer.nodes, height, width
        if height < self.height or width < self.width:
            raise ModelError(f"a window of {self.height} x {self.width} must fit into the map, "
                             f"which has {height} x {width}")
        return self.layer.nodes, height - self.height + 1, width - self.width + 1


@dataclass(frozen=True)
class Pooling:
    """The OR of tiles: ``out[k, r, c]`` is 1 if any bit of channel k is in the tile at (r, c).

    Tiles do not overlap; rows and columns that do not fill one are not looked at.
    """

    height: int
    width: int

    def __post_init__(self):
        for name in ("height", "width"):
            value = getattr(self, name)
            if value not in range(1, 17):
                raise ModelError(f"{name} of a tile must be 1 to 16, not {value!r}")

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Channels, height and width of the result on a map of that shape."""
        if height < self.height or width < self.width:
            raise ModelError(f"a tile of {self.height} x {self.width} must fit into the map, "
                             f"which has {height} x {width}")
        return channels, height // self.height, width // self.width


@dataclass(frozen=True, eq=False)
class Front:
    """What stands between the pixels of a picture and the dense layers.

    The encoder of such a model is that of one pixel, whose features are its colours; its bits are
    the channels of the first map. The dense layers read the last map, channel by channel, row by
    row: bit ``(k * height + r) * width + c``.

    Parameters
    ----------
    height, width : :class:`int`
        Of the picture, 1 to 4096.
    stages : tuple of :class:`Convolution` and :class:`Pooling`
    """

    height: int
    width: int
    stages: tuple[Convolution | Pooling, ...]

    def __post_init__(self):
        object.__setattr__(self, "stages", tuple(self.stages))
        for name in ("height", "width"):
            value = getattr(self, name)
            if value not in range(1, 4097):
                raise ModelError(f"{name} of a picture must be 1 to 4096, not {value!r}")

    def shapes(self, channels: int) -> list[tuple[int, int, int]]:
        """Shapes of the maps: that of the encoder's bits, and what each stage makes of it."""
        found = [(channels, self.height, self.width)]
        for stage in self.stages:
            found.append(stage.shape(*found[-1]))
        return found
