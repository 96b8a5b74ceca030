"""A folder of checkpoints, as ModelCheckpoint saves into."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from callboard._core import fs
from callboard._core.every import Every
from callboard._core.monitor import Mode
from callboard.callbacks.arguments import number, whole
from callboard.checkpoint import CheckpointStore, best, every, last
from callboard.checkpoint.keep import Rule
from callboard.checkpoint.saver import Saver

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["CheckpointFolder", "Retention", "is_folder"]


def is_folder(path: str) -> bool:
    """Say whether a path is meant as a folder of checkpoints and not as one file."""
    return path.endswith(("/", os.sep)) or (not Path(path).suffix and "{" not in path)


class Retention(NamedTuple):
    """Which checkpoints to keep; see :class:`callbacks.ModelCheckpoint`."""

    save_top_k: int = 0
    keep_last: int = 0
    every_n_epochs: int = 0
    every_n_steps: int = 0
    every_seconds: float = 0

    def check(self) -> None:
        """Raise ConfigurationError for a value that is no number, or below 0."""
        for name, value in self._asdict().items():
            if name == "every_seconds":
                number(value, name, least=0.0)
            else:
                whole(value, name)

    def rules(self, monitor: str, mode: Mode, *, best_only: bool) -> list[Rule]:
        """Return the rules of a store; the best stays where only the best are saved."""
        rules: list[Rule] = []
        if self.save_top_k or best_only:
            rules.append(best(self.save_top_k or 1, monitor, mode))
        if self.keep_last or self == Retention():
            rules.append(last(self.keep_last or 1))
        if self.every_n_epochs:
            rules.append(every(epochs=self.every_n_epochs))
        if self.every_n_steps:
            rules.append(every(steps=self.every_n_steps))
        if self.every_seconds:
            rules.append(every(seconds=self.every_seconds))
        return rules

    def periods(self) -> list[Every]:
        """Return when to save besides."""
        given = (
            (self.every_n_epochs, "epochs"),
            (self.every_n_steps, "steps"),
            (self.every_seconds, "s"),
        )
        return [Every(f"{amount:f} {unit}") for amount, unit in given if amount]


class CheckpointFolder:
    """A store, what to keep in it, and when to save because of that.

    Args:
        path: The folder.
        retention: Which checkpoints to keep.
        weights_only: Save the weights alone, not the state of the run.
        best_only: Save only what is better than what is there.
    """

    def __init__(
        self, path: str, retention: Retention, *, weights_only: bool, best_only: bool
    ) -> None:
        retention.check()
        self.retention = retention
        self._best_only = best_only
        self._path = Path(path)
        self._store = CheckpointStore(self._path)
        self._periods = retention.periods()
        self._only = ("weights", "frozen") if weights_only else ()

    @property
    def looks_at_batches(self) -> bool:
        """Whether something may be due after any batch."""
        return any(period.unit != "epoch" for period in self._periods)

    def open(self, monitor: str, mode: Mode, *, writes: bool) -> None:
        """Check that the folder can be written, by this process if it is the one, and set rules."""
        fs.writable_file(self._path / "manifest.json")
        if writes:
            self._store.require_free()
        self._store.keep = tuple(self.rules(monitor, mode))

    def rules(self, monitor: str, mode: Mode) -> list[Rule]:
        """Return which to keep, by a metric and its direction."""
        return self.retention.rules(monitor, mode, best_only=self._best_only)

    def best_value(self, monitor: str) -> float | None:
        """Return the metric of the best checkpoint of earlier runs, None if there is none."""
        found = self._store.best
        return None if found is None else found.metrics[monitor]

    def due(self, *, epoch: int | None = None, step: int | None = None) -> bool:
        """Say whether a period has ended."""
        asked = [p for p in self._periods if (p.unit == "epoch") == (epoch is not None)]
        answers = [period.due(epoch=epoch, step=step) for period in asked]  # each notes its own
        return any(answers)

    def save(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Take the run's state and have it written in the background."""
        if not run.trainable.rank:  # all processes decide alike, the first one writes
            Saver.of(run).save(self._store, metrics=metrics, only=self._only)

    def save_now(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Save and wait for it, also between two boundaries."""
        run.boundary.count += 1
        self.save(run, metrics)
        if run.saver is not None:
            run.saver.wait()

    def chosen(self, run: Run) -> Path | None:
        """Return the best checkpoint, or the newest where none is best; waits for the writing."""
        if run.saver is not None:
            run.saver.wait()
        found = self._store.best or self._store.last
        return None if found is None else self._path / found.name

    def close(self, run: Run | None) -> None:
        """Wait for what is being written, and let others write to the folder."""
        if run is not None and run.saver is not None:
            run.saver.close()
        self._store.close()

    def reset(self) -> None:
        """Count anew."""
        self._periods = self.retention.periods()

    def state_dict(self) -> dict[str, Any]:
        """Return when was last saved."""
        return {"periods": [period.state_dict() for period in self._periods]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        for period, own in zip(self._periods, state["periods"], strict=False):
            period.load_state_dict(own)
