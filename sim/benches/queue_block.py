"""hw.stream.Queue: six places in block RAM; in order, at full throughput."""

import cocotb

from hw.stream import Queue
from sim.benches.agents import exchange, rng, stalls


def component():
    return Queue(13, depth=6, block=True)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@stalls
async def in_order(dut, stall):
    draw = rng("beats")
    beats = [draw.getrandbits(13) for _ in range(301)]
    monitors = await exchange(dut, {"i": beats}, {"o": beats}, stall=stall)
    if not stall:
        sent, received = monitors["i"].cycles, monitors["o"].cycles
        assert [r - s for s, r in zip(sent, received)] == [component().latency] * 301
