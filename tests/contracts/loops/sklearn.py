"""The callback protocol of scikit-learn."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from callboard.bridges.sklearn import Callbacks, EstimatorTrainable

SUFFIX = ".safetensors"
LACKS = {
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
}
RESTORES = HEARS_OF_CTRL_C = KNOWS_NAN = True
SETS_THE_RATE = RESUMES = False
ALSO_LOGS = ""

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(100, 5))
Y = (X[:, 0] + _RNG.normal(size=100) > 0).astype(int)
VALIDATION = X.copy()


given = Callbacks


def train(callbacks, script):
    script.batches = 1
    callbacks._validation_data = (VALIDATION, Y)
    callbacks._metrics = {
        "loss": lambda _, x, _y: script.validate() if x is VALIDATION else script.train()
    }
    estimator = LogisticRegression(C=100, tol=0, max_iter=script.epochs).set_callbacks(callbacks)
    estimator.fit(X, Y)
    callbacks.run.host = estimator
    return callbacks.run


def trained_for(run):
    host = getattr(run, "host", None)
    return float((run.trainable.estimator if host is None else host).coef_.ravel()[0])


def loaded(path):
    estimator = LogisticRegression()
    EstimatorTrainable(estimator).load(path)
    return float(estimator.coef_.ravel()[0])
