"""``Run`` around the ``partial_fit`` of scikit-learn."""

import numpy as np
from sklearn.linear_model import SGDRegressor

from callboard import Run
from callboard.bridges.sklearn import EstimatorTrainable

SUFFIX = ".safetensors"
LACKS = frozenset()
SETS_THE_RATE = RESTORES = HEARS_OF_CTRL_C = KNOWS_NAN = True
RESUMES = True
ALSO_LOGS = ""


def given(callbacks):
    return callbacks


def train(callbacks, script):
    estimator = SGDRegressor(learning_rate="constant", eta0=0.5)
    trainable = EstimatorTrainable(estimator)
    x = np.ones((1, 1))
    with Run(trainable=trainable, epochs=script.epochs, callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([x] * script.batches):
                loss = script.train()
                estimator.partial_fit(x, [run.progress.step])
                run.log(loss=loss)
            for _ in run.validate([x]):
                run.log(loss=script.validate())
    run.rate_in_host = estimator.eta0
    return run


def trained_for(run):
    return float(run.trainable.weights()["coef_"].item())


def loaded(path):
    estimator = SGDRegressor()
    EstimatorTrainable(estimator).load(path)
    return float(estimator.coef_.item())
