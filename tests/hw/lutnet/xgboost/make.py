"""How the files here were made: XGBoost 3.2.0, ``python make.py``; the tests do not need it."""

import numpy as np
import sklearn.datasets
import xgboost

from hw.lutnet import data


def train(x, y, rounds, **options):
    options |= {"max_depth": 3, "eta": 0.5, "seed": 0, "nthread": 1}
    return xgboost.train(options, xgboost.DMatrix(x, y), rounds)


digits, diabetes = data.load("digits"), data.load("diabetes")
x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
margins = {}
for name, xs, ys, test, rounds, options in (
        ("digits", digits.x_train.astype(np.float32), digits.y_train, digits.x_test, 2,
         {"objective": "multi:softprob", "num_class": 10}),
        ("diabetes", diabetes.x_train, diabetes.y_train, diabetes.x_test, 6,
         {"objective": "reg:squarederror"}),
        ("cancer", x[::2], y[::2], x[1::2], 5, {"objective": "binary:logistic"})):
    booster = train(xs, ys, rounds, **options)
    booster.save_model(f"{name}.json")
    margins[name] = booster.predict(xgboost.DMatrix(test[:50].astype(np.float32)),
                                    output_margin=True)
    if name == "cancer":
        booster.dump_model("cancer_dump.json", dump_format="json")
np.savez_compressed("margins.npz", **margins)
