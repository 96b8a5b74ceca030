"""The run around a loop that calls the hooks itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from callboard._core.hosted import HostedRun
from callboard._core.logs import Logs

__all__ = ["RunByHand"]

GivenLogs = Mapping[str, Any] | None


class RunByHand(HostedRun):
    """A run that hears what happens by Keras's hooks, as a loop calls them.

    Args:
        params: What the callbacks are to have as ``self.params``.
        ended: Called when the run is over.
        **options: As of :class:`HostedRun`.
    """

    def __init__(
        self, params: Mapping[str, Any], ended: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(
            epochs=params.get("epochs", 1),
            steps_per_epoch=params.get("steps"),
            verbose=params.get("verbose", "auto"),
            signals=False,  # the loop need not report every end
            **options,
        )
        self._given = params
        self._ended_by_hand = ended

    @property
    def params(self) -> dict[str, Any]:
        """What the loop gave, and what callbacks count on."""
        return {**super().params, **self._given}

    def hooks(self) -> dict[str, Callable[..., None]]:
        """Return for each hook by name what the loop is to call."""
        hooks = {
            name: getattr(self, name)
            for name in vars(RunByHand)
            if name.startswith("on_") or name == "close"
        }
        for name in ("on_test_batch_begin", "on_predict_batch_begin", "on_predict_batch_end"):
            hooks[name] = getattr(self.callbacks, name)
        return hooks

    def on_epoch_begin(self, epoch: int, logs: GivenLogs = None) -> None:
        """Begin an epoch."""
        self.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: GivenLogs = None) -> None:
        """Begin a batch."""
        self.progress.batch = batch
        self.begin_batch()

    def on_train_batch_end(self, batch: int, logs: GivenLogs = None) -> None:
        """Count a batch as done."""
        self.progress.batch = batch
        self.end_batch(logs)

    def on_epoch_end(self, epoch: int, logs: GivenLogs = None) -> None:
        """End an epoch."""
        self.progress.epoch = epoch
        self.next_epoch = epoch + 1
        self.end_epoch(logs or {})

    def on_train_end(self, logs: GivenLogs = None) -> None:
        """End the run."""
        if logs:
            self.logs = Logs(logs)
        self._end()

    def on_test_begin(self, logs: GivenLogs = None) -> None:
        """Begin an evaluation inside the training."""
        self.begin_validation()

    def on_test_batch_end(self, batch: int, logs: GivenLogs = None) -> None:
        """Count a batch of an evaluation as done."""
        self.batches = batch + 1
        self.end_validation_batch(batch, logs)

    def on_test_end(self, logs: GivenLogs = None) -> None:
        """End an evaluation, and the run if it was for that."""
        self.end_validation(logs or {})
        if self.purpose == "test":
            self._end()

    def on_predict_end(self, logs: GivenLogs = None) -> None:
        """End a prediction, and the run if it was for that."""
        self.callbacks.on_predict_end(Logs(logs or {}))
        if self.purpose == "predict":
            self._end()

    def on_exception(self, error: BaseException) -> None:
        """End the run by an error, which the loop goes on raising."""
        self._ended_by_hand()
        self.fail(error)

    def close(self) -> None:
        """Close the callbacks of a run that was neither ended nor failed."""
        self._ended_by_hand()
        self._tear_down(None)

    def _end(self) -> None:
        self._ended_by_hand()
        self.end()
