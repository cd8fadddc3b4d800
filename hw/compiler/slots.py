"""Which chunk goes to which place of a scratchpad, when all uses are known beforehand."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

__all__ = ["Use", "assign"]


class Use(NamedTuple):
    """One step's use of a chunk.

    ``fresh``: it has to be fetched for this step; then ``last`` is the last step that uses it
    before its place goes to another one.
    """
    slot: int
    fresh: bool
    last: int


def assign(keys: Sequence[Hashable], slots: int) -> list[Use]:
    """A place for the chunk ``keys[n]`` of each step ``n``, out of ``slots``.

    A chunk that has to go is the one needed latest; but not the one that the step before uses,
    unless there is no other: its successor could not be fetched ahead.
    """
    following, seen = [0] * len(keys), {}
    for n in range(len(keys) - 1, -1, -1):
        following[n] = seen.get(keys[n], len(keys))
        seen[keys[n]] = n
    holds: dict[Hashable, int] = {}
    used: list[int] = []   # of each slot: the last step that used it
    uses, fetched = [], []
    for n, key in enumerate(keys):
        slot, fresh = holds.get(key), False
        if slot is None:
            fresh = True
            if len(used) < slots:
                slot = len(used)
                used.append(n)
                fetched.append(n)
            else:
                others = [s for s in range(slots) if used[s] < n - 1] or range(slots)
                # Ties (chunks that are never used again) go to the one unused for longest.
                slot = max(others, key=lambda s: (following[used[s]], -used[s]))
                del holds[keys[used[slot]]]
                fetched[slot] = n
            holds[key] = slot
        used[slot] = n
        uses.append([slot, fresh, n])
        uses[fetched[slot]][2] = n
    return [Use(*use) for use in uses]
