"""int8 products summed in int32, wrapping, where they meet."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arith.multiply import IntegerMultiply
from hw.formats import INT8, INT32
from hw.systolic.cell import OutputStationaryCell, Wire
from hw.systolic.os_mesh import OsControl

__all__ = ["CELL", "AccumulateInt8"]


class AccumulateInt8(wiring.Component):
    """``acc += a * w`` modulo ``2**32``; ``drain``, right behind the last product, hands it out.

    Timing
    ------
    Latency: 3 cycles from the operands to the sum, and from ``drain`` to ``chain_o``. Throughput:
    1 product per cycle; a new sum may begin right behind a last one.
    """

    operand_latency = IntegerMultiply.latency + 1
    chain_latency = IntegerMultiply.latency + 1

    def __init__(self):
        super().__init__({
            "control": In(OsControl(1)),
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
        control = self.control
        for n in range(multiply.latency):
            delayed = Signal(OsControl(1), name=f"s{n + 1}_control")
            m.d.sync += delayed.eq(control)
            control = delayed

        # The drain's beat finds the last product in the sum, and the next one on its way there.
        # After a reset the first sum is in the other bank, and so begins at zero.
        acc, bank = Signal(INT32.shape, reset_less=True), Signal(init=1)
        with m.If(control.product):
            m.d.sync += [
                acc.eq(Mux(control.bank == bank, acc, 0) + multiply.p), bank.eq(control.bank)]

        chain = Signal(INT32.shape, reset_less=True)
        m.d.sync += chain.eq(Mux(control.drain, acc, self.chain_i))
        m.d.comb += self.chain_o.eq(chain)
        return m


class Int8Column(wiring.Component):
    """Adds the bias to the sums at the top of a column; biases wait for them in a memory.

    Latency: 2 cycles.
    """

    latency = 2

    def __init__(self, tiles: int):
        self.tiles = tiles
        super().__init__({
            "row":   In(1),
            "chain": In(INT32.shape).array(1),
            "value": Out(INT32.width),
            "bias":  In(data.StructLayout({
                "write": 1, "write_tile": range(tiles), "value": INT32.shape,
                "tile": range(tiles)})),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=INT32.shape, depth=self.tiles, init=[])
        write, read = memory.write_port(), memory.read_port()
        chain = Signal(INT32.shape, reset_less=True)
        value = Signal.like(self.value, reset_less=True)
        m.d.comb += [
            write.en.eq(self.bias.write),
            write.addr.eq(self.bias.write_tile),
            write.data.eq(self.bias.value),
            read.addr.eq(self.bias.tile),
            self.value.eq(value),
        ]
        m.d.sync += [chain.eq(self.chain[0]), value.eq(chain + read.data)]
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
    words = 1
    banks = 1
    drain_after = 1
    bias_stream = True

    def core(self):
        return AccumulateInt8()

    def unpack_operand(self):
        return Wire(INT8.shape)

    def column(self, result, segments=1, tiles=2):
        return Int8Column(tiles)

    def column_latency(self, result):
        return Int8Column.latency


CELL = Int8OutputStationary()
