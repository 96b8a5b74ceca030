"""The metrics that a hook receives, and the running means they come from."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from decimal import Decimal
from typing import Any, SupportsFloat

from callboard._core.errors import DataError

__all__ = ["Logs", "Mean", "Means", "plain"]


def plain(value: Any) -> Any:
    """Return a Python float for anything that is one number, and everything else as it is.

    Reading a value that lies on a device waits for the device.

    Example:
        >>> import numpy as np
        >>> plain(np.float32(0.5)), plain(3), plain("note")
        (0.5, 3.0, 'note')
    """
    if type(value) is float:
        return value
    if isinstance(value, numbers.Real):
        return float(value)
    shape = getattr(value, "shape", None)
    if shape is None:
        return float(value) if isinstance(value, SupportsFloat) else value
    if math.prod(shape) != 1:
        return value
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):  # one text, date or complex number, as NumPy holds them
        return value


class Logs(MutableMapping[str, Any]):
    """Metrics by name. A value that lies on a device becomes a float when it is read, and once.

    Behaves like the dict that Keras passes to hooks: read it, add to it, ``dict(logs)`` it. What
    one callback adds, the callbacks after it see. ``logs`` stays valid after the hook has returned.

    Args:
        values: The metrics.
        other_names: Further names by which metrics may be read, each with the name that it stands
            for. They are not listed.

    Example:
        >>> logs = Logs({"loss": Mean(total=3.0, weight=2.0)}, {"train_loss": "loss"})
        >>> logs["learning_rate"] = 0.1
        >>> dict(logs), logs["train_loss"]
        ({'loss': 1.5, 'learning_rate': 0.1}, 1.5)
    """

    __slots__ = ("_other_names", "_values")

    def __init__(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        other_names: Mapping[str, str] | None = None,
    ) -> None:
        # By type, as a batch makes one or two of them, and isinstance takes long with a Mapping.
        self._values: dict[str, Any] = dict(values.unread if type(values) is Logs else values)
        self._other_names = other_names

    @property
    def unread(self) -> Mapping[str, Any]:
        """The values as they are, those on a device not waited for."""
        return self._values

    def sorted(self) -> Logs:
        """Return the same metrics, sorted by name."""
        return Logs(sorted(self._values.items()), self._other_names)

    def __getitem__(self, name: str) -> Any:
        name = self._listed(name)
        value = self._values[name]
        if type(value) is not float:
            value = self._values[name] = plain(value)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return self._listed(name) in self._values

    def _listed(self, name: Any) -> Any:
        """Return the name by which a metric is listed."""
        if self._other_names is None or name in self._values:
            return name
        return self._other_names.get(name, name)

    def __repr__(self) -> str:
        return f"Logs({dict(self)})"

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def __copy__(self) -> Logs:
        return Logs(self._values, self._other_names)

    def copy(self) -> dict[str, Any]:
        """Return a plain dict of the values, all read."""
        return dict(self)


class Mean:
    """A weighted mean that is divided out when it is read, and once. Immutable.

    Args:
        total: Sum of value times weight; a number or a 0-d array on any device.
        weight: Sum of the weights, usually the number of samples; like ``total``.
    """

    __slots__ = ("_value", "total", "weight")

    def __init__(self, total: Any, weight: Any) -> None:
        self.total = total
        self.weight = weight
        self._value: float | None = None

    def __float__(self) -> float:
        if self._value is None:
            total, weight = float(self.total), float(self.weight)
            self._value = total / weight if weight else math.nan
        return self._value


class Means:
    """Running means of named values, each weighted; arrays stay on their device.

    A sum is never changed in place, so a ``Logs`` handed out earlier keeps its values.

    Example:
        >>> means = Means()
        >>> means.add({"loss": 1.0}, weight=1)
        >>> means.add({"loss": 4.0}, weight=2)
        >>> dict(means.logs())
        {'loss': 3.0}
    """

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[str, Mean] = {}

    def add(self, values: Mapping[str, Any], weight: float) -> None:
        """Add one batch's values, each the mean over ``weight`` samples.

        Raises:
            DataError: For a value that is not one number.
        """
        for name, value in values.items():
            before = self._sums.get(name)
            if before is None or getattr(value, "shape", None):
                _check_number(name, value)
            try:
                term = _summand(value) * weight
                if before is None:
                    self._sums[name] = Mean(term, weight)
                else:
                    self._sums[name] = Mean(before.total + term, before.weight + weight)
            except TypeError:
                _check_number(name, value)
                raise

    def logs(self) -> Logs:
        """Return the means so far, not yet read from the device."""
        return Logs(self._sums)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and weights by name, as they are."""
        return {name: (mean.total, mean.weight) for name, mean in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._sums = {name: Mean(total, weight) for name, (total, weight) in state.items()}


def _check_number(name: str, value: Any) -> None:
    """Raise for what is no number, so that a mistake shows where it was made."""
    if isinstance(value, numbers.Real | Decimal):
        return
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(value, "dtype") or (shape and math.prod(shape) != 1):
        raise DataError(
            f"{name}={value!r} cannot be logged: a metric is one number or a 0-d array; "
            "log the mean of an array, or each value under a name of its own"
        )


def _summand(value: Any) -> Any:
    """Return a number or array that may be summed for a whole epoch.

    A graph of gradients is let go, and 16-bit values are widened: a sum of thousands of them
    would stop growing.
    """
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    detach = getattr(value, "detach", None)
    if detach is not None:
        value = detach()
    shape = getattr(value, "shape", None)
    if shape and hasattr(value, "reshape"):
        value = value.reshape(())  # of one element: NumPy makes a number of a 0-d array only
    itemsize = getattr(getattr(value, "dtype", None), "itemsize", 4)
    return value if itemsize >= 4 else _widened(value)


def _widened(value: Any) -> Any:
    return value.float() if hasattr(value, "float") else value.astype("float32")
