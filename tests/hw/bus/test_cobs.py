"""Coder and decoder of frames as circuits, with stalls, against the definition."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.bus.cobs import CobsDecoder, CobsEncoder
from hw.bus.protocol import FrameError, cobs_decode, cobs_encode

RUN = bytes(range(1, 255))
FRAMES = [b"a", b"\0", RUN, RUN + b"\0", b"\0" + RUN, RUN + RUN, RUN + b"x" + b"\0" * 5,
          *(np.random.default_rng(n).integers(0, 3, 20 * n + 1, np.uint8).tobytes()
            for n in range(4))]


def run_stream(dut, beats, stall, seed, *, timeout=30_000):
    """``beats`` into ``i``, everything out of ``o`` until it is quiet for 600 cycles."""
    rng, out = random.Random(seed), []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def source(ctx):
        for beat in beats:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        quiet, held = 0, None
        for _ in range(timeout):
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, beat, taken = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.i.valid & dut.i.ready)
            assert held is None or (valid and beat == held), "o took back what it offered"
            held = beat if valid and not ready else None
            if valid and ready:
                out.append(beat)
            quiet = 0 if valid or taken else quiet + 1
            if quiet > 600:
                return
        raise AssertionError("o never rests")

    simulator.add_testbench(source, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return out


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_encoder(stall):
    beats = [{"data": byte, "last": n == len(frame) - 1}
             for frame in FRAMES for n, byte in enumerate(frame)]
    out = run_stream(CobsEncoder(600), beats, stall, 1)
    assert bytes(out) == b"".join(b"\0" + cobs_encode(frame) + b"\0" for frame in FRAMES)


def test_encoder_forgets_a_dropped_frame():
    dut, out = CobsEncoder(64), []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for byte in (1, 2, 0, 3, None, 7):
            ctx.set(dut.drop, byte is None)
            ctx.set(dut.i.payload, {"data": byte or 0, "last": byte == 7})
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(20):
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                out.append(byte)

    simulator.add_testbench(bench)
    simulator.run()
    assert bytes(out) == b"\0" + cobs_encode(b"\7") + b"\0"


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("damage", [False, True])
def test_decoder(stall, damage):
    rng, texts = random.Random(2), []
    for frame in FRAMES:
        text = bytearray(cobs_encode(frame))
        if damage:
            text[rng.randrange(len(text))] = rng.randrange(1, 256)
        texts.append(bytes(text))
    line = b"\0".join(texts) + b"\0\0\0"
    out, byte_string, frames = run_stream(CobsDecoder(), line, stall, 3), b"", []
    for beat in out:
        if beat.end:
            frames.append(byte_string if beat.good else None)
            byte_string = b""
        else:
            byte_string += bytes([beat.data])
    expected = []
    for text in texts:
        try:
            expected.append(cobs_decode(text))
        except FrameError:
            expected.append(None)
    assert frames == expected
    assert (None in expected) == damage
