"""The builder: given weights are used, random ones repeat, and what does not fit is refused."""

import numpy as np
import pytest

from hw.compiler.builder import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
    Softmax,
)
from hw.compiler.evaluate import evaluate
from hw.compiler.types import Refusal

from .models import small_resnet


def test_given_weights_are_used():
    graph = Sequential((2,), [Dense(2, [[1, 2], [3, -4]], [10, 0]), ReLU()]).graph()
    (y,) = evaluate(graph, {"x": np.array([[1, 1]], np.float32)}).values()
    assert y.tolist() == [[13, 0]]


def test_random_weights_are_the_seeds():
    def made(seed):
        return Sequential((4,), [Dense(3)], seed).graph().constants["0.weights"]

    assert (made(1) == made(1)).all() and (made(1) != made(2)).any()


def test_shapes():
    graph = small_resnet().graph()
    assert graph.types[graph.outputs[0]].shape == (1, 5)


@pytest.mark.parametrize("shape, layers, message", [
    ((3, 4, 4), [Dense(2)],
     "Dense must have a vector as its input, not shape (3, 4, 4): put Flatten before it"),
    ((3,), [Dense(2, np.ones((3, 2)))], "weights of Dense must have shape (2, 3), not (3, 2)"),
    ((3, 4, 4), [Conv2D(2, 3, groups=2)],
     "Conv2D must have channels, height and width as its input, the channels a multiple of 2 "
     "groups, not shape (3, 4, 4)"),
    ((3, 4, 4), [Conv2D(2, 3, padding="full")],
     'padding must be "valid", "same" or four numbers, not \'full\''),
    ((3, 4, 4), [BatchNorm(*np.ones((4, 2)))], "scale of BatchNorm must have shape (3,), not (2,)"),
])
def test_wrong(shape, layers, message):
    with pytest.raises(ValueError) as error:
        Sequential(shape, layers).graph()
    assert str(error.value) == message


@pytest.mark.parametrize("layers, message", [
    ([MaxPool(5)], "a window of [5, 5] must fit into [4, 4] with pads [0, 0, 0, 0]"),
    ([Residual([Conv2D(2, 1)])], "shapes [1, 2, 4, 4] and [1, 3, 4, 4] do not broadcast"),
    ([Conv2D(2, 5), Flatten(), Softmax()], "a window of [5, 5] must fit into [4, 4]"),
])
def test_ill_typed(layers, message):
    with pytest.raises(Refusal) as error:
        Sequential((3, 4, 4), layers).graph()
    assert message in str(error.value)
