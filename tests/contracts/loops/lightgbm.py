"""``lgb.train``."""

import lightgbm as lgb
import numpy as np

from callboard.bridges.lightgbm import Callbacks

SUFFIX = ".txt"
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
X = np.arange(80.0).reshape(40, 2)


def train(callbacks, script):
    script.batches = 1
    data = lgb.Dataset(X, X[:, 0] ** 2, free_raw_data=False)
    validation = lgb.Dataset(X, X[:, 0] ** 2, reference=data)

    def loss(_predictions, given):
        return "loss", script.train() if given is data else script.validate(), False

    rate = {"learning_rate": 0.5}
    settings = {"metric": "none", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 2}
    with callbacks:
        booster = lgb.train(
            settings | rate, data, script.epochs, [data, validation], ["training", "validation"],
            feval=loss, callbacks=[*callbacks],
        )  # fmt: skip
    callbacks.run.rate_in_host = booster.params["learning_rate"]
    callbacks.run.host = booster
    return callbacks.run


def trained_for(run):
    host = getattr(run, "host", None)
    return run.model.current_iteration() if host is None else host.best_iteration


def loaded(path):
    return lgb.Booster(model_file=path).current_iteration()
