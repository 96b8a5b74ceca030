"""Stop when the loss is NaN or infinite, before it reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.errors import NonFiniteError
from callboard.callbacks.arguments import flag, whole

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["TerminateOnNaN"]


class TerminateOnNaN(Callback):
    """Stop training when the loss is NaN or infinite; the update with that loss is not applied.

    So the weights that other callbacks see afterwards, and all checkpoints, are those from before
    the bad batch. In a loop of your own (``Run``) the optimizer's step is guarded: it is skipped if
    a gradient is not finite, or the loss that its closure returns.

    Args:
        raise_error: Raise NonFiniteError instead of stopping in order.
        gradients: Look at the gradients too, which can overflow with a finite loss.
        check_freq: Batches from one look to the next. By default every batch where that costs no
            wait for a device, else every 32nd; and where no update is applied without a look at its
            loss, at the losses up to the look before, which are known by then.

    Raises:
        NonFiniteError: With ``raise_error``, at the first look after a bad batch.
        ConfigurationError: If ``check_freq`` is not positive.
        UnsupportedError: For ``gradients`` in a run without a model.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> run = ScriptedRun([0.5, float("nan"), 0.4], monitor="loss")
        >>> run.play(TerminateOnNaN()).journal
        Batch 0: Invalid loss, terminating training
        epoch 2, step 2: TerminateOnNaN stopped: batch 0 has an invalid loss: nan

    Source: Keras 3.15 ``TerminateOnNaN``, which looks after the update, when the weights are NaN.
    """

    adds: ClassVar[tuple[str, ...] | None] = ()
    async_safe: ClassVar[bool] = True  # a bad loss shows in the running mean of any later batch

    def __init__(
        self,
        raise_error: bool = False,
        *,
        gradients: bool = False,
        check_freq: int | None = None,
    ) -> None:
        if check_freq is not None:
            whole(check_freq, "check_freq", least=1, unit="batches")
        self.raise_error = flag(raise_error, "raise_error")
        self.gradients = flag(gradients, "gradients")
        self.check_freq = check_freq
        self._next_look = 0
        self._sound = 0  # all batches before this one are known to be
        self._losses_are_seen = self._is_told = False
        self._found = False
        self._lags = False
        self._earlier: tuple[int, Logs | None] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin to guard the updates."""
        trainable = self.run.trainable
        self._losses_are_seen = trainable.guard(gradients=self.gradients)
        self._every = self.check_freq or (1 if trainable.synchronous else 32)
        # The loss says nothing of gradients that overflow, so it cannot be asked in their place.
        waits = not (self.check_freq or trainable.synchronous)
        self._lags = waits and self._losses_are_seen and not self.gradients
        self._earlier = None
        self._next_look = self._sound = 0
        self._found = False
        # Where a bad loss or update is told, nothing has to be asked before.
        is_told = self.run.wakes_for_bad_losses and self._every == 1 and trainable.synchronous
        self._is_told = is_told
        self.wakes_at_s = math.inf if is_told else None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss, if a look is due."""
        if batch < self._next_look:
            return
        self._next_look = batch + self._every
        if self._lags:
            earlier, self._earlier = self._earlier, (batch, logs)
            if earlier is None:
                return
            if _is_finite(earlier[1]):
                self._sound = earlier[0] + 1
                return
        self._look(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look once more, so that no epoch ends with a bad loss unseen."""
        self._next_look = 0
        self._earlier = None
        if not self.run.stopping:
            self._look(self.run.progress.batch - 1, logs)
        self._sound = 0

    def _look(self, batch: int, logs: Logs | None) -> None:
        bad = self.run.trainable.rejected
        if not bad and (self._losses_are_seen or _is_finite(logs)):
            self._sound = batch + 1
            return
        if not bad and logs is not None:
            bad = f"loss: {logs['loss']}"
        if self._found:  # by another thread, in a batch that came in between
            return
        self._found = True
        is_exact = self._is_told or self._sound >= batch
        where = f"batch {batch}" if is_exact else f"one of the batches {self._sound} to {batch}"
        reason = f"{where} has an invalid {bad}"
        if self.raise_error:
            raise NonFiniteError(f"{reason}; the update was not applied")
        self.run.stop(reason)
        self.run.decide(
            self, "stopped", reason, say=f"Batch {batch}: Invalid loss, terminating training"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the batch at which the loss is looked at next, and up to which all were sound."""
        return {"next_look": self._next_look, "sound": self._sound}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self._next_look = state["next_look"]
        self._sound = state.get("sound", 0)

    def close(self) -> None:
        """Let every update through again."""
        if self._run is not None:
            self._run.trainable.unguard()


def _is_finite(logs: Logs | None) -> bool:
    """Say whether the loss was finite so far: in the running mean, NaN and infinity stay."""
    loss = None if logs is None else logs.get("loss")
    return not isinstance(loss, float) or math.isfinite(loss)
