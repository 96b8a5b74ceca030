"""Keras's callbacks in XGBoost: a boosting round is an epoch.

    python examples/xgboost_digits.py [--epochs 20]

Saves the best model as ``best.ubj`` in the current folder.
"""

import argparse

import xgboost as xgb
from sklearn.datasets import load_digits

from callboard.bridges.xgboost import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

arguments = argparse.ArgumentParser(description="Keras's callbacks in XGBoost.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x, y = load_digits(return_X_y=True)
train, validation = xgb.DMatrix(x[:1400], y[:1400]), xgb.DMatrix(x[1400:], y[1400:])

with Callbacks(
    [
        EarlyStopping(patience=5, restore_best_weights=True),  # val_loss is validation-mlogloss
        ReduceLROnPlateau(patience=2, factor=0.5),
        ModelCheckpoint("best.ubj", save_best_only=True),
    ]
) as callbacks:
    booster = xgb.train(
        {"objective": "multi:softprob", "num_class": 10, "learning_rate": 0.5, "max_depth": 3},
        train,
        options.epochs,
        evals=[(train, "train"), (validation, "validation")],
        callbacks=[callbacks],
        verbose_eval=False,
    )

print(f"{booster.num_boosted_rounds()} rounds")
print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
