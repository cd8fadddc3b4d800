"""Rows become bursts, and come back as beats in order, however slow the bus is."""

import random

import pytest
from amaranth.sim import Simulator

from hw.bus.axi import Bursts, RowReader


def simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench, background=bench is not benches[-1])
    simulator.run()


def source(port, rows, rng):
    async def bench(ctx):
        for row in rows:
            while rng.random() < 0.3:
                await ctx.tick()
            ctx.set(port.payload, row)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
    return bench


def cut(row, page, longest):
    """The bursts of a row, one beat at a time; they end at multiples of a power of two."""
    block = max(n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= min(page, longest))
    bursts = []
    for beat in range(row["beat"], row["beat"] + row["beats"]):
        if bursts and beat % block:
            bursts[-1]["beats"] += 1
        else:
            bursts.append({"beat": beat, "beats": 1, "tag": 0})
    bursts[-1]["tag"] = row["tag"]
    return bursts


def random_rows(rng, count, longest):
    return [{"beat": rng.randrange(4000), "beats": rng.randint(1, longest),
             "tag": rng.getrandbits(1)} for _ in range(count)]


@pytest.mark.parametrize("beat_bytes, longest", [(8, 256), (8, 7), (64, 256), (64, 1)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_bursts(beat_bytes, longest, stall):
    rng = random.Random(longest)
    rows = random_rows(rng, 40, 40 if longest == 1 else 1200)
    expected = [b for row in rows for b in cut(row, 4096 // beat_bytes, longest)]
    dut = Bursts(beat_width=14, count_width=12, beat_bytes=beat_bytes, longest=longest)
    received = []

    async def sink(ctx):
        while len(received) < len(expected):
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, burst = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                received.append({name: burst[name] for name in ("beat", "beats", "tag")})

    simulate(dut, source(dut.i, rows, random.Random(0)), sink)
    assert received == expected


@pytest.mark.parametrize("latency", [1, 40])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_reader_asks_only_for_what_it_has_room_for(latency, stall):
    rng = random.Random(latency)
    rows = random_rows(rng, 20, 60)
    dut = RowReader(beat_width=14, count_width=12, data_width=64, longest=16)
    assert dut.depth == 32
    due, answers, taken, asked = [], [], [], [0]

    async def memory(ctx):
        cycle = 0
        ctx.set(dut.ar.ready, 1)
        while True:
            beat = due.pop(0)[1] if due and due[0][0] <= cycle else None
            ctx.set(dut.r_valid, beat is not None)
            if beat is not None:
                ctx.set(dut.r_data, {"data": beat, "error": beat % 5 == 0})
            _, _, valid, burst = await ctx.tick().sample(dut.ar.valid, dut.ar.payload)
            cycle += 1
            if valid:
                due.extend((cycle + latency, burst.beat + k) for k in range(burst.beats))
                asked[0] += burst.beats
            # Two may be in the register behind the buffer, one leaving in this cycle.
            assert asked[0] - len(taken) <= dut.depth + 3

    async def sink(ctx):
        expected = [beat for row in rows for beat in range(row["beat"], row["beat"] + row["beats"])]
        while len(taken) < len(expected):
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, beat = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                assert beat.error == (beat.data % 5 == 0)
                taken.append(beat.data)
        assert taken == expected
        answers.append("all")

    simulate(dut, source(dut.i, rows, random.Random(0)), memory, sink)
    assert answers == ["all"]


def test_a_row_comes_in_one_beat_per_cycle():
    dut = RowReader(beat_width=14, count_width=12, data_width=64, longest=16)
    times = []

    async def memory(ctx):
        due, cycle = [], 0
        ctx.set(dut.ar.ready, 1)
        while True:
            ready = due and due[0] <= cycle
            ctx.set(dut.r_valid, bool(ready))
            if ready:
                due.pop(0)
            _, _, valid, burst = await ctx.tick().sample(dut.ar.valid, dut.ar.payload)
            cycle += 1
            if valid:
                due.extend([cycle + 8] * burst.beats)

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        cycle = 0
        while len(times) < 200:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            cycle += 1
            if valid:
                times.append(cycle)

    simulate(dut, source(dut.i, [{"beat": 0, "beats": 200, "tag": 0}], random.Random(1)), memory,
             sink)
    assert times == list(range(times[0], times[0] + 200))
