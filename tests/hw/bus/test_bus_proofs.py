# amaranth: UnusedElaboratable=no
"""The stream rules on the parts of the link and of the memory port, by k-induction.

The bridge offers what its encoder and its access to words offer, so these keep the rules whatever
goes in.
"""

import pytest

from hw.bus.axi import RowReader
from hw.bus.cobs import CobsDecoder, CobsEncoder
from hw.bus.ram import AxiRam, AxiSinglePortRam
from hw.bus.uart import UartReceiver
from hw.bus.word import WordAccess
from sim.prove import StaysOffered, prove, prove_streams

COMPONENTS = {
    "decoder":    lambda: CobsDecoder(),
    "encoder":    lambda: CobsEncoder(8),
    "uart":       lambda: UartReceiver(4),
    "row_reader": lambda: RowReader(beat_width=5, count_width=4, data_width=8, longest=4),
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_keeps_the_stream_rules(name):
    assert prove_streams(COMPONENTS[name]()) >= 1


def test_the_encoder_keeps_them_whatever_goes_in():
    assert prove_streams(CobsEncoder(8), assume=False) >= 1


ANSWERS = {"b": ("aw", "w"), "r": ("ar",)}
MEMORY = {"aw": ("addr", "len", "size", "burst", "id"), "w": ("data", "strb", "last"),
          "ar": ("addr", "len", "size", "burst", "id")}
REGISTERS = {"aw": ("addr",), "w": ("data", "strb"), "ar": ("addr",)}


class Requests(StaysOffered):
    """Besides, nothing is offered while nothing is under way, without which induction fails."""

    def __init__(self, port, channels):
        super().__init__(WordAccess(address_width=8, data_width=64, register_width=6), channels,
                         port=port, answers=ANSWERS, more=["idle"])

    def claim(self, m, dut, broken):
        super().claim(m, dut, broken)
        port = getattr(dut, self.port)
        m.d.comb += broken.idle.eq(~dut.busy & (port.awvalid | port.wvalid | port.arvalid))


@pytest.mark.parametrize("port, channels", [("memory", MEMORY), ("csr", REGISTERS)])
def test_requests_for_words_stay_offered(port, channels):
    assert prove(Requests(port, channels)) >= 1


READS = {"r": ("data", "resp", "last", "id")}


@pytest.mark.parametrize("ram, channels", [
    (AxiRam, READS), (AxiSinglePortRam, READS | {"b": ("resp", "id")})])
def test_answers_of_memory_stay_offered(ram, channels):
    assert prove(StaysOffered(ram(64, address_width=8, data_width=32), channels,
                              port="axi")) >= 1
