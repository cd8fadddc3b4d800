"""Beats of a stream as NumPy arrays of fields, and back, whole arrays at a time.

A layout's fields become

- a number: an array of one value per beat;
- ``ArrayLayout(number, n)``: an array of shape (beats, n); arrays nest as further axes;
- ``StructLayout`` (or ``Struct``): a dict of its fields; inside an array they carry its axes;
- a number format (``fraction``, ``exponent``, ``sign``): its word, as an unsigned number.
"""

from collections.abc import Iterator

import numpy as np
from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data

__all__ = ["from_ints", "pack", "to_ints", "unpack", "words"]

_FLOAT = ("fraction", "exponent", "sign")


def words(width: int) -> int:
    """64-bit words of a payload of ``width`` bits."""
    return -(-width // 64)


def pack(shape, fields) -> np.ndarray:
    """Payload words of beats whose fields are given as arrays.

    Returns ``uint64`` of shape (beats,), or (beats, words) for payloads of more than 64 bits, the
    least significant word first: what :meth:`sim.verilated.Engine.run_streams` takes. A struct may
    also be given as its bits, an integer array. Values that do not fit raise ``ValueError``.
    """
    width = Shape.cast(shape).width
    leaves = list(_match("payload", shape, fields, 0, ()))
    beats = {array.shape[0] for *_, array in leaves}
    if len(beats) != 1:
        raise ValueError(f"payload must have one number of beats, not {sorted(beats)!r}")
    result = np.zeros((beats.pop(), words(width)), np.uint64)
    for path, offset, leaf, array in leaves:
        _insert(result, offset, leaf.width, _checked(path, leaf, array))
    return result[:, 0] if result.shape[1] == 1 else result


def unpack(shape, beats: np.ndarray):
    """Fields of payload words, as :func:`pack` takes them; numbers as ``int64`` or ``uint64``.

    A number of more than 64 bits comes as ``uint64`` words along a last axis.
    """
    beats = np.asarray(beats).astype(np.uint64, copy=False)
    if beats.ndim == 1:
        beats = beats[:, None]
    return _fields(shape, beats, np.zeros((), np.int64))


def from_ints(values, width: int) -> np.ndarray:
    """Payload words of Python integers of any size."""
    raw = b"".join((int(value) & (1 << width) - 1).to_bytes(words(width) * 8, "little")
                   for value in values)
    result = np.frombuffer(raw, "<u8").reshape(-1, words(width)).copy()
    return result[:, 0] if words(width) == 1 else result


def to_ints(beats: np.ndarray) -> list[int]:
    """Payload words as Python integers."""
    if beats.ndim == 1:
        return beats.tolist()
    return [int.from_bytes(row.astype("<u8").tobytes(), "little") for row in beats]


# Layouts ----------------------------------------------------------------------------------------

def _layout(shape) -> data.Layout | None:
    """``shape`` as a layout with named or numbered fields, or ``None`` for a number."""
    if isinstance(shape, ShapeCastable):
        try:
            layout = data.Layout.cast(shape)
        except TypeError:  # an enumeration
            return None
        if isinstance(layout, data.StructLayout) and tuple(layout.members) == _FLOAT:
            return None
        return layout
    return None


def _match(path: str, shape, fields, offset: int, index: tuple) -> Iterator[tuple]:
    """Pairs every number of ``shape`` with its column of ``fields``: path, offset, shape, array.

    ``index`` picks the element of the arrays that the path so far goes through.
    """
    layout = _layout(shape)
    if isinstance(layout, data.ArrayLayout):
        step = Shape.cast(layout.elem_shape).width
        inner = fields
        if not isinstance(fields, dict):
            inner = np.asarray(fields)
            axis = len(index) + 1
            if inner.ndim <= axis or inner.shape[axis] != layout.length:
                raise ValueError(f"{path} must have {layout.length} elements along axis {axis}, "
                                 f"not shape {inner.shape!r}")
        for n in range(layout.length):
            yield from _match(f"{path}[{n}]", layout.elem_shape, inner, offset + n * step,
                              (*index, n))
    elif layout is not None and isinstance(fields, dict):
        names = [name for name, _ in layout]
        if set(names) != set(fields):
            raise ValueError(f"{path} must have the fields {', '.join(map(str, names))}, "
                             f"not {', '.join(map(str, fields))}")
        for name, field in layout:
            yield from _match(f"{path}.{name}", field.shape, fields[name],
                              offset + field.offset, index)
    else:
        array = np.asarray(fields)
        leaf = Shape.cast(shape)
        column = array[(slice(None), *index)] if array.ndim > len(index) else array
        if column.ndim != (1 if leaf.width <= 64 else 2) or column.dtype.kind not in "iub":
            raise ValueError(f"{path} must be an array of integers with an axis of beats and "
                             f"{len(index)} of elements, not {array.dtype} {array.shape!r}")
        yield path, offset, leaf, column


def _checked(path: str, leaf: Shape, column: np.ndarray) -> np.ndarray:
    """``column`` as unsigned words, after a look at its range."""
    if leaf.width > 64:
        if column.dtype != np.uint64 or column.shape[1] != words(leaf.width):
            raise ValueError(f"{path} must be uint64 with {words(leaf.width)} words, "
                             f"not {column.dtype} {column.shape!r}")
        return column
    low, high = (-(1 << leaf.width - 1), 1 << leaf.width - 1) if leaf.signed else (
        0, 1 << leaf.width)
    if column.size:
        for value in (int(column.min()), int(column.max())):
            if not low <= value < high:
                raise ValueError(f"{path} must be in {low} to {high - 1}, not {value}")
    column = column.astype(np.int64 if column.dtype.kind == "i" else np.uint64).view(np.uint64)
    mask = np.uint64((1 << leaf.width) - 1)
    return (column & mask)[:, None]


def _insert(result: np.ndarray, offset: int, width: int, column: np.ndarray) -> None:
    for n in range(column.shape[1]):
        word, shift = divmod(offset + 64 * n, 64)
        result[:, word] |= column[:, n] << np.uint64(shift)
        if shift + min(width - 64 * n, 64) > 64:
            result[:, word + 1] |= column[:, n] >> np.uint64(64 - shift)


def _fields(shape, beats: np.ndarray, offsets: np.ndarray):
    """Fields that start at ``offsets``, an array of as many axes as arrays were entered."""
    layout = _layout(shape)
    if isinstance(layout, data.ArrayLayout):
        step = Shape.cast(layout.elem_shape).width
        inner = offsets[..., None] + step * np.arange(layout.length)
        return _fields(layout.elem_shape, beats, inner)
    if layout is not None and not isinstance(layout, data.UnionLayout):
        return {name: _fields(field.shape, beats, offsets + field.offset)
                for name, field in layout}
    return _extract(Shape.cast(shape), beats, offsets)


def _extract(leaf: Shape, beats: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    padded = np.concatenate([beats, np.zeros((len(beats), 1), np.uint64)], axis=1)
    columns = []
    for n in range(words(leaf.width)):
        word, shift = np.divmod(offsets + 64 * n, 64)
        shift = shift.astype(np.uint64)
        value = padded[:, word] >> shift
        # Shifting by 64 is undefined: two steps for what comes out of the next word.
        value |= (padded[:, word + 1] << (np.uint64(63) - shift)) << np.uint64(1)
        bits = min(leaf.width - 64 * n, 64)
        columns.append(value & np.uint64((1 << bits) - 1))
    if leaf.width > 64:
        return np.stack(columns, axis=-1)
    if leaf.signed:
        up = np.int64(64 - leaf.width)
        return (columns[0].view(np.int64) << up) >> up
    return columns[0]
