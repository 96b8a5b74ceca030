"""The states of all callbacks of a run, also of those that say nothing about theirs."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from callboard._core.callback import HOOKS, Callback
from callboard._core.checks import ConfigurationWarning

__all__ = ["CallbackStates"]

# What the run itself gives to callbacks; Keras's base class keeps the model as _model.
_GIVEN = frozenset({"model", "_model", "params", "_run", "_outer", "_used", "validation_data"})
_LARGE = 100_000  # elements of an attribute that are still compared
# What Keras's callbacks find out at the end of the first epoch and cannot be saved, and how.
_FOUND_OUT = {"monitor_op": "_set_monitor_op"}


class CallbackStates:
    """Saves and restores callbacks by names that stay the same when the program is started again.

    A callback's name is that of its class, with a number if the list has several; of these each
    gets the state of the one whose arguments were most like its own.

    One that has no ``state_dict`` of its own, as callbacks written for Keras, is taken to be
    described by its attributes: those are saved that have changed since the run began and are plain
    values (numbers, texts, arrays, containers of them).

    Args:
        callbacks: The callbacks of a run that is about to begin.

    Attributes:
        arguments: What each was made with, by name.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self._named = _named(callbacks)
        self._initial = {
            name: _described(callback)
            for name, callback in self._named.items()
            if not _has_state_dict(callback)
        }
        self._warned: set[tuple[str, str]] = set()
        self.arguments = {
            name: callback.settings() if isinstance(callback, Callback) else {}
            for name, callback in self._named.items()
        }

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the state of each callback by name."""
        return {
            name: callback.state_dict()
            if _has_state_dict(callback)
            else self._changed(name, callback)
            for name, callback in self._named.items()
        }

    def load_state_dict(
        self,
        state: Mapping[str, Mapping[str, Any]],
        arguments: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Continue from ``state_dict()``; callbacks that were not there then begin anew.

        Args:
            state: The states by name.
            arguments: What ``arguments`` was then; without it the order of the list decides which
                of several of one class is which.
        """
        before = _matched(state.keys(), arguments or {}, self.arguments)
        for name, callback in self._named.items():
            if name not in before:
                if state and not getattr(callback, "writes_only", False):
                    _warn(f"{name} was not among the callbacks before, so it begins anew")
            elif _has_state_dict(callback):
                callback.load_state_dict(state[before[name]])
            else:
                _restore(callback, state[before[name]])
        for name in sorted(state.keys() - set(before.values())):
            if state[name]:
                _warn(f"{name} was among the callbacks before and is not now; its state is left")

    def _changed(self, name: str, callback: Any) -> dict[str, Any]:
        initial, changed = self._initial[name], {}
        for attribute, value in vars(callback).items():
            if attribute in _GIVEN or attribute in HOOKS:
                continue
            now = _description(value)
            before = initial.get(attribute)
            if now == before:
                continue
            if attribute in _FOUND_OUT and hasattr(callback, _FOUND_OUT[attribute]):
                changed[attribute] = "found out"
            elif _is_plain(now):
                changed[attribute] = copy.deepcopy(value)
            elif (name, attribute) not in self._warned:
                self._warned.add((name, attribute))
                _warn(
                    f"{name}.{attribute} changed to a {type(value).__name__}, which cannot be "
                    "saved with a checkpoint; give the class state_dict() and load_state_dict() "
                    "if it has to be there when training goes on"
                )
        return changed


def _named(callbacks: Iterable[Any]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    named = {}
    for callback in callbacks:
        kind = type(callback).__name__
        counts[kind] += 1
        named[kind if counts[kind] == 1 else f"{kind}-{counts[kind]}"] = callback
    return named


def _matched(
    saved: Iterable[str],
    arguments: Mapping[str, Mapping[str, Any]],
    now: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Return the saved name of each callback: of one class, and with arguments most like its own.

    Example:
        >>> then, now = {"Log": {"to": "a"}}, {"Log": {"to": "b"}, "Log-2": {"to": "a"}}
        >>> _matched(then, then, now)
        {'Log-2': 'Log'}
    """
    pairs = [(name, old) for name in now for old in saved if _parts(name)[0] == _parts(old)[0]]

    def unlikeness(pair: tuple[str, str]) -> tuple[int, int, int]:
        name, old = pair
        alike = now[name].items() & arguments.get(old, {}).items()
        return -len(alike), _parts(old)[1], _parts(name)[1]

    matched: dict[str, str] = {}
    for name, old in sorted(pairs, key=unlikeness):
        if name not in matched and old not in matched.values():
            matched[name] = old
    return matched


def _parts(name: str) -> tuple[str, int]:
    """Return the class and the number of a callback's name."""
    kind, _, number = name.rpartition("-")
    return (kind, int(number)) if kind and number.isdecimal() else (name, 1)


def _has_state_dict(callback: object) -> bool:
    own = getattr(type(callback), "state_dict", None)
    if own is None or not hasattr(callback, "load_state_dict"):
        return False
    # The empty one of the base class says nothing; that a class of ours has it, everything.
    return own is not Callback.state_dict or type(callback).__module__.startswith("callboard.")


def _restore(callback: object, state: Mapping[str, Any]) -> None:
    """Put attributes back, last of all: what is found out anew may change others."""
    for attribute in state.keys() & _FOUND_OUT.keys():
        getattr(callback, _FOUND_OUT[attribute])()
    saved = {name: value for name, value in state.items() if name not in _FOUND_OUT}
    vars(callback).update(copy.deepcopy(saved))


def _described(callback: object) -> dict[str, Any]:
    return {name: _description(value) for name, value in vars(callback).items()}


def _description(value: object) -> Any:
    """Return something equal for equal values; for what is large or not plain, its identity."""
    try:
        return _plain_description(value, [_LARGE])
    except (TypeError, RecursionError):
        return (_identity_of(value), id(value))


_OF_PLAIN, _OF_OTHER = "identity of plain values", "identity"


def _identity_of(value: object) -> str:
    try:
        _plain_description(value, None)
    except (TypeError, RecursionError):
        return _OF_OTHER
    return _OF_PLAIN


def _is_plain(description: Any) -> bool:
    return not (isinstance(description, tuple) and description[:1] == (_OF_OTHER,))


def _plain_description(value: object, budget: list[int] | None) -> Any:
    """Describe a value; raise TypeError if it is not plain, or beyond the budget of elements."""
    if budget is not None:
        budget[0] -= value.size if isinstance(value, np.ndarray | np.generic) else 1
        if budget[0] < 0:
            raise TypeError
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError
        return ("array", str(value.dtype), value.shape, b"" if budget is None else value.tobytes())
    if type(value) in (list, tuple):
        return (type(value).__name__, [_plain_description(each, budget) for each in value])  # type: ignore[attr-defined] # just looked
    if isinstance(value, dict):
        return ("dict", [(repr(k), _plain_description(v, budget)) for k, v in value.items()])
    raise TypeError


def _warn(text: str) -> None:
    warnings.warn(text, ConfigurationWarning, stacklevel=3)
