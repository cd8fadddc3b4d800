"""hw.stream.Join: beats of three streams of different widths meet in order."""

import cocotb

from hw.stream import Join
from sim.benches.agents import exchange, rng, stalls

WIDTHS = {"a": 7, "b": 1, "c": 70}


def component():
    return Join(WIDTHS)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def in_order(dut, stall):
    draw = rng("beats")
    beats = [draw.getrandbits(78) for _ in range(301)]
    inputs, offset = {}, 0
    for name, width in WIDTHS.items():
        inputs[f"i_{name}"] = [beat >> offset & (1 << width) - 1 for beat in beats]
        offset += width
    await exchange(dut, inputs, {"o": beats}, stall=stall)
