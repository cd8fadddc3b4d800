"""hw.lutnet.streaming.StreamingNetwork: convolutions, pooling, 7 x 6 pixels; stalls, latency."""

import cocotb
import numpy as np

from hw.lutnet.layers import Convolution, Front, Layer, Pooling
from hw.lutnet.model import Encoder, Model
from hw.lutnet.streaming import StreamingNetwork
from sim.benches.agents import exchange, rng, stalls
from sim.golden import lutnet as golden

PICTURES = 40


def model() -> Model:
    """Drawn tables: 3 x 3 with a border, 2 x 2 without one, tiles of 2 x 2, four labels."""
    draw = np.random.default_rng(6)

    def layer(nodes, bits, ones=0.5):
        return Layer(draw.integers(0, bits, (nodes, 4)), draw.random((nodes, 16)) < ones)

    front = Front(7, 6, (Convolution(3, 3, True, layer(5, 9)),
                         Convolution(2, 2, False, layer(4, 20, 0.3)), Pooling(2, 2)))
    return Model(Encoder(3, [0.0], [1.0], [0], [3]), (layer(24, 24), layer(20, 24)),
                 np.arange(20) % 4, 4, front=front)


def component():
    return StreamingNetwork(model())


@cocotb.test(timeout_time=10, timeout_unit="ms")
@stalls
async def labels(dut, stall):
    draw = rng("pixels")
    codes = np.array([[draw.getrandbits(3) for _ in range(42)] for _ in range(PICTURES)], np.uint8)
    expected = golden.run(model(), codes).result.tolist()
    assert len(set(expected)) > 2
    monitors = await exchange(dut, {"i": codes.reshape(-1).tolist()}, {"o": expected}, stall=stall)
    if not stall:
        network = component()
        last, given = monitors["i"].cycles[network.deciding::42], monitors["o"].cycles
        assert [g - t for t, g in zip(last, given)] == [network.latency] * PICTURES
        assert [b - a for a, b in zip(given, given[1:])] == [42] * (PICTURES - 1)
