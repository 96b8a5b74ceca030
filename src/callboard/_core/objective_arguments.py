"""What losses and metrics are given: constants and checks that are the same on every framework."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, TypeVar

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError

__all__ = [
    "EPSILON",
    "REDUCTIONS",
    "Activation",
    "Average",
    "Reduction",
    "check_average",
    "check_class_ids",
    "check_reduction",
    "curve_thresholds",
    "decision_thresholds",
    "fraction",
    "one_of",
    "same_shape",
    "spaced",
    "weight_shape",
]

Activation = Literal["softmax", "sigmoid"]
Average = Literal["micro", "macro", "weighted"]
Reduction = Literal["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none"]
REDUCTIONS: tuple[Reduction, ...] = (
    "sum_over_batch_size",
    "sum",
    "mean",
    "mean_with_sample_weight",
    "none",
)
EPSILON = 1e-7  # Keras's ``epsilon()``: probabilities stay this far from 0 and 1

_Array = TypeVar("_Array")


def check_reduction(reduction: Reduction | None) -> Reduction:
    """Return the name of a reduction; None is none.

    Raises:
        UnknownNameError: For another name.
    """
    if reduction is not None and reduction not in REDUCTIONS:
        raise UnknownNameError("reduction", reduction, REDUCTIONS)
    return reduction or "none"


def check_average(average: Average | None) -> None:
    """Raise UnknownNameError for an average over classes that there is not."""
    allowed = ("micro", "macro", "weighted")
    if average is not None and average not in allowed:
        raise UnknownNameError("average", average, allowed)


def check_class_ids(ids: Sequence[int], classes: int) -> None:
    """Raise ConfigurationError if there is a class that does not exist."""
    outside = [number for number in ids if not 0 <= number < classes]
    if outside:
        raise ConfigurationError(f"target_class_ids must be from 0 to {classes - 1}; got {outside}")


def fraction(value: Any, name: str) -> float:
    """Return a number from 0 to 1.

    Raises:
        ConfigurationError: For anything else.

    Example:
        >>> fraction(0.1, "label_smoothing")
        0.1
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ConfigurationError(f"{name} must be between 0 and 1; got {value!r}")
    return float(value)


def one_of(given: str, kind: str, allowed: Sequence[str]) -> str:
    """Return a name, or raise UnknownNameError if it is not one of those allowed."""
    if given not in allowed:
        raise UnknownNameError(kind, given, allowed)
    return given


def decision_thresholds(given: float | Sequence[float] | None, default: float) -> list[float]:
    """Return from where on a prediction means yes, one or several.

    Raises:
        ConfigurationError: If one is not between 0 and 1, or there is none.
    """
    if given is None:
        return [default]
    thresholds = [given] if isinstance(given, int | float) else list(given)
    if not thresholds or not all(0 <= threshold <= 1 for threshold in thresholds):
        raise ConfigurationError(f"thresholds must be between 0 and 1; got {given!r}")
    return [float(threshold) for threshold in thresholds]


def curve_thresholds(number: int, given: Sequence[float] | None) -> list[float]:
    """Return the thresholds of a curve, the outermost ones beyond all probabilities.

    Raises:
        ConfigurationError: If one is not between 0 and 1, or there are too few.
    """
    if given is not None:
        if not all(0 <= threshold <= 1 for threshold in given):
            raise ConfigurationError(f"thresholds must be between 0 and 1; got {given!r}")
        return [-EPSILON, *sorted(given), 1.0 + EPSILON]
    if isinstance(number, bool) or not isinstance(number, int) or number < 2:
        raise ConfigurationError(f"num_thresholds must be a whole number > 1; got {number!r}")
    return spaced(number, -EPSILON, 1.0 + EPSILON)


def spaced(number: int, lowest: float, highest: float) -> list[float]:
    """Return thresholds evenly spaced between 0 and 1, the outermost ones as given.

    Example:
        >>> spaced(3, 0.0, 1.0)
        [0.0, 0.5, 1.0]
    """
    inner = [(i + 1) * 1.0 / (number - 1) for i in range(number - 2)]
    return [lowest, *inner, highest]


def same_shape(y_true: _Array, y_pred: _Array) -> tuple[_Array, _Array]:
    """Return both as they are, or raise DataError if their shapes differ."""
    true, pred = y_true.shape, y_pred.shape  # type: ignore[attr-defined] # arrays have a shape
    if true != pred:
        raise DataError(
            f"y_true has shape {tuple(true)} and y_pred {tuple(pred)}; this loss "
            "or metric compares them element by element, so they must be equal. For class "
            "numbers as targets use a sparse_categorical_ one"
        )
    return y_true, y_pred


def weight_shape(weight: Sequence[int], values: Sequence[int]) -> tuple[int, ...]:
    """Return the shape in which sample weights broadcast to values, sample by sample.

    Example:
        >>> weight_shape((32,), (32, 10))
        (32, 1)

    Raises:
        DataError: If there is not a weight for each sample.
        ConfigurationError: If there are no values per sample.
    """
    if not values and weight:
        raise ConfigurationError(
            "sample weights need a loss or metric with one value for each sample, and this one "
            "gives a single value for the batch; return values of shape (batch,) from it, or "
            "train without sample weights"
        )
    if len(weight) == len(values) + 1 and weight[-1] == 1:
        weight = weight[:-1]
    shape = (*weight, *(1 for _ in range(len(values) - len(weight))))
    if len(shape) > len(values) or any(
        given not in (1, wanted) for given, wanted in zip(shape, values, strict=True)
    ):
        raise DataError(
            f"sample weights of shape {tuple(weight)} do not fit values of shape "
            f"{tuple(values)}; give one weight for each sample, shape {(*values[:1],)}"
        )
    return shape
