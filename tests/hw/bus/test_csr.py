"""The register bus: address and data of a write in any order, answers that wait."""

import random

import pytest
from amaranth.sim import Simulator

from hw.bus.csr import AxiLiteSlave


@pytest.mark.parametrize("seed", range(4))
def test_accesses_in_any_order(seed):
    rng = random.Random(seed)
    dut = AxiLiteSlave(address_width=8)
    written, expected = [], []

    async def registers(ctx):
        async for _, _, en, address, data, strobe in ctx.tick().sample(
                dut.write_en, dut.write_address, dut.write_data, dut.write_strobe):
            if en:
                written.append((address, data, strobe))

    async def echo(ctx):
        async for address in ctx.changed(dut.read_address):
            ctx.set(dut.read_data, address[0] * 0x01010101)

    async def offer(ctx, channel, **fields):
        await ctx.tick().repeat(rng.randint(1, 4))
        for name, value in fields.items():
            ctx.set(getattr(dut.axi, f"{channel}{name}"), value)
        ctx.set(getattr(dut.axi, f"{channel}valid"), 1)

    async def master(ctx):
        for _ in range(30):
            address, data, strobe = rng.randrange(256), rng.getrandbits(32), rng.randrange(16)
            first, second = rng.sample([("aw", {"addr": address}),
                                        ("w", {"data": data, "strb": strobe})], 2)
            await offer(ctx, first[0], **first[1])
            assert not ctx.get(dut.write_en)
            await offer(ctx, second[0], **second[1])
            await ctx.tick().until(dut.axi.awready & dut.axi.wready)
            ctx.set(dut.axi.awvalid, 0)
            ctx.set(dut.axi.wvalid, 0)
            await ctx.tick().repeat(rng.randint(0, 3) + 1)
            assert ctx.get(dut.axi.bvalid)  # until it is taken
            ctx.set(dut.axi.bready, 1)
            await ctx.tick()
            ctx.set(dut.axi.bready, 0)
            assert not ctx.get(dut.axi.bvalid)
            expected.append((address, data, strobe))

            await offer(ctx, "ar", addr=address)
            await ctx.tick().until(dut.axi.arready)
            ctx.set(dut.axi.arvalid, 0)
            await ctx.tick().repeat(rng.randint(0, 3) + 1)
            assert ctx.get(dut.axi.rvalid)
            assert ctx.get(dut.axi.rdata) == address * 0x01010101
            ctx.set(dut.axi.rready, 1)
            await ctx.tick()
            ctx.set(dut.axi.rready, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(registers, background=True)
    simulator.add_testbench(echo, background=True)
    simulator.add_testbench(master)
    simulator.run()
    assert written == expected
