"""A Keras model's variables by name, read and written on the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from callboard._core.errors import DataError

__all__ = ["assign", "by_path", "host_array", "matched", "read"]

Arrays = dict[str, np.ndarray[Any, Any]]


def by_path(variables: Iterable[Any]) -> dict[str, Any]:
    """Return variables by their paths; two of one path get a number."""
    named: dict[str, Any] = {}
    for variable in variables:
        name, number = variable.path, 1
        while name in named:
            name, number = f"{variable.path}_{number}", number + 1
        named[name] = variable
    return named


def host_array(variable: Any) -> np.ndarray[Any, Any]:
    """Return a copy of a variable's value on the host."""
    array: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(variable)
    if not array.flags.owndata:
        array = array.copy()
    if array.dtype.kind != "V" or array.dtype.names:
        return array
    bits = array.view(f"u{array.dtype.itemsize}")  # bfloat16 and its like
    return bits.view(np.dtype([(array.dtype.name, f"<u{array.dtype.itemsize}")]))


def read(variables: Mapping[str, Any], into: Arrays | None = None) -> Arrays:
    """Copy variables to the host, into arrays from an earlier call if they fit."""
    current = {name: host_array(variable) for name, variable in variables.items()}
    if into is None or into.keys() != current.keys():
        return current
    for name, array in current.items():
        np.copyto(into[name], array)
    return into


def matched(variables: Mapping[str, Any], arrays: Mapping[str, Any], what: str) -> list[Any]:
    """Return the array of each variable, in the order of the variables.

    Keras numbers the layers of a process ("dense", "dense_1"), so the same model has other names if
    it is not the first one. If the names differ, variables and arrays are matched in their order.

    Raises:
        DataError: If number or shapes differ; ``what`` names them.
    """
    if variables.keys() == arrays.keys():
        found = [arrays[name] for name in variables]
    else:
        found = list(arrays.values())
    if len(found) != len(variables):
        raise DataError(
            f"the {what} are those of another model: {len(found)} saved, {len(variables)} here"
        )
    for (name, variable), array in zip(variables.items(), found, strict=True):
        if tuple(variable.shape) != tuple(array.shape):
            raise DataError(
                f"{name!r} has shape {tuple(array.shape)} in what is loaded and "
                f"{tuple(variable.shape)} in the model; the {what} are those of another model"
            )
    return found


def assign(variables: Mapping[str, Any], arrays: Iterable[Any]) -> None:
    """Write arrays, which were matched, into variables."""
    for variable, array in zip(variables.values(), arrays, strict=True):
        variable.assign(_assignable(np.asarray(array)))


def _assignable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not array.dtype.names:
        return array
    import ml_dtypes  # noqa: PLC0415 - comes with Keras, and is needed for a type that NumPy lacks

    bits = array.view(f"u{array.dtype.itemsize}")
    return bits.view(getattr(ml_dtypes, array.dtype.names[0]))
