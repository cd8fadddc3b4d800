"""Boosted trees as LUT networks (TreeLUT): keys, trees, adders.

Comparators of the quantised features are the encoder's bits; each bit of a tree's leaves is a table
of them, split into cells; each class sums its trees' leaves, and the label is the largest sum.

The leaves are quantised as in TreeLUT (Khataei and Bazargan, arXiv:2501.01511): the smallest leaf
of each tree moves into its class's bias, so that no leaf is negative; then all are scaled by one
factor, the largest to ``2**leaf_bits - 1``, and rounded. The biases are scaled and rounded with
them, and shifted together so that the smallest is 0.
"""

from dataclasses import dataclass

import numpy as np

from .cells import ONE, ZERO, Cells
from .model import Encoder, Model, ModelError

__all__ = ["Forest", "Quantised", "Tree", "quantise", "to_model", "values_of"]


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in arrays, the root first: ``x[feature]`` compared with ``threshold``, or a leaf.

    ``feature`` is -1 at a leaf, which has ``value``; ``left`` and ``right`` are nodes.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Forest:
    """``score[c] = base[c] + sum of the leaves of the trees whose group is c``.

    Parameters
    ----------
    trees, group : tuple
        ``group[t]`` is the score to which tree t adds.
    base : float64 (scores,)
    features : :class:`int`
    classes : :class:`int`
        1: a regression, whose value is the score. 2 with one score: label 1 if the score is at
        least 0. Else the label is the largest score, the lowest of equals.
    dtype : :class:`str`
        In which the source compares: ``float32`` or ``float64``.
    equal_left : :class:`bool`
        Whether a feature that equals the threshold goes left (scikit-learn) or right (XGBoost).
    """

    trees: tuple[Tree, ...]
    group: tuple[int, ...]
    base: np.ndarray
    features: int
    classes: int
    dtype: str
    equal_left: bool

    def __post_init__(self):
        if not self.trees:
            raise ModelError("a forest must hold at least one tree")
        if self.classes not in range(1, 257):
            raise ModelError(f"classes must be 1 to 256, not {self.classes}")
        for tree in self.trees:
            inner = tree.feature >= 0
            if tree.feature.max(initial=-1) >= self.features:
                raise ModelError(f"a tree's feature must be 0 to {self.features - 1}, not "
                                 f"{tree.feature.max()}")
            if not (np.isfinite(tree.threshold[inner]).all()
                    and np.isfinite(tree.value[~inner]).all()):
                raise ModelError("thresholds and leaves of trees must be finite numbers")

    def scores(self, x: np.ndarray) -> np.ndarray:
        """float64 (samples, scores) of features (samples, features)."""
        x = np.asarray(x, self.dtype)
        total = np.repeat(self.base[None].astype(np.float64), len(x), 0)
        rows = np.arange(len(x))
        for tree, group in zip(self.trees, self.group):
            at = np.zeros(len(x), np.int64)
            while (inner := tree.feature[at] >= 0).any():
                chosen = x[rows, np.maximum(tree.feature[at], 0)]
                limit = tree.threshold[at]
                left = chosen <= limit if self.equal_left else chosen < limit
                at = np.where(inner, np.where(left, tree.left[at], tree.right[at]), at)
            total[:, group] += tree.value[at]
        return total

    def result(self, x: np.ndarray) -> np.ndarray:
        """Labels, or the values of a regression."""
        score = self.scores(x)
        if self.classes == 1:
            return score[:, 0]
        return (score[:, 0] >= 0).astype(np.int64) if score.shape[1] == 1 else score.argmax(1)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A forest on codes with whole leaves: ``sum = base + leaves``, all at least 0.

    ``trees``: thresholds are codes, and a code above goes right; values are int64. A regression is
    ``scale * sum + bias``; two classes with one score have the sums ``base`` (2,), of which the
    second gets the leaves.
    """

    trees: tuple[Tree, ...]
    group: tuple[int, ...]
    base: np.ndarray
    classes: int
    scale: float
    bias: float


def values_of(width: int, offset: np.ndarray, step: np.ndarray) -> np.ndarray:
    """float64 (features, 2**width): the value for which a code stands, the middle of its interval.

    Where the step is 1 and the offset whole the features are integers, and the value is exact.
    """
    whole = (step == 1) & (offset == np.floor(offset))
    place = np.arange(2 ** width) + np.where(whole, 0, 0.5)[:, None]
    return offset[:, None] + step[:, None] * place


def _on_codes(forest: Forest, values: np.ndarray) -> tuple[Tree, ...]:
    """The trees with codes for thresholds; what no code reaches is passed by."""
    values = values.astype(forest.dtype)
    side = "right" if forest.equal_left else "left"
    out = []
    for tree in forest.trees:
        feature, limit = tree.feature.astype(np.int64), np.zeros(len(tree.feature), np.int64)
        left, right = tree.left.astype(np.int64), tree.right.astype(np.int64)
        for at in np.flatnonzero(feature >= 0):
            limit[at] = np.searchsorted(values[feature[at]], tree.threshold[at], side) - 1

        def reached(at, ranges, feature=feature, limit=limit, left=left, right=right):
            while feature[at] >= 0:
                low, high = ranges.get(int(feature[at]), (0, values.shape[1] - 1))
                if limit[at] >= high or limit[at] < low:
                    at = left[at] if limit[at] >= high else right[at]
                    continue
                key = int(feature[at])
                left[at] = reached(left[at], ranges | {key: (low, limit[at])})
                right[at] = reached(right[at], ranges | {key: (limit[at] + 1, high)})
                break
            return at

        root = reached(0, {})
        if root:  # the root comes first
            for array in (feature, limit, left, right):
                array[0] = array[root]
        value = tree.value.copy()
        value[0] = tree.value[root]
        out.append(Tree(feature, limit, left, right, value))
    return tuple(out)


def _leaves(tree: Tree) -> np.ndarray:
    """Indices of the leaves that can be reached."""
    found, stack = [], [0]
    while stack:
        at = stack.pop()
        if tree.feature[at] < 0:
            found.append(at)
        else:
            stack += [int(tree.left[at]), int(tree.right[at])]
    return np.array(sorted(found))


def quantise(forest: Forest, values: np.ndarray, leaf_bits: int) -> Quantised:
    """The forest on codes, ``values`` (features, codes) being what they stand for."""
    if leaf_bits not in range(1, 17):
        raise ValueError(f"leaf_bits must be 1 to 16, not {leaf_bits!r}")
    trees, base = _on_codes(forest, values), forest.base.astype(np.float64).copy()
    leaves = [_leaves(tree) for tree in trees]
    lowest = [tree.value[at].min() for tree, at in zip(trees, leaves)]
    largest = max(tree.value[at].max() - low for tree, at, low in zip(trees, leaves, lowest))
    factor = (2 ** leaf_bits - 1) / largest if largest > 0 else 1.0
    whole = []
    for tree, low, group in zip(trees, lowest, forest.group):
        base[group] += low
        value = np.rint((tree.value - low) * factor).astype(np.int64)
        whole.append(Tree(tree.feature, tree.threshold, tree.left, tree.right, value))
    constant = np.rint(base * factor).astype(np.int64)
    group, scale, bias = forest.group, 1.0, 0.0
    if forest.classes == 1:
        scale, bias, constant = 1 / factor, float(base[0]), np.zeros(1, np.int64)
    elif len(constant) == 1:  # sum + c >= 0: the second of (-c - 1, sum) or of (0, sum + c + 1)
        over = int(constant[0]) + 1
        constant, group = np.array([max(-over, 0), max(over, 0)]), (1,) * len(trees)
    else:
        constant = constant - constant.min()
    return Quantised(tuple(whole), group, constant, forest.classes, scale, bias)


# Tables -----------------------------------------------------------------------------------------

class _Decisions:
    """One-bit decision diagrams over comparators, shared, and their cells."""

    def __init__(self, cells: Cells):
        self.cells = cells
        self.node: list[tuple[int, int, int]] = [(-1, 0, 0), (-1, 1, 1)]  # 0 and 1 are themselves
        self.place: dict[tuple[int, int, int], int] = {}
        self.pins: dict[int, int] = {0: ZERO, 1: ONE}
        self.reads: dict[int, frozenset[int]] = {0: frozenset(), 1: frozenset()}

    def make(self, bit: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (bit, low, high)
        if key not in self.place:
            self.place[key] = len(self.node)
            self.node.append(key)
            self.reads[self.place[key]] = self.reads[low] | self.reads[high] | {bit}
        return self.place[key]

    def _cut(self, root: int) -> tuple[set[int], list[int], list[int]]:
        """Diagrams inside the cell at ``root``, its comparators, the diagrams it reads."""
        k, inside = self.cells.k, {root}

        def border(inside):
            return {c for d in inside for c in self.node[d][1:] if c > 1 and c not in inside}

        def below(d):
            found, stack = set(), [d]
            while stack:
                d = stack.pop()
                if d > 1 and d not in found:
                    found.add(d)
                    stack += self.node[d][1:]
            return found

        while True:
            best = None
            for d in sorted(border(inside)):
                for more in ({d}, below(d) if len(self.reads[d]) <= k else {d}):
                    after = inside | more
                    size = len({self.node[a][0] for a in after}) + len(border(after))
                    if size <= k and (best is None or (size, -len(after)) < best[0]):
                        best = ((size, -len(after)), after)
            if best is None:
                bits = sorted({self.node[d][0] for d in inside})
                return inside, bits, sorted(border(inside))
            inside = best[1]

    def pin(self, root: int) -> int:
        """The cell that is the diagram ``root``."""
        if root not in self.pins:
            inside, bits, others = self._cut(root)
            address = np.arange(1 << len(bits) + len(others))
            value = {bit: (address >> i & 1).astype(bool) for i, bit in enumerate(bits)}
            known = {d: (address >> len(bits) + i & 1).astype(bool)
                     for i, d in enumerate(others)}
            known |= {0: np.zeros(len(address), bool), 1: np.ones(len(address), bool)}
            for d in sorted(inside):  # a diagram is younger than its parts
                bit, low, high = self.node[d]
                known[d] = np.where(value[bit], known[high], known[low])
            self.pins[root] = self.cells.cell([*bits, *(self.pin(d) for d in others)], known[root])
        return self.pins[root]


def to_model(forest: Quantised, encoder: Encoder, inputs: int = 6) -> Model:
    """The network whose labels, or sums, are those of ``forest``; nodes of up to ``inputs`` pins.

    ``encoder``: width, offset and step are taken, the bits are the forest's comparators.
    """
    if inputs not in range(3, 7):
        raise ValueError(f"inputs must be 3 to 6, not {inputs!r}")
    keys = sorted({(int(f), int(t)) for tree in forest.trees
                   for f, t in zip(tree.feature, tree.threshold) if f >= 0})
    keys = [key for key in keys if 0 <= key[1] < 2 ** encoder.width - 1] or [(0, 0)]
    bit_of = {key: index for index, key in enumerate(keys)}
    cells = Cells(len(keys), inputs)
    decisions = _Decisions(cells)

    def diagram(tree: Tree, at: int, digit: int) -> int:
        if tree.feature[at] < 0:
            return int(tree.value[at]) >> digit & 1
        low, high = (diagram(tree, int(child), digit) for child in (tree.left[at], tree.right[at]))
        return decisions.make(bit_of[int(tree.feature[at]), int(tree.threshold[at])], low, high)

    outputs, group, shift = [], [], []

    def add(pin: int, to: int, digit: int) -> None:
        outputs.append(pin)
        group.append(to)
        shift.append(digit)

    for tree, to in zip(forest.trees, forest.group):
        for digit in range(int(tree.value[_leaves(tree)].max()).bit_length()):
            pin = decisions.pin(diagram(tree, 0, digit))
            if pin != ZERO:
                add(pin, to, digit)
    for to, constant in enumerate(forest.base.tolist()):
        for digit in range(constant.bit_length()):
            if constant >> digit & 1:
                add(ONE, to, digit)
    if not outputs:
        add(ZERO, 0, 0)
    bits = np.array(keys, np.int32)
    return Model(Encoder(encoder.width, encoder.offset, encoder.step, bits[:, 0], bits[:, 1]),
                 cells.layers(outputs), group, forest.classes, forest.scale, forest.bias,
                 shift=shift)
