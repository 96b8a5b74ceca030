"""CatBoost: ``model.fit(callbacks=[callbacks])`` within ``with Callbacks([...]).attach(model)``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import catboost
import numpy as np

from callboard._core.checks import ConfigurationWarning
from callboard._core.dispatch import CallbackList
from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.trainable import NoModel
from callboard.bridges.boosting import Boosting, BoostingTrainable, Results
from callboard.bridges.catboost_metrics import direction_of, directions
from callboard.callbacks import ModelCheckpoint, OrbaxCheckpoint

__all__ = ["Callbacks"]

Array = np.ndarray[Any, Any]

_ROUNDS = ("iterations", "n_estimators", "num_boost_round", "num_trees")
_DEFAULT_ROUNDS = 1000
_DEFAULT_LOSSES = ("Logloss", "MultiClass", "RMSE")
_METRICS = "eval_set=(x, y) to fit"
_BLOCK = "with Callbacks([...]).attach(model) as callbacks:"


class Callbacks(Boosting):
    """Callbacks for CatBoost, as one of its own: a boosting round is an epoch.

    CatBoost calls a callback after every round and at no other time, so the ``with`` block is what
    says when training begins and ends::

        with Callbacks([...]).attach(model) as callbacks:
            model.fit(x, y, eval_set=..., callbacks=[callbacks])

    A block is for one training. One that goes on from a snapshot (``save_snapshot``) goes on
    counting rounds; callbacks begin anew.

    The metrics of ``learn`` have no prefix in the logs, those of the last validation set ``val_``;
    what is minimized is the ``loss``. CatBoost's names (``validation-Logloss``) can
    be read too. A round that CatBoost does not evaluate (``metric_period``) has no metrics. There
    are no batches, the model cannot be saved while it is trained, and the learning rate cannot be
    changed. Best weights are those of ``model.shrink``, after CatBoost has kept its own best
    (``use_best_model``). ``catboost.cv`` takes no callbacks.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 or 2 prints a line a round.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; at the beginning of
            the block for what surely cannot work.
        UnsupportedError: For callbacks that save the model, change the learning rate or act by
            batches, and for ``BackupAndRestore``; without the block for those that restore weights.

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
        self._error: BaseException | None = None
        self._evaluations = 0
        self._heard = 0
        self._losses: tuple[Any, ...] = _DEFAULT_LOSSES

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the model of one training too."""
        return {**super().__getstate__(), "_trainable": None, "_error": None}

    def attach(self, model: Any) -> Self:
        """Say which model is going to be trained; without one, callbacks have none.

        Raises:
            ConfigurationError: If it is no model of CatBoost.
        """
        if not isinstance(model, catboost.CatBoost):
            raise ConfigurationError(
                f"attach(...) takes the model that fit is called of; got {model!r}"
            )
        self._model = model
        return self

    def __enter__(self) -> Self:
        """Begin the run."""
        super().__enter__()
        try:
            self._begin_run()
        except BaseException:
            self._is_entered = False
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run; raise a callback's own error, which CatBoost has made a text of."""
        own, self._error = self._error, None
        if error is None:
            if not self._heard:
                warnings.warn(
                    "no round was heard of in this block; pass the object to the training: "
                    "model.fit(..., callbacks=[callbacks])",
                    ConfigurationWarning,
                    stacklevel=2,
                )
            self._end_unsaid()
        super().__exit__(kind, error, trace)
        if own is not None and isinstance(error, catboost.CatBoostError):
            raise own

    def after_iteration(self, info: Any) -> bool:
        """Report the end of a round; return whether to go on."""
        if info.iteration == 1 and not self._is_entered:
            self._end_unsaid()
        if not self._is_running:
            self._begin_run()
        try:
            if info.iteration <= self._heard:
                self._fail_as_twice()
            self._heard = info.iteration
            stop = self._report(info)
        except BaseException as error:
            self._error = error
            raise
        if not self._is_entered and (stop or info.iteration == self.run.epoch_count):
            self._end()
        return not stop

    def _end_unsaid(self) -> None:
        """End a run whose end CatBoost has not told of, nor that its next round does not come."""
        if self._is_running:
            self.run.drop_epoch()
            self._end()

    def _report(self, info: Any) -> bool:
        done = info.iteration
        if self.run.in_epoch and self.run.progress.epoch != done - 1:  # it goes on from a snapshot
            self.run.drop_epoch()
            self._guarded(self.run.begin_epoch, done - 1)
        if self._trainable is not None:
            self._trainable.rounds = done
        stop = self._guarded(self._end_round, self._latest(info.metrics))
        if not stop and done < self.run.epoch_count:
            self._guarded(self.run.begin_epoch, done)
            stop = self.run.stopping
        return stop

    def _latest(self, metrics: Mapping[str, Mapping[str, list[float]]]) -> Results:
        """Return what was evaluated in this round: nothing, where that is done every few rounds."""
        before = self._evaluations
        self._evaluations = max(
            (len(values) for each in metrics.values() for values in each.values()), default=0
        )
        if self._evaluations == before:
            return {}
        return {
            data: {name: float(each[name][-1]) for name in sorted(each, key=self._place)}
            for data, each in metrics.items()
        }

    def _place(self, metric: str) -> int:
        """Return where a metric stands: what is minimized comes first, CatBoost has no order."""
        return self._losses.index(metric) if metric in self._losses else len(self._losses)

    def _begin_run(self) -> None:
        saving = (ModelCheckpoint, OrbaxCheckpoint)
        if any(isinstance(each, saving) for each in CallbackList([self.callbacks])):
            _cannot_save()
        given = {} if self._model is None else self._model.get_params()
        rounds = next((given[name] for name in _ROUNDS if name in given), _DEFAULT_ROUNDS)
        self._evaluations = self._heard = 0
        own = given.get("eval_metric")
        self._directions = dict(directions())
        if hasattr(own, "is_max_optimal"):  # a metric written in Python
            self._directions[type(own).__name__] = direction_of(own)
        # Without the block the run ends before CatBoost has put the model together.
        has_model = self._model is not None and self._is_entered
        self._trainable = _Trainable(self._model) if has_model else None
        self._begin(
            trainable=self._trainable or NoModel(f"train the model in a block `{_BLOCK}`"),
            epochs=rounds,
            batches=False,
            metrics=self._directions,
            metrics_by=_METRICS,
        )
        self._guarded(self.run.begin_epoch, 0)


class _Trainable(BoostingTrainable):
    def __init__(self, model: Any) -> None:
        super().__init__(model, "a model of CatBoost")
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

    def content(self, suffix: str) -> NoReturn:
        """Raise, for the same reason."""
        _cannot_save()

    def state_dict(self) -> NoReturn:
        """Raise, for the same reason."""
        _cannot_save()

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        # The model is the library's until fit ends, and trees that are there do not change.
        return {"rounds": np.array(self.rounds)}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        model, rounds = self.model.host, int(weights["rounds"])
        if not model.is_fitted():
            raise ConfigurationError(
                "attach(...) was given another model than the one that was trained"
            )
        best = model.get_best_iteration()
        shrunk = best is not None and model.get_all_params().get("use_best_model")
        kept = best + 1 if shrunk else self.rounds
        if rounds <= kept:  # the trees of an init_model come before those of the rounds
            model.shrink(ntree_end=model.tree_count_ - kept + rounds)
            return
        warnings.warn(
            f"CatBoost has kept its own best model, of round {kept}, so the best weights, of round "
            f"{rounds}, could not be restored; train with use_best_model=False",
            ConfigurationWarning,
            stacklevel=3,
        )


def _cannot_save() -> NoReturn:
    raise UnsupportedError(
        "CatBoost's model cannot be saved while it trains; pass fit(save_snapshot=True), or "
        "EarlyStopping(restore_best_weights=True) and model.save_model afterwards"
    )
