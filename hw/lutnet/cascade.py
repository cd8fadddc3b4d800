"""LUT cascades: a weighted-sum neuron as a row of cells that hand the state of the sum on.

Cells of k inputs in a row: each reads some of the neuron's inputs and the rails of the cell before
it, which carry what matters of the partial sum. Source: T. Sasao, *Memory-Based Logic Synthesis*;
Nakahara's binarised networks in memories.
"""

from dataclasses import dataclass

import numpy as np

from .decompose import Decomposition, build

__all__ = ["Cascade", "cascade", "cells_of", "prove"]


@dataclass(frozen=True)
class Cascade:
    """Cells of a weighted-sum neuron: cell c reads the rails before it and some inputs.

    ``states``: different partial sums that matter after each cell; ``rails``: wires after it.
    """

    takes: tuple[int, ...]
    states: tuple[int, ...]
    tables: tuple[np.ndarray, ...]  # (states before, 2**inputs taken): state after

    @property
    def rails(self) -> tuple[int, ...]:
        return tuple(max((s - 1).bit_length(), 1) for s in self.states)

    def evaluate(self, bits: np.ndarray) -> np.ndarray:
        """The neuron on bool (samples, inputs)."""
        state, first = np.zeros(len(bits), np.int64), 0
        for take, table in zip(self.takes, self.tables):
            chosen = bits[:, first:first + take].astype(np.int64) @ (1 << np.arange(take))
            state = table[state, chosen]
            first += take
        return state.astype(bool)


def cascade(weights: np.ndarray, threshold: int, k: int) -> Cascade:
    """``sum(weights * bits) >= threshold`` as a cascade of cells of k inputs.

    The state after a prefix is its partial sum, and two sums are one state when no choice of the
    inputs that follow tells them apart: their number is the column multiplicity of the cut, never
    more than the range of the partial sums.
    """
    weights = [int(w) for w in weights]
    if not weights:
        raise ValueError("weights must hold at least one weight")
    if k not in range(3, 17):
        raise ValueError(f"k must be 3 to 16, not {k!r}")
    rest = [{0}]
    for w in reversed(weights):
        rest.append({r + d for r in rest[-1] for d in (0, w)})
    rest = [np.array(sorted(r)) for r in reversed(rest)]  # sums that can follow a prefix

    def class_of(partial: int, place: int) -> int:
        return int(np.searchsorted(rest[place], threshold - partial))  # how many do not reach it

    sums, place = {0: 0}, 0  # state: a partial sum that stands for it
    takes, states, tables = [], [], []
    rails = 0
    while place < len(weights):
        take = min(k - rails, len(weights) - place)
        if take < 1:
            raise ValueError(f"k must be above {rails}, the rails of a cut, not {k}")
        reached: dict[int, int] = {}
        table = np.zeros((len(sums), 1 << take), np.int64)
        rows = []
        for state, partial in sums.items():
            for chosen in range(1 << take):
                total = partial + sum(w for i, w in enumerate(weights[place:place + take])
                                      if chosen >> i & 1)
                key = class_of(total, place + take)
                reached.setdefault(key, total)
                rows.append((state, chosen, key))
        order = {key: index for index, key in enumerate(sorted(reached, reverse=True))}
        last = place + take == len(weights)
        for state, chosen, key in rows:  # at the end class 0 is "reached": the output itself
            table[state, chosen] = int(key == 0) if last else order[key]
        sums = {order[key]: total for key, total in reached.items()}
        place += take
        takes.append(take)
        states.append(len(reached))
        tables.append(table)
        rails = max((len(reached) - 1).bit_length(), 1)
    return Cascade(tuple(takes), tuple(states), tuple(tables))


def prove(result: Cascade, weights: np.ndarray, threshold: int) -> int:
    """Prove that ``result`` is the neuron, for all inputs; the number of transitions tried.

    By induction over the cells: every partial sum that can occur has one state, and every
    transition from it by any choice of the next inputs leads to the state of the new sum, at the
    end to whether the threshold is reached. :exc:`ValueError` says where that is not so.
    """
    weights = [int(w) for w in weights]
    state, place, tried = {0: 0}, 0, 0
    for number, (take, table) in enumerate(zip(result.takes, result.tables)):
        after: dict[int, int] = {}
        steps = [sum(w for i, w in enumerate(weights[place:place + take]) if chosen >> i & 1)
                 for chosen in range(1 << take)]
        for partial, now in state.items():
            for chosen, step in enumerate(steps):
                reached = int(table[now, chosen])
                if after.setdefault(partial + step, reached) != reached:
                    raise ValueError(f"cell {number} gives the sum {partial + step} two states")
                tried += 1
        state, place = after, place + take
    for total, value in state.items():
        if place != len(weights) or value != (total >= threshold):
            raise ValueError(f"the cascade says {value} of the sum {total}")
    return tried


def cells_of(result: Cascade, k: int) -> Decomposition:
    """The cascade as cells of at most k inputs: one for each rail, where they have room."""
    net = Decomposition(sum(result.takes), k)
    rng = np.random.default_rng(0)
    rails: tuple[int, ...] = ()
    first = 0
    for index, (take, table) in enumerate(zip(result.takes, result.tables)):
        pins = (*range(first, first + take), *rails)
        last = index == len(result.takes) - 1
        width = 1 if last else result.rails[index]
        states = 1 << len(rails)
        padded = np.zeros((states, 1 << take), np.int64)
        padded[:len(table)] = table
        care = np.repeat(np.arange(states) < len(table), 1 << take)
        bits = [(padded.reshape(-1) >> bit & 1).astype(bool) for bit in range(width)]
        rails = tuple(build(net, bit, care, pins, rng) for bit in bits)
        if not last and (len(set(rails)) < len(rails) or min(rails) < 0):
            raise ValueError("the rails of a cascade must be different wires")
        first += take
    net.outputs = list(rails)
    return net
