"""hw.bus.cobs: frames coded and decoded again, with zeros and long blocks."""

import cocotb
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.cobs import CobsDecoder, CobsEncoder, Decoded, Outgoing
from sim.benches.agents import exchange, rng, stalls


class Line(wiring.Component):
    """An encoder and a decoder; ``good`` only where a frame ends."""

    i: In(stream.Signature(Outgoing))
    o: Out(stream.Signature(Decoded))

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder = encoder = CobsEncoder(600)
        m.submodules.decoder = decoder = CobsDecoder()
        wiring.connect(m, wiring.flipped(self.i), encoder.i)
        wiring.connect(m, encoder.o, decoder.i)
        wiring.connect(m, decoder.o, wiring.flipped(self.o))
        m.d.comb += self.o.p.good.eq(decoder.o.p.good & decoder.o.p.end)
        return m


def component():
    return Line()


@cocotb.test(timeout_time=2, timeout_unit="ms")
@stalls
async def frames_come_back(dut, stall):
    draw = rng("frames")
    frames = [b"a", b"\0", bytes(range(1, 255)), bytes(range(1, 255)) + b"\0",
              *(bytes(draw.choices(range(draw.randint(2, 256)), k=draw.randint(1, 400)))
                for _ in range(8))]
    sent = [byte | (n == len(frame) - 1) << 8 for frame in frames for n, byte in enumerate(frame)]
    end = Decoded.const({"end": 1, "good": 1}).as_bits()
    expected = [beat for frame in frames for beat in (*frame, end)]
    await exchange(dut, {"i": sent}, {"o": expected}, stall=stall)
