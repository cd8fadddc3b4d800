"""Functional decomposition of wide tables into small ones.

A function of bound inputs X and free inputs Y is ``g(h(X), Y)`` with as many wires h as it takes
to tell the different columns of its decomposition chart apart: ceil(log2 mu), mu the column
multiplicity (Ashenhurst, Curtis; T. Sasao, *Memory-Based Logic Synthesis*). Entries outside the
care set merge columns. Wires that are one of the inputs cost nothing, and an exclusive-or of inputs
is preferred to an arbitrary code. Where no choice of bound inputs saves wires the table is split by
one input (Shannon), and :attr:`Decomposition.pays` says whether anything was gained.

All tables are bool arrays of length 2**n, input 0 in the lowest bit of the address.
"""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from .cells import Cells

__all__ = ["Decomposition", "build", "checked", "decompose", "multiplicity", "shannon_cost"]

LIMIT = 16       # inputs of a table
EXHAUSTIVE = 12  # up to here every choice of bound inputs is tried


@dataclass
class Decomposition(Cells):
    """Cells of at most ``k`` inputs, and the pins that are the result, one per output."""

    outputs: list[int] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Cells that some output needs."""
        return len(self.needed(self.outputs))

    @property
    def pays(self) -> bool:
        """Whether there are fewer cells than splitting by one input after the other makes."""
        return self.cost < shannon_cost(self.inputs, self.k) * len(self.outputs)

    def evaluate(self) -> np.ndarray:
        """bool (outputs, 2**inputs): what the cells compute, on every address."""
        address = np.arange(1 << self.inputs)
        return self.run(np.array([address >> i & 1 for i in range(self.inputs)], bool),
                        self.outputs)


def shannon_cost(n: int, k: int) -> int:
    """Cells of k inputs for any function of n inputs, by splitting: the cost to beat."""
    return 1 if n <= k else 2 * shannon_cost(n - 1, k) + 1


def _chart(table: np.ndarray, n: int, bound: tuple[int, ...]) -> np.ndarray:
    """Columns (2**bound, 2**free) of a table."""
    free = [i for i in range(n) if i not in bound]
    axes = [n - 1 - i for i in reversed(bound)] + [n - 1 - i for i in reversed(free)]
    return table.reshape((2,) * n).transpose(axes).reshape(1 << len(bound), -1)


def multiplicity(table: np.ndarray, care: np.ndarray, bound: tuple[int, ...]) \
        -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes of equal columns: index of each column's class, values and care of the classes.

    Columns that agree wherever both are cared for are merged, the best cared for first.
    """
    n = len(table).bit_length() - 1
    columns, cares = _chart(table, n, bound), _chart(care, n, bound)
    label = np.empty(len(columns), np.int64)
    values: list[np.ndarray] = []
    known: list[np.ndarray] = []
    for column in np.argsort(-cares.sum(1), kind="stable"):
        for index, (v, c) in enumerate(zip(values, known)):
            if not ((v ^ columns[column]) & c & cares[column]).any():
                values[index] = np.where(c, v, columns[column])
                known[index] = c | cares[column]
                break
        else:
            index = len(values)
            values.append(columns[column].copy())
            known.append(cares[column].copy())
        label[column] = index
    return label, np.array(values), np.array(known)


def _codes(label: np.ndarray, bound: int) -> np.ndarray:
    """bool (wires, 2**bound): a code that tells the classes apart, linear if there is one."""
    classes = int(label.max()) + 1
    wires = max((classes - 1).bit_length(), 1)
    columns = np.arange(1 << bound)
    forms = sorted(range(1, 1 << bound), key=int.bit_count)
    bits = {form: np.array([(form & c).bit_count() & 1 for c in columns], bool) for form in forms}
    if wires <= 2 or bound <= 4:
        for chosen in combinations(forms, wires):
            code = sum(bits[form].astype(np.int64) << i for i, form in enumerate(chosen))
            pairs = np.unique(np.stack([code, label]), axis=1)
            if len(np.unique(pairs[0])) == pairs.shape[1]:
                return np.stack([bits[form] for form in chosen])
    return np.stack([(label >> i & 1).astype(bool) for i in range(wires)])


def _idle(table: np.ndarray, care: np.ndarray, n: int) -> tuple[int, np.ndarray, np.ndarray] | None:
    """An input that need not be read, with table and care without it."""
    for i in range(n):
        low, high = _chart(table, n, (i,))
        low_care, high_care = _chart(care, n, (i,))
        if not ((low ^ high) & low_care & high_care).any():
            return i, np.where(low_care, low, high), low_care | high_care
    return None


def _choices(n: int, size: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    if n <= EXHAUSTIVE:
        return list(combinations(range(n), size))
    return sorted({tuple(sorted(rng.choice(n, size, False).tolist())) for _ in range(200)})


def build(net: Decomposition, table, care, pins: tuple[int, ...], rng) -> int:
    """The pin that computes ``table`` of ``pins`` on ``care``."""
    while (idle := _idle(table, care, len(pins))) is not None:
        i, table, care = idle
        pins = pins[:i] + pins[i + 1:]
        if not pins:
            return -2 if table[0] and care[0] else -1
    n = len(pins)
    if n == 1 and table[1] and not table[0]:
        return pins[0]
    if n <= net.k:
        return net.cell(pins, table & care)

    best = None
    for size in range(net.k, 1, -1):
        for bound in _choices(n, size, rng):
            label, values, known = multiplicity(table, care, bound)
            wires = max((len(values) - 1).bit_length(), 1)
            gain = size - wires
            if gain > 0 and (best is None or (gain, -wires) > best[0]):
                best = ((gain, -wires), bound, label, values, known)
        if best is not None and best[0][0] >= size - 2:
            break
    if best is None:
        low, high = _chart(table, n, (n - 1,))
        low_care, high_care = _chart(care, n, (n - 1,))
        halves = [build(net, *half, pins[:-1], rng) for half in
                  ((low, low_care), (high, high_care))]
        return _select(net, pins[-1], *halves)
    _, bound, label, values, known = best
    codes = _codes(label, len(bound))
    wires = [build(net, code, np.ones(len(code), bool), tuple(pins[i] for i in bound), rng)
             for code in codes]
    free = tuple(p for i, p in enumerate(pins) if i not in bound)
    width = len(wires)
    after, after_care = np.zeros((2, values.shape[1], 1 << width), bool)
    code_of = sum(code.astype(np.int64) << i for i, code in enumerate(codes))
    for column, index in enumerate(label):
        after[:, code_of[column]] = values[index]
        after_care[:, code_of[column]] = known[index]
    return build(net, after.reshape(-1), after_care.reshape(-1), (*wires, *free), rng)


def _select(net: Decomposition, choice: int, low: int, high: int) -> int:
    """``choice ? high : low``, where either may be a constant."""
    return net.cell((low, high, choice), np.array([0, 1, 0, 1, 0, 0, 1, 1], bool))


def checked(tables: np.ndarray, k: int, care: np.ndarray | None) \
        -> tuple[np.ndarray, np.ndarray, int]:
    """Tables, care set and the number of inputs; :exc:`ValueError` if they do not fit."""
    tables = np.atleast_2d(np.asarray(tables, bool))
    size = tables.shape[1]
    n = size.bit_length() - 1
    if size != 1 << n or not 1 <= n <= LIMIT:
        raise ValueError(f"tables must have 2**n entries, n 1 to {LIMIT}, not {size}")
    if k not in range(3, 7):
        raise ValueError(f"k must be 3 to 6, not {k!r}")
    care = np.ones(size, bool) if care is None else np.asarray(care, bool)
    if care.shape != (size,):
        raise ValueError(f"care must have one entry for each of {size}, not {care.shape}")
    return tables, care, n


def decompose(tables: np.ndarray, k: int, care: np.ndarray | None = None,
              seed: int = 0) -> Decomposition:
    """``tables`` bool (outputs, 2**n) as cells of at most k inputs, exact on ``care``.

    ``care``: bool (2**n,), all if None. k: 3 to 6. n: up to 16; above 12 the bound inputs are drawn
    from ``seed``. The result is checked on every cared-for address before it is returned.
    """
    tables, care, n = checked(tables, k, care)
    net = Decomposition(n, k)
    rng = np.random.default_rng(seed)
    for table in tables:
        net.outputs.append(build(net, table, care, tuple(range(n)), rng))
    wrong = (net.evaluate() ^ tables) & care
    assert not wrong.any(), "a decomposition differs from its table"
    return net
