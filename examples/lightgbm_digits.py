"""Keras's callbacks in LightGBM: a boosting round is an epoch.

    python examples/lightgbm_digits.py [--epochs 20]

Saves the best model as ``best.txt`` in the current folder.
"""

import argparse

import lightgbm as lgb
from sklearn.datasets import load_digits

from callboard.bridges.lightgbm import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

arguments = argparse.ArgumentParser(description="Keras's callbacks in LightGBM.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x, y = load_digits(return_X_y=True)
train = lgb.Dataset(x[:1400], y[:1400])
validation = lgb.Dataset(x[1400:], y[1400:], reference=train)

with Callbacks(
    [
        EarlyStopping(patience=5, restore_best_weights=True),  # val_loss is multi_logloss
        ReduceLROnPlateau(patience=2, factor=0.5),
        ModelCheckpoint("best.txt", save_best_only=True),
    ]
) as callbacks:
    booster = lgb.train(
        {"objective": "multiclass", "num_class": 10, "learning_rate": 0.5, "verbosity": -1},
        train,
        options.epochs,
        [train, validation],
        ["training", "validation"],
        callbacks=[*callbacks],  # with the star: LightGBM needs several callbacks of it
    )

print(f"{booster.best_iteration or booster.current_iteration()} rounds")
print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
