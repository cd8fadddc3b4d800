"""Functional decomposition of wide tables into small ones, and LUT cascades of weighted sums.

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

__all__ = ["Decomposition", "Cascade", "decompose", "multiplicity", "cascade", "shannon_cost"]

LIMIT = 16       # inputs of a table
EXHAUSTIVE = 12  # up to here every choice of bound inputs is tried


@dataclass
class Decomposition:
    """Cells ``(pins, table)``: pin p below ``inputs`` is an input, else cell ``p - inputs``.

    ``outputs``: the pins that are the result, one per output; ``-1`` and ``-2`` are constants 0, 1.
    """

    inputs: int
    k: int
    cells: list[tuple[tuple[int, ...], tuple[bool, ...]]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    @property
    def pays(self) -> bool:
        """Whether there are fewer cells than splitting by one input after the other makes."""
        return len(self.cells) < shannon_cost(self.inputs, self.k) * len(self.outputs)

    def cell(self, pins: tuple[int, ...], table: np.ndarray) -> int:
        """The pin of a cell; an equal one is used again."""
        key = (pins, tuple(bool(b) for b in table))
        if key not in self.cells:
            self.cells.append(key)
        return self.inputs + self.cells.index(key)

    def evaluate(self) -> np.ndarray:
        """bool (outputs, 2**inputs): what the cells compute, on every address."""
        address = np.arange(1 << self.inputs)
        values = [(address >> i & 1).astype(bool) for i in range(self.inputs)]
        for pins, table in self.cells:
            index = sum(values[p].astype(np.int64) << i for i, p in enumerate(pins))
            values.append(np.array(table)[index])
        constant = {-1: np.zeros(len(address), bool), -2: np.ones(len(address), bool)}
        return np.stack([constant[p] if p < 0 else values[p] for p in self.outputs])


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


def _build(net: Decomposition, table, care, pins: tuple[int, ...], rng) -> int:
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
        halves = [_build(net, *half, pins[:-1], rng) for half in
                  ((low, low_care), (high, high_care))]
        return _select(net, pins[-1], *halves)
    _, bound, label, values, known = best
    codes = _codes(label, len(bound))
    wires = [_build(net, code, np.ones(len(code), bool), tuple(pins[i] for i in bound), rng)
             for code in codes]
    free = tuple(p for i, p in enumerate(pins) if i not in bound)
    width = len(wires)
    after, after_care = np.zeros((2, values.shape[1], 1 << width), bool)
    code_of = sum(code.astype(np.int64) << i for i, code in enumerate(codes))
    for column, index in enumerate(label):
        after[:, code_of[column]] = values[index]
        after_care[:, code_of[column]] = known[index]
    return _build(net, after.reshape(-1), after_care.reshape(-1), (*wires, *free), rng)


def _select(net: Decomposition, choice: int, low: int, high: int) -> int:
    """``choice ? high : low``, where either may be a constant."""
    pins = [choice, *(p for p in dict.fromkeys((low, high)) if p >= 0 and p != choice)]
    table = []
    for address in range(1 << len(pins)):
        value = {p: address >> i & 1 for i, p in enumerate(pins)} | {-1: 0, -2: 1}
        table.append(bool(value[high] if value[choice] else value[low]))
    return net.cell(tuple(pins), np.array(table))


def decompose(tables: np.ndarray, k: int, care: np.ndarray | None = None,
              seed: int = 0) -> Decomposition:
    """``tables`` bool (outputs, 2**n) as cells of at most k inputs, exact on ``care``.

    ``care``: bool (2**n,), all if None. k: 3 to 6. n: up to 16; above 12 the bound inputs are drawn
    from ``seed``. The result is checked on every cared-for address before it is returned.
    """
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
    net = Decomposition(n, k)
    rng = np.random.default_rng(seed)
    for table in tables:
        net.outputs.append(_build(net, table, care, tuple(range(n)), rng))
    wrong = (net.evaluate() ^ tables) & care
    assert not wrong.any(), "a decomposition differs from its table"
    return net


# Cascades ---------------------------------------------------------------------------------------

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
