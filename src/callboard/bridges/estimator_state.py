"""All that the training of an estimator by ``partial_fit`` goes on from, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.neural_network import _stochastic_optimizers as optimizers
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state

from callboard._core.errors import DataError, UnsupportedError
from callboard.bridges.estimator_weights import trains

__all__ = ["RATES", "EstimatorState", "by_columns", "leave_out"]

RATES = ("eta0", "learning_rate_init")
"""Parameters that hold a learning rate."""

# What estimators keep besides plain values. Each is its attributes, so it is made without a call.
_KINDS = (LabelBinarizer, optimizers.AdamOptimizer, optimizers.SGDOptimizer)

# Attributes that every fit sets anew.
_MADE_ANEW = frozenset(
    {"_loss_function_", "_callback_fit_ctx", "_skl_callbacks", "_skl_callbacks_to_teardown"}
)

# Parameters that have no part in the result.
_INDIFFERENT = frozenset({"n_jobs", "verbose", *RATES})

_PART, _TEXTS, _NUMBERS, _COLUMNS, _RANDOM = "part", "texts", "numbers", "columns", "random state"
_COPY = "copy of parameter"
_PLAIN = (type(None), bool, int, float, str, bytes, np.generic)


class EstimatorState:
    """Reads and writes the attributes of one estimator.

    Args:
        estimator: The estimator.

    Example:
        >>> from sklearn.linear_model import SGDRegressor
        >>> one, other = SGDRegressor(random_state=0), SGDRegressor(random_state=0)
        >>> state = EstimatorState(one.partial_fit([[1.0]], [2.0])).read()
        >>> EstimatorState(other).write(state)
        >>> bool(other.coef_ == one.coef_), other.t_
        (True, 2.0)
    """

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def read(self) -> dict[str, Any]:
        """Return the state, nothing copied.

        Raises:
            UnsupportedError: For an attribute that is no plain value.
        """
        fitted = vars(self._estimator).keys() - self._parameters().keys() - _MADE_ANEW
        return {
            "class": type(self._estimator).__name__,
            "parameters": {n: self._read(n, v) for n, v in self._compared().items()},
            "rates": {n: v for n, v in self._parameters().items() if n in RATES},
            "attributes": {n: self._read(n, vars(self._estimator)[n]) for n in sorted(fitted)},
        }

    def write(self, state: Mapping[str, Any]) -> None:
        """Give the estimator a state that ``read`` returned.

        Raises:
            DataError: If it is that of another estimator; then nothing is changed.
        """
        self._compare(state)
        for name, value in self._compared().items():
            if isinstance(value, np.random.RandomState):
                value.set_state(state["parameters"][name][_RANDOM])
        self._estimator.set_params(**state["rates"])
        for name, value in state["attributes"].items():
            setattr(self._estimator, name, self._written(value))

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self._estimator.get_params(deep=False)
        return parameters

    def _compared(self) -> dict[str, Any]:
        """Return the parameters that have to be equal; others than plain values are not known."""
        parameters = self._estimator.get_params(deep=True)  # those of an estimator inside too
        known = {n: _comparable(v) for n, v in parameters.items() if _ends(n) not in _INDIFFERENT}
        kinds = (*_PLAIN, list, tuple, np.ndarray, np.random.RandomState)
        return {name: value for name, value in known.items() if isinstance(value, kinds)}

    def _compare(self, state: Mapping[str, Any]) -> None:
        kind = type(self._estimator).__name__
        if state["class"] != kind:
            raise DataError(f"the state is that of a {state['class']}, and this is a {kind}")
        now = {name: self._read(name, value) for name, value in self._compared().items()}
        then = state["parameters"]
        other = [
            f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
            for name in sorted(now.keys() | then.keys())
            if not _equal(then.get(name), now.get(name))
        ]
        if other:
            raise DataError(
                f"the state is that of a {kind} with other parameters ({'; '.join(other)}); pass "
                "the same, or begin anew in another folder"
            )

    def _read(self, name: str, value: Any) -> Any:
        if _is_plain(value):
            return {_COLUMNS: value.T} if by_columns(value) else value
        if isinstance(value, np.random.RandomState):
            return {_RANDOM: self._read_random(name, value)}
        if isinstance(value, np.ndarray | list | tuple):
            return self._read_several(name, value)
        if trains(value):
            return self._read_copy(name, value)
        own = value if type(value) is dict else vars(value) if type(value) in _KINDS else None
        if own is None:
            raise self._cannot_save(name, value)
        inner = {n: self._read(f"{name}.{n}", v) for n, v in own.items()}
        return {_PART: type(value).__name__, "of": inner}

    def _read_several(self, name: str, values: Any) -> Any:
        """Return the state of a list, or of an array that holds no numbers."""
        if isinstance(values, np.ndarray):
            if not all(isinstance(each, str) for each in values.flat):
                raise self._cannot_save(name, values)
            dtype = "O" if values.dtype.kind == "O" else values.dtype.str
            return {_TEXTS: values.tolist(), "dtype": dtype}
        if values and all(isinstance(each, float) for each in values):
            return {_NUMBERS: np.array(values)}  # a curve has one for each batch
        return type(values)(self._read(name, each) for each in values)

    def _cannot_save(self, name: str, value: Any) -> UnsupportedError:
        return UnsupportedError(
            f"the training of a {type(self._estimator).__name__} cannot be saved and gone on with: "
            f"its {name} is a {type(value).__name__}; save its weights by "
            "ModelCheckpoint('name.safetensors')"
        )

    def _read_copy(self, name: str, estimator: Any) -> Any:
        """Return the state of an estimator inside of this one, which was made from a parameter."""
        for parameter, value in self._parameters().items():
            if type(value) is type(estimator):
                return {_COPY: parameter, "of": EstimatorState(estimator).read()}
        raise self._cannot_save(name, estimator)

    def _read_random(self, name: str, generator: np.random.RandomState) -> Any:
        """Return the state of a generator, or whose it is where it is saved anyway."""
        if generator is _global():
            return "global"
        for parameter, value in self._parameters().items():
            if value is generator and parameter != name:
                return f"parameter {parameter}"
        return generator.get_state(legacy=False)

    def _written(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self._written(each) for each in value)
        if not isinstance(value, Mapping):
            return np.array(value) if isinstance(value, np.ndarray) else value
        if _RANDOM in value:
            return self._written_random(value[_RANDOM])
        if _COPY in value:
            copied = clone(self._parameters()[value[_COPY]])
            EstimatorState(copied).write(value["of"])
            return copied
        return self._written_part(value) if _PART in value else _array_of(value)

    def _written_part(self, value: Mapping[str, Any]) -> Any:
        own = {name: self._written(each) for name, each in value["of"].items()}
        kind = next((kind for kind in _KINDS if kind.__name__ == value[_PART]), None)
        if kind is None:
            return own
        part = object.__new__(kind)
        vars(part).update(own)
        return part

    def _written_random(self, state: Any) -> np.random.RandomState:
        if state == "global":
            return _global()
        if isinstance(state, str):
            found: np.random.RandomState = self._parameters()[state.removeprefix("parameter ")]
            return found
        generator = np.random.RandomState()
        generator.set_state(state)
        return generator


def leave_out(state: dict[str, Any], name: str) -> None:
    """Take an array, by its name among the weights, out of a state: it is saved as a weight."""
    attribute, _, rest = name.partition(".")
    value = state["attributes"].get(attribute)
    index, _, inner = rest.partition(".")
    if isinstance(value, Mapping) and _COPY in value:
        leave_out(value["of"], rest)
    elif inner and value is not None:
        leave_out(value[int(index)]["of"], inner)
    else:
        state["attributes"].pop(attribute, None)


def _array_of(value: Mapping[str, Any]) -> Any:
    if _NUMBERS in value:
        return list(value[_NUMBERS])
    if _COLUMNS in value:
        return np.array(value[_COLUMNS]).T
    return np.array(value[_TEXTS], value["dtype"])


def by_columns(value: Any) -> bool:
    """Say whether an array lies in memory column by column.

    Example:
        >>> by_columns(np.ones((2, 3))), by_columns(np.ones((2, 3)).T)
        (False, True)
    """
    return (
        isinstance(value, np.ndarray) and value.flags.f_contiguous and not value.flags.c_contiguous
    )


def _global() -> np.random.RandomState:
    """Return NumPy's global generator, whose state is saved with every run."""
    generator: np.random.RandomState = check_random_state(None)
    return generator


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiub"
    return isinstance(value, _PLAIN)


def _ends(name: str) -> str:
    """Return what a parameter is called in the estimator inside that has it."""
    return name.rpartition("__")[2]


def _comparable(value: Any) -> Any:
    """Return for a parameter what can be saved and compared."""
    if trains(value):
        return type(value).__name__
    return repr(sorted(value.items(), key=repr)) if isinstance(value, dict) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if _RANDOM in one and _RANDOM in other:  # generators may be anywhere
            return True
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
