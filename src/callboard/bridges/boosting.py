"""What the bridges to libraries for boosting have in common: a round is an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from callboard._core import fs
from callboard._core.errors import ConfigurationError, RunStateError, UnsupportedError
from callboard._core.inspection import Inspection, Profiler
from callboard._core.monitor import Mode, direction
from callboard._core.trainable import NoModel
from callboard.bridges.bridge import Bridge
from callboard.bridges.layerless import LayerlessTrainable

__all__ = ["Boosting", "BoostingTrainable", "Folds", "Results", "named"]

Array = np.ndarray[Any, Any]
Results = Mapping[str, Mapping[str, float]]
"""Values of metrics, by data set and metric."""

_TRAINING = frozenset({"train", "training", "dtrain", "learn"})
_FOLDS = "cross-validation trains a model for every fold, and none of them can be it"


class BoostingTrainable(LayerlessTrainable):
    """What callbacks may do to a model that grows by rounds, as far as the libraries agree."""

    @property
    def inspection(self) -> Inspection:
        """What can be shown of the model."""
        return Trees(self.kind)

    @abstractmethod
    def content(self, suffix: str) -> bytes:
        """Return what the library writes to a file with this suffix."""

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the model durably and whole, in the library's own format."""
        content = self.content(path.suffix)
        with fs.replacing(path) as file:
            file.write(content)

    def state_dict(self) -> dict[str, Any]:
        """Return the model as far as it has grown, as the bytes of a file."""
        model = np.frombuffer(self.content(self.suffixes[-1]), np.uint8)
        return {"weights": {"model": model}, "frozen": {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> NoReturn:
        """Raise, as it is the library that goes on with a model."""
        raise UnsupportedError(f"{self.kind} goes on by its library's own means")


class Trees:
    """What can be shown of a model that grows by rounds: that it is one.

    Args:
        kind: What it is ("a model of XGBoost").
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    @property
    def outputs_first(self) -> bool:
        """There are no convolutions to tell it of."""
        return True

    def layers(self) -> NoReturn:
        """Raise, as there are none to draw histograms of."""
        raise UnsupportedError(f"{self._kind} has no layers to draw; leave histogram_freq out")

    def summary(self) -> str:
        """Return what kind of model it is."""
        return self._kind

    def description(self) -> dict[str, Any]:
        """Return what kind of model it is."""
        return {"model": self._kind}

    def embeddings(self) -> dict[str, Array]:
        """Return none."""
        return {}

    def graph(self, batch: Any) -> NoReturn:
        """Raise, as there are no operations to show."""
        raise UnsupportedError(f"{self._kind} has no graph of operations")

    def profiler(self) -> Profiler | None:
        """Return None: the libraries have none that could be asked."""
        return None


class Folds:
    """The models of a cross-validation: callbacks may change the learning rate of all together.

    Args:
        folds: One for each fold.
    """

    def __init__(self, folds: Sequence[Any]) -> None:
        self._folds = folds
        self._no_model = NoModel(_FOLDS)
        self.model = self._no_model.model

    def __getattr__(self, name: str) -> Any:
        if name == "_no_model" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._no_model, name)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next round."""
        return float(self._folds[0].learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for fold in self._folds:
            fold.learning_rate = value


class Boosting(Bridge):
    """A bridge to a library that trains by rounds and has no batches."""

    _resumes_by = "save models with ModelCheckpoint and train on from the last one"
    _directions: Mapping[str, Mode] = {}

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._host: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is trained, too."""
        return {**super().__getstate__(), "_host": None}

    def _begin_on(self, host: Any, **options: Any) -> None:
        """Begin a run for the training of a model.

        Raises:
            ConfigurationError: If it has begun already: these callbacks are in the list twice.
        """
        if self._is_running and host is self._host:
            self._fail_as_twice()
        self._begin(**options)
        self._host = host

    def _require_own(self, host: Any) -> None:
        """Raise where callbacks hear of another training than the one that they follow.

        Raises:
            RunStateError: If another one has begun meanwhile, in another thread or in a callback.
        """
        if host is not self._host:
            raise RunStateError(
                "these callbacks take part in another training that began meanwhile; give each "
                "training a copy of its own"
            )

    def _fail_as_twice(self) -> NoReturn:
        error = ConfigurationError(
            "these callbacks heard of one round twice; pass them once, and to one training at a "
            "time"
        )
        self._fail(error)
        raise error

    def _end(self) -> None:
        super()._end()
        self._host = None

    def _end_round(self, results: Results, training: Collection[str] = ()) -> bool:
        """Report that a round is over; return whether training is to end.

        Args:
            results: Values of the round.
            training: Names that the training data has besides the usual ones.
        """
        run = self.run
        logs, other_names = named(results, self._directions, training)
        run.end_batch()
        validation = {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
        if run.validation is None:  # what is evaluated in one round is in all
            run.validation = bool(validation)
        if validation:
            run.begin_validation()
            run.end_validation(validation)
        return run.end_epoch(logs, other_names)


def named(
    results: Results, directions: Mapping[str, Mode] | None = None, training: Collection[str] = ()
) -> tuple[dict[str, float], dict[str, str]]:
    """Return metrics by our names, and other names for them, each with ours.

    Those of the training data have no prefix, those of the last other data set ``val_``, those of
    further ones the name of the set. The first metric is the loss, if lower is better.

    Args:
        results: Values of the latest round.
        directions: Whether "min" or "max" is better, for metrics of which the library knows it.
        training: Names that the training data has besides the usual ones.

    Example:
        >>> logs, other_names = named({"train": {"rmse": 0.2, "r2": 0.8}, "test": {"rmse": 0.3}})
        >>> logs
        {'loss': 0.2, 'r2': 0.8, 'val_loss': 0.3}
        >>> other_names["test-rmse"], other_names["val_rmse"]
        ('val_loss', 'val_loss')
    """
    training = _TRAINING.union(training)
    others = [data for data in results if data not in training]
    logs: dict[str, float] = {}
    other_names: dict[str, str] = {}
    for data, metrics in results.items():
        prefix = "" if data in training else "val_" if data == others[-1] else f"{data}_"
        loss = _loss_of(metrics, directions)
        for metric, value in metrics.items():
            name = f"{prefix}loss" if metric == loss else f"{prefix}{metric}"
            logs[name] = value
            for other in (f"{data}-{metric}", f"{data}_{metric}", f"{prefix}{metric}"):
                if other != name:
                    other_names[other] = name
    return logs, other_names


def _loss_of(metrics: Mapping[str, float], directions: Mapping[str, Mode] | None) -> str | None:
    """Return the metric that is the loss: one of that name, else the first, if lower is better."""
    if "loss" in metrics:
        return "loss"
    first = next(iter(metrics), "")
    try:
        return first if direction(first, directions) == "min" else None
    except ConfigurationError:
        return None
