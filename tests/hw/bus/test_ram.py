# amaranth: UnusedElaboratable=no
"""Memory behind AXI4, several masters at it, and what is answered where no memory is."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from hw.bus.arbiter import AxiArbiter
from hw.bus.axi import Axi4
from hw.bus.ram import AxiNothing, AxiRam, AxiSinglePortRam

WIDTHS = {"address_width": 16, "data_width": 32}
SIZE = 1024


class Shared(wiring.Component):
    """Three masters at one memory."""

    def __init__(self, masters, ram):
        self.ram = ram
        super().__init__({"masters": In(Axi4(**WIDTHS)).array(masters)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = AxiArbiter(len(self.masters), **WIDTHS)
        m.submodules.ram = ram = self.ram(SIZE, **WIDTHS)
        for mine, theirs in zip(self.masters, arbiter.masters):
            wiring.connect(m, wiring.flipped(mine), theirs)
        wiring.connect(m, arbiter.slave, ram.axi)
        return m


async def send(ctx, port, channel, rng, **values):
    while rng.random() < 0.3:
        await ctx.tick()
    for name, value in values.items():
        ctx.set(getattr(port, f"{channel}{name}"), value)
    ctx.set(getattr(port, f"{channel}valid"), 1)
    await ctx.tick().until(getattr(port, f"{channel}ready"))
    ctx.set(getattr(port, f"{channel}valid"), 0)


async def take(ctx, port, channel, rng, *names):
    """The fields of one transfer."""
    while True:
        ctx.set(getattr(port, f"{channel}ready"), rng.random() < 0.7)
        *_, valid, ready = sampled = await ctx.tick().sample(
            *(getattr(port, channel + name) for name in names),
            getattr(port, f"{channel}valid"), getattr(port, f"{channel}ready"))
        if valid and ready:
            ctx.set(getattr(port, f"{channel}ready"), 0)
            return sampled[2:-2]


async def write(ctx, port, rng, address, words, strobes):
    await send(ctx, port, "aw", rng, addr=address, len=len(words) - 1, size=2, burst=1)
    for n, (word, strobe) in enumerate(zip(words, strobes)):
        await send(ctx, port, "w", rng, data=word, strb=strobe, last=n == len(words) - 1)
    return (await take(ctx, port, "b", rng, "resp"))[0]


async def read(ctx, port, rng, address, count):
    await send(ctx, port, "ar", rng, addr=address, len=count - 1, size=2, burst=1)
    beats = [await take(ctx, port, "r", rng, "data", "resp", "last") for _ in range(count)]
    assert [last for *_, last in beats] == [0] * (count - 1) + [1]
    return [word for word, *_ in beats], [resp for _, resp, _ in beats]


def simulate(dut, benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


RAMS = pytest.mark.parametrize("ram", [AxiRam, AxiSinglePortRam])


@RAMS
@pytest.mark.parametrize("masters", [1, 3])
def test_masters_share_a_memory(masters, ram):
    dut = Shared(masters, ram)

    def bench(index):
        port, rng = dut.masters[index], random.Random(index)
        low, high = index * 60, index * 60 + 60  # words of its own
        memory = [0] * 60

        async def run(ctx):
            for _ in range(12):
                first = rng.randrange(low, high)
                count = rng.randint(1, high - first)
                words = [rng.getrandbits(32) for _ in range(count)]
                strobes = [rng.choice((0, 15, 15, rng.randrange(16))) for _ in range(count)]
                assert await write(ctx, port, rng, 4 * first, words, strobes) == 0
                for n in range(count):
                    mask = sum(0xff << 8 * b for b in range(4) if strobes[n] >> b & 1)
                    at = first - low + n
                    memory[at] = memory[at] & ~mask | words[n] & mask
                words, said = await read(ctx, port, rng, 4 * low, 60)
                assert (words, set(said)) == (memory, {0})
        return run

    simulate(dut, [bench(index) for index in range(masters)])


@RAMS
def test_beyond_the_memory(ram):
    dut = Shared(1, ram)

    async def run(ctx):
        port, rng = dut.masters[0], random.Random(1)
        assert await write(ctx, port, rng, SIZE - 4, [1, 2], [15, 15]) == 2
        words, said = await read(ctx, port, rng, SIZE - 4, 2)
        assert words[0] == 1 and said == [0, 2]
        assert (await read(ctx, port, rng, 0, 1)) == ([0], [0])  # it did not wrap around

    simulate(dut, [run])


def test_nothing():
    dut = AxiNothing(**WIDTHS)

    async def run(ctx):
        rng = random.Random(1)
        assert await write(ctx, dut.axi, rng, 0, [1, 2, 3], [15] * 3) == 2
        assert (await read(ctx, dut.axi, rng, 0, 5))[1] == [2] * 5
        assert await write(ctx, dut.axi, rng, 0, [1], [15]) == 2

    simulate(dut, [run])


@pytest.mark.parametrize("size, said", [
    (0, "size must be a multiple of 4 bytes, not 0"),
    (6, "size must be a multiple of 4 bytes, not 6"),
    (1 << 17, r"size must be at most 2\*\*16 bytes, not 131072"),
])
@RAMS
def test_wrong_size(ram, size, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        ram(size, **WIDTHS)
