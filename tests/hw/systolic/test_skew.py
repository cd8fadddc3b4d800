# amaranth: UnusedElaboratable=no
import numpy as np
import pytest

from hw.systolic.skew import DelayLine
from sim.verilated import Engine


@pytest.mark.parametrize("delay", [3, 4, 5, 10])  # registers; memories of 3, 4 and 9 words
def test_delay_and_reset(delay):
    flags = 2
    with Engine(DelayLine(flags, 8, delay), "delay") as engine:
        words = np.random.default_rng(delay).integers(0, 1 << 10, 200)
        seen = engine.pipe({"i": words}, ["o"], latency=delay)["o"]
        np.testing.assert_array_equal(seen, words)

        # Flags on their way, and only they, are lost in a reset.
        engine.set("i", (1 << 10) - 1)
        engine.step(3 * delay)
        engine.reset()
        engine.set("i", 0)
        for _ in range(2 * delay):
            assert engine.get("o") & (1 << flags) - 1 == 0
            engine.step()


def test_wrong_delay():
    with pytest.raises(ValueError, match="^delay must be 0 or more cycles, not -1$"):
        DelayLine(1, 8, -1)
