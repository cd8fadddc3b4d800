"""hw.stream.Fork: each of three takers gets every beat once, in order."""

import cocotb

from hw.stream import Fork
from sim.benches.agents import exchange, rng, stalls


def component():
    return Fork(13, 3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def in_order(dut, stall):
    draw = rng("beats")
    beats = [draw.getrandbits(13) for _ in range(301)]
    await exchange(dut, {"i": beats}, {f"o__{n}": beats for n in range(3)}, stall=stall)
