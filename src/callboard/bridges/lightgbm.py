"""LightGBM: ``lgb.train(callbacks=[*Callbacks([...])])``, and its estimators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn

import lightgbm as lgb
import numpy as np
from lightgbm.callback import CallbackEnv, EarlyStopException

from callboard._core.checks import ConfigurationWarning
from callboard._core.dispatch import CallbackList
from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard.bridges.boosting import Boosting, BoostingTrainable, Folds
from callboard.bridges.lightgbm_machines import Machines
from callboard.callbacks import EarlyStopping, ReduceLROnPlateau

__all__ = ["Callbacks"]

Array = np.ndarray[Any, Any]

_RATES = ("learning_rate", "shrinkage_rate", "eta")
_DEFAULT_RATE = 0.1
_BOOSTING = ("boosting", "boosting_type", "boost")
_METRICS = "valid_sets=[train, validation], or eval_X and eval_y to an estimator"


class Callbacks(Boosting):
    """Callbacks for LightGBM, as several of its own: a boosting round is an epoch.

    LightGBM calls a callback before a round or after it, and never both; so this is an iterable of
    callbacks to be unpacked: ``callbacks=[*Callbacks([...]), lgb.log_evaluation()]``.

    What is evaluated on the training data is ``loss`` in the logs, on the last other data set
    ``val_loss``: the first metric, if lower is better. Further metrics have their names
    (``val_auc``); LightGBM's (``valid_0-l2``) can be read too. There are no batches.
    ModelCheckpoint saves ``.txt``, which LightGBM loads. A stop takes place when all of LightGBM's
    callbacks have seen the round. Best weights are LightGBM's ``best_iteration``, by which it
    predicts and saves; with dart, where later rounds change the earlier trees, the model as it was.
    Beside LightGBM's own early stopping, the first to stop wins; in the same round it is
    LightGBM's. In ``lgb.cv`` callbacks have the means over the folds and may change the learning
    rate; there is no model to save.

    Where several processes train one model (``machines``), the first one writes files. LightGBM
    evaluates in each what that one was given: pass all of them the same validation data, so that
    they decide alike, and monitor ``val_*``.

    LightGBM does not say when training ends: ``with Callbacks([...]) as callbacks:`` around it
    calls ``on_train_end`` where another callback stops it, and ``on_exception`` after an error.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 or 2 prints a line a round.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            round for what surely cannot work.
        UnsupportedError: For callbacks that act by batches, and for ``BackupAndRestore``.
        RunStateError: In a training while which another one with the same object began.

    Example:
        >>> import numpy as np
        >>> x = np.arange(80.0).reshape(40, 2)
        >>> data = lgb.Dataset(x, x[:, 0])
        >>> callbacks = Callbacks([EarlyStopping("loss", min_delta=1000, patience=1)])
        >>> settings = {"verbosity": -1, "num_threads": 1}
        >>> booster = lgb.train(settings, data, 50, [data], callbacks=[*callbacks])
        >>> callbacks.history.epoch
        [0, 1]

    Source: LightGBM 4.7 ``lightgbm.callback``.
    """

    _says_when_it_ends = False

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._trainable: _Trainable | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the model of one training too."""
        return {**super().__getstate__(), "_trainable": None}

    def __iter__(self) -> Iterator[Callable[[CallbackEnv], None]]:
        """Return what LightGBM is to call."""
        yield _Call(self._before, order=5, before_iteration=True)
        yield _Call(self._after, order=25)  # before LightGBM's early stopping, which raises
        yield _Call(self._last, order=1_000_000)

    def __len__(self) -> int:
        """Return how many that are: lgb.train and lgb.cv take this object without the star too."""
        return 3

    def __call__(self, env: CallbackEnv) -> NoReturn:
        """Say that this object is to be unpacked."""
        self.append(env)

    def append(self, _other: object) -> NoReturn:
        """Say the same to an estimator, which would add its own to a copy of this object."""
        raise ConfigurationError(
            "LightGBM needs several callbacks of this: pass callbacks=[*callbacks], with the star"
        )

    def _before(self, env: CallbackEnv) -> None:
        if env.iteration == env.begin_iteration:
            self._begin_run(env)
        self._require_own(env.model)
        self._guarded(self.run.begin_epoch, env.iteration)

    def _begin_run(self, env: CallbackEnv) -> None:
        self._trainable = None
        trainable: _Trainable | Folds
        if isinstance(env.model, lgb.Booster):
            trainable = self._trainable = _Trainable(env.model, env.params)
            if trainable.machines.size > 1:
                self._check_monitors(env.model)
        else:
            trainable = Folds([_Trainable(fold, env.params) for fold in env.model.boosters])
        self._begin_on(
            env.model,
            trainable=trainable,
            epochs=env.end_iteration,
            initial_epoch=env.begin_iteration,
            batches=False,
            metrics_by=_METRICS,
        )

    def _check_monitors(self, booster: lgb.Booster) -> None:
        """Raise if processes would stop in different rounds, each by its own training data."""
        same = ("val_", *(f"{name}{sep}" for name in booster.name_valid_sets for sep in "-_"))
        for callback in CallbackList([self.callbacks]):
            decides = isinstance(callback, EarlyStopping | ReduceLROnPlateau)
            if decides and not callback.monitor.startswith(same):
                raise ConfigurationError(
                    f"{type(callback).__name__} goes by {callback.monitor!r}, which LightGBM "
                    "computes in each process of its own training data, so they would decide "
                    "differently; monitor a metric of validation data (val_loss), and give all "
                    "processes the same"
                )

    def _after(self, env: CallbackEnv) -> None:
        self._require_own(env.model)
        evaluated = env.evaluation_result_list or []
        results: dict[str, dict[str, float]] = {}
        for data, metric, value, *_ in evaluated:
            results.setdefault(data, {})[metric] = value
        self._directions = {each[1]: "max" if each[3] else "min" for each in evaluated}
        training: set[str] = set()
        if self._trainable is not None:
            self._trainable.results = evaluated
            training = results.keys() - set(env.model.name_valid_sets)
        self._guarded(self._end_round, results, training)

    def _last(self, env: CallbackEnv) -> None:
        """End the training, if a callback asked for that or there are no more rounds."""
        is_last = env.iteration == env.end_iteration - 1
        if not self._is_running or not (self.run.stopping or is_last):
            return
        self._end()
        trainable, self._trainable = self._trainable, None
        if trainable is not None and trainable.restored is not None:
            rounds, results = trainable.restored
            raise EarlyStopException(rounds - 1, results)
        if self.run.stopping:
            raise EarlyStopException(env.iteration, env.evaluation_result_list or [])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run, if LightGBM has not said that training ended."""
        trainable, self._trainable = self._trainable, None
        if isinstance(error, lgb.basic.LightGBMError) and trainable and trainable.machines.size > 1:
            error.add_note(
                "if another process has stopped in an earlier round: each evaluates what it was "
                "given, so give all of them the same validation data and the same callbacks"
            )
        super().__exit__(kind, error, trace)
        if error is None and trainable is not None and trainable.restored is not None:
            trainable.go_back(trainable.restored[0])


class _Call:
    """What LightGBM calls: a function with the attributes that it looks for."""

    def __init__(
        self, call: Callable[[CallbackEnv], None], *, order: int, before_iteration: bool = False
    ) -> None:
        self._call = call
        self.order = order
        self.before_iteration = before_iteration

    def __call__(self, env: CallbackEnv) -> None:
        self._call(env)


class _Trainable(BoostingTrainable):
    """A booster that is trained.

    Attributes:
        machines: Which process this one is, among how many.
        results: The evaluation of the latest round.
        restored: Rounds to go back to, and their evaluation.
    """

    suffixes = (".txt",)

    def __init__(self, booster: lgb.Booster, settings: dict[str, Any]) -> None:
        super().__init__(booster, "a model of LightGBM")
        self._settings = settings
        self.machines = Machines.of(settings)
        self.rank = self.machines.rank
        self._boosting = next((settings[n] for n in _BOOSTING if n in settings), "gbdt")
        self.results: list[Any] = []
        self._kept: tuple[int, list[Any]] = (0, [])
        self.restored: tuple[int, list[Any]] | None = None

    @property
    def learning_rate(self) -> float:
        """Return the rate of the next round."""
        if self._boosting in ("rf", "random_forest"):
            raise UnsupportedError(
                f"boosting={self._boosting!r} has no learning rate; leave out callbacks that "
                "change it"
            )
        return float(
            next((self._settings[n] for n in _RATES if n in self._settings), _DEFAULT_RATE)
        )

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        name = next((n for n in _RATES if n in self._settings), _RATES[0])
        self.model.host.reset_parameter({name: value})
        self._settings[name] = value

    def content(self, suffix: str) -> bytes:
        text: str = self.model.host.model_to_string(num_iteration=-1)
        return text.encode()

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        self._kept = (self.model.host.current_iteration(), self.results)
        weights = {"rounds": np.array(self._kept[0])}
        if self._boosting == "dart":  # later rounds change the earlier trees
            weights["model"] = np.frombuffer(self.content(".txt"), np.uint8)
        return weights

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        rounds = int(weights["rounds"])
        self.restored = (rounds, self._kept[1] if self._kept[0] == rounds else [])
        if "model" in weights:
            self.model.host.model_from_string(weights["model"].tobytes().decode())

    def go_back(self, rounds: int) -> None:
        """Go back to so many rounds when training has ended by another callback of LightGBM."""
        booster = self.model.host
        if rounds <= booster.current_iteration():
            booster.best_iteration = rounds
            return
        warnings.warn(
            f"LightGBM's early stopping has cut the model to {booster.current_iteration()} rounds, "
            f"so the best weights, of round {rounds}, could not be restored; use one of the two",
            ConfigurationWarning,
            stacklevel=3,
        )
