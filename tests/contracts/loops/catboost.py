"""``CatBoost.fit``."""

import sys

import catboost
import numpy as np

from callboard.bridges.catboost import Callbacks

SUFFIX = ""
LACKS = {
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
}
SETS_THE_RATE = RESUMES = False
RESTORES = HEARS_OF_CTRL_C = True
KNOWS_NAN = False
ALSO_LOGS = "RMSE"

given = Callbacks
X = np.arange(80.0).reshape(40, 2)


class Loss:
    """A metric that CatBoost computes by Python, first for the training data."""

    def __init__(self, script):
        self.script = script
        self.training = False

    def is_max_optimal(self):
        return False

    def get_final_error(self, error, weight):
        return error

    def evaluate(self, approxes, target, weight):
        self.training = not self.training
        return (self.script.train() if self.training else self.script.validate()), 1


Loss.__name__ = "loss"  # as CatBoost calls it


def train(callbacks, script):
    script.batches = 1
    model = catboost.CatBoostRegressor(
        iterations=script.epochs, eval_metric=Loss(script), verbose=False,
        allow_writing_files=False, use_best_model=False, thread_count=1,
    )  # fmt: skip
    callbacks.attach(model)
    with callbacks:
        try:
            model.fit(X, X[:, 0], eval_set=(X, X[:, 0]), callbacks=[callbacks])
        except catboost.CatBoostError:  # what it makes of all errors of a metric
            raise script.failure or sys.exception() from None
    callbacks.run.host = model
    return callbacks.run


def trained_for(run):
    host = getattr(run, "host", None)
    return run.trainable.rounds if host is None else host.tree_count_
