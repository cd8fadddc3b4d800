import numpy as np

from hw.lutnet.data import load
from hw.systolic.config import ArrayConfig
from sim.perceptron.run import classify
from sim.perceptron.train import train


def test_digits_on_the_rtl_equal_the_model_and_nearly_float32():
    data = load("digits")
    model = train(data.x_train / 16, data.y_train, hidden=20, epochs=40, seed=0)
    x, y = data.x_test[:100] / 16, data.y_test[:100]
    outcome = classify(ArrayConfig(rows=3, cols=5, depth=32), model, x)
    assert outcome.bit_exact
    assert outcome.cycles == outcome.formula_cycles
    float32 = model.logits(x).argmax(axis=1)
    assert (outcome.labels == y).mean() >= 0.85
    assert abs((outcome.labels == y).mean() - (float32 == y).mean()) <= 0.02


def test_training_is_repeatable():
    data = load("digits")
    one, two = (train(data.x_train[:200] / 16, data.y_train[:200], hidden=8, epochs=2, seed=3)
                for _ in range(2))
    np.testing.assert_array_equal(one.w1, two.w1)
