"""The arrays of floating-point numbers that an estimator has learned, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from callboard._core.errors import DataError

__all__ = ["learned", "owner", "put", "trains"]

Array = np.ndarray[Any, Any]


def learned(estimator: Any) -> Iterator[tuple[str, Array]]:
    """Yield the arrays with their names; those of estimators inside of it are named after both.

    Example:
        >>> from sklearn.linear_model import SGDRegressor
        >>> from sklearn.multioutput import MultiOutputRegressor
        >>> outer = MultiOutputRegressor(SGDRegressor())
        >>> _ = outer.partial_fit([[1.0]], [[2.0, 3.0]])
        >>> [name for name, _ in learned(outer)][:2]
        ['estimators_.0.coef_', 'estimators_.0.intercept_']
    """
    for name, value in sorted(vars(estimator).items()):
        if name.startswith("_") or not name.endswith("_"):
            continue
        if _is_learned(value):
            yield name, value
        elif trains(value):
            yield from ((f"{name}.{inner}", array) for inner, array in learned(value))
        elif isinstance(value, list):
            yield from _learned_by_all(name, value)


def _learned_by_all(name: str, values: list[Any]) -> Iterator[tuple[str, Array]]:
    arrays = bool(values) and all(map(_is_learned, values))
    for index, value in enumerate(values):
        if arrays:
            yield f"{name}.{index}", value
        elif trains(value):
            for inner, array in learned(value):
                yield f"{name}.{index}.{inner}", array


def put(estimator: Any, arrays: Mapping[str, Array]) -> None:
    """Give an estimator arrays that ``learned`` yielded.

    Raises:
        DataError: If they are those of estimators inside of it, which it does not have yet.
    """
    lists: dict[tuple[int, str], tuple[Any, dict[int, Array]]] = {}
    for name, array in arrays.items():
        own, attribute, index = owner(estimator, name)
        if index:
            _, items = lists.setdefault((id(own), attribute), (own, {}))
            items[int(index)] = array
        else:
            setattr(own, attribute, array)
    for (_, attribute), (own, items) in lists.items():  # in a file they are in any order
        setattr(own, attribute, [items[index] for index in sorted(items)])


def owner(estimator: Any, name: str) -> tuple[Any, str, str]:
    """Return the estimator that has an array, the attribute, and the place in it if it is a list.

    Example:
        >>> from sklearn.neural_network import MLPRegressor
        >>> owner(MLPRegressor(hidden_layer_sizes=[3]), "coefs_.1")
        (MLPRegressor(hidden_layer_sizes=[3]), 'coefs_', '1')

    Raises:
        DataError: If that is an estimator inside of it which it does not have.
    """
    attribute, _, rest = name.partition(".")
    value = getattr(estimator, attribute, None)
    index, _, inner = rest.partition(".")
    if trains(value):
        return owner(value, rest)
    if not inner:
        return estimator, attribute, rest
    if not isinstance(value, list) or not trains(dict(enumerate(value)).get(int(index))):
        raise DataError(
            f"the {type(estimator).__name__} has no {attribute}[{index}] to put {inner} into; call "
            "partial_fit once before"
        )
    return owner(value[int(index)], inner)


def trains(value: object) -> bool:
    """Say whether something is an estimator that learns batch by batch."""
    return isinstance(value, BaseEstimator) and hasattr(value, "partial_fit")


def _is_learned(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
