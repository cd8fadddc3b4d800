"""Random networks for the tests."""

import numpy as np

from hw.lutnet.layers import Convolution, Front, Layer, Pooling
from hw.lutnet.model import Encoder, Model


def random_model(seed=0, *, nodes=(30,), inputs=6, features=13, width=3, bits=24, classes=3,
                 narrow=0.5):
    """All drawn: pins, tables, thresholds; the share ``narrow`` of the nodes has n - 1 pins."""
    rng = np.random.default_rng(seed)
    encoder = Encoder(width, np.zeros(features), np.ones(features),
                      rng.integers(0, features, bits), rng.integers(0, 2 ** width - 1, bits))
    layers, below = [], bits
    for count in nodes:
        pins = rng.integers(0, below, (count, inputs))
        layers.append([pins, rng.integers(0, 2, (count, 2 ** inputs))])
        below = count
    layers[-1][0][rng.random(nodes[-1]) < narrow, inputs - 1] = -1
    group = rng.integers(0, classes, nodes[-1])
    group[:classes] = np.arange(classes)
    return Model(encoder, [Layer(*part) for part in layers], group, classes)


def random_picture_model(seed=0, *, picture=(8, 9), colours=1, width=2, bits=2, stages=(),
                         nodes=(20,), inputs=4, classes=3):
    """Stages: (nodes, height, width, border) of a convolution, (height, width) of a pooling."""
    rng = np.random.default_rng(seed)
    encoder = Encoder(width, np.zeros(colours), np.ones(colours), rng.integers(0, colours, bits),
                      rng.integers(0, 2 ** width - 1, bits))
    made, channels = [], bits
    for stage in stages:
        if len(stage) == 2:
            made.append(Pooling(*stage))
            continue
        count, *window = stage
        pins = rng.integers(-1, channels * window[0] * window[1], (count, inputs))
        # Few ones, so that the poolings leave something to tell.
        made.append(Convolution(*window, Layer(pins, rng.random((count, 2 ** inputs)) < 0.3)))
        channels = count
    front = Front(*picture, tuple(made))
    below = int(np.prod(front.shapes(bits)[-1]))
    dense = random_model(seed, nodes=nodes, inputs=inputs, bits=below, classes=classes)
    return Model(encoder, dense.layers, dense.group, classes, front=front)


def random_codes(model, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2 ** model.encoder.width, (count, model.features)).astype(np.uint16)
