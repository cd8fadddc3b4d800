"""hw.bus.uart: every byte over a line, without a gap and with pauses, eight cycles a bit."""

import cocotb
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.uart import BITS, UartReceiver, UartTransmitter
from sim.benches.agents import exchange, rng, stalls

DIVISOR = 8


class Line(wiring.Component):
    """What a transmitter sends, a receiver takes."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter = transmitter = UartTransmitter(DIVISOR)
        m.submodules.receiver = receiver = UartReceiver(DIVISOR)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        m.d.comb += receiver.rx.eq(transmitter.tx)
        return m


def component():
    return Line()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@stalls
async def bytes_arrive(dut, stall):
    sent = list(range(256))
    rng("bytes").shuffle(sent)
    monitors = await exchange(dut, {"i": sent}, {"o": sent}, stall=stall)
    sends, arrives = monitors["i"].cycles, monitors["o"].cycles
    if not stall:
        assert {b - a for a, b in zip(sends, sends[1:])} == {BITS * DIVISOR}
        late = UartTransmitter.latency + UartReceiver(DIVISOR).latency
        assert {b - a for a, b in zip(sends, arrives)} == {late}
