"""From what ``compile(metrics=...)`` is given to a metric."""

from __future__ import annotations

from typing import cast

from callboard._core.objective_names import MetricKinds, metrics_by_name
from callboard.jax import losses
from callboard.jax.losses.loss import Loss
from callboard.jax.metrics import (
    accuracy,
    auc,
    confusion,
    f_score,
    iou,
    operating_point,
    probabilistic,
    r2_score,
    regression,
)
from callboard.jax.metrics.accuracy import AccuracyByShape
from callboard.jax.metrics.adapted import LossMetric
from callboard.jax.metrics.mean import Mean, MeanMetricWrapper, Sum
from callboard.jax.metrics.metric import Metric

__all__ = ["NAMES", "resolve_metric"]

NAMES: dict[str, type[Metric]] = metrics_by_name(
    (
        accuracy,
        auc,
        confusion,
        f_score,
        iou,
        operating_point,
        probabilistic,
        r2_score,
        regression,
    )
)
_KINDS = MetricKinds(
    base=Metric,
    names=NAMES,
    by_shape=AccuracyByShape,
    of_values=(Mean, Sum),
    loss=Loss,
    of_loss=LossMetric,
    of_function=MeanMetricWrapper,
    errors=frozenset(
        value for name, value in vars(losses).items() if name in losses.__all__ and name.islower()
    ),
    package="callboard.jax.metrics",
)


def resolve_metric(identifier: object) -> Metric:
    """Return the metric that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names ("mse", "AUC", "sparse_categorical_accuracy"), "accuracy"
            or "acc" (chosen by the shapes of each batch), a :class:`Metric` or a class of
            metrics, a :class:`Loss`, or a function
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
    return cast("Metric", _KINDS.resolve(identifier))
