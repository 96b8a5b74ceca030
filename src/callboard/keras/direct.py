"""Callbacks of ours that stand in the list given to Keras's own ``fit``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras

from callboard._core.callback import HOOKS, Callback, is_default
from callboard.keras.group import Callbacks

__all__ = ["join_host"]

_BEGINS = ("on_train_begin", "on_test_begin", "on_predict_begin")
_ENDS = ("on_train_end", "on_test_end", "on_predict_end")
_FIRST = frozenset(hook for hook in HOOKS if hook.endswith("_begin"))
_LAST = frozenset(hook for hook in HOOKS if hook.endswith("_end"))

_together: weakref.WeakKeyDictionary[Any, _Together]  # those that have not begun


class _Together:
    """The callbacks of ours in the list of one call of Keras's loop, which act as one.

    In the place of each one's hooks there is what leads to all of them: at the beginning of
    something it is called in the place of the first one, at its end in that of the last one. So
    callbacks of Keras that stand before the last of ours have added to the logs by then, and all
    that a run gives is there without a group.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self._model = weakref.ref(model)
        self._members: list[Callback] = []
        self._own: list[dict[str, Any]] = []  # what each member had in the place of hooks
        self._group: Callbacks | None = None

    def add(self, callback: Callback) -> None:
        """Take one more in, before anything has begun."""
        self._members.append(callback)
        self._own.append({})
        for hook in _BEGINS:
            first = callback is self._members[0]
            self._put(len(self._members) - 1, hook, self._begin(hook) if first else _nothing)

    def leave(self) -> None:
        """Put each member's own hooks back."""
        for member, own in zip(self._members, self._own, strict=True):
            for hook, before in own.items():
                vars(member).pop(hook, None)
                if before is not None:
                    vars(member)[hook] = before
            own.clear()

    def _begin(self, hook: str) -> Callable[..., None]:
        def begin(logs: Any = None) -> None:
            if self._group is None:
                model = self._model()
                _together.pop(model, None)
                self._group = Callbacks(self._members)
                self._group.set_model(model)
                self._group.set_params(dict(self._members[0].params))
            getattr(self._group, hook)(logs)
            self._lead()

        return begin

    def _lead(self) -> None:
        """Put what leads to the group in the place of all hooks."""
        for index in range(len(self._members)):
            for hook in HOOKS:
                self._put(index, hook, self._leading(index, hook))

    def _leading(self, index: int, hook: str) -> Callable[..., None]:
        group = self._group
        first, last = index == 0, index == len(self._members) - 1
        if (hook in _FIRST and not first) or (hook in _LAST and not last):
            return _nothing
        if hook in _BEGINS:
            return self._begin(hook)
        lead: Callable[..., None] = getattr(group, hook, _nothing)
        if hook not in _ENDS:
            return _nothing if is_default(lead) else lead

        def end(logs: Any = None) -> None:
            lead(logs)
            if group is not None and group.run.is_over:
                self.leave()

        return end

    def _put(self, index: int, hook: str, stand_in: Callable[..., None]) -> None:
        member, own = self._members[index], self._own[index]
        if hook not in own:
            there = vars(member).get(hook)
            own[hook] = getattr(there, "put_over", there)  # or of a fit that was given up
        vars(member)[hook] = _stand(stand_in, own[hook], own[hook] or _method(member, hook))


def join_host(callback: object, model: object) -> None:
    """Let a callback take part in the run of the ``fit`` that is about to begin over this model."""
    if not isinstance(model, keras.Model) or not isinstance(callback, Callback):
        return
    if model not in _together:
        _together[model] = _Together(model)
    _together[model].add(callback)


def _method(member: Callback, hook: str) -> Callable[..., None]:
    method: Callable[..., None] = getattr(type(member), hook).__get__(member)
    return method


def _stand(
    stand_in: Callable[..., None], before: Callable[..., None] | None, own: Callable[..., None]
) -> Callable[..., None]:
    def stand(*arguments: Any, **options: Any) -> None:
        stand_in(*arguments, **options)

    # The run calls what it stands for; Keras looks for the mark of a hook that does nothing.
    vars(stand).update(stands_for=own, put_over=before, _is_default=is_default(stand_in))
    return stand


def _nothing(*_: Any, **__: Any) -> None:
    """Stand for a hook that is called in the place of another callback."""


vars(_nothing).update(_is_default=True)
_together = weakref.WeakKeyDictionary()
