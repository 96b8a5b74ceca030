"""What the bridges to libraries for boosting have in common: a round is an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core import fs
from callboard._core.errors import ConfigurationError, UnknownNameError, UnsupportedError
from callboard._core.logs import Logs
from callboard._core.monitor import direction
from callboard.bridges.bridge import Bridge

__all__ = ["Boosting", "BoostingModel", "BoostingTrainable", "Results", "named"]

Array = np.ndarray[Any, Any]
Results = Mapping[str, Mapping[str, float]]
"""Values of metrics, by data set and metric."""

_TRAINING = frozenset({"train", "training", "dtrain", "learn"})


class BoostingModel:
    """What callbacks of a boosting run receive as their model.

    Everything but ``stop_training`` is the library's own model, as far as it exists yet.

    Args:
        booster: That model.
    """

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.stop_training = False

    def __getattr__(self, name: str) -> Any:
        if name == "booster" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.booster, name)


class BoostingTrainable:
    """What callbacks may do to a model that grows by rounds, as far as the libraries agree.

    Args:
        booster: The library's model.
        library: Its name, for errors.
    """

    rank = 0
    synchronous = True
    rate_controller = ""
    rejected = ""
    suffixes: tuple[str, ...] = ()

    def __init__(self, booster: Any, library: str) -> None:
        self.model = BoostingModel(booster)
        self._library = library

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics as they are: the libraries take care of several processes."""
        return logs

    def nonfinite(self) -> str:
        """Return nothing: trees that are not finite are not grown."""
        return ""

    def gradients(self) -> dict[str, Array]:
        """Raise, as there are none."""
        raise UnsupportedError(f"a model of {self._library} has no gradients to look at")

    def activations(self, inputs: Any) -> dict[str, Array]:
        """Raise, as there are no layers."""
        raise UnsupportedError(f"a model of {self._library} has no layers to look at")

    def guard(self, *, gradients: bool) -> bool:
        """Say that the logs are to be looked at; a round cannot be rejected."""
        if gradients:
            self.gradients()
        return False

    def unguard(self) -> None:
        """Do nothing, as nothing was guarded."""

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if the model cannot be saved under this name."""
        if path.suffix not in self.suffixes:
            raise UnknownNameError("file suffix", path.suffix or path.name, self.suffixes)

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the model durably and whole, in the library's own format."""
        content = self.content(path.suffix)
        with fs.replacing(path) as file:
            file.write(content)

    def content(self, suffix: str) -> bytes:
        """Return what the library writes to a file with this suffix."""
        raise NotImplementedError

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        """Return what the model goes back to by ``set_weights``."""
        raise NotImplementedError

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Go back to what ``weights`` returned."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the model as far as it has grown."""
        return {"weights": self.weights()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.set_weights(state["weights"])


class Boosting(Bridge):
    """A bridge to a library that trains by rounds and has no batches."""

    _resumes_by = "save models with ModelCheckpoint and train on from the last one"

    def _end_round(self, results: Results) -> bool:
        """Report that a round is over; return whether training is to end."""
        run = self.run
        logs, other_names = named(results)
        run.end_batch()
        validation = {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
        if validation:
            run.begin_validation()
            run.end_validation(validation)
        return run.end_epoch(logs, other_names)


def named(results: Results) -> tuple[dict[str, float], dict[str, str]]:
    """Return metrics by our names, and other names for them, each with ours.

    Those of the training data have no prefix, those of the last other data set ``val_``, those of
    further ones the name of the set. The first metric is the loss, if lower is better.

    Example:
        >>> logs, other_names = named({"train": {"rmse": 0.2, "r2": 0.8}, "test": {"rmse": 0.3}})
        >>> logs
        {'loss': 0.2, 'r2': 0.8, 'val_loss': 0.3}
        >>> other_names["test-rmse"], other_names["val_rmse"]
        ('val_loss', 'val_loss')
    """
    others = [data for data in results if data not in _TRAINING]
    logs: dict[str, float] = {}
    other_names: dict[str, str] = {}
    for data, metrics in results.items():
        prefix = "" if data in _TRAINING else "val_" if data == others[-1] else f"{data}_"
        loss = _loss_of(metrics)
        for metric, value in metrics.items():
            name = f"{prefix}loss" if metric == loss else f"{prefix}{metric}"
            logs[name] = value
            for other in (f"{data}-{metric}", f"{data}_{metric}", f"{prefix}{metric}"):
                if other != name:
                    other_names[other] = name
    return logs, other_names


def _loss_of(metrics: Mapping[str, float]) -> str | None:
    """Return the metric that is the loss: one of that name, else the first, if lower is better."""
    if "loss" in metrics:
        return "loss"
    first = next(iter(metrics), None)
    if first is None:
        return None
    spelled = first.lower()
    if spelled in _LOWER:
        return first
    try:
        return first if direction(spelled) == "min" else None
    except ConfigurationError:
        return None


# Names of losses that only libraries for boosting use.
_LOWER = frozenset(
    {
        "aft-nloglik",
        "binary_error",
        "binary_logloss",
        "cox-nloglik",
        "cross_entropy_lambda",
        "fair",
        "gamma",
        "gamma-deviance",
        "gamma-nloglik",
        "gamma_deviance",
        "huber",
        "kullback_leibler",
        "l1",
        "l2",
        "logloss",
        "mae",
        "mape",
        "merror",
        "mlogloss",
        "mphe",
        "multi_error",
        "multi_logloss",
        "multiclass",
        "poisson-nloglik",
        "quantile",
        "rmsle",
        "tweedie",
    }
)
