"""Another party's AXI4 master at a memory, all channels with pauses."""

import cocotb
from cocotbext.axi import AxiBus, AxiMaster

from sim.benches.agents import rng, start
from sim.benches.axi_agents import pause

__all__ = ["SIZE", "bursts", "outside"]

SIZE = 4096


def _master(dut, stall: float) -> AxiMaster:
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, max_burst_len=16)
    pause(master, stall)
    return master


async def bursts(dut, stall: float, count: int = 60):
    """Writes of any length at any byte, and reads of what was written."""
    master, draw, memory = _master(dut, stall), rng("bursts", stall), bytearray(SIZE)
    await start(dut)
    await master.write(0, bytes(SIZE), awid=0)
    for _ in range(count):
        first = draw.randrange(SIZE)
        length = min(draw.choice((1, 3, 4, 30, 200)), SIZE - first)
        if draw.random() < 0.5:
            data = draw.randbytes(length)
            answer = await master.write(first, data, awid=0)
            memory[first:first + length] = data
        else:
            answer = await master.read(first, length, arid=0)
            assert answer.data == memory[first:first + length], f"{length} bytes at {first:#x}"
        assert not answer.resp, answer
    answers = [cocotb.start_soon(master.read(64 * n, 64, arid=0)) for n in range(SIZE // 64)]
    for n, answer in enumerate(answers):  # all outstanding at once
        assert (await answer).data == memory[64 * n:64 * n + 64]


async def outside(dut):
    """What lies behind the memory is answered with an error, and what is in it stays."""
    master = _master(dut, 0.2)
    await start(dut)
    await master.write(0, bytes(range(64)), awid=0)
    assert (await master.write(SIZE, bytes(16), awid=0)).resp == 2
    assert (await master.read(SIZE + 128, 4, arid=0)).resp == 2
    assert (await master.read(0, 64, arid=0)).data == bytes(range(64))
