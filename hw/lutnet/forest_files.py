"""Boosted trees of others: scikit-learn's estimators, XGBoost's JSON (XGBoost is not needed)."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from .forest import Forest, Tree
from .model import ModelError

__all__ = ["from_sklearn", "from_xgboost", "load_forest"]


def _tree(feature, threshold, left, right, value) -> Tree:
    return Tree(np.asarray(feature, np.int64), np.asarray(threshold, np.float64),
                np.asarray(left, np.int64), np.asarray(right, np.int64),
                np.asarray(value, np.float64))


# scikit-learn -----------------------------------------------------------------------------------

def _gradient(estimator) -> tuple[list[Tree], list[int], np.ndarray]:
    """Trees, their groups and the base of a GradientBoosting estimator."""
    start = estimator.init_
    if not (isinstance(start, str) or type(start).__name__.startswith("Dummy")):
        raise ModelError(f"init must be zero or a constant, not {type(start).__name__}")
    trees, group = [], []
    for stage in estimator.estimators_:
        for score, member in enumerate(stage):
            t = member.tree_
            inner = t.children_left >= 0
            trees.append(_tree(np.where(inner, t.feature, -1), np.where(inner, t.threshold, 0),
                               t.children_left, t.children_right,
                               estimator.learning_rate * t.value[:, 0, 0]))
            group.append(score)
    # What the score of a sample is without its trees.
    one = np.zeros((1, estimator.n_features_in_), np.float32)
    whole = estimator.predict(one) if _is_regressor(estimator) else estimator.decision_function(one)
    base = np.array(whole, np.float64).reshape(-1)
    for stage in estimator.estimators_:
        base = base - estimator.learning_rate * np.array([t.predict(one)[0] for t in stage])
    return trees, group, base


def _histogram(estimator) -> tuple[list[Tree], list[int], np.ndarray]:
    """As :func:`_gradient`, of a HistGradientBoosting estimator."""
    trees, group = [], []
    for stage in estimator._predictors:
        for score, member in enumerate(stage):
            nodes = member.nodes
            if nodes["is_categorical"].any():
                raise ModelError("features must be numbers, not categories")
            leaf = nodes["is_leaf"].astype(bool)
            trees.append(_tree(np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)),
                               np.where(leaf, 0, nodes["num_threshold"]),
                               nodes["left"], nodes["right"], nodes["value"]))
            group.append(score)
    base = np.asarray(estimator._baseline_prediction, np.float64).reshape(-1)
    link = getattr(estimator._loss, "link", None)
    if _is_regressor(estimator) and type(link).__name__ != "IdentityLink":
        raise ModelError(f"loss must be one whose value is the score, not {estimator.loss!r}")
    return trees, group, base


def _is_regressor(estimator) -> bool:
    return type(estimator).__name__.endswith("Regressor")


_READERS = {  # and the number in which they compare
    "GradientBoostingClassifier": (_gradient, "float32"),
    "GradientBoostingRegressor": (_gradient, "float32"),
    "HistGradientBoostingClassifier": (_histogram, "float64"),
    "HistGradientBoostingRegressor": (_histogram, "float64"),
}


def from_sklearn(estimator: Any) -> Forest:
    """The trees of a fitted estimator; its labels must be 0, 1, 2 and so on."""
    name = type(estimator).__name__
    if name not in _READERS:
        raise ModelError(f"the estimator must be one of {', '.join(_READERS)}, not {name}")
    if not hasattr(estimator, "n_features_in_"):
        raise ModelError(f"the {name} must be fitted")
    classes = 1
    if not _is_regressor(estimator):
        labels = np.asarray(estimator.classes_)
        classes = len(labels)
        if not np.array_equal(labels, np.arange(classes)):
            raise ModelError(f"labels must be 0 to {classes - 1}, not "
                             f"{', '.join(map(str, labels[:10]))}")
    reader, dtype = _READERS[name]
    trees, group, base = reader(estimator)
    return Forest(tuple(trees), tuple(group), base, int(estimator.n_features_in_), classes, dtype,
                  True)


# XGBoost ----------------------------------------------------------------------------------------

_MARGIN = {  # from the base score as saved to the score of no tree
    "binary:logistic": lambda p: np.log(p / (1 - p)), "binary:logitraw": lambda p: p,
    "multi:softmax": lambda p: p, "multi:softprob": lambda p: p,
    "reg:squarederror": lambda p: p, "reg:absoluteerror": lambda p: p,
    "reg:pseudohubererror": lambda p: p,
}


def _float32(values) -> np.ndarray:
    return np.asarray(values, np.float32).astype(np.float64)


def _saved(model: dict) -> Forest:
    """``Booster.save_model``: complete."""
    learner = model["learner"]
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    objective = learner["objective"]["name"]
    if booster["name"] != "gbtree":
        raise ModelError(f"the booster must be gbtree, not {booster['name']}")
    if objective not in _MARGIN:
        raise ModelError(f"the objective must be one of {', '.join(_MARGIN)}, not {objective}")
    trees = []
    for t in booster["model"]["trees"]:
        if t.get("categories_nodes") or any(t.get("split_type", [])):
            raise ModelError("features must be numbers, not categories")
        if int(t["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise ModelError("leaves must be one number, not a vector")
        left = np.asarray(t["left_children"], np.int64)
        condition = _float32(t["split_conditions"])
        trees.append(_tree(np.where(left >= 0, t["split_indices"], -1),
                           np.where(left >= 0, condition, 0), left, t["right_children"],
                           np.where(left < 0, condition, 0)))
    count = int(parameters["num_class"])
    scores = max(count, 1)
    classes = count if count else 1 if objective.startswith("reg:") else 2
    given = [float(part) for part in str(parameters["base_score"]).strip("[]").split(",")]
    base = np.array([_MARGIN[objective](p) for p in given], np.float64)
    base = np.repeat(base, scores) if len(base) == 1 else base
    return Forest(tuple(trees), tuple(map(int, booster["model"]["tree_info"])), base,
                  int(parameters["num_feature"]), classes, "float32", False)


def _dumped(roots: list, classes: int, features: int) -> Forest:
    """``Booster.dump_model(dump_format="json")``: a list of trees, without base and classes."""
    if not classes:
        raise ModelError("classes must be given for a dump, which does not say how many there are")
    trees = []
    for root in roots:
        nodes: list[tuple[int, float, int, int, float]] = []

        def add(node, nodes=nodes) -> int:
            at = len(nodes)
            nodes.append((-1, 0.0, 0, 0, float(node.get("leaf", 0.0))))
            if "leaf" not in node:
                name = re.fullmatch(r"f?(\d+)", str(node["split"]))
                if not name:
                    raise ModelError(f"features of a dump must be f0, f1 and so on, not "
                                     f"{node['split']}")
                if not isinstance(node["split_condition"], (int, float)):
                    raise ModelError("features must be numbers, not categories")
                child = {c["nodeid"]: c for c in node["children"]}
                left, right = add(child[node["yes"]]), add(child[node["no"]])
                nodes[at] = (int(name[1]), node["split_condition"], left, right, 0.0)
            return at

        add(root)
        feature, threshold, left, right, value = zip(*nodes)
        trees.append(_tree(feature, _float32(threshold), left, right, _float32(value)))
    scores = classes if classes > 2 else 1
    most = 1 + max(int(tree.feature.max()) for tree in trees) if trees else 1
    return Forest(tuple(trees), tuple(t % scores for t in range(len(trees))), np.zeros(scores),
                  features or max(most, 1), classes, "float32", False)


def from_xgboost(path: str | Path, *, classes: int = 0, features: int = 0) -> Forest:
    """The trees in a JSON file of XGBoost: a saved model, or a dump.

    A dump says neither its classes (1: a regression) nor its features nor the base score: it is
    taken as 0, and the features, unless given, end with the last that is used.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read as JSON: {error}") from None
    try:
        if isinstance(content, list):
            return _dumped(content, classes, features)
        return _saved(content)
    except KeyError as error:
        raise ModelError(f"{path.name} must hold the entry {error.args[0]}") from None
    except (TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{path.name} is not a model of XGBoost: {error}") from None
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from None


def load_forest(path: str | Path, *, classes: int = 0, features: int = 0) -> tuple[Forest, Any]:
    """The forest in a ``.json`` file, or in a ``.joblib`` or ``.pkl`` with its estimator.

    A pickle runs what it holds while it is read: only open one that you made or trust.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path.name} does not exist")
    if path.suffix == ".json":
        return from_xgboost(path, classes=classes, features=features), None
    import joblib  # comes with scikit-learn

    try:
        estimator = joblib.load(path)
    except Exception as error:  # whatever a damaged pickle raises
        raise ModelError(f"{path.name} cannot be read: {error}") from None
    try:
        return from_sklearn(estimator), estimator
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from None
