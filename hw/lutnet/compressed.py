"""Tables by self-similarity (CompressedLUT), and the cheaper of the known forms.

The high inputs choose one of the sub-tables of the low ones. A sub-table less its smallest entry,
its bias, is often that of another one, or that of another one shifted right:

``T[high, low] = (unique[id[high], low] >> shift[high]) + bias[high]``.

Source: Khataei and Bazargan, *CompressedLUT* (FPGA 2024); with don't-cares: Cassidy, Andronic,
Coward and Constantinides, *ReducedLUT* (FPGA 2025).
"""

from dataclasses import dataclass

import numpy as np

from .decompose import Decomposition, build, checked, decompose, shannon_cost

__all__ = ["Choice", "cheapest", "compress"]


@dataclass(frozen=True)
class Choice:
    """The cheapest form of a table: its name, its cells, and what the other forms cost."""

    form: str
    net: Decomposition
    costs: dict[str, int]

    @property
    def pays(self) -> bool:
        """Whether a form is cheaper than splitting by one input after the other."""
        return self.form != "shannon"


def _similar(values: np.ndarray, care: np.ndarray, shifts: int) \
        -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Unique sub-tables, and of each of ``values`` (high, low) its id and its shift.

    The widest come first, so that those that are shifted versions of others find them.
    """
    order = np.argsort(-np.where(care, values, 0).max(1), kind="stable")
    unique: list[np.ndarray] = []
    known: list[np.ndarray] = []
    ids, by = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    for row in order:
        for index, (u, c) in enumerate(zip(unique, known)):
            shift = next((t for t in range(shifts) if (
                (u >> t == values[row]) | ~care[row] | (~c if t == 0 else False)).all()), None)
            if shift is not None:
                if shift == 0:
                    unique[index] = np.where(c, u, values[row])
                    known[index] = c | care[row]
                else:  # what it is now is used from here on
                    known[index] = np.ones_like(c)
                ids[row], by[row] = index, shift
                break
        else:
            ids[row] = len(unique)
            unique.append(np.where(care[row], values[row], 0))
            known.append(care[row].copy())
    return unique, ids, by


def _add(net: Decomposition, a: list[int], b: list[int], width: int) -> list[int]:
    """Pins of the low ``width`` bits of ``a + b``: a sum and a carry cell for each bit."""
    carry, out = -1, []
    three = np.arange(8)
    ones = (three & 1) + (three >> 1 & 1) + (three >> 2)
    for i in range(width):
        pins = (a[i] if i < len(a) else -1, b[i] if i < len(b) else -1, carry)
        out.append(net.cell(pins, ones & 1))
        carry = net.cell(pins, ones >> 1)
    return out


def _split(tables: np.ndarray, k: int, care: np.ndarray, low: int, biased: bool) \
        -> Decomposition | None:
    """The form with ``low`` low inputs, or None where its pins coincide."""
    n = tables.shape[1].bit_length() - 1
    high = n - low
    values = np.zeros(1 << n, np.int64)
    for bit, table in enumerate(tables):
        values |= table.astype(np.int64) << bit
    values, cares = values.reshape(1 << high, -1), care.reshape(1 << high, -1)
    bias = np.where(cares, values, 1 << 40).min(1) if biased else np.zeros(1 << high, np.int64)
    bias[~cares.any(1)] = 0
    rest = np.where(cares, values - bias[:, None], 0)
    unique, ids, by = _similar(rest, cares, 4 if k == 6 else 2)
    net, rng = Decomposition(n, k), np.random.default_rng(0)
    some, lows, highs = cares.any(1), tuple(range(low)), tuple(range(low, n))

    def bits(word: np.ndarray, seen: np.ndarray, pins: tuple[int, ...]) -> list[int]:
        return [build(net, (word >> bit & 1).astype(bool), seen, pins, rng)
                for bit in range(int(word.max()).bit_length())]

    chosen = bits(ids, some, highs)
    if min([*chosen, 0]) < 0 or len(set(chosen)) < len(chosen):
        return None
    size = 1 << len(chosen)
    stacked = np.zeros((size, 1 << low), np.int64)
    stacked[:len(unique)] = unique
    seen = np.zeros((size, 1 << low), bool)
    np.logical_or.at(seen, ids, cares)
    if by.any():
        seen[:len(unique)] = True
    row = bits(stacked.reshape(-1), seen.reshape(-1), (*lows, *chosen))
    if by.any():
        shift = bits(by, some, highs)
        taps = 1 << len(shift)
        address = np.arange(1 << taps + len(shift))
        table = address >> (address >> taps) & 1
        row = [net.cell((*(row[b + t] if b + t < len(row) else -1 for t in range(taps)), *shift),
                        table) for b in range(len(row))]
    net.outputs = _add(net, row, bits(bias, some, highs), len(tables)) if bias.any() else \
        (row + [-1] * len(tables))[:len(tables)]
    return net


def compress(tables: np.ndarray, k: int, care: np.ndarray | None = None) -> Decomposition:
    """``tables`` bool (outputs, 2**n), the lowest bit first, in the self-similar form.

    The best of all splits, with biases and without, exact on ``care``: checked on every cared-for
    address before it is returned.
    """
    tables, care, n = checked(tables, k, care)
    found = [net for low in range(1, n) for biased in (True, False)
             if (net := _split(tables, k, care, low, biased)) is not None]
    if not found:
        return decompose(tables, k, care)
    best = min(found, key=lambda net: net.cost)
    wrong = (best.evaluate() ^ tables) & care
    assert not wrong.any(), "a compressed table differs from its table"
    return best


def _shannon(tables: np.ndarray, k: int, care: np.ndarray, n: int) -> Decomposition:
    """Each output split by its highest input until k are left."""
    net = Decomposition(n, k)
    choose = np.array([0, 1, 0, 1, 0, 0, 1, 1], bool)

    def part(table, pins):
        if len(pins) <= k:
            return net.cell(pins, table)
        half = len(table) // 2
        return net.cell((part(table[:half], pins[:-1]), part(table[half:], pins[:-1]), pins[-1]),
                        choose)

    net.outputs = [part(table & care, tuple(range(n))) for table in tables]
    return net


def cheapest(tables: np.ndarray, k: int, care: np.ndarray | None = None) -> Choice:
    """The form of ``tables`` with the fewest cells: ``shannon``, ``functional`` or ``compressed``.

    Of equals the plainest.
    """
    tables, care, n = checked(tables, k, care)
    forms = {"shannon": _shannon(tables, k, care, n), "functional": decompose(tables, k, care)}
    if n > 1:
        forms["compressed"] = compress(tables, k, care)
    costs = {name: net.cost for name, net in forms.items()}
    assert costs["shannon"] <= shannon_cost(n, k) * len(tables)
    form = min(costs, key=lambda name: costs[name])
    return Choice(form, forms[form], costs)
