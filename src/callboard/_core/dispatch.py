"""Which hooks fire, in what order, at what cost."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any

from callboard._core.callback import ALIASES, HOOKS, Callback, is_default
from callboard._core.errors import ConfigurationError, HookError

__all__ = ["CallbackList", "first_of"]

Hook = Callable[..., None]

_ENDED = ("on_exception", "close")


class CallbackList(Callback):
    """Many callbacks seen as one. A hook that none of them overrides costs an empty call.

    For each hook the methods that are really overridden are collected once, at construction. An
    error raised in one carries a note that names the callback and the hook. ``on_exception`` and
    ``close`` reach the callbacks in reverse order, all of them, whatever the others raise.

    Args:
        callbacks: Callbacks, or anything with Keras's callback methods; lists in it are flattened.
            They are sorted by their ``order``; equal ones keep the order of the list.

    Raises:
        ConfigurationError: If one is a class, no callback at all, or given twice.

    Example:
        >>> class Greeter(Callback):
        ...     def on_train_begin(self, logs=None):
        ...         print("hello")
        >>> callbacks = CallbackList([Greeter(), [Callback()]])
        >>> callbacks.on_train_begin()
        hello
        >>> callbacks.idle("on_train_batch_end")
        True
    """

    def __init__(self, callbacks: Iterable[Any] = ()) -> None:
        self.callbacks = tuple(sorted(_flattened(callbacks), key=_order))
        self._deciding_only = False
        self.resolve()

    def append(self, callback: Any) -> None:
        """Add a callback, or a list of them, at the place that its ``order`` gives it."""
        both = _flattened([self.callbacks, callback])
        self.callbacks = tuple(sorted(both, key=_order))
        self.resolve()

    def resolve(self) -> None:
        """Look anew which hooks are overridden: a callback may decide that by what it has seen."""
        for hook in HOOKS:
            heard = [each for each in self.callbacks if not self._is_mute(each)]
            found = [(each, _overridden(each, hook)) for each in heard]
            calls = tuple(call for _, call in found if call is not None)
            names = tuple(_name(each, hook) for each, call in found if call is not None)
            fan_out = _fan_out_to_all if hook in _ENDED else _fan_out
            setattr(self, hook, fan_out(calls, names, hook) if calls else _nothing)

    def mute_writers(self) -> None:
        """Call no hook of callbacks that only write, from the next ``resolve`` on."""
        self._deciding_only = True

    def _is_mute(self, callback: object) -> bool:
        return self._deciding_only and getattr(callback, "writes_only", False)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def idle(self, hook: str) -> bool:
        """Say whether no callback overrides this hook."""
        return getattr(self, hook) is _nothing

    def hook(self, name: str) -> Hook | None:
        """Return what to call for a hook, or None if no callback overrides it."""
        return None if self.idle(name) else getattr(self, name)

    def sleeper(self, name: str) -> Callback | None:
        """Return the only callback that hears a hook, if it says when it will have to."""
        heard = [each for each in self.callbacks if not self._is_mute(each)]
        hearing = [each for each in heard if _overridden(each, name) is not None]
        if len(hearing) != 1 or getattr(hearing[0], "wakes_at_s", None) is None:
            return None
        only: Callback = hearing[0]
        return only

    def each(self, method: str, *arguments: object) -> None:
        """Call a method that is not a hook (``set_model``, ``check``) on all that have it."""
        for callback in self.callbacks:
            call = getattr(callback, method, None)
            if call is not None:
                try:
                    call(*arguments)
                except BaseException as error:
                    _note(error, _name(callback, method))
                    raise

    def each_whatever_happens(self, method: str, *arguments: object) -> None:
        """As ``each``, but all have their turn, last one first; then the first error is raised."""
        found = [(getattr(callback, method, None), callback) for callback in self.callbacks]
        calls = tuple(call for call, _ in found if call is not None)
        names = tuple(_name(callback, method) for call, callback in found if call is not None)
        _fan_out_to_all(calls, names, method)(*arguments)


def _flattened(callbacks: Any) -> Iterator[Any]:
    seen: set[int] = set()
    stack = [callbacks]
    while stack:
        item = stack.pop()
        if isinstance(item, CallbackList):
            item = item.callbacks
        if isinstance(item, list | tuple | set | frozenset | Iterator):
            stack.extend(reversed(tuple(item)))
            continue
        _check(item)
        if id(item) in seen:
            raise ConfigurationError(
                f"the same {type(item).__name__} object is given twice; give it once, or make two"
            )
        seen.add(id(item))
        yield item


def _check(item: object) -> None:
    if inspect.isclass(item):
        raise ConfigurationError(
            f"callbacks has the class {item.__name__} where an object is wanted; "
            f"call it: {item.__name__}(...)"
        )
    if not callable(getattr(item, "set_model", None)):
        raise ConfigurationError(
            f"callbacks has {item!r}, which is no callback; "
            "give objects whose class extends callboard.Callback, or a list of them"
        )


def _order(callback: object) -> float:
    order = getattr(callback, "order", 0)
    if isinstance(order, Real):
        return float(order)
    if isinstance(callback, Callback):
        raise ConfigurationError(
            f"{type(callback).__name__}.order must be a number, by which callbacks are sorted; got "
            f"{order!r}. If the attribute is for something else, give it another name"
        )
    return 0.0  # of another library, and about something else


def _overridden(callback: object, hook: str) -> Hook | None:
    method: Hook | None = getattr(callback, hook, None)
    method = getattr(method, "stands_for", method)  # put there by a host: it leads to the run
    if method is not None and not is_default(method):
        return method
    return _overridden(callback, ALIASES[hook]) if hook in ALIASES else None


def _nothing(index: object = None, logs: object = None) -> None:
    """Stand for a hook that no one overrides."""


def _fan_out(calls: tuple[Hook, ...], names: tuple[str, ...], hook: str) -> Hook:
    """Return a function that calls each in turn; written out by arity, as this is the hot path."""

    def fire(index: object, logs: object = None) -> None:
        if logs is None:
            logs = {}
        call = calls[0]
        try:
            for call in calls:
                call(index, logs)
        except BaseException as error:
            _note(error, names[calls.index(call)])
            raise

    def fire_logs_only(logs: object = None) -> None:
        if logs is None:
            logs = {}
        call = calls[0]
        try:
            for call in calls:
                call(logs)
        except BaseException as error:
            _note(error, names[calls.index(call)])
            raise

    takes_index = len(inspect.signature(getattr(Callback, hook)).parameters) == 3
    return fire if takes_index else fire_logs_only


def _fan_out_to_all(calls: tuple[Hook, ...], names: tuple[str, ...], _hook: str) -> Hook:
    """Return a function that calls each, last one first, and raises one error at the end."""

    def fire(*arguments: object) -> None:
        first: BaseException | None = None
        for call, name in zip(reversed(calls), reversed(names), strict=True):
            try:
                call(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised below, after all had their turn
                first = first_of(first, _noted(error, name))
        if first is not None:
            raise first

    return fire


def first_of(first: BaseException | None, late: BaseException) -> BaseException:
    """Return which of two errors the caller gets, with a note of the other.

    That is the first one; but Ctrl-C and an exit would be lost as a note to an error that the
    program catches.
    """
    if first is None or late is first:
        return late
    ends = KeyboardInterrupt, SystemExit
    if isinstance(late, ends) and not isinstance(first, ends):
        late.add_note(f"before it, {first!r} was raised")
        return late
    for note in (f"then {late!r} was raised", *getattr(late, "__notes__", ())):
        first.add_note(note)
    return first


def _noted(error: BaseException, where: str) -> BaseException:
    """Return an error with a note of where it came from.

    A StopIteration becomes a HookError: outside of the hook it would look like the end of the data.
    """
    if isinstance(error, StopIteration):
        raised = HookError(f"{where} raised StopIteration, which a hook must not do")
        raised.__cause__ = error
        return raised
    error.add_note(f"raised in {where}")
    return error


def _note(error: BaseException, where: str) -> None:
    """Note on an error where it came from, before it is raised again; or raise what it became."""
    noted = _noted(error, where)
    if noted is not error:
        raise noted


def _name(callback: object, hook: str) -> str:
    return f"{type(callback).__name__}.{hook}"
