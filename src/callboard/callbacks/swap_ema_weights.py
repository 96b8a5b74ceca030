"""Validate, save and end with averages of the weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import ConfigurationError
from callboard.callbacks.arguments import flag, number
from callboard.callbacks.early_stopping import EarlyStopping
from callboard.callbacks.model_checkpoint import ModelCheckpoint

if TYPE_CHECKING:
    from callboard._core.logs import Logs
    from callboard._core.trainable import Averages

__all__ = ["SwapEMAWeights"]


class SwapEMAWeights(Callback):
    """Validate with exponential moving averages of the weights, and end with them.

    The averages are in the model's place during validations, evaluations and predictions, and when
    training has ended, however early. After an error or Ctrl-C the model has its own weights.

    Callbacks see the model's own weights at the end of an epoch, or with ``swap_on_epoch`` the
    averages: so ``ModelCheckpoint`` saves them, and ``EarlyStopping`` restores the best ones, as
    this callback runs before those whatever the order of the list. What is saved at batches has
    the model's own weights. ``BackupAndRestore`` saves both.

    Args:
        swap_on_epoch: Have the averages in the model from the end of an epoch to the beginning of
            the next.
        momentum: Keep averages with this momentum, 0 <= momentum < 1: after every update of the
            optimizer, ``average = momentum * average + (1 - momentum) * weight``. For optimizers
            that keep none, as those of PyTorch and optax. Several steps that are compiled as one
            (``steps_per_execution``) count as one update, with the momentum's power. In a loop of
            your own on JAX (``Run(state=...)``) average in your step.
        averages: A ``torch.optim.swa_utils.AveragedModel`` that your loop updates. Pass it to
            ``Run(stateful=...)`` too, so that it is saved with the run.

    Raises:
        ConfigurationError: For a momentum that is not in that range, or together with ``averages``.
        UnsupportedError: If neither is given and the optimizer keeps no averages (Keras's do with
            ``use_ema=True``).

    Example:
        >>> import torch
        >>> from callboard.torch import Model
        >>> model = Model(torch.nn.Linear(1, 1, bias=False))
        >>> model.set_weights([torch.zeros(1, 1)])
        >>> model.compile(torch.optim.SGD(model.parameters(), lr=0.25), loss="mse")
        >>> x, y = torch.ones(2, 1), torch.ones(2, 1)
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[SwapEMAWeights(momentum=0.5)])
        >>> model.get_weights()[0].item()  # the weight was 0.5, then 0.75
        0.625

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J.
        Control Optim. 30 (1992); Keras 3.15 ``SwapEMAWeights``, which leaves other weights than the
        averages after an early stop, and swapped ones after an error or ``predict``.
    """

    order: ClassVar[int] = -20
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        swap_on_epoch: bool = False,
        *,
        momentum: float | None = None,
        averages: object = None,
    ) -> None:
        self.swap_on_epoch = flag(swap_on_epoch, "swap_on_epoch")
        if momentum is not None:
            momentum = float(number(momentum, "momentum", least=0.0))
            if momentum >= 1:
                raise ConfigurationError(f"momentum must be below 1, such as 0.99; got {momentum}")
            if averages is not None:
                raise ConfigurationError("pass momentum= or averages=, not both")
        self.momentum = momentum
        self._source = momentum if averages is None else averages
        self._averages: Averages | None = None
        self._of: object = None

    def check(self) -> None:
        """Check that there are averages, and that the best weights are those that were best."""
        run = self.run
        if run.purpose == "train" or self._of is not run.trainable:
            self._averages = run.trainable.averages(self._source)
            self._of = run.trainable
        if not self.swap_on_epoch:
            self._check_others()

    def _check_others(self) -> None:
        for other in self.run.callbacks:
            restores = isinstance(other, EarlyStopping) and other.restore_best_weights
            saves = isinstance(other, ModelCheckpoint) and other.save_best_only
            if (restores or saves) and other.monitor.startswith("val_"):
                warnings.warn(
                    f"SwapEMAWeights validates with the averages, and {type(other).__name__} keeps "
                    f"the weights of the best {other.monitor}, which are not the averages; pass "
                    "SwapEMAWeights(swap_on_epoch=True)",
                    ConfigurationWarning,
                    stacklevel=2,
                )

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Validate with the averages."""
        self._put()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Train on with the model's own weights."""
        self._take()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Predict with the averages."""
        self._put()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Go on with the model's own weights."""
        self._take()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Train with the model's own weights."""
        self._take()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the averages to the other callbacks, if asked to."""
        if self.swap_on_epoch:
            self._put()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave the averages in the model; not if the run is to go on later."""
        if self._averages is None or self.run.paused:
            return
        self._averages.leave()
        self.run.decide(self, "averaged", "the model has the averages of its weights")

    def on_exception(self, error: BaseException) -> None:
        """Put the model's own weights back."""
        self._take()

    def close(self) -> None:
        """Put the model's own weights back, unless training has ended in order."""
        self._take()
        if self._averages is not None:
            self._averages.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, and the model's own weights while they are not in it."""
        return {} if self._averages is None else {"averages": self._averages.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        if self._averages is not None and "averages" in state:
            self._averages.load_state_dict(state["averages"])

    def _put(self) -> None:
        if self._averages is not None:
            self._averages.put()

    def _take(self) -> None:
        if self._averages is not None:
            self._averages.take()
