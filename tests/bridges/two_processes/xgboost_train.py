"""``xgb.train`` with the collective of XGBoost, started once for each process."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import xgboost as xgb

from callboard import callbacks
from callboard.bridges.xgboost import Callbacks

folder, rank, port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(rank)
x = rng.normal(size=(120, 4))
y = x[:, 0] + (1 + rank) * rng.normal(size=120) > 0


def brier(predictions, data):
    return "brier", float(np.mean((predictions - data.get_label()) ** 2))


used = [
    callbacks.EarlyStopping("val_brier", mode="min", patience=3, restore_best_weights=True),
    callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
    callbacks.ModelCheckpoint(folder / "best.ubj", save_best_only=True),
    callbacks.ModelCheckpoint(folder / "runs"),
    callbacks.CSVLogger(folder / "log.csv"),
]
with xgb.collective.CommunicatorContext(
    dmlc_tracker_uri="127.0.0.1", dmlc_tracker_port=port, dmlc_nworker=2, dmlc_task_id=str(rank)
):
    data, validation = xgb.DMatrix(x[:80], y[:80]), xgb.DMatrix(x[80:], y[80:])
    with Callbacks(used, verbose=2) as bridge:
        booster = xgb.train(
            {"objective": "binary:logistic", "nthread": 1}, data, 40,
            evals=[(data, "train"), (validation, "validation")], custom_metric=brier,
            callbacks=[bridge], verbose_eval=False,
        )  # fmt: skip
    number = xgb.collective.get_rank()
told = {
    "history": bridge.history.history,
    "reason": bridge.run.stop_reason,
    "best": booster.best_iteration,
    "rounds": booster.num_boosted_rounds(),
    "model": hashlib.sha256(booster.save_raw()).hexdigest(),
}
(folder / f"told{number}.json").write_text(json.dumps(told))
