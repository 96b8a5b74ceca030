"""Keras's callbacks and scikit-learn: around ``partial_fit``, and in an estimator's own ``fit``.

    python examples/sklearn_digits.py [--epochs 20]

Saves the best weights of the first estimator as ``best.safetensors`` in the current folder.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from callboard import Run
from callboard.bridges.sklearn import Callbacks, EstimatorTrainable
from callboard.callbacks import EarlyStopping, ModelCheckpoint

arguments = argparse.ArgumentParser(description="Keras's callbacks and scikit-learn.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x, y = load_digits(return_X_y=True)
x_train, y_train, x_test, y_test = x[:1400] / 16, y[:1400], x[1400:] / 16, y[1400:]

estimator = MLPClassifier(random_state=0)
batches = [(x_train[i : i + 64], y_train[i : i + 64]) for i in range(0, 1400, 64)]
with Run(
    trainable=EstimatorTrainable(estimator),
    epochs=options.epochs,
    callbacks=[
        EarlyStopping("val_accuracy", patience=3, restore_best_weights=True),
        ModelCheckpoint("best.safetensors", "val_accuracy", save_best_only=True),
    ],
) as run:
    for _ in run.epochs():
        for inputs, digits in run.train(batches):
            estimator.partial_fit(inputs, digits, classes=np.arange(10))
            run.log(loss=estimator.loss_)
        for inputs, digits in run.validate([(x_test, y_test)]):
            run.log(accuracy=estimator.score(inputs, digits))

print("\nWhat the callbacks decided around partial_fit, and why:")
print(run.journal)

# An iteration of this estimator's fit is an epoch.
callbacks = Callbacks(
    [EarlyStopping(patience=3, min_delta=0.001, restore_best_weights=True)],
    validation_data=(x_test, y_test),
)
logistic = LogisticRegression(C=100).set_callbacks(callbacks).fit(x_train, y_train)

print(f"\nAnd in fit, with an accuracy of {logistic.score(x_test, y_test):.3f}:")
print(callbacks.run.journal)
