"""CatBoost: ``model.fit(callbacks=[callbacks])`` within ``with Callbacks([...]).attach(model)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from callboard._core.dispatch import CallbackList
from callboard._core.errors import UnsupportedError
from callboard._core.trainable import NoModel
from callboard.bridges.boosting import Boosting, BoostingTrainable
from callboard.callbacks import ModelCheckpoint

__all__ = ["Callbacks"]

Array = np.ndarray[Any, Any]

_ROUNDS = ("iterations", "n_estimators", "num_boost_round", "num_trees")
_DEFAULT_ROUNDS = 1000


class Callbacks(Boosting):
    """Callbacks for CatBoost, as one of its own: a boosting round is an epoch.

    CatBoost calls a callback after every round and at no other time, so the ``with`` block is what
    says when training begins and ends::

        with Callbacks([...]).attach(model) as callbacks:
            model.fit(x, y, eval_set=..., callbacks=[callbacks])

    The metrics of ``learn`` have no prefix in the logs, those of the last validation set ``val_``;
    the first one is the ``loss``, if lower is better. CatBoost's names (``validation-Logloss``) can
    be read too. There are no batches, the model cannot be saved while it is trained, and the
    learning rate cannot be changed. Best weights are those of ``model.shrink``.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 or 2 prints a line a round.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; at the beginning of
            the block for what surely cannot work.
        UnsupportedError: For callbacks that save the model, change the learning rate or act by
            batches, and for ``BackupAndRestore``.

    Example:
        >>> import catboost
        >>> from callboard.callbacks import EarlyStopping
        >>> model = catboost.CatBoostRegressor(50, verbose=False, allow_writing_files=False)
        >>> stopping = EarlyStopping("loss", min_delta=100, patience=1)
        >>> with Callbacks([stopping]).attach(model) as callbacks:
        ...     _ = model.fit([[1], [2], [3]], [1, 2, 3], callbacks=[callbacks])
        >>> model.tree_count_
        2

    Source: CatBoost 1.2 ``CatBoost.fit(callbacks=)``.
    """

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._model: Any = None
        self._trainable: _Trainable | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the model of one training too."""
        return {**super().__getstate__(), "_trainable": None}

    def attach(self, model: Any) -> Self:
        """Say which model is going to be trained; without one, callbacks have none."""
        self._model = model
        return self

    def __enter__(self) -> Self:
        """Begin the run."""
        super().__enter__()
        self._begin_run()
        return self

    def after_iteration(self, info: Any) -> bool:
        """Report the end of a round; return whether to go on."""
        if not self._is_running:
            self._begin_run()
        done = info.iteration
        results = {
            data: {name: float(values[-1]) for name, values in metrics.items()}
            for data, metrics in info.metrics.items()
        }
        if self._trainable is not None:
            self._trainable.rounds = done
        stop = self._guarded(self._end_round, results)
        if not stop and done < self.run.epoch_count:
            self._guarded(self.run.begin_epoch, done)
            stop = self.run.stopping
        if not self._is_entered and (stop or done == self.run.epoch_count):
            self._end()
        return not stop

    def _begin_run(self) -> None:
        if any(isinstance(each, ModelCheckpoint) for each in CallbackList([self.callbacks])):
            _cannot_save()
        given = {} if self._model is None else self._model.get_params()
        rounds = next((given[name] for name in _ROUNDS if name in given), _DEFAULT_ROUNDS)
        advice = "name it by Callbacks([...]).attach(model)"
        self._trainable = None if self._model is None else _Trainable(self._model)
        self._begin(trainable=self._trainable or NoModel(advice), epochs=rounds, batches=False)
        self._guarded(self.run.begin_epoch, 0)


class _Trainable(BoostingTrainable):
    def __init__(self, model: Any) -> None:
        super().__init__(model, "CatBoost")
        self.rounds = 0

    @property
    def learning_rate(self) -> float:
        """Raise, as CatBoost does not let it be changed."""
        raise UnsupportedError(
            "CatBoost's learning rate cannot be changed while it trains; leave out callbacks that "
            "change it"
        )

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        _ = self.learning_rate

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise, as there is no model to save before training has ended."""
        _cannot_save()

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        # The model is the library's until fit ends, and trees that are there do not change.
        return {"rounds": np.array(self.rounds)}

    def state_dict(self) -> dict[str, Any]:
        """Raise, for the same reason."""
        _cannot_save()

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        self.model.booster.shrink(ntree_end=int(weights["rounds"]))


def _cannot_save() -> NoReturn:
    raise UnsupportedError(
        "CatBoost's model cannot be saved while it trains; pass fit(save_snapshot=True), or "
        "EarlyStopping(restore_best_weights=True) and model.save_model afterwards"
    )
