"""Visits: operators in groups that touch each accumulator once, between DRAM and DRAM.

A visit begins with what fills the accumulators (products, a pool, or loaded tensors) and goes on
with the operators that only need the element itself: new scales and sums of two tensors. The
results are bit for bit those of the operators one by one; a result is stored if anybody else
reads it. Grouping says nothing of tiles or order: that is :mod:`hw.compiler.schedule`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hw.compiler.layout import blocks, dense_weights, depthwise_weights
from hw.compiler.operators import (
    Add,
    Concat,
    Conv,
    MaxPool,
    Operator,
    Requantise,
    Scale,
    SumPool,
    Tensor,
    Window,
)
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp

__all__ = ["Drain", "Products", "Visit", "group"]


@dataclass(frozen=True)
class Drain:
    """One pass over a tile's accumulators in region ``dst``, or a store of them.

    ``operation``: MUL with ``value``; RQT with parameters number ``value``; ADD or MOV of region
    ``src``; or ``None``: store to ``tensor``. ``early``: before products are there.
    """
    operation: AluOp | None
    dst: int
    src: int = 0
    value: int = 0
    tensor: Tensor | None = None
    early: bool = False


@dataclass(frozen=True, eq=False)
class Products:
    """Sums of products: which blocks of inputs each block of outputs needs.

    Output block ``o`` of group ``g`` needs all ``inputs`` blocks of the group; or, if ``diagonal``,
    block ``o`` alone.

    Attributes
    ----------
    weights : int8 array
        Elements, (groups, outputs, inputs, kh, kw, block, block); if ``diagonal``, one block of
        inputs; if ``depthwise``, (1, outputs, elements, block, block) with a row per tap. If
        ``ones``, one row of (1, 1, 1, block, block) serves all taps of all blocks.
    """
    groups: int
    outputs: int
    inputs: int
    diagonal: bool
    depthwise: bool
    weights: np.ndarray
    ones: bool = False


@dataclass(frozen=True, eq=False)
class Visit:
    """What one pass over the accumulators computes.

    Attributes
    ----------
    operators : tuple of :class:`Operator`
    x : :class:`Tensor` or ``None``
        What is seen through ``window``; by products, or else by the maximum.
    loads : tuple of (region, :class:`Tensor`)
        Tensors loaded into accumulators, element by element.
    drain : tuple of :class:`Drain`
    parameters : tuple of :class:`Requantise`
    regions : :class:`int`
        How many accumulators each element of the result needs; results begin in region 0.
    shape : channels, height, width of the result
    """
    name: str
    operators: tuple[Operator, ...]
    x: Tensor | None
    window: Window
    pad_value: int
    products: Products | None
    loads: tuple[tuple[int, Tensor], ...]
    drain: tuple[Drain, ...]
    parameters: tuple[Requantise, ...]
    regions: int
    shape: tuple[int, int, int]

    @property
    def kind(self) -> tuple:
        """Equal of visits that cost the same: all but the numbers and names."""
        products = self.products and (self.products.groups, self.products.outputs,
                                      self.products.inputs, self.products.diagonal,
                                      self.products.depthwise, self.products.weights.shape)
        return (self.shape, self.x and self.x.shape, self.window, products, self.regions,
                len(self.loads), len(self.parameters),
                tuple((d.operation, d.dst, d.src, d.early) for d in self.drain))

    @property
    def stores(self) -> tuple[Tensor, ...]:
        return tuple(d.tensor for d in self.drain if d.tensor is not None)

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return (() if self.x is None else (self.x,)) + tuple(tensor for _, tensor in self.loads)

    @property
    def macs(self) -> int:
        return sum(operator.macs for operator in self.operators)


def group(steps: Sequence[Operator], kept: Collection[str], config: VtaConfig) -> list[Visit]:
    """Visits of ``steps``, in order; results named in ``kept`` are stored in any case.

    A :class:`Concat` is nobody's visit: who makes its parts stores them in their place.
    """
    readers: dict[str, list[Operator]] = {}
    for step in steps:
        for x in step.inputs:
            readers.setdefault(x.name, []).append(step)
    made = {step.y.name for step in steps}
    done: set[str] = set()    # results of the visits so far
    taken: set[int] = set()
    visits = []
    for head in steps:
        if id(head) in taken:
            continue
        if isinstance(head, Concat):
            done.add(head.y.name)
            continue
        chain = [head]
        while True:
            y = chain[-1].y
            follower = next((step for step in readers.get(y.name, ()) if id(step) not in taken
                             and _follows(step, y, made - done)), None)
            if follower is None:
                break
            taken.add(id(follower))
            chain.append(follower)
        done.update(operator.y.name for operator in chain)
        visits.append(_visit(chain, readers, kept, config))
    return visits


def _follows(step: Operator, y: Tensor, missing: Collection[str]) -> bool:
    if isinstance(step, Add):
        other = step.b if step.a.name == y.name else step.a
        return other.name != y.name and other.name not in missing
    return isinstance(step, Scale)


class _Chain:
    """Collects the drain of one visit."""

    def __init__(self):
        self.loads, self.drain, self.parameters = [], [], []
        self.regions, self.free = 1, []

    def region(self) -> int:
        if self.free:
            return self.free.pop()
        self.regions += 1
        return self.regions - 1

    def requantise(self, region, requantise):
        self.drain.append(Drain(AluOp.RQT, region, value=len(self.parameters)))
        self.parameters.append(requantise)

    def multiply(self, region, factor, early=False):
        if factor != 1:
            self.drain.append(Drain(AluOp.MUL, region, value=factor, early=early))

    def add(self, at: int, operator: Add, mine: Tensor):
        """``at`` becomes the sum of itself and the other tensor of ``operator``."""
        a_first = operator.a.name == mine.name
        other = operator.b if a_first else operator.a
        factors = (operator.factor_a, operator.factor_b)
        here, there = factors if a_first else factors[::-1]
        self.regions += 1
        region = self.regions - 1  # loaded at the beginning, so nothing else may have been there
        self.loads.append((region, other))
        self.multiply(region, there, early=True)
        self.multiply(at, here)
        self.drain.append(Drain(AluOp.ADD, at, region))
        self.requantise(at, operator.requantise)
        self.free.append(region)


def _visit(chain: list[Operator], readers, kept, config: VtaConfig) -> Visit:
    head, collected, at = chain[0], _Chain(), 0
    x, window, pad_value, products = None, Window(), 0, None
    if isinstance(head, Conv):
        x, window, pad_value = head.x, head.window, head.pad_value
        products = _products(head, config)
        collected.requantise(0, head.requantise)
    elif isinstance(head, SumPool):
        x, window, pad_value = head.x, head.window, head.pad_value
        count = blocks(x.channels, config)
        ones = np.ones((1, 1, 1, config.block, config.block), np.int8)
        products = Products(1, count, count, True, True, ones, ones=True)
        collected.requantise(0, head.requantise)
    elif isinstance(head, MaxPool):
        x, window, pad_value = head.x, head.window, -128
    elif isinstance(head, Add):
        collected.loads.append((0, head.a))
        collected.add(0, head, head.a)
    elif isinstance(head, Scale):
        collected.loads.append((0, head.x))
        collected.requantise(0, head.requantise)
    else:
        raise TypeError(f"an operator must be one of the core's, not {type(head).__name__}")
    for operator, following in zip(chain, [*chain[1:], None]):
        y = operator.y
        others = [step for step in readers.get(y.name, ()) if step is not following]
        if following is None or others or y.name in kept:
            collected.drain.append(Drain(None, at, tensor=y))
            if following is not None:  # what is being stored stays as it is
                copy = collected.region()
                collected.drain.append(Drain(AluOp.MOV, copy, at))
                at = copy
        if isinstance(following, Scale):
            collected.requantise(at, following.requantise)
        elif isinstance(following, Add):
            collected.add(at, following, y)
    return Visit(chain[0].name, tuple(chain), x, window, pad_value, products,
                 tuple(collected.loads), tuple(collected.drain), tuple(collected.parameters),
                 collected.regions, head.y.shape)


def _products(conv: Conv, config: VtaConfig) -> Products:
    """The smallest structure of blocks that holds the groups of ``conv``."""
    groups, block, w = conv.groups, config.block, conv.weights
    outputs, inputs = blocks(conv.y.channels, config), blocks(conv.x.channels, config)
    ins, outs = conv.x.channels // groups, conv.y.channels // groups
    if conv.depthwise and outs == 1:
        return Products(1, outputs, outputs, True, True,
                        depthwise_weights(w[:, 0], config)[None])
    if groups > 1 and ins % block == 0 and outs % block == 0:
        parts = [dense_weights(part, config) for part in np.split(w, groups)]
        return Products(groups, outs // block, ins // block, False, False, np.stack(parts))
    full = np.zeros((conv.y.channels, conv.x.channels, *w.shape[2:]), np.int8)
    for g in range(groups):
        full[g * outs:(g + 1) * outs, g * ins:(g + 1) * ins] = w[g * outs:(g + 1) * outs]
    elements = dense_weights(full, config)
    if groups > 1 and ins == outs and block % ins == 0:
        own = np.arange(outputs)
        return Products(1, outputs, outputs, True, False, elements[own, own][None, :, None])
    # Groups share blocks; where each block of inputs feeds whole blocks of outputs of its own,
    # only those are multiplied.
    fan = block // ins * outs if ins and block % ins == 0 else 0
    if groups > 1 and fan and fan % block == 0 and conv.x.channels % block == 0:
        ratio = fan // block
        split = elements.reshape(inputs, ratio, *elements.shape[1:])
        index = np.arange(inputs)
        return Products(inputs, ratio, 1, False, False, split[index, :, index][:, :, None])
    return Products(1, outputs, inputs, False, False, elements[None])
