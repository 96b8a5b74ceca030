"""Keras's names of losses and metrics, and what else ``compile`` takes for one.

What a name stands for is the same on every framework; each has a class of that name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case

__all__ = ["LossKinds", "MetricKinds", "losses_by_name", "metrics_by_name"]

_LOSSES = (
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
)
_METRICS = (
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
)
_ALIASES = {
    "bce": "BinaryCrossentropy",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "mse": "MeanSquaredError",
    "msle": "MeanSquaredLogarithmicError",
}
_LOSS_ALIASES = {**_ALIASES, "kld": "KLDivergence"}


def losses_by_name(modules: Iterable[ModuleType]) -> dict[str, type[Any]]:
    """Return a framework's classes of losses by all names that ``compile`` takes.

    Args:
        modules: Where the classes are.
    """
    return _by_name(_LOSSES, _LOSS_ALIASES, modules)


def metrics_by_name(modules: Iterable[ModuleType]) -> dict[str, type[Any]]:
    """Return a framework's classes of metrics by all names; arguments as `losses_by_name`."""
    return _by_name(_METRICS, _ALIASES, modules)


def _by_name(
    classes: Iterable[str], aliases: Mapping[str, str], modules: Iterable[ModuleType]
) -> dict[str, type[Any]]:
    found = {name: value for module in modules for name, value in vars(module).items()}
    kinds = {name: found[name] for name in classes}
    return {
        **kinds,
        **{snake_case(name): kind for name, kind in kinds.items()},
        **{alias: kinds[name] for alias, name in aliases.items()},
        **{alias.upper(): kinds[name] for alias, name in aliases.items()},
    }


@dataclass(frozen=True, slots=True)
class LossKinds:
    """A framework's kinds of losses.

    Attributes:
        base: Its class of losses.
        names: The losses by all names.
        by_shape: The cross-entropy that is chosen by the shapes of a batch.
        of_function: Makes a loss of a function.
        others: What else it takes, for the error.
    """

    base: type[Any]
    names: Mapping[str, Callable[[], Any]]
    by_shape: Callable[[], Any]
    of_function: Callable[[Any], Any]
    others: str

    def resolve(self, identifier: object) -> Any:
        """Return the loss that is meant by a name, a loss or a function.

        Raises:
            UnknownNameError: For a name that is not known.
            ConfigurationError: For a class instead of an instance, and for what cannot be called.
        """
        if isinstance(identifier, str):
            return self._named(identifier)
        if isinstance(identifier, self.base):
            return identifier
        if inspect.isclass(identifier):
            name = identifier.__name__
            raise ConfigurationError(
                f"loss={name} is a class; call it to make a loss: loss={name}()"
            )
        if callable(identifier):
            return self.of_function(identifier)
        raise ConfigurationError(
            f"loss must be a name, a Loss, {self.others} or a function of (y_true, y_pred); "
            f"got {identifier!r}"
        )

    def _named(self, name: str) -> Any:
        if name.lower() in ("crossentropy", "ce"):
            return self.by_shape()
        if name not in self.names:
            raise UnknownNameError("loss", name, [*self.names, "crossentropy", "ce"])
        loss = self.names[name]()
        if name == "huber":
            # The one function whose class goes by another name in logs.
            loss.name = name
        return loss


@dataclass(frozen=True, slots=True)
class MetricKinds:
    """A framework's kinds of metrics.

    Attributes:
        base: Its class of metrics.
        names: The metrics by all names.
        by_shape: The accuracy that is chosen by the shapes of a batch, called with its name.
        of_values: Classes of metrics that take values and not targets and predictions.
        loss: Its class of losses.
        of_loss: Makes a metric of a loss.
        of_function: Makes a metric of a function, with its ``direction``.
        errors: Functions of which lower results are better.
        package: Where its metrics are imported from.
        others: What else it takes, for the errors; or an empty string.
    """

    base: type[Any]
    names: Mapping[str, type[Any]]
    by_shape: Callable[[str], Any]
    of_values: tuple[type[Any], ...]
    loss: type[Any]
    of_loss: Callable[[Any], Any]
    of_function: Callable[..., Any]
    errors: frozenset[object]
    package: str
    others: str = ""

    def resolve(self, identifier: object) -> Any:
        """Return the metric that is meant by a name, a metric, a class, a loss or a function.

        Raises:
            UnknownNameError: For a name that is not known.
            ConfigurationError: For a class that needs arguments, and for anything else.
        """
        if isinstance(identifier, str):
            return self._named(identifier)
        if inspect.isclass(identifier):
            return self._made(identifier)
        if isinstance(identifier, self.of_values):
            raise ConfigurationError(
                f"{type(identifier).__name__} averages values that it is given, not targets and "
                "predictions; pass a function fn(y_true, y_pred), or subclass MeanMetric"
            )
        if isinstance(identifier, self.base):
            return identifier
        if isinstance(identifier, self.loss):
            return self.of_loss(identifier)
        if callable(getattr(identifier, "update_state", None)):
            raise ConfigurationError(
                f"{type(identifier).__module__}.{type(identifier).__name__} is a metric of another "
                f"framework; use the one of the same name in {self.package}"
                f"{self.others and f', or {self.others}'}"
            )
        if callable(identifier):
            return self.of_function(identifier, direction=self._direction(identifier))
        raise ConfigurationError(
            f"a metric must be a name, a Metric{self.others and f', {self.others}'} or a function "
            f"of (y_true, y_pred); got {identifier!r}"
        )

    def _named(self, name: str) -> Any:
        if name.lower() in ("accuracy", "acc"):
            return self.by_shape(name)
        if name not in self.names:
            raise UnknownNameError("metric", name, [*self.names, "accuracy", "acc"])
        metric = self._made(self.names[name])
        metric.name = name
        return metric

    def _made(self, kind: type[Any]) -> Any:
        name = kind.__name__
        if not issubclass(kind, self.base):
            raise ConfigurationError(f"{name} is a class; call it to make a metric: {name}(...)")
        parameters = inspect.signature(kind).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in _VARIADIC]
        if needed:
            arguments = ", ".join(f"{argument}=..." for argument in needed)
            raise ConfigurationError(f"{name} needs arguments; pass {name}({arguments})")
        return self.resolve(kind())

    def _direction(self, function: object) -> Mode | None:
        try:
            return "min" if function in self.errors else None
        except TypeError:  # an object that cannot be hashed is none of our functions
            return None


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
