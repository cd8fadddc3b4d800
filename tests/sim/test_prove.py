# amaranth: UnusedElaboratable=no
import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sim.prove import ProofError, StreamRules, prove, prove_streams


class Counter(wiring.Component):
    """Counts to `top` and stays."""

    go: In(1)
    value: Out(4)
    broken: Out(data.StructLayout({"over_9": 1, "never": 1}))

    def __init__(self, top, *, reset_less=False):
        self.top, self.reset_less = top, reset_less
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(4, reset_less=self.reset_less)
        m.d.comb += [self.value.eq(count), self.broken.over_9.eq(count > 9)]
        with m.If(self.go & (count != self.top)):
            m.d.sync += count.eq(count + 1)
        return m


class Slice(wiring.Component):
    """A stream register with a fault to choose."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, fault=None):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If((self.fault == "overwrites") & self.i.valid | self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        if self.fault == "gives up":
            patience = Signal(2)
            m.d.sync += patience.eq(Mux(self.o.valid & ~self.o.ready, patience + 1, 0))
            with m.If(patience.all()):
                m.d.sync += self.o.valid.eq(0)
        return m


class Wire(wiring.Component):
    """Keeps the rules only as far as its input does."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        return m


class Checked(wiring.Component):
    """Claims by `Assert`, under a condition by `Assume`."""

    a: In(4)
    y: Out(5)

    def __init__(self, limit):
        self.limit = limit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(self.a + 3)
        m.d.comb += [Assume(self.a < 10), Assert(self.y < self.limit)]
        return m


def test_true_claims():
    assert prove(Counter(9)) >= 1
    assert prove_streams(Slice()) >= 1
    assert prove_streams(Wire()) >= 1
    assert prove(Checked(13)) >= 1


def test_false_claim():
    with pytest.raises(ProofError) as caught:
        prove(Counter(10), depth=20)
    head, cycle, go, value = str(caught.value).splitlines()
    assert head == "Counter: over_9 in cycle 12"
    assert cycle == "cycle  1  2  3  4  5  6  7  8  9  10  11  12"
    assert go.split()[2:-1] == ["1"] * 10  # what it is in the reset and at the end is all the same
    assert value.split()[2:] == list("0123456789a")
    assert len({len(cycle), len(go), len(value)}) == 1


def test_false_assertion():
    with pytest.raises(ProofError, match=r"^Checked: an assertion in cycle 3\ncycle "):
        prove(Checked(12))


def test_nothing_is_known_without_reset():
    with pytest.raises(ProofError, match="^Counter: over_9 in cycle 2\n"):
        prove(Counter(9, reset_less=True))


def test_depth_that_is_not_enough():
    with pytest.raises(ProofError, match="^Counter: no counterexample within 3 cycles, and none "
                                         "of the inductions that look back up to 3 cycles holds$"):
        prove(Counter(10), depth=3)


#   fault           claim
FAULTS = [
    ("overwrites",  "o_changed"),
    ("gives up",    "o_taken_back"),
]


@pytest.mark.parametrize("fault, claim", FAULTS)
def test_broken_rules_are_refuted(fault, claim):
    with pytest.raises(ProofError, match=rf"^Slice: {claim} in cycle \d+\ncycle "):
        prove_streams(Slice(fault))


def test_needs_streams():
    with pytest.raises(ValueError, match="^dut must have output streams, not "):
        StreamRules(Checked(3))
