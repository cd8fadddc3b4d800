# amaranth: UnusedElaboratable=no
"""Exact sums through a column of cells and its drain, against the model."""

from functools import cache

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.drain import Drain
from hw.arith.exact import Accumulate, ExactSum, UnpackExact
from hw.formats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat
from sim.golden.arith.exact import exact_dot
from sim.verilated import Engine

# The same structure with few bits: every product of two operands can be tried.
TINY = ExactSum(FloatFormat("tiny6", exponent=4, fraction=1), 16)
MID  = ExactSum(FloatFormat("mid10", exponent=6, fraction=3), 24)

#                                result, and why
CONFIGURATIONS = [
    (ExactSum(), 2, FLOAT32),
    (ExactSum(), 3, BFLOAT16),                            # a window of two digits, not three
    (TINY, 2, FloatFormat("tiny9", exponent=4, fraction=4)),
    (MID, 1, FloatFormat("mid16", exponent=6, fraction=9)),
]
IDS = [f"{layout.operand.name}-{result.name}" for layout, _, result in CONFIGURATIONS]


class Column(wiring.Component):
    """``rows`` cells one above the other; each has operands and orders of its own.

    The words of the cell below pass the upper ones, as in an array. ``first`` goes to the drain.
    """

    def __init__(self, layout: ExactSum, rows: int, result: FloatFormat):
        self.layout, self.rows = layout, rows
        self.end = Drain(layout, result)
        self.cells = [Accumulate(layout) for _ in range(rows)]
        width = layout.operand.width
        super().__init__({
            "a":       In(data.ArrayLayout(width, rows)),
            "w":       In(data.ArrayLayout(width, rows)),
            "product": In(rows),
            "bank":    In(rows),
            "drain":   In(rows),
            "word":    In(data.ArrayLayout(range(layout.words), rows)),
            "first":   In(1),
            "valid":   Out(1),
            "value":   Out(result.width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.end = self.end
        above = self.end.chain[0]
        for n, cell in enumerate(self.cells):
            m.submodules[f"cell_{n}"] = cell
            for name, words in (("a", self.a), ("w", self.w)):
                m.submodules[f"{name}_{n}"] = unpack = UnpackExact(self.layout.operand)
                m.d.comb += [unpack.i.eq(words[n]), getattr(cell, name).eq(unpack.o)]
            m.d.comb += [
                cell.product.eq(self.product[n]),
                cell.bank.eq(self.bank[n]),
                cell.drain.eq(self.drain[n]),
                cell.word.eq(self.word[n]),
                above.eq(cell.chain_o),
            ]
            above = cell.chain_i
        m.d.comb += [
            self.end.first.eq(self.first),
            self.valid.eq(self.end.valid),
            self.value.eq(self.end.value),
        ]
        return m


class Bench:
    """A simulated :class:`Column`, kept for all tests of one configuration."""

    def __init__(self, layout: ExactSum, rows: int, result: FloatFormat):
        self.layout, self.rows, self.result = layout, rows, result
        column = Column(layout, rows, result)
        self.cell_latency = column.cells[0].latency
        self.latency      = column.end.latency
        self.interval     = column.end.interval
        self.engine       = Engine(column, "column")

    def run(self, sums, *, gaps=None) -> np.ndarray:
        """Results of ``sums``, a list of (a, w), each of shape (rows, k): one array of all rows.

        ``gaps[n]``: cycles of noise before sum ``n``, beyond what the drain needs anyway. Checks
        that every result comes when the latency says, and no other. Each sum is handed out while
        the next one grows.
        """
        gaps = gaps or [0] * len(sums)
        # Row r runs r * (interval - 1) cycles late; its words climb r rows: a slot for each.
        skew, beats, firsts, start, free = self.interval - 1, [], [], 0, 0
        for (a, _), gap in zip(sums, gaps):
            k = a.shape[1]
            start = max(start + gap, free - k)
            beats.append(start)
            # The bank must be drained before the sum in the other one ends.
            free  = start + k + max(self.rows * self.interval, self.layout.words + 1)
            firsts += [start + k + 1 + self.cell_latency + r * self.interval
                       for r in range(self.rows)]
            start += k
        total = free + self.cell_latency + self.latency + self.interval + 3
        rng = np.random.default_rng(len(sums))
        width = self.layout.operand.width
        # What is not a beat is noise.
        a_in, w_in = rng.integers(0, 1 << width, (2, total, self.rows), np.uint64)
        word = rng.integers(0, self.layout.words, (total, self.rows), np.uint64)
        product, drain, bank = np.zeros((3, total, self.rows), np.uint64)
        for n, ((a, w), start) in enumerate(zip(sums, beats)):
            k = a.shape[1]
            for r in range(self.rows):
                now = slice(start + r * skew, start + r * skew + k)
                end = slice(now.stop + 1, now.stop + 1 + self.layout.words)
                a_in[now, r], w_in[now, r], product[now, r] = a[r], w[r], 1
                bank[now.stop:, r] = ~n & 1
                word[end, r], drain[end, r] = range(self.layout.words), 1
        first = np.zeros(total, np.uint8)
        first[firsts] = 1
        shifts = np.arange(self.rows, dtype=np.uint64)
        join = lambda rows, bits: (rows << shifts * np.uint64(bits)).sum(1)  # noqa: E731
        out = self.engine.pipe({
            "a": join(a_in, width), "w": join(w_in, width),
            "product": join(product, 1), "bank": join(bank, 1), "drain": join(drain, 1),
            "word": join(word, self.layout.words.bit_length() - 1),
            "first": first,
        }, ["valid", "value"])
        came = np.flatnonzero(out["valid"])
        assert came.tolist() == [n + self.latency for n in firsts]
        return out["value"][came]


@cache
def bench(layout: ExactSum, rows: int, result: FloatFormat) -> Bench:
    return Bench(layout, rows, result)


def draw(layout: ExactSum, rows: int, count: int, seed: int, k_most: int = 40) -> list:
    """Sums of many kinds: any words, ends of the range, cancelling, a lone product."""
    rng = np.random.default_rng(seed)
    fmt = layout.operand
    top, bias = 1 << fmt.exponent, fmt.bias
    spans = [(0, top), (1, top - 1), (bias // 2 - 2, bias // 2 + 2),
             (bias + bias // 2 - 2, bias + bias // 2 + 3), (bias - 3, bias + 3),
             (bias // 2, bias // 2 + 6)]
    sums = []
    for n in range(count):
        k = int(rng.integers(1, k_most))
        low, high = np.clip(spans[n % len(spans)], 0, top)
        a, w = (rng.integers(0, 1 << fmt.width, (rows, k)) & ~fmt.exponent_mask
                | rng.integers(low, high, (rows, k)) << fmt.fraction for _ in range(2))
        if n % 4 == 1 and k > 3:  # the second half takes back the first, but for a product or so
            half = k // 2
            a[:, half:2 * half], w[:, half:2 * half] = a[:, :half] ^ fmt.sign_mask, w[:, :half]
        if n % 5 == 0:
            a[:, 1:] &= ~fmt.exponent_mask
        sums.append((a, w))
    return sums


def model(sums, layout: ExactSum, result: FloatFormat) -> np.ndarray:
    return np.concatenate([exact_dot(a, w, layout.operand, result) for a, w in sums])


@pytest.mark.parametrize("layout, rows, result", CONFIGURATIONS, ids=IDS)
def test_random_sums(layout, rows, result):
    sums = draw(layout, rows, 400, seed=rows)
    # Back to back, and with gaps, which also shift where a sum falls in the drain's cycles.
    gaps = [0] * 200 + np.random.default_rng(1).integers(0, 40, 200).tolist()
    expected = model(sums, layout, result)
    np.testing.assert_array_equal(bench(layout, rows, result).run(sums, gaps=gaps), expected)
    kinds = {"nan": expected == result.nan, "infinite": expected == result.infinity,
             "zero": expected == 0, "minus zero": expected == result.sign_mask}
    assert all(kind.any() for kind in kinds.values()), kinds


@pytest.mark.parametrize("layout, rows, result", CONFIGURATIONS[:2], ids=IDS[:2])
def test_order_of_products_makes_no_difference(layout, rows, result):
    rng = np.random.default_rng(3)
    sums = [pair for pair in draw(layout, rows, 60, seed=4)]
    shuffled = []
    for a, w in sums:
        order = rng.permutation(a.shape[1])
        shuffled.append((a[:, order], w[:, order]))
    unit = bench(layout, rows, result)
    np.testing.assert_array_equal(unit.run(sums), unit.run(shuffled))


def test_every_product_of_the_small_format():
    layout, _, result = CONFIGURATIONS[2]
    words = np.arange(1 << layout.operand.width)
    a, w = (x.reshape(-1, 2, 1) for x in np.meshgrid(words, words))
    sums = list(zip(a, w))
    np.testing.assert_array_equal(bench(layout, 2, result).run(sums), model(sums, layout, result))


def test_every_product_of_the_small_format_plus_one_more():
    """Each with 60 others: a third of all sums of two products that are not zero."""
    layout, _, result = CONFIGURATIONS[2]
    words = np.arange(1 << layout.operand.width)
    first = np.stack([x.ravel() for x in np.meshgrid(words, words)])
    rng = np.random.default_rng(11)
    second = rng.integers(0, len(words), (2, 30 * first.shape[1]))
    pairs = np.stack([np.tile(first, (1, 30)), second], -1).reshape(2, -1, 2, 2)
    sums = list(zip(*pairs))
    np.testing.assert_array_equal(
        bench(layout, 2, result).run(sums),
        exact_dot(pairs[0], pairs[1], layout.operand, result).ravel())


@pytest.mark.parametrize("operands", [
    (0x7f, 0x7f),  # largest significands
    (0xff, 0x7f),
])
def test_longest_sums(operands):
    """``k_max`` products, the largest of one word: it comes within one product of its limit."""
    layout, rows, result = CONFIGURATIONS[0]
    exponent = 127 + 55  # both: the sum's place is 238, the highest of a word, with room above it
    a, w = (np.full((rows, layout.k_max), x << 8 & 0x8000 | exponent << 7 | x & 0x7f)
            for x in operands)
    sums = [(a, w)] * 2
    np.testing.assert_array_equal(bench(layout, rows, result).run(sums),
                                  model(sums, layout, result))


def test_reset_in_mid_sum():
    """After a reset one drain of each bank throws away what is left; the next sums are right."""
    layout, rows, result = CONFIGURATIONS[0]
    unit = bench(layout, rows, result)
    one = np.full((rows, 30), 0x3f80)
    engine = unit.engine
    engine.set("product", (1 << rows) - 1)
    engine.set("a", sum(0x3f80 << 16 * r for r in range(rows)))
    for bank in (0, 1):
        engine.set("bank", bank * ((1 << rows) - 1))
        engine.set("w", sum(0x7f80 << 16 * r for r in range(rows)))  # infinity, too
        engine.step(20)
        engine.set("w", sum(0x3f80 << 16 * r for r in range(rows)))
        engine.step(20)
    engine.reset()
    engine.set("product", 0)
    first = unit.run([(one, one)] * 2)  # thrown away
    sums = draw(layout, rows, 20, seed=8)
    np.testing.assert_array_equal(unit.run(sums), model(sums, layout, result))
    assert (first != model([(one, one)] * 2, layout, result)).reshape(2, -1).any(1).all()


@pytest.mark.parametrize("parameters, message", [
    ({"result": FLOAT16}, "result must have infinities and 8 exponent bits, not be 'float16'"),
])
def test_wrong(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Drain(**parameters)
