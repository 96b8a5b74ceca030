"""Keras's callbacks in CatBoost: a boosting round is an epoch.

    python examples/catboost_digits.py [--epochs 20]

Writes the metrics as ``log.csv`` in the current folder.
"""

import argparse

from catboost import CatBoostClassifier
from sklearn.datasets import load_digits

from callboard.bridges.catboost import Callbacks
from callboard.callbacks import CSVLogger, EarlyStopping

arguments = argparse.ArgumentParser(description="Keras's callbacks in CatBoost.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

x, y = load_digits(return_X_y=True)
model = CatBoostClassifier(
    iterations=options.epochs, depth=3, verbose=False, allow_writing_files=False
)

# CatBoost says neither when training begins nor when it ends: the block does.
with Callbacks([EarlyStopping(patience=3, restore_best_weights=True), CSVLogger("log.csv")]).attach(
    model
) as callbacks:
    model.fit(x[:1400], y[:1400], eval_set=(x[1400:], y[1400:]), callbacks=[callbacks])

print(f"{model.tree_count_} rounds")
print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
