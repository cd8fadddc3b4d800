"""hw.bus.bridge: frames, some of them damaged, are answered as by the model, byte for byte."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from hw.bus.protocol import MAX_WORDS, VERSION, Command, Frame, encode
from sim.benches.agents import Monitor, Sink, Source, rng, stalls, start
from sim.golden.bus.bridge import BridgeModel
from sim.link import REGISTERS, BridgeBench

SIZE = 1024


def component():
    return BridgeBench(size=SIZE)


class Model(BridgeModel):
    """The model, with the registers of the bench."""

    def __init__(self):
        self.sum, self.adds, self.beats = 0, 0, 0
        super().__init__(np.zeros(SIZE // 4, np.uint32), self._get, self._put)

    def _get(self, address):
        return {REGISTERS["sum"]: self.sum, REGISTERS["writes"]: self.adds}.get(address, 0)

    def _put(self, address, word):
        if address == REGISTERS["sum"]:
            self.sum, self.adds = (self.sum + word) % 2**32, self.adds + 1


def frames(draw, count):
    """A session; then requests of all kinds, some repeated, some out of turn."""
    sequence = 7
    yield encode(Frame(Command.SYNC, sequence, 0, VERSION, address=1234))
    for _ in range(count):
        sequence = (sequence + draw.choice((1, 1, 1, 1, 1, 1, 0, 2))) % 256
        words = draw.choice((1, 1, 2, 5, 20, MAX_WORDS))
        address = 4 * draw.randrange(SIZE // 4 + 4)
        payload = tuple(draw.getrandbits(32) & draw.choice((0xffff_ffff, 0xff00, 0))
                        for _ in range(words))
        kind = draw.choice((Command.READ, Command.WRITE, Command.WRITE_REGISTERS,
                            Command.READ_REGISTERS))
        if kind == Command.WRITE_REGISTERS:
            words, payload, address = 1, payload[:1], REGISTERS["sum"]
        elif kind == Command.READ_REGISTERS:
            words, address = 2, REGISTERS["sum"]
        if kind.reads:
            payload = ()
        yield encode(Frame(kind, sequence, words, VERSION, address=address, payload=payload))


def damaged(text, draw):
    """``text`` between its zeros, with a byte that is another one."""
    at = draw.randrange(1, len(text) - 1)
    return text[:at] + bytes([text[at] ^ draw.randrange(1, 256)]) + text[at + 1:]


@cocotb.test(timeout_time=20, timeout_unit="ms")
@stalls
async def answers(dut, stall):
    draw, model = rng("frames", stall), Model()
    dut.dead.value = 0
    await start(dut)
    Monitor(dut, "o")
    source, sink = Source(dut, "i", stall=stall), Sink(dut, "o", stall=stall)
    for text in frames(draw, 200):
        if draw.random() < 0.1:
            text = damaged(text, draw)
        expected = model.receive(text)
        taking = cocotb.start_soon(sink.receive(len(expected)))
        await source.send(text)
        got = bytes(await taking)
        assert got == expected, f"{text.hex()}: {got.hex()} instead of {expected.hex()}"
        for _ in range(20):
            await FallingEdge(dut.clk)
            assert dut.o__valid.value == 0, f"{text.hex()} has an answer that is too long"
            await RisingEdge(dut.clk)
