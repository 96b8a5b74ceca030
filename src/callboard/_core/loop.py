"""The training loop of every ``Model.fit``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from callboard._core.logs import Logs
from callboard._core.run import Run

__all__ = ["train"]


def train(
    run: Run,
    *,
    epoch_data: Callable[[int, int], Iterable[Any]],
    begin_epoch: Callable[[int], None],
    logs: Callable[[], Logs],
    train_on: Callable[[Any], None],
    validate: Callable[[int], None],
) -> None:
    """Train until the run's epochs are done or a callback asks to stop.

    Args:
        run: The run, not begun yet.
        epoch_data: Returns the batches of an epoch, without the number that were done before the
            run was interrupted.
        begin_epoch: Called before the first batch of an epoch, with the number of batches that were
            done; to begin its metrics anew if there are none.
        logs: Returns the epoch's metrics so far.
        train_on: Trains on a batch and reports to the run.
        validate: Validates after an epoch's training, if a validation is due.
    """
    with run:
        for epoch in run.epochs():
            done = run.progress.batch
            begin_epoch(done)
            for batch in run.train(epoch_data(epoch, done), logs=logs):
                train_on(batch)
            run.training_is_done()
            validate(epoch)
