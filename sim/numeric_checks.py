"""What ``python -m sim.numeric`` runs: circuits, the operands for each, and what must come out."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from amaranth.lib import wiring

from hw.arith.exact import ExactSum
from hw.arith.fma import FusedMultiplyAdd
from hw.arith.multiply import FloatMultiply
from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from sim import processor
from sim.exact_unit import ExactUnit, exact_sums
from sim.golden.arith.exact import exact_dot
from sim.golden.arith.exact_cases import directed_sums, sum_class_names
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import class_names, directed
from sim.lanes import LaneEngine

__all__ = ["CHECKS", "Check", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Operands of one block: arrays of words by name, of one length.

    ``classes``: for each row its index into :attr:`Check.classes`, where the check has any.
    """

    operands: dict[str, np.ndarray]
    classes: np.ndarray | None = None


def _pipe(engine: LaneEngine, operands: dict) -> np.ndarray:
    return engine.pipe(operands, ["y"])[0]


@dataclass(frozen=True)
class Check:
    """One circuit against its references.

    ``blocks``: pieces of work; ``draw(index, rng)``: the operands of one; ``references``: names,
    and functions of the operands that give the words that must come out; ``classes``: names that
    rows are counted under; ``unit``, ``lanes``, ``shared``: as for :class:`sim.lanes.Lanes`;
    ``run(engine, operands)``: what the circuit makes of them.
    """

    blocks: int
    unit: Callable[[], wiring.Component]
    draw: Callable[[int, np.random.Generator], Rows]
    references: dict[str, Callable[..., np.ndarray]]
    lanes: int = 4
    shared: tuple[str, ...] = ()
    classes: list[str] = field(default_factory=list)
    run: Callable[[LaneEngine, dict], np.ndarray] = _pipe


def products(quick: bool) -> Check:
    """bfloat16 products: all 2^32 pairs, against the processor's multiplication (quick: 10^8)."""
    def sample(index, rng):
        a, b = rng.integers(0, 1 << 64, (2, 250_000), np.uint64).view(np.uint16)
        return Rows({"a": a, "b": b})

    everything = np.arange(1 << 16, dtype=np.uint16)

    def all_pairs(index, rng):
        return Rows({"a": np.repeat(everything[16 * index:16 * index + 16], 1 << 16),
                     "b": np.tile(everything, 16)})

    return Check(100 if quick else 1 << 12, FloatMultiply, sample if quick else all_pairs,
                 {"float32": processor.multiply}, lanes=16)


def small_fma(quick: bool) -> Check:
    """The multiply-add in small: all 2^28 triples of 8, 8 and 12 bits (quick: 2^20)."""
    operand, sum, rows = (  # the last: values of `a` and `b` together in a block
        (FloatFormat("tiny5", 2, 2), FloatFormat("tiny10", 4, 5), 1 << 10) if quick else
        (FloatFormat("tiny8", 4, 3), FloatFormat("tiny12", 5, 6), 1 << 8))
    c = np.tile(np.arange(1 << sum.width, dtype=np.uint16), rows)

    def draw(index, rng):
        pairs = np.arange(rows * index, rows * index + rows)
        a, b = (np.repeat(word.astype(np.uint8), 1 << sum.width)
                for word in (pairs >> operand.width, pairs & (1 << operand.width) - 1))
        return Rows({"a": a, "b": b, "c": c})

    return Check((1 << 2 * operand.width) // rows, lambda: FusedMultiplyAdd(operand, sum), draw,
                 {"golden": lambda a, b, c: fma(a, b, c, operand, sum)})


def directed_fma(quick: bool) -> Check:
    """10^9 directed triples against model and processor, every class counted (quick: 10^7)."""
    def draw(index, rng):
        a, b, c, ids = directed(rng, 1_000_000)
        return Rows({"a": a, "b": b, "c": c}, ids)

    def instruction(name):
        return lambda a, b, c: processor.fma(name, a, b, c)

    return Check(10 if quick else 1000, FusedMultiplyAdd, draw,
                 {"golden": fma} | {name: instruction(name) for name in processor.instructions()},
                 classes=class_names())


def exact(quick: bool) -> Check:
    """10^6 exact sums, random and directed, of 4 to 100 products (quick: 10^5)."""
    layout = ExactSum(BFLOAT16)
    depths = (4, 5, 8, 13, 21, 34, 60, 100)

    def draw(index, rng):
        a, w, ids = directed_sums(rng, 10_000, depths[index % len(depths)])
        return Rows({"a": a, "w": w}, ids)

    return Check(10 if quick else 100, lambda: ExactUnit(layout, FLOAT32), draw,
                 {"golden": lambda a, w: exact_dot(a, w, BFLOAT16, FLOAT32)},
                 shared=ExactUnit.shared, classes=sum_class_names(),
                 run=lambda engine, operands: exact_sums(engine, layout, **operands))


#: ``CHECKS[name](quick)``; the docstring says what it is.
CHECKS: dict[str, Callable[[bool], Check]] = {
    "products":  products,
    "small-fma": small_fma,
    "fma":       directed_fma,
    "exact":     exact,
}
