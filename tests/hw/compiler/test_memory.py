import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.compiler.memory import Block, plan


@st.composite
def block_lists(draw):
    count = draw(st.integers(0, 14))
    result = []
    for n in range(count):
        first = draw(st.integers(0, 12))
        result.append(Block(f"t{n}", draw(st.integers(0, 300)), first,
                            first + draw(st.integers(0, 6)), draw(st.sampled_from([1, 8, 64]))))
    return result


@settings(deadline=None)
@given(block_lists())
def test_live_tensors_never_meet(blocks):
    result = plan(blocks)
    assert list(result.offsets) == [block.name for block in blocks]
    for n, a in enumerate(blocks):
        start = result.offsets[a.name]
        assert start % a.align == 0
        assert 0 <= start and start + a.size <= result.peak
        for b in blocks[:n]:
            other = result.offsets[b.name]
            alive = a.meets(b) and a.size and b.size
            assert not alive or start + a.size <= other or other + b.size <= start
    alive = [sum(b.size for b in blocks if b.first <= step <= b.last) for step in range(20)]
    assert result.bound == max(alive) <= result.peak


@settings(deadline=None)
@given(block_lists())
def test_the_order_of_the_blocks_does_not_matter(blocks):
    assert plan(blocks).offsets == plan(reversed(blocks)).offsets


#   sizes, first and last step          peak, which is also the bound
CASES = [
    ([], 0),
    ([(100, 0, 1)], 100),
    ([(64, n, n + 1) for n in range(10)], 128),                     # a chain: two alive at a time
    ([(64, 0, 5), (64, 0, 1), (64, 1, 2), (64, 2, 3)], 192),        # one that stays: a residual
    ([(256, 0, 1), (64, 1, 2), (256, 2, 3), (64, 3, 4)], 320),      # the small ones share the end
    ([(128, 0, 2), (64, 1, 3), (192, 3, 4)], 256),                  # a gap is used again
    ([(0, 0, 9), (64, 0, 0)], 64),                                  # an empty one takes no place
]


@pytest.mark.parametrize("cases, peak", CASES)
def test_small_networks_reach_the_bound(cases, peak):
    result = plan(Block(f"t{n}", *case) for n, case in enumerate(cases))
    assert (result.peak, result.bound) == (peak, peak)


def test_text():
    blocks = [Block("a", 100, 0, 1), Block("b", 100, 1, 2)]
    assert str(plan(blocks)) == "228 bytes for 2 tensors, lower bound 200, 14.0% above"
    assert str(plan(blocks[:1])) == "100 bytes for 1 tensors, lower bound 100"


@pytest.mark.parametrize("make, message", [
    (lambda: Block("x", -1, 0, 0), "size of x must be at least 0 bytes, not -1"),
    (lambda: Block("x", 1, 2, 1), "steps of x must be 0 or more, .* not 2 to 1"),
    (lambda: Block("x", 1, -1, 1), "steps of x must be 0 or more, .* not -1 to 1"),
    (lambda: Block("x", 1, 0, 0, 48), "align of x must be a power of two, not 48"),
    (lambda: plan([Block("x", 1, 0, 0)] * 2), "the name of a tensor must be new, not 'x'"),
    (lambda: plan([Block("x", 100, 0, 0), Block("y", 100, 0, 0, 1)], limit=150),
     r"tensors must fit 150 bytes, not 200 \(at least 200 are alive at one step\)"),
])
def test_bad_input(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert re.fullmatch(message, str(error.value))
