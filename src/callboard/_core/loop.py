"""The training loop of every ``Model.fit``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from callboard._core.run import Run

__all__ = ["train"]


def train(
    run: Run,
    *,
    epoch_data: Callable[[int], Iterable[Any]],
    begin_epoch: Callable[[], None],
    train_on: Callable[[Any], None],
    validate: Callable[[int], None],
) -> None:
    """Train until the run's epochs are done or a callback asks to stop.

    Args:
        run: The run, not begun yet.
        epoch_data: Returns the batches of an epoch.
        begin_epoch: Called before the first batch of an epoch, to begin its metrics anew.
        train_on: Trains on a batch and reports to the run.
        validate: Validates after an epoch's training, if a validation is due.
    """
    with run:
        for epoch in run.epochs():
            begin_epoch()
            for batch in run.train(epoch_data(epoch)):
                train_on(batch)
            validate(epoch)
