"""The trainer: same seed same network, learning, checkpoints, and the model it hands over."""

from dataclasses import replace

import numpy as np
import pytest

from hw.lutnet import data as datasets
from hw.lutnet.model import load, save
from hw.lutnet.settings import TrainConfig
from hw.lutnet.train import Trainer
from sim.golden import lutnet as golden

QUICK = TrainConfig(nodes=(100,), epochs=15, candidates=24, seed=3)
SHORT = replace(QUICK, epochs=4, nodes=(40,))
PICTURES = {"stages": ("conv6:3", "pool2", "conv5:2b"), "encoder": "uniform", "levels": 2}


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def _train(data, config):
    trainer = Trainer(data, config)
    while trainer.epoch < config.epochs:
        trainer.step()
    return trainer


def _accuracy(trainer, data):
    return trainer.score(trainer.encoder.codes(data.x_test), data.y_test)


#   options                                          at least
LEARNS = [
    ({},                                             0.80),
    ({"family": "hybrid"},                           0.80),
    ({"family": "bb"},                               0.80),
    ({"inputs": 2},                                  0.70),
    ({"inputs": 4, "encoder": "uniform"},            0.75),
    ({"encoder": "bit"},                             0.75),
    ({"nodes": (60, 50)},                            0.65),
    ({"nodes": (60, 50), "deep_wiring": True},       0.65),
    ({"shift": 1.0},                                 0.45),
    ({"degrees": 5.0, "zoom": 0.05, "narrow": 0.5},  0.75),
    ({"stages": ("conv12:3b", "pool2"), "encoder": "uniform"},           0.65),
    ({**PICTURES, "family": "bb", "epochs": 8},      0.50),
]


@pytest.mark.parametrize("options, least", LEARNS)
def test_learns_digits(digits, options, least):
    assert _accuracy(_train(digits, replace(QUICK, **options)), digits) >= least


def test_learns_a_regression():
    data = datasets.load("diabetes")
    config = replace(QUICK, nodes=(60,), levels=15, epochs=30, tau=8.0)
    assert _accuracy(_train(data, config), data) > 0.2


def test_same_seed_same_network(digits):
    first, second = (_train(digits, SHORT).model() for _ in range(2))
    np.testing.assert_array_equal(first.layers[0].pins, second.layers[0].pins)
    np.testing.assert_array_equal(first.layers[0].tables, second.layers[0].tables)
    other = _train(digits, replace(SHORT, seed=4)).model()
    assert (first.layers[0].tables != other.layers[0].tables).any()


@pytest.mark.parametrize("options", [{}, {"family": "bb", "nodes": (50, 30)}, {"inputs": 3},
                                     PICTURES, {**PICTURES, "family": "bb", "shift": 1.0}])
def test_model_computes_what_was_trained(digits, options, tmp_path):
    trainer = _train(digits, replace(SHORT, narrow=0.5, **options))
    save(tmp_path / "model.npz", trainer.model())
    model = load(tmp_path / "model.npz")
    trace = golden.run(model, model.codes(digits.x_test))
    np.testing.assert_array_equal(trace.sums.T, trainer.sums(trainer.encoder.codes(digits.x_test)))
    assert (trace.result == digits.y_test).mean() == _accuracy(trainer, digits)


@pytest.mark.parametrize("options", [{}, PICTURES])
def test_resumed_run_is_the_same_run(digits, options, tmp_path):
    config = replace(SHORT, **options)
    whole = _train(digits, config)
    part = Trainer(digits, config)
    for _ in range(2):
        part.step()
    part.save(tmp_path / "checkpoint.npz")
    rest = Trainer(digits, config)
    rest.resume(tmp_path / "checkpoint.npz")
    while rest.epoch < config.epochs:
        rest.step()
    np.testing.assert_array_equal(rest.model().layers[0].tables, whole.model().layers[0].tables)
    assert rest.progress == whole.progress
    other = Trainer(digits, replace(SHORT, seed=9))
    with pytest.raises(ValueError, match="^the checkpoint must be of the same configuration"):
        other.resume(tmp_path / "checkpoint.npz")


def test_validation_part_is_not_trained_on(digits):
    trainer = Trainer(digits, SHORT)
    assert len(trainer.held) == round(len(digits.x_train) / 6)
    assert not set(trainer.held) & set(trainer.rows)
    assert len(trainer.held) + len(trainer.rows) == len(digits.x_train)


def test_narrow_nodes_leave_their_last_pin_open(digits):
    model = _train(digits, replace(SHORT, epochs=2, narrow=0.5)).model()
    open_pins = (model.layers[0].pins == -1)
    assert open_pins.sum(0).tolist() == [0, 0, 0, 0, 0, 20]
    assert [open_pins[model.group == c].sum() for c in range(10)] == [2] * 10


def test_gradient_of_a_whole_network():
    """The table gradient of a step against a finite difference of the loss of the linear head."""
    rng = np.random.default_rng(0)
    data = datasets.Dataset("toy", rng.integers(0, 16, (40, 6)).astype(np.float64),
                            rng.integers(0, 3, 40), np.zeros((1, 6)), np.zeros(1, np.int64))
    trainer = Trainer(data, TrainConfig(nodes=(6,), inputs=3, levels=1, width=4, validation=0))
    out = rng.integers(0, 2, (6, 40)).astype(np.uint8)
    loss, _, grad = trainer._loss(out, data.y_train)
    sums = np.zeros((3, 40))
    for j, c in enumerate(trainer.group):
        sums[c] += out[j]

    def cross_entropy(sums):
        z = sums / trainer.tau
        return float((np.log(np.exp(z).sum(0)) - z[data.y_train, np.arange(40)]).mean())

    assert loss == pytest.approx(cross_entropy(sums), rel=1e-5)
    for c, s in [(0, 0), (1, 7), (2, 39)]:
        high, low = sums.copy(), sums.copy()
        high[c, s] += 1e-4
        low[c, s] -= 1e-4
        assert grad[c, s] == pytest.approx((cross_entropy(high) - cross_entropy(low)) / 2e-4,
                                           abs=1e-5)


#   options                      message
WRONG = [
    ({"nodes": ()},              r"nodes must be 1 to 100000 in each layer, not \(\)"),
    ({"inputs": 7},              "inputs must be 2 to 6, not 7"),
    ({"family": "svm"},          "family must be one of dwn, bb, hybrid, not 'svm'"),
    ({"encoder": "gray"},        "encoder must be one of uniform, distributive, bit, not 'gray'"),
    ({"validation": 0.9},        "validation must be 0 to 0.5, not 0.9"),
    ({"epochs": 0},              "epochs must be 1 to 10000, not 0"),
    ({"stages": ("conv5",)},     "stages must be like conv24:5, conv24:5b or pool2, with sizes of "
                                 "1 to 16, not 'conv5'"),
    ({"stages": ("pool17",)},    "stages must be like .*, not 'pool17'"),
    ({"rate": -1.0},             "rate must be 0 to 1, not -1.0"),
]


@pytest.mark.parametrize("options, message", WRONG)
def test_wrong_configuration(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        TrainConfig(**options)


def test_stages_need_pictures():
    with pytest.raises(ValueError, match="^stages must be empty for data that are not images$"):
        Trainer(datasets.load("diabetes"), TrainConfig(stages=("pool2",)))


def test_too_few_nodes(digits):
    with pytest.raises(ValueError, match="^nodes of the last layer must be at least one for each "
                                         "of the 10 classes, not 5$"):
        Trainer(digits, TrainConfig(nodes=(5,)))
