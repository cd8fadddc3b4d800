# amaranth: UnusedElaboratable=no
"""Copies side by side give each row the result that one copy gives."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.lanes import LaneDesign, LaneEngine, Lanes


class Scale(wiring.Component):
    """``y = a * factor + n`` modulo 2**12, two cycles later; ``odd`` is its last bit."""

    latency = 2

    def __init__(self):
        super().__init__({"a": In(signed(5)), "factor": In(8), "n": In(33),
                          "y": Out(12), "odd": Out(1)})

    def elaborate(self, platform):
        m = Module()
        s1 = Signal(12)
        y = Signal(12)
        m.d.sync += [s1.eq(self.a * self.factor + self.n), y.eq(s1)]
        m.d.comb += [self.y.eq(y), self.odd.eq(y[0])]
        return m


@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_rows_in_order(lanes):
    design = LaneDesign.of(Lanes(Scale, lanes, shared=("factor",)))
    assert design.latency == Scale.latency
    engine = LaneEngine(design)
    rng = np.random.default_rng(lanes)
    a = rng.integers(-16, 16, 480)
    n = rng.integers(0, 1 << 33, 480)
    factor = rng.integers(0, 256, 480 // lanes, np.uint8)
    noise = rng.integers(0, 8, 480) << 5  # above the port, where nobody looks
    y, odd = engine.pipe({"a": (a & 31 | noise).astype(np.uint8), "n": n.astype(np.uint64),
                          "factor": factor}, ["y", "odd"])
    expected = a * np.repeat(factor, lanes).astype(np.int64) + n & 0xfff
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(odd, expected & 1)
    assert (y.dtype, odd.dtype) == (np.uint16, np.uint8)
    if lanes > 1:
        with pytest.raises(ValueError, match=f"^inputs must have a multiple of {lanes} words, "
                                             "not 481$"):
            engine.pipe({"a": np.zeros(481, np.uint8)}, ["y"])


@pytest.mark.parametrize("lanes", [0, 3])
def test_wrong_lanes(lanes):
    with pytest.raises(ValueError, match=f"^lanes must be a power of two, not {lanes}$"):
        Lanes(Scale, lanes)
