"""hw.stream.Join: beats of three streams of different widths meet in order."""

import cocotb
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from hw.stream import Join, RegisterSlice
from sim.benches.agents import exchange, rng, stalls

WIDTHS = {"a": 7, "b": 1, "c": 70}


class Clocked(wiring.Component):
    """A join has no clock of its own, which a bench needs: a register slice behind it has one."""

    def __init__(self):
        self.join = Join(WIDTHS)
        super().__init__(dict(self.join.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.join = self.join
        m.submodules.slice = register = RegisterSlice(self.o.payload.shape())
        for name in WIDTHS:
            connect(m, flipped(getattr(self, f"i_{name}")), getattr(self.join, f"i_{name}"))
        connect(m, self.join.o, register.i)
        connect(m, register.o, flipped(self.o))
        return m


def component():
    return Clocked()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def in_order(dut, stall):
    draw = rng("beats")
    beats = [draw.getrandbits(78) for _ in range(301)]
    inputs, offset = {}, 0
    for name, width in WIDTHS.items():
        inputs[f"i_{name}"] = [beat >> offset & (1 << width) - 1 for beat in beats]
        offset += width
    await exchange(dut, inputs, {"o": beats}, stall=stall)
