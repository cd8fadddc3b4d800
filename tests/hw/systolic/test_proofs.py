"""The stream rules on the arrays' streams, by k-induction."""

import pytest

from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.systolic.results import ResultBuffer
from sim.prove import prove_streams


@pytest.mark.parametrize("group", [1, 2])
def test_results_stay_offered(group):
    prove_streams(ResultBuffer(width=4, cols=1, depth=4, group=group))


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_array_keeps_the_stream_rules(dataflow):
    """From any state of the sums and the skew: what is offered does not depend on them."""
    prove_streams(systolic_array(ArrayConfig(rows=1, cols=1, format="int8", dataflow=dataflow,
                                             depth=16)))
