"""scikit-learn's callback protocol: ``estimator.set_callbacks(Callbacks([...]))``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, SupportsFloat

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.utils import check_consistent_length

from callboard._core.errors import ConfigurationError, RunStateError, UnsupportedError
from callboard._core.monitor import Mode, direction
from callboard.bridges.boosting import Boosting
from callboard.bridges.estimator import EstimatorTrainable

__all__ = ["Callbacks", "EstimatorTrainable"]

Score = Callable[[Any, Any, Any], float]


class Callbacks(Boosting):
    """Callbacks for an estimator of scikit-learn that reports the iterations of ``fit``.

    In scikit-learn 1.9 that is ``LogisticRegression`` with its solver "lbfgs", alone or inside of
    a ``Pipeline``, ``GridSearchCV`` or another estimator: the callbacks are set on the innermost
    one, and each of its fits is a run. For estimators with ``partial_fit`` write the loop:
    ``Run(trainable=EstimatorTrainable(estimator))``.

    An iteration is an epoch; there are no batches. After each the metrics are computed on the
    training data, and with ``val_`` on ``validation_data``.

    scikit-learn 1.9 hears of a stop and does not act on it: it goes on computing, and when it is
    done the estimator gets the weights of the moment at which it should have stopped, or the best.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 or 2 prints a line an iteration.
        metrics: Functions of estimator, X and y by name, such as ``get_scorer("roc_auc")``. By
            default ``loss`` (log loss of a classifier, mean squared error of a regressor) and for a
            classifier ``accuracy``.
        validation_data: ``(X, y)``.

    Attributes:
        run: The :class:`callboard.Run` of the latest ``fit``, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            iteration for what surely cannot work.
        UnsupportedError: For an estimator that reports no iterations, for callbacks that change the
            learning rate or act by batches, and for ``BackupAndRestore``.
        RunStateError: In a fit while another with the same object goes on, in another thread.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from callboard.callbacks import History
        >>> callbacks = Callbacks([])
        >>> estimator = LogisticRegression().set_callbacks(callbacks)
        >>> _ = estimator.fit([[0.0], [1.0], [2.0]], [0, 0, 1])
        >>> callbacks.history.history["loss"][-1] < callbacks.history.history["loss"][0]
        True

    Source: scikit-learn 1.9 ``sklearn.callback``.
    """

    _resumes_by = "save the estimator, and set warm_start=True to train on"

    def __init__(
        self,
        callbacks: Iterable[Any] = (),
        *,
        verbose: int = 0,
        metrics: Mapping[str, Score] | None = None,
        validation_data: tuple[Any, Any] | None = None,
    ) -> None:
        super().__init__(callbacks, verbose=verbose)
        _check(metrics, validation_data)
        self._metrics = metrics
        self._validation_data = validation_data
        self._trainable: EstimatorTrainable | None = None
        self._final: Mapping[str, Any] | None = None
        self._handled: BaseException | None = None
        self._fit: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the estimator of one training too."""
        return {**super().__getstate__(), "_trainable": None, "_final": None, "_handled": None}

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin the run."""
        if self._is_running:
            raise RunStateError(
                "these callbacks take part in another fit that goes on; give each a copy of its own"
            )
        self._final = self._trainable = None
        self._handled = sys.exception()  # fit may be called where one is being handled
        if context.max_subtasks == 0 or hasattr(estimator, "steps") or hasattr(estimator, "cv"):
            raise UnsupportedError(
                f"this {type(estimator).__name__} reports no iterations of its own; set the "
                "callbacks on the estimator inside of it, or write a loop around partial_fit"
            )
        metrics = self._metrics or _default_metrics(estimator)
        self._trainable, self._fit = EstimatorTrainable(estimator), context.root_uuid
        self._begin(
            trainable=self._trainable,
            epochs=getattr(estimator, "max_iter", None) or context.max_subtasks or 0,
            batches=False,
            metrics={name: _direction(name, score) for name, score in metrics.items()},
            metrics_by="Callbacks(validation_data=(X, y))",
            validation=self._validation_data is not None,
        )

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing: scikit-learn reports the beginning of an iteration that never comes, too."""

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,  # noqa: N803 - the host's
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        """Report the end of an iteration; return whether to stop."""
        if context.parent is None or fitted_estimator is None or self._trainable is None:
            return False
        if not self._is_running:
            return True
        self._trainable.model.host = fitted_estimator
        metrics = self._metrics or _default_metrics(estimator)
        results = {"train": _values(metrics, fitted_estimator, X, y)}
        if self._validation_data is not None:
            results["val"] = _values(metrics, fitted_estimator, *self._validation_data)
        self._guarded(self.run.begin_epoch, self.run.next_epoch)
        stop = self._guarded(self._end_round, results)
        if stop:
            self._end()
            self._final = self._trainable.weights()
        return stop

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the run; give the estimator the weights that it should have ended with."""
        trainable, error = self._trainable, sys.exception()
        if trainable is None or context.root_uuid != self._fit:
            return
        if error is not None and error is not self._handled:
            self._fail(error)
            return
        trained = trainable.estimator
        if self._is_running:
            before = None if trained is estimator else trainable.weights()
            self._end()
            after = None if trained is estimator else trainable.weights()
            if before is not None and after is not None and _differ(before, after):
                self._final = after
        trainable.model.host = estimator
        if self._final is not None:
            trainable.set_weights(self._final)


def _check(metrics: Any, validation_data: Any) -> None:
    if metrics is not None and not (
        isinstance(metrics, Mapping) and metrics and all(map(callable, metrics.values()))
    ):
        raise ConfigurationError(
            "metrics must be a dict of functions of estimator, X and y by name, such as "
            f"{{'auc': sklearn.metrics.get_scorer('roc_auc')}}; got {metrics!r}"
        )
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ConfigurationError(
                f"validation_data must be (X, y); got a {type(validation_data).__name__}"
            )
        check_consistent_length(*validation_data)


def _values(metrics: Mapping[str, Score], estimator: Any, x: Any, y: Any) -> dict[str, float]:
    values = {name: score(estimator, x, y) for name, score in metrics.items()}
    for name, value in values.items():
        if np.ndim(value) or not isinstance(value, SupportsFloat):
            raise ConfigurationError(
                "a metric is a function that returns a number; "
                f"metrics[{name!r}] returned {value!r}"
            )
    return {name: float(value) for name, value in values.items()}


def _direction(name: str, score: Score) -> Mode | None:
    """Say whether a lower or a higher value is better: of scikit-learn's scorers a higher one."""
    if hasattr(score, "_score_func"):
        return "max"
    try:
        return direction(name)
    except ConfigurationError:
        return None


def _differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return any((a[name] != b[name]).any() for name in a)


def _default_metrics(estimator: Any) -> dict[str, Score]:
    if is_classifier(estimator):
        return {"loss": _log_loss, "accuracy": lambda est, x, y: est.score(x, y)}
    return {"loss": lambda est, x, y: mean_squared_error(y, est.predict(x))}


def _log_loss(estimator: Any, x: Any, y: Any) -> float:
    return float(log_loss(y, estimator.predict_proba(x), labels=estimator.classes_))
