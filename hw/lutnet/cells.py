"""Tables that read inputs and one another: what decompositions and imports are made of.

A pin p is an input if below ``inputs``, else cell ``p - inputs``; -1 is the constant 0, -2 is 1.
"""

from dataclasses import dataclass, field

import numpy as np

from .model import Layer

__all__ = ["Cells", "ZERO", "ONE"]

ZERO, ONE = -1, -2


@dataclass
class Cells:
    """A growing list of cells ``(pins, table)`` of at most ``k`` pins; equal cells are one."""

    inputs: int
    k: int
    cells: list[tuple[tuple[int, ...], tuple[bool, ...]]] = field(default_factory=list)
    _place: dict = field(default_factory=dict, repr=False)

    def cell(self, pins, table: np.ndarray) -> int:
        """The pin that is ``table`` (bool 2**pins, the first pin lowest) of ``pins``.

        Constants, pins named twice and pins that make no difference cost no input; a table that is
        one of its pins is that pin.
        """
        table, kept = np.asarray(table, bool), list(pins)
        index = 0
        while index < len(kept):
            low, high = table.reshape(-1, 2, 1 << index).transpose(1, 0, 2)
            pin = kept[index]
            if pin in kept[:index]:  # equal to an earlier one: its value is that one's
                earlier = np.arange(len(table) // 2) >> kept.index(pin) & 1
                table = np.where(earlier, high.reshape(-1), low.reshape(-1))
            elif pin < 0 or not (low ^ high).any():
                table = (high if pin == ONE else low).reshape(-1)
            else:
                index += 1
                continue
            del kept[index]
            index = 0
        if not kept:
            return ONE if table[0] else ZERO
        if len(kept) == 1 and table[1]:
            return kept[0]
        assert len(kept) <= self.k, f"a cell of {len(kept)} pins, at most {self.k} fit"
        key = (tuple(kept), tuple(table.tolist()))
        if key not in self._place:
            self._place[key] = self.inputs + len(self.cells)
            self.cells.append(key)
        return self._place[key]

    def run(self, bits: np.ndarray, outputs: list[int]) -> np.ndarray:
        """bool (outputs, samples) of bool (inputs, samples)."""
        values = list(bits)
        for pins, table in self.cells:
            index = sum(values[p].astype(np.int64) << i for i, p in enumerate(pins))
            values.append(np.array(table)[index])
        constant = {ZERO: np.zeros(bits.shape[1:], bool), ONE: np.ones(bits.shape[1:], bool)}
        return np.stack([constant[p] if p < 0 else values[p] for p in outputs])

    def needed(self, outputs: list[int]) -> list[int]:
        """The pins of the cells that ``outputs`` depend on, ascending."""
        found, stack = set(), [p for p in outputs if p >= self.inputs]
        while stack:
            pin = stack.pop()
            if pin not in found:
                found.add(pin)
                stack += [p for p in self.cells[pin - self.inputs][0] if p >= self.inputs]
        return sorted(found)

    def layers(self, outputs: list[int]) -> tuple[Layer, ...]:
        """The cells that ``outputs`` need as layers, of which each reads the one before.

        What is needed later passes through tables that are one of their inputs; in the circuit they
        are wires. The nodes of the last layer are ``outputs``, in that order.
        """
        level = [0] * self.inputs
        for pins, _ in self.cells:
            level.append(1 + max(level[p] for p in pins))
        wanted = list(outputs)
        layers = []
        for now in range(max([1, *(level[p] for p in wanted if p >= 0)]), 0, -1):
            nodes = [self.cells[p - self.inputs] if p >= 0 and level[p] == now
                     else ((p,), (False, True)) if p >= 0 else ((), (p == ONE,)) for p in wanted]
            below = list(range(self.inputs)) if now == 1 else \
                list(dict.fromkeys(p for pins, _ in nodes for p in pins))
            place = {p: index for index, p in enumerate(below)}
            n = max(2, *(len(pins) for pins, _ in nodes))
            layers.append(Layer(
                np.array([[place[p] for p in pins] + [-1] * (n - len(pins)) for pins, _ in nodes]),
                np.stack([np.tile(table, 1 << n - len(pins)) for pins, table in nodes])))
            wanted = below or [ZERO]
        return tuple(reversed(layers))
