"""The end of a run, however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callboard._core.dispatch import CallbackList, first_of
from callboard._core.signals import SimulatedKill

__all__ = ["close"]


def close(callbacks: CallbackList, error: BaseException | None, saver: Any) -> None:
    """Tell callbacks of an error if there is one, close them, and let them forget the run.

    Args:
        callbacks: The callbacks, each of which has its turn whatever the others raise.
        error: What ended the run, if not its natural end; the later ones become notes to it.
        saver: What writes checkpoints of the run in the background, or None.

    Raises:
        BaseException: The first that they raise, if there was none before; and Ctrl-C always.
    """
    ending = callbacks
    here_only = [each for each in callbacks if not getattr(each, "is_in_outer_run", False)]
    if len(here_only) < len(callbacks):  # the others are closed at the end of the outer run
        ending = CallbackList(here_only)
    steps: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (callbacks.on_exception, (error,)),
        (ending.close, ()),
        (callbacks.each_whatever_happens, ("set_run", None)),
    ]
    if isinstance(error, SimulatedKill):
        del steps[:2]
        if saver is not None:  # this process lives on, and its thread must not interfere
            saver.close()
    elif error is None:
        del steps[:1]
    first = error
    for step, arguments in steps:
        try:
            step(*arguments)
        except BaseException as late:  # noqa: BLE001 - raised below, or a note to the first
            first = first_of(first, late)
    if first is not error and first is not None:
        raise first
