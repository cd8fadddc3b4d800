"""Concatenations: parts that fill whole blocks lie side by side in the result, at no cost.

Other parts are spread over the result's channels by a 1x1 convolution of ones, and added.
"""

from collections.abc import Collection, Sequence

import numpy as np

from hw.compiler.operators import Add, Concat, Conv, Host, Operator, Requantise, Tensor

__all__ = ["join", "obstacle"]


def obstacle(concat: Concat, block: int, made: Collection[str], placed: Collection[str] = ()
             ) -> str | None:
    """Why the parts of ``concat`` cannot lie in its result.

    ``made``: tensors made in the same launch; ``placed``: those that lie elsewhere already.
    """
    names = [x.name for x in concat.xs]
    for n, x in enumerate(concat.xs):
        if x.name in placed or x.name in names[:n]:
            return f"{x} is joined twice"
        if x.name not in made:
            return f"{x} is not made in the same launch"
        if x.channels % block and n + 1 < len(names):
            return f"the channels of {x} do not fill blocks of {block}"
    return None


def join(steps: Sequence[Operator | Host], block: int) -> list[Operator | Host]:
    """``steps`` in which every :class:`Concat` that is left is one of places."""
    result: list[Operator | Host] = []
    made: set[str] = set()
    placed: list[str] = []
    for step in steps:
        if isinstance(step, Host):
            made.clear()
        else:
            made.add(step.y.name)
        if isinstance(step, Concat):
            if obstacle(step, block, made, placed) is None:
                placed += [x.name for x in step.xs]
                result.append(step)
            else:
                result += _spread(step)
        else:
            result.append(step)
    return result


def _spread(concat: Concat) -> list[Operator]:
    y, same = concat.y, _same(concat.y.channels)
    steps: list[Operator] = []
    total, offset = None, 0
    for n, x in enumerate(concat.xs):
        last = n + 1 == len(concat.xs)
        name = f"{concat.name}/{n}"
        part = y if last and total is None else Tensor(name, *y.shape)
        weights = np.zeros((y.channels, x.channels, 1, 1), np.int8)
        weights[offset + np.arange(x.channels), np.arange(x.channels)] = 1
        steps.append(Conv(name, x, part, weights, same))
        if total is not None:
            joined = y if last else Tensor(f"{name}+", *y.shape)
            steps.append(Add(f"{name}+", part, total, joined, 1, 1, same))
            part = joined
        total, offset = part, offset + x.channels
    return steps


def _same(channels: int) -> Requantise:
    """What leaves int8 as it is."""
    zeros = np.zeros(channels, np.int64)
    return Requantise(zeros, zeros + 1, zeros)
