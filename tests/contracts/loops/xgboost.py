"""``xgb.train``."""

import numpy as np
import xgboost as xgb

from callboard.bridges.xgboost import Callbacks

SUFFIX = ".ubj"
LACKS = {
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
}
SETS_THE_RATE = RESTORES = HEARS_OF_CTRL_C = True
RESUMES = False
KNOWS_NAN = True
ALSO_LOGS = ""

given = Callbacks
X = np.arange(40.0).reshape(20, 2)


def train(callbacks, script):
    script.batches = 1
    data, validation = (xgb.DMatrix(X, X[:, 0] ** 2) for _ in range(2))

    def loss(_predictions, matrix):
        return "loss", script.train() if matrix is data else script.validate()

    settings = {"disable_default_eval_metric": 1, "learning_rate": 0.5}
    with callbacks:
        booster = xgb.train(
            settings, data, script.epochs, evals=[(data, "train"), (validation, "validation")],
            custom_metric=loss, callbacks=[callbacks], verbose_eval=False,
        )  # fmt: skip
    callbacks.run.rate_in_host = callbacks.run.learning_rate
    callbacks.run.host = booster
    return callbacks.run


def trained_for(run):
    return run.model.num_boosted_rounds()


def loaded(path):
    return xgb.Booster(model_file=path).num_boosted_rounds()
