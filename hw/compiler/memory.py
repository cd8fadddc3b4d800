"""Static memory planning: where each tensor lies, so that those alive together never meet."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "Plan", "plan"]


@dataclass(frozen=True)
class Block:
    """``size`` bytes that are used from step ``first`` to step ``last``, both included.

    The offset is to be a multiple of ``align``, a power of two.
    """
    name: str
    size: int
    first: int
    last: int
    align: int = 64

    def __post_init__(self):
        if self.size < 0:
            raise ValueError(f"size of {self.name} must be at least 0 bytes, not {self.size!r}")
        if not 0 <= self.first <= self.last:
            raise ValueError(f"steps of {self.name} must be 0 or more, the first at most the last, "
                             f"not {self.first!r} to {self.last!r}")
        if self.align < 1 or self.align & (self.align - 1):
            raise ValueError(f"align of {self.name} must be a power of two, not {self.align!r}")

    def meets(self, other: "Block") -> bool:
        """Whether there is a step at which both are alive."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Offsets of ``blocks``, in bytes, by name.

    ``peak``: one more than the last byte used. ``bound``: the most bytes that are alive at one
    step; no plan has a lower peak.
    """
    blocks: tuple[Block, ...]
    offsets: dict[str, int]
    peak: int
    bound: int

    def __str__(self):
        more = f", {self.peak / self.bound - 1:.1%} above" if self.peak > self.bound > 0 else ""
        return (f"{self.peak} bytes for {len(self.blocks)} tensors, lower bound {self.bound}"
                f"{more}")


# Orders in which blocks are placed; none is the best for all networks, so each is tried.
_ORDERS: dict[str, Callable[[Block], tuple]] = {
    "size":     lambda block: (-block.size, block.first),
    "area":     lambda block: (-block.size * (block.last - block.first + 1), block.first),
    "duration": lambda block: (block.first - block.last, -block.size),
    "first":    lambda block: (block.first, -block.size),
    "last":     lambda block: (-block.last, -block.size),
}

_TRIES = 300


def plan(blocks: Iterable[Block], *, limit: int | None = None) -> Plan:
    """Offsets for ``blocks``: the best of several greedy placements, the same on any machine.

    Each placement takes the blocks in one order of :data:`_ORDERS`, and puts each into the lowest
    gap, or into the smallest, that those already placed and alive with it leave. While the peak is
    above the bound, the best order is changed a little, :data:`_TRIES` times: the block that
    reaches the peak comes first, or two of them change places.

    Raises :exc:`ValueError`, if two blocks have one name, or the peak is above ``limit`` bytes.
    """
    blocks = tuple(blocks)
    names = [block.name for block in blocks]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name of a tensor must be new, not {twice!r}")
    bound, best = _bound(blocks), None
    for order, tight in _candidates(blocks):
        best = _better(best, order, _place(order, tight), tight)
        if best[0] == bound:
            break
    rng = random.Random(0)
    for _ in range(_TRIES if best is not None else 0):
        peak, order, offsets, tight = best
        if peak == bound:
            break
        order = list(order)
        if rng.random() < 0.5:
            top = next(block for block in order if offsets[block.name] + block.size == peak)
            order.remove(top)
            order.insert(rng.randrange(len(order) + 1) // 2, top)
        else:
            a, b = rng.randrange(len(order)), rng.randrange(len(order))
            order[a], order[b] = order[b], order[a]
        best = _better(best, order, _place(order, tight), tight)
    peak, offsets = (best[0], best[2]) if best else (0, {})
    if limit is not None and peak > limit:
        raise ValueError(f"tensors must fit {limit} bytes, not {peak} (at least {bound} are alive "
                         f"at one step)")
    return Plan(blocks, {name: offsets[name] for name in names}, peak, bound)


def _bound(blocks: tuple[Block, ...]) -> int:
    return max((sum(other.size for other in blocks if other.first <= block.first <= other.last)
                for block in blocks), default=0)


def _candidates(blocks) -> Iterator[tuple[list[Block], bool]]:
    if blocks:
        for key in _ORDERS.values():
            order = sorted(blocks, key=lambda block: (*key(block), block.name))
            yield order, False
            yield order, True


def _better(best, order, offsets, tight):
    peak = max(offsets[block.name] + block.size for block in order)
    return (peak, order, offsets, tight) if best is None or peak <= best[0] else best


def _place(order: list[Block], tight: bool) -> dict[str, int]:
    """Offset of each block, one after the other; ``tight``: into the smallest gap."""
    offsets: dict[str, int] = {}
    placed: list[Block] = []  # by offset
    for block in order:
        gaps, end = [], 0
        for other in placed:
            if other.meets(block) and other.size:
                gaps.append((end, offsets[other.name]))
                end = max(end, offsets[other.name] + other.size)
        starts = [(-(-low // block.align) * block.align, high) for low, high in gaps]
        fitting = [(high - start, start) for start, high in starts if start + block.size <= high]
        if fitting:
            start = (min(fitting) if tight else min(fitting, key=lambda gap: gap[1]))[1]
        else:
            start = -(-end // block.align) * block.align
        offsets[block.name] = start
        placed.append(block)
        placed.sort(key=lambda other: offsets[other.name])
    return offsets
