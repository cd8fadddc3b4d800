# amaranth: UnusedElaboratable=no
"""The serial line: every byte, clocks that are off, noise, breaks, back-to-back bytes."""

import random

import pytest
from amaranth.sim import Simulator

from hw.bus.uart import BITS, UartReceiver, UartTransmitter, divisor_for


def simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench, background=bench is not benches[-1])
    simulator.run()


def frame(byte):
    return [0, *(byte >> n & 1 for n in range(8)), 1]


def receive(divisor, levels, *, ready=True):
    """What a receiver makes of the levels of a line, one for each cycle, and when."""
    dut, received = UartReceiver(divisor), []

    async def line(ctx):
        ctx.set(dut.o.ready, ready)
        for cycle, level in enumerate(levels):
            ctx.set(dut.rx, level)
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and (ready or not received):
                received.append((cycle, byte))

    simulate(dut, line)
    return received


@pytest.mark.parametrize("divisor", [4, 5, 12])
def test_transmitter_sends_without_gaps(divisor):
    rng, dut, levels = random.Random(divisor), UartTransmitter(divisor), []
    data = [rng.randrange(256) for _ in range(20)]

    async def source(ctx):
        ctx.set(dut.i.valid, 1)
        for byte in data:
            ctx.set(dut.i.payload, byte)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def line(ctx):
        for _ in range(dut.latency + 21 * BITS * divisor):
            _, _, level = await ctx.tick().sample(dut.tx)
            levels.append(level)

    simulate(dut, source, line)
    expected = [level for byte in data for level in frame(byte) for _ in range(divisor)]
    assert levels == [1] * dut.latency + expected + [1] * (BITS * divisor)


@pytest.mark.parametrize("divisor, off", [(4, 0), (8, 0.03), (8, -0.03), (25, 0.03), (25, -0.03)])
def test_receiver_takes_bytes_of_a_clock_that_is_off(divisor, off):
    rng = random.Random(divisor)
    data = [rng.randrange(256) for _ in range(60)]
    bits = [1, *(level for byte in data for level in frame(byte)), 1, 1]
    length = divisor * (1 + off)
    levels = [bits[int(cycle / length)] for cycle in range(int(len(bits) * length))]
    assert [byte for _, byte in receive(divisor, levels)] == data


def test_latency():
    dut = UartReceiver(10)
    levels = [1] * 7 + [level for level in frame(0x5a) for _ in range(10)] + [1] * 20
    assert receive(10, levels) == [(7 + dut.latency, 0x5a)]


@pytest.mark.parametrize("levels", [
    [1] * 9 + [0] * 3 + [1] * 200,                                      # a pulse
    [1] * 9 + [0] * 200 + [1] * 100,                                    # a break
    [1] * 9 + [b for b in [*frame(0x0f)[:9], 0] for _ in range(8)] + [1] * 50,  # no stop bit
])
def test_what_is_no_byte_is_dropped_and_the_next_one_is_found(levels):
    byte = [level for level in frame(0xc3) for _ in range(8)] + [1] * 20
    assert [b for _, b in receive(8, levels + byte)] == [0xc3]


def test_a_byte_that_nobody_takes_stays():
    levels = [1] + [level for byte in (1, 2) for level in frame(byte) for _ in range(8)] + [1] * 20
    assert [byte for _, byte in receive(8, levels, ready=False)] == [1]


@pytest.mark.parametrize("clock, baud, divisor", [(12e6, 1e6, 12), (25e6, 1e6, 25),
                                                  (27e6, 1e6, 27), (100e6, 115200, 868)])
def test_divisor(clock, baud, divisor):
    assert divisor_for(clock, baud) == divisor


@pytest.mark.parametrize("clock, baud, said", [
    (12e6, 5e6, r"baud must be at most a quarter of the clock, 12 MHz, and a whole part of it "
                r"within 2 %, not 5e\+06"),
    (25e6, 3e6, r"baud must be at most a quarter of the clock, 25 MHz.*not 3e\+06"),
])
def test_wrong_baud(clock, baud, said):
    with pytest.raises(ValueError, match=said):
        divisor_for(clock, baud)


@pytest.mark.parametrize("kind", [UartReceiver, UartTransmitter])
def test_wrong_divisor(kind):
    with pytest.raises(ValueError, match="^divisor must be 4 to 65535, not 3$"):
        kind(3)
