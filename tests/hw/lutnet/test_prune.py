"""Pruning: the node that does nothing goes first, and the loss it counts is the real one."""

import json

import numpy as np
import pytest

from hw.lutnet import __main__ as lutnet
from hw.lutnet import prune as module
from hw.lutnet.model import Encoder, Layer, Model, load, note_of, save
from hw.lutnet.prune import prune, trim
from sim.golden import lutnet as golden

from .networks import random_codes, random_model


def _loss(sums, y, tau):
    z = sums / tau
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).mean())


def test_losses_are_those_of_the_smaller_network():
    model = random_model(3, nodes=(12,), classes=3)
    codes, y = random_codes(model, 200).astype(np.uint8), np.arange(200) % 3
    trace = golden.run(model, codes)
    out = module._outputs(model, codes)
    np.testing.assert_array_equal(out.T, trace.outputs[0])
    losses = module._losses(out, model.group, trace.sums.T.astype(np.float32), y, 2.0)
    for j in range(12):
        sums = trace.sums.copy()
        sums[:, model.group[j]] -= trace.outputs[0][:, j]
        assert losses[j] == pytest.approx(_loss(sums, y, 2.0), rel=1e-4)


def test_the_misleading_nodes_go():
    # Class c is code bit c; per class one node copies it, one is its opposite, one is constant.
    encoder = Encoder(1, [0.0] * 2, [1.0] * 2, [0, 1], [0, 0])
    pins = [[0, -1], [0, -1], [0, -1], [1, -1], [1, -1], [1, -1]]
    copy, opposite, constant = [0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]
    model = Model(encoder, (Layer(pins, [copy, opposite, constant] * 2),), [0, 0, 0, 1, 1, 1], 2)
    codes = np.array([[1, 0], [0, 1]] * 10, np.uint8)
    small = prune(model, codes, np.array([0, 1] * 10), 1, 1.0)
    assert small.layers[0].tables.astype(int).tolist() == [copy, constant] * 2
    assert small.group.tolist() == [0, 0, 1, 1]


def test_wrong():
    model = random_model(3, nodes=(12,), classes=3)
    codes = random_codes(model, 9).astype(np.uint8)
    with pytest.raises(ValueError, match=r"^count must be 1 to \d+, not 99$"):
        prune(model, codes, np.arange(9) % 3, 99, 1.0)
    with pytest.raises(ValueError, match="^model must have one layer, at least two classes "
                                         "and nodes that count 1$"):
        prune(random_model(3, nodes=(12, 9)), codes, np.arange(9) % 3, 1, 1.0)


def test_only_the_named_classes_and_kinds_shrink():
    model = random_model(3, nodes=(40,), classes=3)
    codes = random_codes(model, 60).astype(np.uint8)
    small = prune(model, codes, np.arange(60) % 3, 1, 1.0, classes=[1], narrow=True)
    before, after = (np.stack([np.bincount(m.group, (m.layers[0].pins < 0).any(1) == kind,
                                           minlength=3) for kind in (False, True)])
                     for m in (model, small))
    assert (before - after).tolist() == [[0, 0, 0], [0, 1, 0]]


def test_trimmed_classes_lose_a_node_of_each_kind():
    model = random_model(3, nodes=(40,), classes=3)
    codes = random_codes(model, 60).astype(np.uint8)
    y = np.arange(60) % 3
    small = trim(model, codes, y, 2, 1.0)
    lost = np.stack([np.bincount(m.group, (m.layers[0].pins < 0).any(1) == kind, minlength=3)
                     * sign for m, sign in ((model, 1), (small, -1)) for kind in (False, True)])
    lost = (lost[:2] + lost[2:]).astype(int)
    assert (lost[0] == lost[1]).all() and sorted(lost[0]) == [0, 1, 1]
    # The class that is kept whole is the one whose loss would grow most.
    kept = int(lost[0].argmin())
    growth = [_loss(golden.run(trim_one, codes).sums, y, 1.0) for trim_one in (
        prune(prune(model, codes, y, 1, 1.0, classes=[c], narrow=True), codes, y, 1, 1.0,
              classes=[c], narrow=False) for c in range(3))]
    assert kept == int(np.argmax(growth))
    with pytest.raises(ValueError, match="^pairs must be 1 to 3, not 4$"):
        trim(model, codes, y, 4, 1.0)


def test_command(tmp_path, capsys):
    model = random_model(3, nodes=(40,), classes=3)
    codes = random_codes(model, 60)
    x = codes * model.encoder.step + model.encoder.offset + model.encoder.step / 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(60) % 3, x_test=x,
             y_test=golden.run(model, codes).result)
    save(tmp_path / "m.npz", model, "drawn")
    assert lutnet.main(["prune", str(tmp_path / "m.npz"), "--data", str(tmp_path / "d.npz"),
                        "--pairs", "1", "-o", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    small = load(tmp_path / "model.npz")
    assert line["nodes"] == small.layers[0].nodes == 38
    assert note_of(tmp_path / "model.npz") == \
        "drawn; python -m hw.lutnet prune m.npz --data d --pairs 1 --tau 2"
    wanted = (golden.run(small, small.codes(x)).result == golden.run(model, codes).result).mean()
    assert line["test"] == pytest.approx(wanted)
