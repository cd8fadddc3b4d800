"""Boosted trees: read as their library predicts, quantised by hand, equal as network and as RTL."""

import copy
import json
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn.datasets
from sklearn import ensemble, linear_model, tree

from hw.lutnet import __main__ as lutnet
from hw.lutnet import data as datasets
from hw.lutnet.config import NetworkConfig
from hw.lutnet.forest import Forest, Tree, quantise, to_model, values_of
from hw.lutnet.forest_files import from_sklearn, from_xgboost, load_forest
from hw.lutnet.imports import import_forest
from hw.lutnet.model import Encoder, ModelError, load, save
from hw.lutnet.network import Network, latency_of
from hw.lutnet.report import netlist
from hw.options import command
from sim.golden import forest as golden_forest
from sim.golden import lutnet as golden
from sim.lutnet import payload
from sim.verilated import Engine

FILES = Path(__file__).parent / "xgboost"


def _cancer():
    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    return datasets.Dataset("cancer", x[::2], y[::2], x[1::2], y[1::2])


DATA = {"digits": lambda: datasets.load("digits"), "diabetes": lambda: datasets.load("diabetes"),
        "cancer": _cancer}
#   estimator                                                                  data
ESTIMATORS = [
    (lambda: ensemble.GradientBoostingClassifier(n_estimators=4, random_state=0),      "digits"),
    (lambda: ensemble.GradientBoostingClassifier(n_estimators=6, init="zero",
                                                 random_state=0),                      "cancer"),
    (lambda: ensemble.GradientBoostingRegressor(n_estimators=9, random_state=0),       "diabetes"),
    (lambda: ensemble.HistGradientBoostingClassifier(max_iter=3, max_depth=4),         "digits"),
    (lambda: ensemble.HistGradientBoostingClassifier(max_iter=6),                      "cancer"),
    (lambda: ensemble.HistGradientBoostingRegressor(max_iter=6, max_leaf_nodes=9),     "diabetes"),
]


def _seen(model, data):
    """What the source is shown instead of the test features: the values of their codes."""
    encoder = model.encoder
    values = values_of(encoder.width, encoder.offset, encoder.step)
    codes = encoder.codes(data.x_test)
    return codes, values[np.arange(data.features), codes]


def _quantised_by_apply(estimator, x, leaf_bits):
    """Sums of TreeLUT's leaves, by the leaves that scikit-learn itself finds, (samples, scores)."""
    stages = estimator.estimators_
    lowest = [[t.tree_.value[t.tree_.children_left < 0].min() for t in s] for s in stages]
    spans = [[np.ptp(t.tree_.value[t.tree_.children_left < 0]) for t in s] for s in stages]
    factor = (2 ** leaf_bits - 1) / (np.max(spans) * estimator.learning_rate)
    total = np.zeros((len(x), stages.shape[1]))
    for s, low in zip(stages, lowest):
        for c, t in enumerate(s):
            leaf = t.tree_.value[t.apply(x.astype(np.float32)), 0, 0]
            total[:, c] += np.rint((leaf - low[c]) * estimator.learning_rate * factor)
    return total


@pytest.mark.parametrize("make, name", ESTIMATORS)
def test_scikit_learn(make, name):
    data = DATA[name]()
    estimator = make().fit(data.x_train, data.y_train)
    forest = from_sklearn(estimator)
    scores = estimator.predict(data.x_test) if forest.classes == 1 else \
        estimator.decision_function(data.x_test)
    np.testing.assert_allclose(forest.scores(data.x_test).reshape(scores.shape), scores,
                               rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(forest.result(data.x_test), estimator.predict(data.x_test))

    model, quantised = import_forest(forest, data=data, width=6, leaf_bits=5)
    codes, seen = _seen(model, data)
    trace = golden.run(model, codes)
    np.testing.assert_array_equal(trace.sums, golden_forest.sums(quantised, codes))
    if hasattr(estimator, "estimators_"):
        sums = trace.sums - quantised.base
        sums = sums[:, -1:] if len(forest.base) == 1 else sums
        np.testing.assert_array_equal(sums, _quantised_by_apply(estimator, seen, 5))
    else:  # with fine leaves the labels, or values, are the source's own
        fine, _ = import_forest(forest, data=data, width=6, leaf_bits=14)
        result, own = golden.run(fine, codes).result, estimator.predict(seen)
        if forest.classes == 1:
            np.testing.assert_allclose(golden.regress(fine, result), own, atol=0.1)
        else:
            np.testing.assert_array_equal(result, own)


@pytest.mark.parametrize("name", DATA)
def test_xgboost(name):
    data, forest = DATA[name](), from_xgboost(FILES / f"{name}.json")
    with np.load(FILES / "margins.npz") as file:
        margins = file[name]
    scores = forest.scores(data.x_test[:50]).reshape(margins.shape)
    np.testing.assert_allclose(scores, margins, rtol=1e-5, atol=1e-5)
    model, quantised = import_forest(forest, data=data, width=8, leaf_bits=14)
    codes, seen = _seen(model, data)
    trace = golden.run(model, codes)
    np.testing.assert_array_equal(trace.sums, golden_forest.sums(quantised, codes))
    if model.classes == 1:
        np.testing.assert_allclose(golden.regress(model, trace.result), forest.result(seen),
                                   atol=0.2)
    else:
        np.testing.assert_array_equal(trace.result, forest.result(seen))


def test_a_dump_has_the_trees_of_the_model():
    data = _cancer()
    saved = from_xgboost(FILES / "cancer.json")
    dumped = from_xgboost(FILES / "cancer_dump.json", classes=2, features=30)
    np.testing.assert_allclose(dumped.scores(data.x_test) + saved.base, saved.scores(data.x_test),
                               rtol=1e-6)


#   inputs   configuration
HARDWARE = [
    (6, {}),
    (6, {"head": "compressor", "registers": ("encode", "layers", "sums", "label")}),
    (4, {"fabric": "ecp5", "registers": ("sums", "label")}),
]


@pytest.mark.parametrize("inputs, options", HARDWARE)
@pytest.mark.parametrize("name", DATA)
def test_rtl_equals_golden(name, inputs, options):
    data = DATA[name]()
    model, _ = import_forest(from_xgboost(FILES / f"{name}.json"), data=data, leaf_bits=3,
                             width=6, inputs=inputs)
    codes = model.encoder.codes(data.x_test)
    network = Network(model, NetworkConfig(**options))
    with Engine(network, "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, 6)}, ["o"], latency=network.latency)["o"]
    np.testing.assert_array_equal(out, golden.run(model, codes).result)


@pytest.mark.parametrize("options", [{}, {"fabric": "ecp5"}])
def test_netlist_equals_golden(options):
    data = _cancer()
    model, _ = import_forest(from_xgboost(FILES / "cancer.json"), data=data, width=5,
                             inputs=4 if options else 6)
    config, codes = NetworkConfig(**options), model.encoder.codes(data.x_test)
    with Engine(netlist(model, config), "lutnet") as engine:
        out = engine.pipe({"i": payload(codes, 5)}, ["o"],
                          latency=latency_of(model, config))["o"]
    np.testing.assert_array_equal(out, golden.run(model, codes).result)


def _stump(feature, threshold, left, right):
    return Tree(np.array([feature, -1, -1]), np.array([threshold, 0, 0]), np.array([1, 0, 0]),
                np.array([2, 0, 0]), np.array([0.0, left, right]))


def test_quantised_by_hand():
    # Leaves 0 and 1.5 above -1, and 0 and 3 above 0: the largest, 3, becomes 3; ties of rint are
    # even. Biases 0.25 - 1 and 2: 2.75 apart.
    forest = Forest((_stump(0, 2.5, -1.0, 0.5), _stump(1, 0.5, 3.0, 0.0)), (0, 1),
                    np.array([0.25, 2.0]), 2, 2, "float32", True)
    quantised = quantise(forest, values_of(3, np.zeros(2), np.ones(2)), 2)
    assert [t.value[1:].tolist() for t in quantised.trees] == [[0, 2], [3, 0]]
    assert quantised.base.tolist() == [0, 3]
    assert [t.threshold[0] for t in quantised.trees] == [2, 0]
    model = to_model(quantised, Encoder(3, np.zeros(2), np.ones(2), [], []))
    trace = golden.run(model, np.array([[2, 0], [3, 0], [3, 1]]))
    assert trace.sums.tolist() == [[0, 6], [2, 6], [2, 3]]


@pytest.mark.parametrize("equal_left, threshold", [(True, 2), (False, 1)])
def test_a_feature_at_its_threshold(equal_left, threshold):
    forest = Forest((_stump(0, 2.0, 0.0, 1.0),), (0,), np.zeros(1), 1, 1, "float32", equal_left)
    quantised = quantise(forest, values_of(3, np.zeros(1), np.ones(1)), 1)
    assert quantised.trees[0].threshold[0] == threshold
    np.testing.assert_array_equal(
        golden_forest.run(quantised, np.arange(8)[:, None]), forest.scores(np.arange(8.0)[:, None])
        [:, 0])


def test_what_no_code_reaches_is_no_comparator():
    outside = Forest((_stump(0, 99.0, 1.0, 0.0), _stump(0, -1.0, 0.0, 1.0), _stump(0, 3.0, 0., 1.)),
                     (0, 0, 0), np.zeros(1), 1, 1, "float32", True)
    quantised = quantise(outside, values_of(3, np.zeros(1), np.ones(1)), 2)
    model = to_model(quantised, Encoder(3, np.zeros(1), np.ones(1), [], []))
    assert model.encoder.threshold.tolist() == [3]
    codes = np.arange(8)[:, None]
    np.testing.assert_allclose(golden.regress(model, golden.run(model, codes).result),
                               outside.result(codes))


def test_shifts_survive_the_file(tmp_path):
    model, _ = import_forest(from_xgboost(FILES / "cancer.json"), data=_cancer(), width=5)
    save(tmp_path / "m.npz", model)
    again = load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.shift, model.shift)
    assert again.shift.max() == 4  # of the bias; leaves have four bits


def test_command(tmp_path, capsys):
    data = datasets.load("digits")
    estimator = ensemble.HistGradientBoostingClassifier(max_iter=2, max_depth=3)
    joblib.dump(estimator.fit(data.x_train, data.y_train), tmp_path / "trees.joblib")
    assert lutnet.main(["import", str(tmp_path / "trees.joblib"), "--data", "digits", "--width",
                        "6", "--leaf-bits", "8", "-o", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["equal_to_source"] and line["rtl_equal"] and line["n"] == 359
    assert line["trees"] == 20 and abs(line["accuracy"] - line["source_accuracy"]) < 0.03
    assert load(tmp_path / "model.npz").classes == 10
    assert lutnet.main(["import", str(FILES / "cancer_dump.json"), "--classes", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == 29  # up to f28


def _changed(tmp_path, change):
    content = json.loads((FILES / "cancer.json").read_text())
    change(content["learner"])
    (tmp_path / "x.json").write_text(json.dumps(content))
    return tmp_path / "x.json"


def _put(*path):
    def change(learner):
        *way, last, value = path
        for step in way:
            learner = learner[step]
        learner[last] = value
    return change


TREES = ("gradient_booster", "model", "trees", 0)
#   change                                                   message
BROKEN = [
    (_put("objective", "name", "rank:ndcg"),                 "x.json: the objective must be one of "
     "binary:logistic, .*, not rank:ndcg"),
    (_put("gradient_booster", "name", "dart"),               "x.json: the booster must be gbtree, "
     "not dart"),
    (_put(*TREES, "split_type", [1]),                        "x.json: features must be numbers, "
     "not categories"),
    (_put("learner_model_param", "num_feature", "3"),        "x.json: a tree's feature must be 0 "
     r"to 2, not \d+"),
    (lambda learner: learner.pop("objective"),               "x.json must hold the entry "
     "objective"),
    (_put("gradient_booster", "model", "trees", []),         "x.json: a forest must hold at least "
     "one tree"),
    (_put("gradient_booster", "model", "trees", 7),          "x.json is not a model of XGBoost: "
     ".*"),
    (_put(*TREES, "split_conditions", 0, float("nan")),      "x.json: thresholds and leaves of "
     "trees must be finite numbers"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_broken_xgboost_file(tmp_path, change, message):
    with pytest.raises(ModelError, match=f"^{message}$"):
        from_xgboost(_changed(tmp_path, change))


def test_wrong_estimators(tmp_path):
    data = _cancer()
    with pytest.raises(ModelError, match="^the estimator must be one of GradientBoostingClassifier,"
                                         " .*, not LinearRegression$"):
        from_sklearn(linear_model.LinearRegression())
    with pytest.raises(ModelError, match="^the HistGradientBoostingRegressor must be fitted$"):
        from_sklearn(ensemble.HistGradientBoostingRegressor())
    trees = ensemble.HistGradientBoostingClassifier(max_iter=1)
    with pytest.raises(ModelError, match="^labels must be 0 to 1, not 1, 2$"):
        from_sklearn(copy.copy(trees).fit(data.x_train, data.y_train + 1))
    with pytest.raises(ModelError, match="^features must be numbers, not categories$"):
        from_sklearn(ensemble.HistGradientBoostingClassifier(
            max_iter=1, categorical_features=[0]).fit(data.y_train[:, None], data.y_train))
    with pytest.raises(ModelError, match="^loss must be one whose value is the score, not "
                                         "'poisson'$"):
        from_sklearn(ensemble.HistGradientBoostingRegressor(max_iter=1, loss="poisson").fit(
            data.x_train, data.y_train))
    first = ensemble.GradientBoostingRegressor(n_estimators=1, init=tree.DecisionTreeRegressor())
    with pytest.raises(ModelError, match="^init must be zero or a constant, not "
                                         "DecisionTreeRegressor$"):
        from_sklearn(first.fit(data.x_train, data.y_train))
    (tmp_path / "a.pkl").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="^a.pkl cannot be read: "):
        load_forest(tmp_path / "a.pkl")


#   arguments                                                 message
WRONG = [
    (["none.json"],                                           "none.json does not exist"),
    (["model.h5"],                                            "the source must be a file .json "
     "(XGBoost), .joblib or .pkl (scikit-learn) or .onnx (QONNX), not 'model.h5'"),
    ([FILES / "cancer.json", "--data", "digits"],             "data must have 30 columns, not 64"),
    ([FILES / "cancer.json", "--leaf-bits", "0"],             "leaf_bits must be 1 to 16, not 0"),
    ([FILES / "cancer.json", "--inputs", "2"],                "inputs must be 3 to 6, not 2"),
    ([FILES / "cancer.json", "--width", "17"],                "width must be 0 to 16, not 17"),
    ([FILES / "cancer_dump.json"],                            "cancer_dump.json: classes must be "
     "given for a dump, which does not say how many there are"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command(lutnet.main)(["import", *map(str, arguments)])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"
