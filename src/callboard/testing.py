"""Testing callbacks without training anything."""

from __future__ import annotations

import gc
import tempfile
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from callboard._core import frameworks
from callboard._core.callback import Callback
from callboard._core.errors import UnsupportedError
from callboard._core.journal import Journal
from callboard._core.logs import Logs
from callboard._core.run import Run
from callboard._core.signals import SimulatedKill
from callboard.checkpoint.tree import split

__all__ = ["ScriptedModel", "ScriptedRun", "assert_exact_resume"]


class ScriptedModel:
    """Stands for a model whose only weight is the number of the epoch it was trained to.

    It has all that callbacks ask of what is trained, so that saving, restoring and learning
    rates are tested without a framework. ``save`` notes what it was asked for and writes nothing.

    Args:
        learning_rate: The learning rate to begin with.

    Attributes:
        weight: The weight: the current epoch from 0, or what was restored. NaN to play a failure.
        saved: Path and weight of every ``save``, in order.
        rejected: What is not finite in an update; set it to play a failure.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> script = ScriptedRun([0.5, 0.3, 0.4, 0.6], monitor="val_loss")
        >>> _ = script.play(EarlyStopping(patience=9, restore_best_weights=True))
        >>> script.model.weight
        1.0
    """

    synchronous = True
    rank = 0
    rate_controller = ""

    def __init__(self, learning_rate: float = 0.001) -> None:
        self.model = types.SimpleNamespace(stop_training=False)
        self.learning_rate = learning_rate
        self.weight = 0.0
        self.saved: list[tuple[str, float]] = []
        self.rejected = ""
        self.guarded = False

    def weights(self, into: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the weight as an array."""
        if into is None:
            return {"weight": np.array(self.weight)}
        into["weight"][...] = self.weight
        return into

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Take the weight from an array."""
        self.weight = float(weights["weight"])

    def nonfinite(self) -> str:
        """Return "weight" if it is NaN or infinite."""
        return "" if np.isfinite(self.weight) else "weight"

    def gradients(self) -> dict[str, Any]:
        """Return no gradients."""
        return {}

    def activations(self, inputs: object) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Return no activations."""
        return {}

    def averages(self, source: object = None) -> Any:  # noqa: ARG002 - the protocol's
        """Have no averages.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("a ScriptedModel has no averages of its weight; train a real model")

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Accept every path."""

    def save(self, path: Path, *, weights_only: bool) -> None:  # noqa: ARG002 - the protocol's
        """Note the path and the weight."""
        self.saved.append((str(path), self.weight))

    def state_dict(self) -> dict[str, Any]:
        """Return the weight and the learning rate."""
        return {"weights": self.weights(), "optimizer": {"learning_rate": self.learning_rate}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.set_weights(state["weights"])
        self.learning_rate = state["optimizer"]["learning_rate"]

    def guard(self, *, gradients: bool) -> bool:  # noqa: ARG002 - the protocol's
        """Note that updates are guarded; losses are to be looked at in the logs."""
        self.guarded = True
        return False

    def reduced(self, logs: Logs) -> Logs:
        """There is one process."""
        return logs

    def unguard(self) -> None:
        """Note that updates are no longer guarded."""
        self.guarded = False


class ScriptedRun:
    """Plays callbacks on metrics that are given, and shows what they decided.

    Args:
        metrics: For each metric its values, one for each epoch; or the values of ``monitor`` alone.
            None stands for an epoch without the metric; names with ``val_`` come from a validation.
        monitor: Name of the metric if ``metrics`` is a plain sequence.
        learning_rate: The learning rate to begin with.
        batches: Batches in an epoch, each with the epoch's values.
        initial_epoch: Epoch to begin with; the values before it are left out.
        verbose: As in :class:`Run`.

    Attributes:
        run: The run, after ``play``.
        model: The :class:`ScriptedModel` that was "trained".

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> played = ScriptedRun([0.9, 0.8, 0.85, 0.86]).play(EarlyStopping(patience=2))
        >>> played.stopped_epoch, played.run.stop_reason
        (3, 'val_loss did not improve on 0.8 for 2 epochs')
    """

    def __init__(
        self,
        metrics: Sequence[float | None] | Mapping[str, Sequence[float | None]],
        *,
        monitor: str = "val_loss",
        learning_rate: float = 0.001,
        batches: int = 1,
        initial_epoch: int = 0,
        verbose: int = 0,
    ) -> None:
        self.metrics = dict(metrics) if isinstance(metrics, Mapping) else {monitor: metrics}
        self.model = ScriptedModel(learning_rate)
        self.batches = batches
        self.initial_epoch = initial_epoch
        self.verbose = verbose
        self.run: Run = Run(verbose=0)

    def play(self, *callbacks: object) -> Self:
        """Run the script with these callbacks; ``self`` then tells what happened."""
        epochs = max(len(values) for values in self.metrics.values())
        self.run = Run(
            trainable=self.model,
            epochs=epochs,
            initial_epoch=self.initial_epoch,
            callbacks=callbacks,
            verbose=self.verbose,
        )
        with self.run as run:
            for epoch in run.epochs():
                self.model.weight = float(epoch)
                now = {name: values[epoch] for name, values in self.metrics.items()}
                trained = {n: v for n, v in now.items() if v is not None and n[:4] != "val_"}
                validated = {n[4:]: v for n, v in now.items() if v is not None and n[:4] == "val_"}
                for _ in run.train(range(self.batches)):
                    run.log(trained)
                if validated:
                    for _ in run.validate([0]):
                        run.log(validated)
        return self

    @property
    def learning_rate(self) -> float:
        """The learning rate at the end."""
        return self.model.learning_rate

    @property
    def history(self) -> Any:
        """For each metric its values in the epochs that took place."""
        return self.run.history.history

    @property
    def journal(self) -> Journal:
        """The decisions that were taken."""
        return self.run.journal

    @property
    def saved(self) -> list[tuple[str, float]]:
        """Path and weight (the epoch from 0) of everything that was saved."""
        return self.model.saved

    @property
    def stopped_epoch(self) -> int | None:
        """The epoch (from 0) after which a callback stopped the run, or None."""
        return self.run.progress.epoch if self.run.stop_reason else None


def assert_exact_resume(
    train: Callable[[Path], Any],
    *,
    kills: Iterable[int | str] = (1, "epoch end", "validation"),
    directory: Path | None = None,
) -> None:
    """Check that a training which is killed and started again ends as if it had not been.

    It is run to its end once. Then, for each entry of ``kills`` in another folder, it is ended
    there without a callback hearing of it, as by ``kill -9``, and started again until it is done.
    What it returns is compared, arrays byte by byte.

    Args:
        train: Trains in a folder and returns what is to be compared: nested dicts, lists, numbers,
            texts and arrays, such as weights and ``history.history``. Each call has to make
            everything anew (model, data, callbacks, seeds), with a :class:`callbacks.
            BackupAndRestore` that is given a place in the folder.
        kills: When to end it: after that many batches, counted from each start; or a text: at the
            first "epoch begin", "epoch end", "validation" (in its first batch) or "train end".
            Each is tried in a folder of its own.
        directory: Where to make the folders; a temporary one by default.

    Raises:
        AssertionError: If the results differ; it says where.

    Example:
        >>> from callboard import Run
        >>> from callboard.callbacks import BackupAndRestore
        >>> def train(folder):
        ...     generator = np.random.default_rng(0)
        ...     backup = BackupAndRestore(folder / "backup", save_freq=1)
        ...     stateful = {"numbers": generator}
        ...     with Run(epochs=2, callbacks=[backup], stateful=stateful, verbose=0) as run:
        ...         for epoch in run.epochs():
        ...             for _ in run.train(range(3)):
        ...                 run.log(loss=generator.random())
        ...     return run.history.history
        >>> assert_exact_resume(train, kills=[1, 5, "epoch end"])
    """
    with tempfile.TemporaryDirectory(dir=directory) as top:
        whole = Path(top, "uninterrupted")
        whole.mkdir()
        expected = _comparable(train(whole))
        for number, kill in enumerate(kills):
            folder = Path(top, f"killed-{number}")
            folder.mkdir()
            if not _killed(train, folder, kill):
                raise AssertionError(
                    f"the training ended before it could be killed at {kill!r}; give kills= that "
                    "come up, such as a smaller number of batches"
                )
            actual = _comparable(train(folder))
            differences = [
                name
                for name in sorted(expected.keys() | actual.keys())
                if expected.get(name) != actual.get(name)
            ]
            if differences:
                raise AssertionError(
                    f"killed at {kill!r} and started again, the training ended otherwise in: "
                    f"{', '.join(differences[:10])}"
                )


class _Killer(Callback):
    """Ends a run at some point, behind all other callbacks."""

    order: ClassVar[int] = 1_000_000
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self, when: int | str) -> None:
        self._left = when if isinstance(when, int) else 0
        moment = "batch" if isinstance(when, int) else when
        hook = {
            "batch": "on_train_batch_end",
            "epoch begin": "on_epoch_begin",
            "epoch end": "on_epoch_end",
            "validation": "on_test_batch_end",
            "train end": "on_train_end",
        }.get(moment)
        if hook is None:
            raise ValueError(f"kills= has {when!r}; see assert_exact_resume for what is allowed")
        setattr(self, hook, self._kill)

    def _kill(self, *_: object) -> None:
        self._left -= 1
        if self._left <= 0:
            raise SimulatedKill

    def state_dict(self) -> dict[str, Any]:
        """Belong to no run."""
        return {}


def _killed(train: Callable[[Path], Any], folder: Path, when: int | str) -> bool:
    """Start a training and end it; say whether it could be."""
    before = Run.witnesses
    Run.witnesses = (_Killer(when),)
    killed = False
    try:
        train(folder)
    except SimulatedKill:
        killed = True
    finally:
        Run.witnesses = before
    with warnings.catch_warnings():  # a process that is killed does not close its files
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return killed


def _comparable(result: Any) -> dict[str, Any]:
    """Return a result as its parts by name, arrays as their bytes."""
    text, arrays = split({"result": result}, frameworks.source_of)
    parts: dict[str, Any] = {"everything but arrays": text}
    for name, leaf in arrays.items():
        array = np.empty(leaf.shape, leaf.dtype)
        if isinstance(leaf, np.ndarray):
            np.copyto(array, leaf)
        else:
            leaf.copy_to(array)
        parts[name.removeprefix("result/")] = (str(leaf.dtype), tuple(leaf.shape), array.tobytes())
    return parts
