"""int8 products summed in int32, wrapping, on their way down a column."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply
from hw.formats import INT8, INT32
from hw.systolic.cell import Register, WeightStationaryCell, Wire

__all__ = ["CELL", "MultiplyAddInt8"]


class MultiplyAddInt8(wiring.Component):
    """``y = c + a * w`` modulo ``2**32``.

    Timing
    ------
    Latency: 3 cycles from ``a`` and ``w``, 1 from ``c``. Throughput: 1 per cycle.
    """

    operand_latency = IntegerMultiply.latency + 1
    sum_latency = 1

    def __init__(self):
        super().__init__({
            "a": In(INT8.shape),
            "w": In(INT8.shape),
            "c": In(INT32.shape),
            "y": Out(INT32.shape),
        })

    def elaborate(self, platform):
        m = Module()
        multiply = IntegerMultiply(INT8.shape, INT8.shape)
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(self.a), multiply.b.eq(self.w)]
        y = Signal(INT32.shape, reset_less=True)
        m.d.sync += y.eq(self.c + multiply.p)
        m.d.comb += self.y.eq(y)
        return m


class Int8WeightStationary(WeightStationaryCell):
    name = "int8_ws"
    contract = "int"
    operand, sum, bias = INT8, INT32, INT32
    operand_latency = MultiplyAddInt8.operand_latency
    sum_latency = MultiplyAddInt8.sum_latency
    neutral = (0, 0)
    operand_shape, sum_shape = INT8.shape, INT32.shape

    def core(self):
        return MultiplyAddInt8()

    def unpack_operand(self):
        return Wire(INT8.shape)

    def unpack_sum(self):
        return Wire(INT32.shape)

    def pack_sum(self, result):
        return Register(INT32.shape)

    def pack_latency(self, result):
        return Register.latency


CELL = Int8WeightStationary()
