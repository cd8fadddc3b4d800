"""Scales as integers: the nearest ones, and what is refused."""

import numpy as np
import pytest

from hw.compiler.fixed import scale_to_fixed


def test_scale_to_fixed():
    scale = np.random.default_rng(5).uniform(1e-6, 2.0, 1000)
    multiplier, shift = scale_to_fixed(scale)
    assert (multiplier >> 15 == 1).all()
    assert (abs(multiplier / 2.0**shift / scale - 1) <= 2.0**-16).all()
    assert [x.tolist() for x in scale_to_fixed([1.0, 1 - 2**-20, 2**-60])] == [
        [32768, 32768, 0], [15, 15, 47]]
    for wrong in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="^scale must be positive and finite$"):
            scale_to_fixed(wrong)
    with pytest.raises(ValueError, match="^scale must be below 65535.5"):
        scale_to_fixed(65536.0)
