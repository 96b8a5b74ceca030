"""``lgb.train`` over sockets, started once for each process."""

import hashlib
import json
import sys
from pathlib import Path

import lightgbm as lgb
import numpy as np

from callboard import callbacks
from callboard.bridges.lightgbm import Callbacks

folder, rank, ports = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
validates = sys.argv[4]


def rows(seed, noise):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(120, 4))
    return x, x[:, 0] + noise * rng.normal(size=120) > 0


data = lgb.Dataset(*rows(rank, 1 + rank))
validation = lgb.Dataset(*rows(2 + rank if validates == "own" else 2, 1), reference=data)
used = [
    callbacks.EarlyStopping(patience=3, restore_best_weights=True),
    callbacks.ReduceLROnPlateau("valid_1-binary_logloss", patience=1, factor=0.5),
    callbacks.ModelCheckpoint(folder / "best.txt", save_best_only=True),
    callbacks.ModelCheckpoint(folder / "runs"),
    callbacks.CSVLogger(folder / "log.csv"),
]
settings = {
    "objective": "binary",
    "machines": ",".join(f"127.0.0.1:{port}" for port in ports),
    "local_listen_port": int(ports[rank]),
    "tree_learner": "data",
    "pre_partition": True,
    "num_threads": 1,
    "min_data_in_leaf": 5,
    "verbosity": -1,
}
with Callbacks(used, verbose=2) as bridge:
    booster = lgb.train(settings, data, 40, [data, validation], callbacks=[*bridge])
told = {
    "history": bridge.history.history,
    "reason": bridge.run.stop_reason,
    "best": booster.best_iteration,
    "rounds": booster.num_trees(),
    "model": hashlib.sha256(
        booster.model_to_string().split("\nparameters")[0].encode()
    ).hexdigest(),
}
(folder / f"told{rank}.json").write_text(json.dumps(told))
