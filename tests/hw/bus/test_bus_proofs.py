# amaranth: UnusedElaboratable=no
"""The stream rules on the parts of the link and of the memory port, by k-induction.

The receiver of frames and the bridge offer what comes out of these and of a queue.
"""

import pytest

from hw.bus.axi import RowReader
from hw.bus.cobs import CobsDecoder, CobsEncoder
from hw.bus.uart import UartReceiver
from sim.prove import prove_streams

COMPONENTS = {
    "decoder":    lambda: CobsDecoder(),
    "encoder":    lambda: CobsEncoder(8),
    "uart":       lambda: UartReceiver(4),
    "row_reader": lambda: RowReader(beat_width=5, count_width=4, data_width=8, longest=4),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_keeps_the_stream_rules(name):
    assert prove_streams(COMPONENTS[name]()) >= 1
