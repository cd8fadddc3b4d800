"""The index of the largest of several numbers, the lowest index of equal ones: a tree of pairs."""

from amaranth import *

from .circuit import Circuit, Wire

__all__ = ["argmax"]


def _choose(c: Circuit, choice: Value, x: Value, y: Value) -> Value:
    """``choice ? y : x``, without a gate where the two are constants."""
    if isinstance(x, Const) and isinstance(y, Const):
        return x if x.value == y.value else choice if y.value else c.name(~choice)
    return c.name(Mux(choice, y, x))


def argmax(c: Circuit, numbers: list[list[Wire]], *, every: int = 0) -> list[Wire]:
    """Bits of the index of the first maximum of ``numbers``, which are rows of equal length.

    ``every``: comparisons between registers, 0 for none.
    """
    width = (len(numbers) - 1).bit_length()
    entries = [(row, [Wire(Const(i >> k & 1, 1)) for k in range(width)])
               for i, row in enumerate(numbers)]
    while len(entries) > 1:
        after = []
        last = len(entries) == 2
        for (left, left_index), (right, right_index) in zip(entries[::2], entries[1::2]):
            wires = left + right + left_index + right_index
            values, stage, level = c.align(wires, every)
            a, b = values[:len(left)], values[len(left):2 * len(left)]
            i, j = values[2 * len(left):-width], values[-width:]
            choice = c.greater(b, a)
            pairs = [] if last else list(zip(a, b))
            value, index = ([Wire(_choose(c, choice, x, y), stage, level) for x, y in group]
                            for group in (pairs, zip(i, j)))
            after.append((value, index))
        if len(entries) % 2:
            after.append(entries[-1])
        entries = after
    index = entries[0][1]
    stage = max(w.stage for w in index)
    return [Wire(c.at(w, stage), stage) for w in index]
