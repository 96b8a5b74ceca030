"""XGBoost: ``xgb.train(callbacks=[Callbacks([...])])``, and its estimators."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xgboost as xgb

from callboard.bridges.boosting import Boosting, BoostingTrainable, Folds

__all__ = ["Callbacks"]

Array = np.ndarray[Any, Any]

_METRICS = 'evals=[(train, "train"), (validation, "validation")], or eval_set to an estimator'


class Callbacks(Boosting, xgb.callback.TrainingCallback):
    """Callbacks for XGBoost, as one of its own: a boosting round is an epoch.

    What is evaluated on the training data (``evals=[(dtrain, "train"), ...]``) is ``loss`` in the
    logs, on the last other data set ``val_loss``: the first metric, if lower is better. Further
    metrics have their names (``val_auc``); XGBoost's (``validation-logloss``) can be read too.
    There are no batches. ModelCheckpoint saves ``.ubj`` and ``.json``, which XGBoost loads.
    A stop takes place before the next round, so that all of XGBoost's callbacks see the last one.
    Beside XGBoost's own early stopping, the first to ask ends the training. Best weights that come
    back are the model up to the best round, and set ``best_iteration``. In ``xgb.cv`` callbacks
    have the means over the folds and may change the learning rate; there is no model to save.

    XGBoost does not tell its callbacks of errors and Ctrl-C: for ``on_exception`` and ``close``
    go ``with Callbacks([...]) as callbacks:`` around the training.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 or 2 prints a line a round.
        epochs: Rounds in all, to show progress: XGBoost does not tell.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            round for what surely cannot work.
        UnsupportedError: For callbacks that act by batches, and for ``BackupAndRestore``.
        RunStateError: In a training while which another one with the same object began.

    Example:
        >>> import numpy as np
        >>> from callboard.callbacks import EarlyStopping
        >>> x = np.arange(40.0).reshape(20, 2)
        >>> data = xgb.DMatrix(x, x[:, 0])
        >>> callbacks = Callbacks([EarlyStopping("loss", min_delta=5, patience=1)])
        >>> booster = xgb.train({}, data, 50, evals=[(data, "train")], callbacks=[callbacks],
        ...     verbose_eval=False)
        >>> booster.num_boosted_rounds()
        2

    Source: XGBoost 3.2 ``xgboost.callback.TrainingCallback``.
    """

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0, epochs: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._epochs = epochs
        self._log: Any = {}
        self._trained: tuple[Any, int] = (None, 0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the model of one training too."""
        return {**super().__getstate__(), "_log": {}, "_trained": (None, 0)}

    def before_training(self, model: Any) -> Any:
        """Begin the run."""
        trainable: _Trainable | Folds
        if isinstance(model, xgb.Booster):
            trainable = _Trainable(model)
        else:
            trainable = Folds([_Trainable(fold.bst) for fold in model.cvfolds])
        self._log = {}
        self._begin_on(
            model, trainable=trainable, epochs=self._epochs, batches=False, metrics_by=_METRICS
        )
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Report the beginning of a round, or end the training."""
        self._require_own(model)
        self._log, self._trained = evals_log, (model, model.num_boosted_rounds())
        if not self.run.stopping:
            self._guarded(self.run.begin_epoch, epoch)
        return self.run.stopping

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Report the end of a round."""
        self._require_own(model)
        self._guarded(self._end_round, _latest(evals_log))
        return False  # True would keep it from the callbacks after this one

    def after_training(self, model: Any) -> Any:
        """End the run."""
        if self.run.in_epoch and not self.run.stopping:  # another callback ended training
            trained, before = self._trained
            if trained.num_boosted_rounds() > before:
                self._guarded(self._end_round, _latest(self._log))
            else:
                self.run.drop_epoch()
        if isinstance(model, xgb.Booster):  # XGBoost's early stopping may have made another one
            self.run.model.host = model
        self._end()
        self._log, self._trained = {}, (None, 0)
        return model


class _Trainable(BoostingTrainable):
    suffixes = (".json", ".ubj")

    def __init__(self, booster: xgb.Booster) -> None:
        super().__init__(booster, "a model of XGBoost")
        self.rank = xgb.collective.get_rank()

    @property
    def learning_rate(self) -> float:
        """Return the rate of the next round."""
        config = json.loads(self.model.host.save_config())
        rate = _found(config["learner"]["gradient_booster"], "learning_rate")
        return float(str(np.float32(rate)))  # 0.3, and not its 0.300000012

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.model.host.set_param("learning_rate", value)

    def content(self, suffix: str) -> bytes:
        return bytes(self.model.host.save_raw(raw_format=suffix[1:]))

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        # The whole model and not a number of rounds: dart changes earlier trees, gblinear has none.
        model = np.frombuffer(self.content(".ubj"), np.uint8)
        return {"model": model, "rounds": np.array(self.model.host.num_boosted_rounds())}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        booster, best = self.model.host, int(weights["rounds"]) - 1
        of_best = booster.attr("best_iteration") == str(best)
        score = booster.attr("best_score")
        booster.load_model(bytearray(weights["model"].tobytes()))
        # XGBoost's estimators predict by this attribute, which its early stopping sets. Its score
        # is not known of another round than that of its own choice.
        booster.set_attr(
            best_iteration=str(best), best_score=score if of_best or score is None else "nan"
        )


def _latest(log: Any) -> dict[str, dict[str, float]]:
    """Return the values of the latest round; of cross-validation the means over the folds."""
    return {
        data: {
            name: float(values[-1][0] if isinstance(values[-1], tuple) else values[-1])
            for name, values in metrics.items()
        }
        for data, metrics in log.items()
    }


def _found(config: Mapping[str, Any], name: str) -> Any:
    """Return a parameter, wherever in the configuration it is: that depends on the booster."""
    if name in config:
        return config[name]
    inner = (_found(each, name) for each in config.values() if isinstance(each, dict))
    return next((value for value in inner if value is not None), None)
