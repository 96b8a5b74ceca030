"""Profiling some batches of a training."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.inspection import Profiler, inspection_of

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["BatchProfile", "batches_to_profile"]


class BatchProfile:
    """Has the framework's profiler measure from one batch to another, once in a run.

    Args:
        batches: The first and the last one, counted from 1 over the epochs.
        folder: Where the trace is written.
        skip: Called with what cannot be written, and why.
    """

    def __init__(
        self, batches: tuple[int, int], folder: Path, skip: Callable[[str, str], None]
    ) -> None:
        self.first, self.last = batches
        self._folder = folder
        self._skip = skip
        self._profiler: Profiler | None = None
        self._began = 0
        self._done = False

    def reset(self) -> None:
        """Begin a run of its own."""
        self._done = False

    def check(self, run: Run) -> None:
        """Check that the framework has a profiler.

        Raises:
            UnsupportedError: If it has none.
        """
        if inspection_of(run.trainable).profiler() is None:
            raise UnsupportedError(
                "profile_batch needs a framework with a profiler, such as torch's; pass "
                "Run(model=...), or leave profile_batch at 0"
            )

    def begin(self, run: Run) -> None:
        """Begin before the first of the batches."""
        if self._done or self._profiler or not self.first <= run.progress.step + 1 <= self.last:
            return
        profiler = inspection_of(run.trainable).profiler()
        if profiler is None:
            return
        try:
            profiler.start()
        except Exception as error:  # noqa: BLE001 - a profile is not worth the training
            self._done = True
            self._skip("profiles", f"the profiler does not begin: {error!r}")
            return
        self._profiler = profiler
        self._began = run.progress.step + 1

    def end(self, run: Run, *, now: bool = False) -> str:
        """End behind the last one, or ``now``; return what was measured and where it is."""
        profiler, step = self._profiler, run.progress.step
        if profiler is None or not (now or step >= self.last):
            return ""
        self._profiler, self._done = None, True
        last = max(step, self._began)
        try:
            where = profiler.stop(self._folder, f"batches-{self._began}-to-{last}")
        except Exception as error:  # noqa: BLE001 - as above
            self._skip("profiles", f"the profiler cannot end: {error!r}")
            return ""
        return f"batches {self._began} to {last} are profiled in {where}"


def batches_to_profile(profile_batch: object) -> tuple[int, int] | None:
    """Return the first and last batch to profile; None for ``profile_batch=0``.

    Raises:
        ConfigurationError: If it is neither a number of a batch nor two of them.

    Example:
        >>> batches_to_profile(0), batches_to_profile(5), batches_to_profile("10, 20")
        (None, (5, 5), (10, 20))
    """
    given = profile_batch
    if isinstance(given, str):
        parts = given.split(",")
        given = tuple(int(part) if part.strip().isdecimal() else part for part in parts)
        given = given[0] if len(given) == 1 else given
    if _is_whole(given) and given == 0:
        return None
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(pair) == 2 and all(map(_is_whole, pair)) and 1 <= pair[0] <= pair[1]:
        return int(pair[0]), int(pair[1])
    raise ConfigurationError(
        "profile_batch must be 0 (none), the number of a batch from 1, or two of them, the first "
        f"and the last: 5, (5, 10) or '5,10'; got {profile_batch!r}"
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
