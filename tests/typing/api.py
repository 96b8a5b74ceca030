"""Typed use of the public names: checked by mypy, never run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

from callboard import (
    Best,
    Callback,
    Decision,
    Every,
    Journal,
    Logs,
    Patience,
    Run,
    Trainable,
    callbacks,
)
from callboard.testing import ScriptedRun


class Printer(Callback):
    """A callback of a user, with hooks of every kind of signature."""

    order = 5
    adds = ("extra",)

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def on_train_begin(self, logs: Logs | None = None) -> None:
        assert_type(self.run, Run)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["extra"] = batch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and logs["loss"] < 0.1:
            self.run.stop("low enough")
        self.run.decide(self, "looked", "the epoch ended", say=f"{self.prefix}{epoch}")

    def on_exception(self, error: BaseException) -> None:
        self.run.print(repr(error))

    def state_dict(self) -> dict[str, Any]:
        return {"prefix": self.prefix}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.prefix = state["prefix"]


class OldStyle(Callback):
    """A callback as it is written for Keras, without annotations."""

    def on_epoch_end(self, epoch, logs=None):  # type: ignore[no-untyped-def]  # as users write it
        self.seen = (epoch, logs)


def loop(data: Sequence[float], trainable: Trainable) -> dict[str, list[Any]]:
    """A loop written by hand."""
    with Run(
        trainable=trainable,
        epochs=3,
        callbacks=[
            Printer("epoch "),
            OldStyle(),
            callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
            callbacks.ReduceLROnPlateau(factor=0.5),
            callbacks.ModelCheckpoint(Path("best.pt"), save_best_only=True, save_freq="2 epochs"),
            callbacks.CSVLogger("log.csv"),
            callbacks.JSONLLogger("log.jsonl", update_freq="batch", journal=True),
            callbacks.ProgbarLogger(style="tqdm"),
            callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.9),
            callbacks.TerminateOnNaN(gradients=True),
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.copy()),
            [callbacks.History()],
        ],
        metrics={"loss": "min", "score": None},
        validation=True,
        verbose="auto",
    ) as run:
        assert_type(run, Run)
        for epoch in run.epochs():
            assert_type(epoch, int)
            for _batch in run.train(data):
                run.log(loss=0.5)
                run.log({"score": 1.0}, weight=2)
            for _batch in run.validate(data):
                run.log(loss=0.5)
            run.learning_rate *= 0.5
    assert_type(run.stop_reason, str)
    assert_type(run.logs, Logs)
    assert_type(run.progress.step, int)
    assert_type(run.journal, Journal)
    assert_type(run.journal[0], Decision)
    assert_type(run.metric_names, frozenset[str] | None)
    return run.history.history


def decisions() -> None:
    """The decisions as plain objects."""
    best = Best("min", min_delta=0.1)
    patience = Patience(limit=3)
    every = Every("10 min")
    improved = best.update(0.5)
    assert_type(improved, bool)
    assert_type(best.value, float | None)
    assert_type(patience.update(improved=improved), bool)
    assert_type(every.due(step=3), bool)
    best.load_state_dict(best.state_dict())


def script() -> None:
    """A test of a user's callback."""
    played = ScriptedRun([0.5, None, 0.4], monitor="val_loss").play(Printer())
    assert_type(played, ScriptedRun)
    assert_type(played.stopped_epoch, int | None)
    assert_type(played.saved, list[tuple[str, float]])


def wrong(run: Run) -> None:
    """Mistakes that a type checker finds: each needs its ignore, and mypy says if one does not."""
    Best("lowest")  # type: ignore[arg-type]  # no mode
    Best("min").update("0.5")  # type: ignore[arg-type]  # no number
    callbacks.EarlyStopping(patience="3")  # type: ignore[arg-type]  # no number
    callbacks.EarlyStopping(patiense=3)  # type: ignore[call-arg]  # misspelt
    callbacks.CSVLogger()  # type: ignore[call-arg]  # no path
    Run(epochs="3")  # type: ignore[arg-type]  # no number
    Run("model", "optimizer", 3)  # type: ignore[call-arg]  # the rest is by name
    run.history = None  # type: ignore[assignment]  # not to be replaced
    Every(3)  # type: ignore[arg-type]  # a number has no unit
    Patience(3).update(True)  # type: ignore[call-arg]  # what it says must be said
