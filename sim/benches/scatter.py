"""hw.stream.Scatter: an array becomes three beats, index 0 first."""

import cocotb

from hw.stream import Scatter
from sim.benches.agents import exchange, rng, stalls


def component():
    return Scatter(13, 3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def in_order(dut, stall):
    draw = rng("beats")
    parts = [draw.getrandbits(13) for _ in range(303)]
    arrays = [a | b << 13 | c << 26 for a, b, c in zip(parts[::3], parts[1::3], parts[2::3])]
    monitors = await exchange(dut, {"i": arrays}, {"o": parts}, stall=stall)
    if not stall:  # the side with more beats never pauses
        cycles = max((m.cycles for m in monitors.values()), key=len)
        assert cycles == list(range(cycles[0], cycles[0] + 303))
