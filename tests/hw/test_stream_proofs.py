# amaranth: UnusedElaboratable=no
import pytest
from amaranth import *

from hw.stream import Fork, Gather, Join, Queue, RegisterSlice, Scatter
from sim.prove import prove_streams

COMPONENTS = {
    "slice":         lambda: RegisterSlice(8),
    "queue_1":       lambda: Queue(8, depth=1),
    "queue_2":       lambda: Queue(8, depth=2),
    "queue_5":       lambda: Queue(4, depth=5),
    "queue_3_block": lambda: Queue(4, depth=3, block=True),
    "queue_6_block": lambda: Queue(4, depth=6, block=True),
    "fork":          lambda: Fork(8, 3),
    "join":          lambda: Join({"a": 8, "b": signed(3), "c": 1}),
    "gather":        lambda: Gather(8, 3),
    "gather_1":      lambda: Gather(8, 1),
    "scatter":       lambda: Scatter(8, 3),
    "scatter_1":     lambda: Scatter(8, 1),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_keeps_the_stream_rules(name):
    assert prove_streams(COMPONENTS[name]()) >= 1
