"""Saving a run while it goes on."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from callboard._core import frameworks
from callboard.checkpoint.filling import AbandonedError
from callboard.checkpoint.keep import Checkpoint
from callboard.checkpoint.snapshot import Buffers, Snapshot
from callboard.checkpoint.store import CheckpointStore

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["Saver"]

_Write = Callable[[Snapshot], Checkpoint]


class Saver:
    """Takes the state of a run between two steps, and writes it while the run goes on.

    The run waits for one copy of the state in memory, which every save uses again; one thread
    writes behind the copying, and computes digests. All who save a run share one of these, so that
    a step that several save is copied once. An error in writing ends the run, at the next boundary
    between two steps.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffers = Buffers(frameworks.source_of)
        self._pool = ThreadPoolExecutor(1, "callboard-save")
        self._writing: list[Future[Any]] = []
        self._pruning: list[Future[Any]] = []
        self._prepared = False
        self._preparing: Future[None] | None = None
        self._taken: tuple[object, Snapshot] | None = None

    @classmethod
    def of(cls, run: Run) -> Saver:
        """Return the one of a run, made when it is first asked for."""
        if run.saver is None:
            run.saver = cls(run)
        saver: Saver = run.saver
        return saver

    @property
    def busy(self) -> bool:
        """Whether an earlier save is still being written."""
        return any(not future.done() for future in self._writing)

    def prepare(self) -> None:
        """Get the memory for saves in the background, once the optimizer has its state."""
        if not self._prepared:
            self._prepared = True
            state = self._run.state_dict()
            self._preparing = self._pool.submit(self._buffers.prepare, state)

    def save(
        self,
        store: CheckpointStore,
        *,
        metrics: Mapping[str, float] | None = None,
        only: Sequence[str] = (),
    ) -> None:
        """Take the run's state and have it written; call it at a boundary between two steps.

        Args:
            store: Where to.
            metrics: Numbers that the store's rules may ask for.
            only: Parts of the state to save, such as "weights"; all by default.

        Raises:
            TypeError: If something in the state cannot be saved.
            OSError: If an earlier save could not be written.
        """
        began = time.perf_counter()
        run = self._run
        done = run.next_epoch - 1 if run.in_epoch else run.next_epoch
        write = functools.partial(
            store.write, step=run.progress.step, epoch=done, metrics=dict(metrics or {})
        )
        moment = (run.boundary.count, tuple(only))
        if self._taken is not None and self._taken[0] == moment:
            self._submit(write, self._taken[1], began)
        else:
            self.wait()  # the memory is in use until then
            self._prepared = True
            self._taken = None
            state = run.state_dict()
            chosen = {name: state[name] for name in only or state if name in state}
            # The first bytes are written while the others are still being copied.
            with self._buffers.taking(chosen) as snapshot:
                self._submit(write, snapshot, began)
            self._taken = (moment, snapshot)
        # After it, and not waited for: removing a large file takes as long as writing a small one.
        self._pruning.append(self._pool.submit(self._reporting, store.prune))

    def wait(self) -> None:
        """Return when everything is written.

        Raises:
            OSError: If it could not be, and this was not raised before.
        """
        if self._preparing is not None:
            self._preparing.result()
        writing, self._writing = self._writing, []
        done = [future for future in self._pruning if future.done()]
        self._pruning = [future for future in self._pruning if future not in done]
        errors = [future.exception() for future in (*writing, *done)]
        first = next(filter(None, errors), None)
        if first is not None:
            raise first

    def wait_for_all(self) -> None:
        """Return when what is to be removed is, too."""
        self._writing += self._pruning
        self._pruning = []
        self.wait()

    def close(self) -> None:
        """Wait for what is being written and removed, and end the thread."""
        try:
            self.wait_for_all()
        finally:
            self._pool.shutdown()
            self._run.saver = None

    def _submit(self, write: _Write, snapshot: Snapshot, began: float) -> None:
        timed = functools.partial(self._write, write, snapshot, began)
        self._writing.append(self._pool.submit(self._reporting, timed))

    def _write(self, write: _Write, snapshot: Snapshot, began: float) -> None:
        write(snapshot)
        boundary = self._run.boundary
        boundary.save_s = max(boundary.save_s or 0.0, time.perf_counter() - began)

    def _reporting(self, action: Callable[[], Any]) -> None:
        """Do something in the thread; have its error raised at the run's next boundary."""
        try:
            action()
        except AbandonedError:  # the run has the error that led to it already
            return
        except BaseException:
            self._run.at_boundary(self.wait)
            raise
