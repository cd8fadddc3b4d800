"""Training of the perceptron, by scikit-learn."""

from collections.abc import Callable

import numpy as np

from sim.perceptron.model import Perceptron

__all__ = ["train"]


def train(x: np.ndarray, y: np.ndarray, *, hidden: int, epochs: int, seed: int,
          progress: Callable[[int], None] = lambda epoch: None) -> Perceptron:
    """Fit a perceptron with ``hidden`` rectified units by Adam on the cross-entropy.

    ``x``: (images, inputs), 0 to 1; ``y``: labels from 0 upward. ``progress`` is told each epoch
    that is done. The same seed gives the same weights on the same libraries.
    """
    from sklearn.neural_network import MLPClassifier  # only who trains needs it

    classes = np.unique(y)
    net = MLPClassifier((hidden,), random_state=seed, learning_rate_init=1e-3, alpha=1e-4,
                        batch_size=min(100, len(x)))  # pyright: ignore[reportArgumentType]
    for epoch in range(epochs):
        net.learning_rate_init = 1e-3
        net.partial_fit(x, y, classes=classes)
        progress(epoch + 1)
    (w1, w2), (b1, b2) = net.coefs_, net.intercepts_
    return Perceptron(w1, b1, w2, b2)
