"""Windows: against NumPy's own counting of where they fit, and ONNX's reference for SAME."""

import itertools

import numpy as np
import pytest

from hw.compiler.windows import sliding


def counted(size, kernel, stride, dilation, begin, end, ceil):
    """Windows that fit; with ``ceil`` one more for what they leave, unless it starts in padding."""
    span, padded = dilation * (kernel - 1) + 1, size + begin + end
    starts = range(0, padded, stride)
    fit = [s for s in starts if s + span <= padded]
    if not ceil or fit[-1] + span >= padded:
        return len(fit)
    more = [s for s in starts if s + span > padded and s < size + begin and s - stride in fit]
    return len(fit) + len(more)


@pytest.mark.parametrize("ceil", [0, 1])
def test_outputs_are_the_windows_that_fit(ceil):
    tried = 0
    for size, kernel, stride, dilation, begin, end in itertools.product(
            (1, 4, 7), (1, 2, 3), (1, 2, 3), (1, 2), (0, 1), (0, 1, 2)):
        if dilation * (kernel - 1) + 1 > size + begin + end:
            continue
        found = sliding({"strides": (stride,), "dilations": (dilation,), "pads": (begin, end),
                         "ceil_mode": ceil}, (kernel,), (size,))
        assert found.outputs == (counted(size, kernel, stride, dilation, begin, end, ceil),)
        tried += 1
    assert tried > 200


@pytest.mark.parametrize("auto, pads", [
    ("SAME_UPPER", (1, 0, 1, 1)), ("SAME_LOWER", (1, 1, 1, 0)), ("VALID", (0, 0, 0, 0))])
def test_automatic_padding(auto, pads):
    found = sliding({"auto_pad": auto, "strides": (1, 2)}, (3, 3), (5, 6))
    assert found.pads == pads
    assert found.outputs == ((3, 2) if auto == "VALID" else (5, 3))


@pytest.mark.parametrize("attributes, kernel, sizes, message", [
    ({}, (3,), (2,), "a window of [3] must fit into [2] with pads [0, 0]"),
    ({"strides": (0,)}, (1,), (2,), "strides must be 1 numbers of at least 1, not [0]"),
    ({"pads": (1,)}, (1,), (2,), "pads must be 2 numbers of at least 0, not [1]"),
    ({"pads": (-1, 0)}, (1,), (2,), "pads must be 2 numbers of at least 0, not [-1, 0]"),
    ({"kernel_shape": (2,)}, (1,), (2,), "kernel_shape must be that of the weights, [1], not [2]"),
    ({"auto_pad": "SAME"}, (1,), (2,),
     "auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not 'SAME'"),
    ({}, (1, 1), (2,), "kernel_shape must be 1 numbers of at least 1, not [1, 1]"),
])
def test_wrong(attributes, kernel, sizes, message):
    with pytest.raises(ValueError) as error:
        sliding(attributes, kernel, sizes)
    assert str(error.value) == message


def test_last_window_beyond_the_padding():
    found = sliding({"strides": (2,), "ceil_mode": 1}, (2,), (5,))
    assert (found.outputs, found.beyond) == ((3,), (1,))
    assert np.ceil((5 - 2) / 2) + 1 == 3
