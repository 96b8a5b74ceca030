"""LightGBM: ``lgb.train(callbacks=[*Callbacks([...])])``, and its estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import lightgbm as lgb
import numpy as np
from lightgbm.callback import CallbackEnv, EarlyStopException

from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.trainable import NoModel
from callboard.bridges.boosting import Boosting, BoostingTrainable

__all__ = ["Callbacks"]

Array = np.ndarray[Any, Any]

_RATES = ("learning_rate", "shrinkage_rate", "eta")
_DEFAULT_RATE = 0.1


class Callbacks(Boosting):
    """Callbacks for LightGBM, as several of its own: a boosting round is an epoch.

    LightGBM calls a callback before a round or after it, and never both; so this is an iterable of
    callbacks to be unpacked: ``callbacks=[*Callbacks([...]), lgb.log_evaluation()]``.

    What is evaluated on the training data is ``loss`` in the logs, on the last other data set
    ``val_loss``: the first metric, if lower is better. Further metrics have their names
    (``val_auc``); LightGBM's (``valid_0-l2``) can be read too. There are no batches.
    ModelCheckpoint saves ``.txt``, which LightGBM loads. A stop takes place when all of LightGBM's
    callbacks have seen the round. Best weights are LightGBM's ``best_iteration``, by which it
    predicts and saves.

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

    Example:
        >>> import numpy as np
        >>> from callboard.callbacks import EarlyStopping
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

    def __call__(self, env: CallbackEnv) -> NoReturn:
        """Say that this object is to be unpacked."""
        raise ConfigurationError(
            "LightGBM needs several callbacks of this: pass callbacks=[*callbacks], with the star"
        )

    def _before(self, env: CallbackEnv) -> None:
        if env.iteration == env.begin_iteration:
            self._begin_run(env)
        self._guarded(self.run.begin_epoch, env.iteration)

    def _begin_run(self, env: CallbackEnv) -> None:
        self._trainable = _Trainable(env) if isinstance(env.model, lgb.Booster) else None
        folds = "a model of its own is trained for every fold, and none of them can be it"
        self._begin(
            trainable=self._trainable or NoModel(folds),
            epochs=env.end_iteration,
            initial_epoch=env.begin_iteration,
            batches=False,
        )

    def _after(self, env: CallbackEnv) -> None:
        results: dict[str, dict[str, float]] = {}
        for data, metric, value, *_ in env.evaluation_result_list or ():
            results.setdefault(data, {})[metric] = value
        if self._trainable is not None:
            self._trainable.results = list(env.evaluation_result_list or ())
        self._guarded(self._end_round, results)

    def _last(self, env: CallbackEnv) -> None:
        """End the training, if a callback asked for that or there are no more rounds."""
        is_last = env.iteration == env.end_iteration - 1
        if not self._is_running or not (self.run.stopping or is_last):
            return
        self._end()
        trainable = self._trainable
        if trainable is not None and trainable.restored is not None:
            rounds, results = trainable.restored
            raise EarlyStopException(rounds - 1, results)
        if self.run.stopping:
            raise EarlyStopException(env.iteration, env.evaluation_result_list or [])


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
        results: The evaluation of the latest round.
        restored: Rounds to go back to, and their evaluation.
    """

    suffixes = (".txt",)

    def __init__(self, env: CallbackEnv) -> None:
        super().__init__(env.model, "LightGBM")
        self._booster = env.model
        self._settings = env.params
        self.results: list[Any] = []
        self._kept: tuple[int, list[Any]] = (0, [])
        self.restored: tuple[int, list[Any]] | None = None

    @property
    def learning_rate(self) -> float:
        """Return the rate of the next round."""
        return float(
            next((self._settings[n] for n in _RATES if n in self._settings), _DEFAULT_RATE)
        )

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        name = next((n for n in _RATES if n in self._settings), _RATES[0])
        self._booster.reset_parameter({name: value})
        self._settings[name] = value

    def content(self, suffix: str) -> bytes:
        text: str = self._booster.model_to_string(num_iteration=-1)
        return text.encode()

    def weights(self, into: dict[str, Array] | None = None) -> dict[str, Array]:
        boosting = self._settings.get("boosting", self._settings.get("boosting_type"))
        if boosting == "dart":
            raise UnsupportedError(
                "with boosting='dart' later rounds change the earlier trees, so there is no going "
                "back to the best weights; save them with ModelCheckpoint(save_best_only=True)"
            )
        self._kept = (self._booster.current_iteration(), self.results)
        return {"rounds": np.array(self._kept[0])}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        rounds = int(weights["rounds"])
        self.restored = (rounds, self._kept[1] if self._kept[0] == rounds else [])

    def state_dict(self) -> dict[str, Any]:
        """Return the model as far as it has grown."""
        return {"weights": {"model": np.frombuffer(self.content(".txt"), np.uint8)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        raise UnsupportedError("a booster goes on by lgb.train(init_model=...)")
