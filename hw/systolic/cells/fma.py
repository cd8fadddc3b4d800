"""bfloat16 products added to float32 sums on their way down a column, each rounded once."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.convert import Convert
from hw.arith.fma import MultiplyAdd
from hw.arith.operand import OperandLayout, UnpackOperand
from hw.arith.sum import PackSum, SumLayout, UnpackSum
from hw.formats import BFLOAT16, FLOAT32, FloatFormat
from hw.systolic.cell import WeightStationaryCell

__all__ = ["CELL"]


class Core(wiring.Component):
    """:class:`MultiplyAdd` under the names of a cell."""

    def __init__(self):
        self.multiply_add = MultiplyAdd(BFLOAT16, FLOAT32)
        super().__init__({
            "a": In(OperandLayout(BFLOAT16)),
            "w": In(OperandLayout(BFLOAT16)),
            "c": In(SumLayout(FLOAT32)),
            "y": Out(SumLayout(FLOAT32)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiply_add = core = self.multiply_add
        m.d.comb += [core.a.eq(self.a), core.b.eq(self.w), core.c.eq(self.c), self.y.eq(core.y)]
        return m


class PackRounded(wiring.Component):
    """:class:`PackSum`, then rounded once more to ``result``."""

    latency = PackSum.latency + Convert.latency

    def __init__(self, result: FloatFormat):
        self.result = result
        super().__init__({"i": In(SumLayout(FLOAT32)), "o": Out(result.layout)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.pack = pack = PackSum(FLOAT32)
        m.submodules.convert = convert = Convert(FLOAT32, self.result)
        m.d.comb += [pack.i.eq(self.i), convert.i.eq(pack.o), self.o.eq(convert.o)]
        return m


class FmaCell(WeightStationaryCell):
    name = "fma"
    contract = "fma"
    operand, sum, bias = BFLOAT16, FLOAT32, FLOAT32
    operand_latency = MultiplyAdd.operand_latency
    sum_latency = MultiplyAdd.sum_latency
    # -0 * +0 is -0, which changes no sum, not even one of -0.
    neutral = (BFLOAT16.sign_mask, 0)
    operand_shape, sum_shape = OperandLayout(BFLOAT16), SumLayout(FLOAT32)

    def core(self):
        return Core()

    def unpack_operand(self):
        return UnpackOperand(BFLOAT16)

    def unpack_sum(self):
        return UnpackSum(FLOAT32)

    def pack_sum(self, result):
        return PackSum(FLOAT32) if result == FLOAT32 else PackRounded(result)

    def pack_latency(self, result):
        return PackSum.latency + (0 if result == FLOAT32 else Convert.latency)


CELL = FmaCell()
