"""int8 products summed in int32, wrapping, where they meet."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply
from hw.formats import INT8, INT32
from hw.systolic.cell import OutputStationaryCell, Wire
from hw.systolic.os_mesh import OsKind

__all__ = ["CELL", "AccumulateInt8"]


class AccumulateInt8(wiring.Component):
    """``acc += a * w`` modulo ``2**32``; after the last product ``chain_o`` is the sum.

    Timing
    ------
    Latency: 4 cycles from the last operands to ``chain_o``. Throughput: 1 product per cycle;
    a new sum may begin right behind a last one.
    """

    operand_latency = IntegerMultiply.latency + 1
    chain_latency = operand_latency + 1

    def __init__(self):
        super().__init__({
            "kind":    In(OsKind),
            "a":       In(INT8.shape),
            "w":       In(INT8.shape),
            "chain_i": In(INT32.shape),
            "chain_o": Out(INT32.shape),
        })

    def elaborate(self, platform):
        m = Module()
        multiply = IntegerMultiply(INT8.shape, INT8.shape)
        m.submodules[multiply.name] = multiply
        m.d.comb += [multiply.a.eq(self.a), multiply.b.eq(self.w)]
        kind = self.kind
        for n in range(multiply.latency):
            delayed = Signal(OsKind, name=f"s{n + 1}_kind")
            m.d.sync += delayed.eq(kind)
            kind = delayed

        acc, begin, done = Signal(INT32.shape), Signal(init=1), Signal()
        with m.If(kind != OsKind.IDLE):
            m.d.sync += [acc.eq(Mux(begin, 0, acc) + multiply.p), begin.eq(kind == OsKind.LAST)]
        m.d.sync += done.eq(kind == OsKind.LAST)

        chain = Signal(INT32.shape, reset_less=True)
        m.d.sync += chain.eq(Mux(done, acc, self.chain_i))
        m.d.comb += self.chain_o.eq(chain)
        return m


class Int8OutputStationary(OutputStationaryCell):
    name = "int8_os"
    contract = "int"
    operand, sum, bias = INT8, INT32, INT32
    operand_latency = AccumulateInt8.operand_latency
    sum_latency = 0
    loop_latency = 1
    chain_latency = AccumulateInt8.chain_latency
    neutral = (0, 0)
    operand_shape = INT8.shape
    chain_shape = INT32.shape
    drain_beats = 0
    words = 1
    row_skew = 1

    def core(self):
        return AccumulateInt8()

    def unpack_operand(self):
        return Wire(INT8.shape)

    def column(self, result):
        return Int8Column()

    def column_latency(self, result):
        return Int8Column.latency


class Int8Column(wiring.Component):
    """The sums at the top of a column are results as they are. Latency: 1 cycle."""

    latency = 1

    def __init__(self):
        super().__init__({"row": In(1), "chain": In(INT32.shape), "value": Out(INT32.width)})

    def elaborate(self, platform):
        m = Module()
        value = Signal.like(self.value, reset_less=True)
        m.d.sync += value.eq(self.chain)
        m.d.comb += self.value.eq(value)
        return m


CELL = Int8OutputStationary()
