"""From what ``compile(metrics=...)`` is given to a metric."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case
from callboard.torch import losses
from callboard.torch.losses.loss import Loss
from callboard.torch.metrics import (
    accuracy,
    confusion,
    f_score,
    iou,
    operating_point,
    probabilistic,
    regression,
)
from callboard.torch.metrics.accuracy import AccuracyByShape
from callboard.torch.metrics.adapted import LossMetric, TorchMetric, is_torchmetric
from callboard.torch.metrics.auc import AUC
from callboard.torch.metrics.mean import Mean, MeanMetricWrapper, Sum
from callboard.torch.metrics.metric import Metric
from callboard.torch.metrics.r2_score import R2Score

__all__ = ["NAMES", "resolve_metric"]

_CLASSES: tuple[type[Metric], ...] = (
    accuracy.Accuracy,
    accuracy.BinaryAccuracy,
    accuracy.CategoricalAccuracy,
    accuracy.SparseCategoricalAccuracy,
    accuracy.SparseTopKCategoricalAccuracy,
    accuracy.TopKCategoricalAccuracy,
    AUC,
    confusion.FalseNegatives,
    confusion.FalsePositives,
    confusion.Precision,
    confusion.Recall,
    confusion.TrueNegatives,
    confusion.TruePositives,
    f_score.F1Score,
    f_score.FBetaScore,
    iou.BinaryIoU,
    iou.IoU,
    iou.MeanIoU,
    iou.OneHotIoU,
    iou.OneHotMeanIoU,
    operating_point.PrecisionAtRecall,
    operating_point.RecallAtPrecision,
    operating_point.SensitivityAtSpecificity,
    operating_point.SpecificityAtSensitivity,
    probabilistic.BinaryCrossentropy,
    probabilistic.CategoricalCrossentropy,
    probabilistic.CategoricalHinge,
    probabilistic.Hinge,
    probabilistic.KLDivergence,
    probabilistic.Poisson,
    probabilistic.SparseCategoricalCrossentropy,
    probabilistic.SquaredHinge,
    R2Score,
    regression.ConcordanceCorrelation,
    regression.CosineSimilarity,
    regression.LogCoshError,
    regression.MeanAbsoluteError,
    regression.MeanAbsolutePercentageError,
    regression.MeanSquaredError,
    regression.MeanSquaredLogarithmicError,
    regression.PearsonCorrelation,
    regression.RootMeanSquaredError,
)
_ALIASES: dict[str, type[Metric]] = {
    "bce": probabilistic.BinaryCrossentropy,
    "mae": regression.MeanAbsoluteError,
    "mape": regression.MeanAbsolutePercentageError,
    "mse": regression.MeanSquaredError,
    "msle": regression.MeanSquaredLogarithmicError,
}
NAMES: dict[str, type[Metric]] = {
    **{kind.__name__: kind for kind in _CLASSES},
    **{snake_case(kind.__name__): kind for kind in _CLASSES},
    **_ALIASES,
    **{alias.upper(): kind for alias, kind in _ALIASES.items()},
}
_LOWER_IS_BETTER = frozenset(
    value for name, value in vars(losses).items() if name in losses.__all__ and name.islower()
)


def resolve_metric(identifier: object) -> Metric:
    """Return the metric that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names ("mse", "AUC", "sparse_categorical_accuracy"), "accuracy"
            or "acc" (chosen by the shapes of each batch), a :class:`Metric` or a class of
            metrics, a :class:`Loss`, a metric or a collection of torchmetrics, or a function
            ``fn(y_true, y_pred)`` that returns a value per sample or their mean.

    Returns:
        The metric, with the name that it has in the logs: a string as it was given, otherwise the
        object's own name.

    Raises:
        UnknownNameError: For a name that is not known.
        ConfigurationError: For a class that needs arguments, and for anything else.

    Example:
        >>> [resolve_metric(name).name for name in ("accuracy", "mse", "AUC")]
        ['accuracy', 'mse', 'AUC']
    """
    if isinstance(identifier, str):
        return _named(identifier)
    if inspect.isclass(identifier):
        return _instance(identifier)
    if isinstance(identifier, Mean | Sum):
        raise ConfigurationError(
            f"{type(identifier).__name__} averages values that it is given, not targets and "
            "predictions; pass a function fn(y_true, y_pred), or subclass MeanMetric"
        )
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, Loss):
        return LossMetric(identifier)
    if is_torchmetric(identifier):
        return TorchMetric(identifier)
    if callable(getattr(identifier, "update_state", None)):
        raise ConfigurationError(
            f"{type(identifier).__module__}.{type(identifier).__name__} is a metric of another "
            "framework; use the one of the same name in callboard.torch.metrics, or torchmetrics"
        )
    if callable(identifier):
        return MeanMetricWrapper(identifier, direction=_direction(identifier))
    raise ConfigurationError(
        "a metric must be a name, a Metric, a metric of torchmetrics or a function of "
        f"(y_true, y_pred); got {identifier!r}"
    )


def _named(name: str) -> Metric:
    if name.lower() in ("accuracy", "acc"):
        return AccuracyByShape(name)
    if name not in NAMES:
        raise UnknownNameError("metric", name, [*NAMES, "accuracy", "acc"])
    metric = _instance(NAMES[name])
    metric.name = name
    return metric


def _instance(kind: type) -> Metric:
    name = kind.__name__
    if not issubclass(kind, Metric):
        raise ConfigurationError(f"{name} is a class; call it to make a metric: {name}(...)")
    parameters = list(inspect.signature(kind).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if needed:
        arguments = ", ".join(f"{argument}=..." for argument in needed)
        raise ConfigurationError(f"{name} needs arguments; pass {name}({arguments})")
    return resolve_metric(kind())


def _direction(function: Callable[..., object]) -> Mode | None:
    try:
        return "min" if function in _LOWER_IS_BETTER else None
    except TypeError:  # an object that cannot be hashed is none of our functions
        return None
