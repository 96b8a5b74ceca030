"""From what ``compile(metrics=...)`` is given to a metric."""

from __future__ import annotations

from typing import cast

from callboard._core.objective_names import MetricKinds, metrics_by_name
from callboard.torch import losses
from callboard.torch.losses.loss import Loss
from callboard.torch.metrics import (
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
from callboard.torch.metrics.accuracy import AccuracyByShape
from callboard.torch.metrics.adapted import LossMetric, TorchMetric, is_torchmetric
from callboard.torch.metrics.mean import Mean, MeanMetricWrapper, Sum
from callboard.torch.metrics.metric import Metric

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
    package="callboard.torch.metrics",
    others="a metric of torchmetrics",
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
    if not isinstance(identifier, type) and is_torchmetric(identifier):
        return TorchMetric(identifier)
    return cast("Metric", _KINDS.resolve(identifier))
