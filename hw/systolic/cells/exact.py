"""bfloat16 products summed exactly where they meet, rounded once on the way out."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.drain import Drain
from hw.arith.exact import Accumulate, ExactOperandLayout, ExactSum, UnpackExact
from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from hw.systolic.cell import OutputStationaryCell
from hw.systolic.os_mesh import OsControl

__all__ = ["CELL"]

LAYOUT = ExactSum(BFLOAT16)


class Core(wiring.Component):
    """:class:`Accumulate` under the names of a cell."""

    def __init__(self):
        operand = ExactOperandLayout(BFLOAT16)
        super().__init__({
            "control": In(OsControl(LAYOUT.words)),
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
            core.product.eq(self.control.product),
            core.bank.eq(self.control.bank),
            core.drain.eq(self.control.drain),
            core.word.eq(self.control.word),
            core.chain_i.eq(self.chain_i),
            self.chain_o.eq(core.chain_o),
        ]
        return m


class Column(wiring.Component):
    """:class:`Drain` under the names of a column."""

    def __init__(self, result: FloatFormat, segments: int):
        self.result, self.segments = result, segments
        super().__init__({
            "row":   In(segments),
            "chain": In(LAYOUT.layout).array(segments),
            "value": Out(result.width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.drain = drain = Drain(LAYOUT, self.result, self.segments)
        m.d.comb += [
            drain.first.eq(self.row),
            *(to.eq(chain) for to, chain in zip(drain.chain, self.chain)),
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
    chain_latency = Accumulate.latency_of(LAYOUT)
    words = LAYOUT.words
    banks = 2
    drain_after = 2
    # Words outlive a reset; a first drain of each bank clears them.
    settle_tiles = banks

    def core(self):
        return Core()

    def unpack_operand(self):
        return UnpackExact(BFLOAT16)

    def column(self, result, segments=1, tiles=2):
        return Column(result, segments)

    def column_latency(self, result):
        return Drain.latency_of(LAYOUT)


CELL = ExactCell()
