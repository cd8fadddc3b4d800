"""bfloat16 products summed exactly where they meet, rounded once on the way out."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.drain import Drain
from hw.arith.exact import Accumulate, ExactOperandLayout, ExactSum, UnpackExact
from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from hw.systolic.cell import OutputStationaryCell
from hw.systolic.os_mesh import OsKind

__all__ = ["CELL"]

LAYOUT = ExactSum(BFLOAT16)


class Core(wiring.Component):
    """:class:`Accumulate` under the names of a cell."""

    def __init__(self):
        operand = ExactOperandLayout(BFLOAT16)
        super().__init__({
            "kind":    In(OsKind),
            "a":       In(operand),
            "w":       In(operand),
            "chain_i": In(LAYOUT.layout),
            "chain_o": Out(LAYOUT.layout),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.accumulate = core = Accumulate(LAYOUT)
        m.d.comb += [
            core.a.eq(self.a),
            core.w.eq(self.w),
            core.product.eq(self.kind == OsKind.PRODUCT),
            core.drain.eq(self.kind == OsKind.DRAIN),
            core.chain_i.eq(self.chain_i),
            self.chain_o.eq(core.chain_o),
        ]
        return m


class Column(wiring.Component):
    """:class:`Drain` under the names of a column."""

    def __init__(self, result: FloatFormat):
        self.result = result
        super().__init__({"row": In(1), "chain": In(LAYOUT.layout), "value": Out(result.width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.drain = drain = Drain(LAYOUT, self.result)
        m.d.comb += [
            drain.first.eq(self.row),
            drain.chain.eq(self.chain),
            self.value.eq(drain.value),
        ]
        return m


class ExactCell(OutputStationaryCell):
    name = "exact"
    contract = "exact"
    operand, sum, bias = BFLOAT16, FLOAT32, BFLOAT16
    operand_latency = Accumulate.latency_of(LAYOUT)
    sum_latency = 0
    loop_latency = 1
    k_max = LAYOUT.k_max
    neutral = (0, 0)
    operand_shape = ExactOperandLayout(BFLOAT16)
    chain_shape = LAYOUT.layout
    chain_latency = operand_latency
    words = drain_beats = LAYOUT.words
    # A sum climbs one row per cycle, so those of a column leave one behind the other.
    row_skew = words - 1
    # Words outlive a reset; a first drain clears them.
    settle_tiles = 1

    def core(self):
        return Core()

    def unpack_operand(self):
        return UnpackExact(BFLOAT16)

    def column(self, result):
        return Column(result)

    def column_latency(self, result):
        return Drain.latency_of(LAYOUT)

    def drain_operands(self, word):
        # The exponents add up to a place in the word: 127 + 16 * word, with the places' 1 each.
        place = word << LAYOUT.radix.bit_length() - 1
        return Const(126 << BFLOAT16.fraction, 16), (place << BFLOAT16.fraction)[:16]


CELL = ExactCell()
