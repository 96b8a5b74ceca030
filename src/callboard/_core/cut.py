"""The state of a whole run between two steps: how it is taken, and gone on with."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from callboard._core.callback_states import CallbackStates
from callboard._core.checks import ConfigurationWarning
from callboard._core.configuration import Configuration
from callboard._core.environment import environment
from callboard._core.errors import ConfigurationError, DataError
from callboard._core.logs import Logs
from callboard._core.randomness import random_states, restore_random_states
from callboard._core.stateful import restore_state, state_of
from callboard._core.stream import Stream, stream_of

if TYPE_CHECKING:
    from callboard._core.callback import Callback
    from callboard._core.run import Run

__all__ = ["Cut"]

_CALLBACK = "callback."


class Cut:
    """Takes a run's state between two steps, and goes on from one.

    Everything is taken at one moment: weights and optimizer, the states of all callbacks, random
    generators, the position in the data, metrics, counters. Random states are put back last, when
    the data has been opened and what was done is skipped, as both may draw random numbers.

    Args:
        run: The run.

    Attributes:
        resumes_epoch: The run goes on in the middle of an epoch that is still to be entered.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._callbacks = CallbackStates(())
        self._configuration: Configuration | None = None
        self._stream: Stream | None = None
        self._stream_began_at = 0
        self._stream_state: Mapping[str, Any] | None = None
        self._skip = 0
        self._ended: list[int] = []  # batches of the epoch at the end of each of its passes
        self._to_leave_out = 0  # passes that were over before the run was interrupted
        self._random: dict[str, Any] | None = None
        self._earlier_s = 0.0
        self._began_s = time.monotonic()
        self.resumes_epoch = False
        self._before_validation: dict[str, Any] | None = None

    # ---- while the run goes ----------------------------------------------------------------------

    def begin(self) -> None:
        """Note what the callbacks are like before they begin."""
        self._callbacks = CallbackStates(self._run.callbacks)
        self._configuration = Configuration(self._run)

    def remaining(self, data: Iterable[Any]) -> Iterable[Any]:
        """Return the batches of a pass, without those done before the run was interrupted."""
        if self._to_leave_out:
            self._to_leave_out -= 1
            del self._ended[-1]  # it is noted again at its end
            return ()
        if not self._run.saves and not self._skip and self._stream_state is None:
            return data
        if self._stream is None or self._stream.data is not data:
            self._stream = stream_of(data)
            self._stream_began_at = self._run.progress.step
            if self._stream_state is not None:
                self._stream.load_state_dict(self._stream_state["of"])
                self._stream_began_at -= self._stream_state["taken"]
                self._stream_state = None
        skip, self._skip = self._skip, 0
        return self._stream.begin(skip, self.data_is_ready)

    def data_is_ready(self) -> None:
        """Put the random states back, once the data is opened and skipped."""
        if self._random is not None:
            restore_random_states(self._random)
            self._random = None

    def epoch_begins(self) -> None:
        """Note that an epoch begins from its first batch."""
        self.epoch_ends()
        self._ended = []
        self._to_leave_out = 0

    def pass_ends(self, batches: int) -> None:
        """Note that a training pass of the epoch is over, after so many batches of the epoch."""
        self._ended.append(batches)

    def training_ends(self) -> None:
        """Note that an epoch's training is done and nothing but its validation comes."""
        self._before_validation = self._generators()

    def validation_ends(self) -> None:
        """Note that the epoch goes on after a validation."""
        self._before_validation = None

    def epoch_ends(self) -> None:
        """Note that an epoch is over."""
        self._before_validation = self._random = None

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, over all its starts."""
        return self._earlier_s + time.monotonic() - self._began_s

    @property
    def in_validation(self) -> bool:
        """Whether only the validation of the epoch is running.

        A state that is taken now goes on at the beginning of the validation.
        """
        return self._before_validation is not None

    # ---- the state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state. Arrays are those that are in use, not copies."""
        run = self._run
        self._settle()
        state: dict[str, Any] = {
            "run": {
                "progress": run.progress.state_dict(),
                "next_epoch": run.next_epoch,
                "in_epoch": run.in_epoch,
                "stop_reason": run.stop_reason,
                "elapsed_s": self.elapsed_s,
                "passes": list(self._ended),
                "means": run.means.state_dict(),
                "journal": run.journal.state_dict(),
                "stream": self._of_stream(),
                "environment": environment(),
                "configuration": self._configuration.as_dict() if self._configuration else {},
                "arguments": self._callbacks.arguments,
            },
            **(self._before_validation or self._generators()),
            **run.trainable.state_dict(),
        }
        states = self._callbacks.state_dict()
        state |= {f"{_CALLBACK}{name}": own for name, own in states.items()}
        return state

    def state_beside_a_host(self) -> dict[str, Any]:
        """Return what a loop of another library, which saves the model itself, does not know."""
        run = self._run
        self._settle()
        return {
            "progress": run.progress.state_dict(),
            "in_epoch": run.in_epoch,
            "stop_reason": run.stop_reason,
            "elapsed_s": self.elapsed_s,
            "journal": run.journal.state_dict(),
            "callbacks": self._callbacks.state_dict(),
            "arguments": self._callbacks.arguments,
        }

    def load_state_beside_a_host(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_beside_a_host()``."""
        run = self._run
        run.progress.load_state_dict(state["progress"])
        run.journal.load_state_dict(state["journal"])
        run.in_epoch = self.resumes_epoch = state["in_epoch"]
        run.next_epoch = run.progress.epoch + 1
        self._earlier_s = state["elapsed_s"]
        if state["stop_reason"]:
            run.stop(state["stop_reason"])
        self._callbacks.load_state_dict(state["callbacks"], state.get("arguments"))

    def _settle(self) -> None:
        """Have made durable what the states of callbacks refer to."""
        for callback in self._run.callbacks:
            settle = getattr(callback, "settle", None)
            if settle is not None and not self._run.trainable.rank:
                settle()

    def _generators(self) -> dict[str, Any]:
        """Return what a validation changes: random states, and the states of loaders."""
        stateful = {name: state_of(item) for name, item in self._run.stateful.items()}
        return {"random": random_states(), "stateful": stateful}

    def _of_stream(self) -> dict[str, Any] | None:
        if self._stream is None:
            return None
        taken = self._run.progress.step - self._stream_began_at
        return {"taken": taken, "of": self._stream.state_dict(taken)}

    def found(self) -> tuple[Callback, Mapping[str, Any]] | None:
        """Return the saved run to go on with, and the callback that has it.

        Raises:
            ConfigurationError: If several callbacks have one.
            DataError: If the processes that train together do not find the same.
        """
        found = []
        for callback in self._run.callbacks:
            saved_run = getattr(callback, "saved_run", None)
            state = None if saved_run is None else saved_run()
            if state is not None:
                found.append((callback, state))
        if len(found) > 1:
            names = " and ".join(repr(callback) for callback, _ in found)
            raise ConfigurationError(f"{names} both have a run to go on with; use one of them")
        if self._run.saves:
            self._check_alike(found[0][1]["run"]["progress"]["step"] if found else -1)
        return found[0] if found else None

    def _check_alike(self, step: int) -> None:
        """Compare with the other processes where the run goes on: by the mean, which all know."""
        mean = self._run.trainable.reduced(Logs({"step": float(step)}))["step"]
        if mean != step:
            what = "no backup" if step < 0 else f"a backup of step {step}"
            raise DataError(
                f"this process finds {what}, and others that train with it do not; the folder of "
                "the backups has to be one that all of them see, such as on a shared file system"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``.

        Raises:
            DataError: If it is the state of a run of something else.
        """
        run, own = self._run, state["run"]
        _compare_environment(own["environment"])
        names = state.keys() - {"run", "random", "stateful"}
        run.trainable.load_state_dict(
            {name: state[name] for name in names if not name.startswith(_CALLBACK)}
        )
        self._load_stateful(state["stateful"])
        run.progress.load_state_dict(own["progress"])
        run.journal.load_state_dict(own["journal"])
        run.means.load_state_dict(own["means"])
        run.next_epoch = own["next_epoch"]
        run.in_epoch = self.resumes_epoch = own["in_epoch"]
        self._ended = list(own["passes"])
        self._to_leave_out = len(self._ended) if self.resumes_epoch else 0
        done = self._ended[-1] if self._ended else 0
        self._skip = run.progress.batch - done if self.resumes_epoch else 0
        self._stream_state = own["stream"]
        self._earlier_s = own["elapsed_s"]
        if own["stop_reason"]:
            run.stop(own["stop_reason"])
        kept = {name for name in names if name.startswith(_CALLBACK)}
        self._callbacks.load_state_dict(
            {name.removeprefix(_CALLBACK): state[name] for name in kept}, own.get("arguments")
        )
        self._random = dict(state["random"])
        restore_random_states(self._random)
        if not self.resumes_epoch:
            self._random = None

    def _load_stateful(self, states: Mapping[str, Any]) -> None:
        stateful = self._run.stateful
        if states.keys() != stateful.keys():
            raise DataError(
                f"the saved run had stateful={sorted(states) or 'nothing'}, and this one has "
                f"{sorted(stateful) or 'nothing'}; pass the same, or begin anew in another folder"
            )
        for name, item in stateful.items():
            restore_state(item, states[name])


def _compare_environment(before: Mapping[str, Any]) -> None:
    now = environment()
    other = [
        f"{name}: {before[name]} then, {now[name]} now"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]
    if other:
        warnings.warn(
            "the run goes on in another environment, so the results need not be the same to the "
            f"last bit ({'; '.join(other)})",
            ConfigurationWarning,
            stacklevel=2,
        )
