"""Counts of right and wrong decisions at thresholds, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from callboard._core.monitor import Mode
from callboard._core.objective_arguments import decision_thresholds
from callboard.torch.metrics.decisions import NEVER, decisions, ratio
from callboard.torch.metrics.metric import Metric, Result

__all__ = [
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "Recall",
    "TrueNegatives",
    "TruePositives",
]

_CHOSEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "true_positives": lambda yes, truth: yes & truth,
    "false_positives": lambda yes, truth: yes & ~truth,
    "true_negatives": lambda yes, truth: ~(yes | truth),
    "false_negatives": lambda yes, truth: ~yes & truth,
}


class _Counts(Metric):
    """Weighted numbers of decisions, one for each threshold, under the names ``_parts``."""

    _parts: tuple[str, ...]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        name: str | None,
        *,
        top_k: int | None = None,
        class_id: int | None = None,
    ) -> None:
        super().__init__(name)
        default = 0.5 if top_k is None else NEVER
        self.thresholds = decision_thresholds(thresholds, default)
        self.top_k = top_k
        self.class_id = class_id
        self._cuts = torch.tensor(self.thresholds)
        for part in self._parts:
            self.add_state(part, torch.zeros(len(self.thresholds)))

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: 0 or 1, shape (batch,) or (batch, ...).
            y_pred: Probabilities; same shape.
            sample_weight: One weight for each sample.
        """
        truth, score, weight = (
            part.reshape(-1)
            for part in decisions(
                y_true, y_pred, sample_weight, top_k=self.top_k, class_id=self.class_id
            )
        )
        if self._cuts.device != score.device:
            self._cuts = self._cuts.to(score.device)
        yes = score > self._cuts.unsqueeze(-1)
        # Not a product of matrices: on a GPU that may be computed in less than float32.
        self.accumulate(
            **{
                part: torch.where(_CHOSEN[part](yes, truth), weight, 0.0).sum(-1)
                for part in self._parts
            }
        )

    def _single(self, values: Tensor) -> Tensor:
        return values[0] if len(self.thresholds) == 1 else values


class TruePositives(_Counts):
    """Number of targets 1 that are predicted as 1; with weights, their sum.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape.
        name: Name in the logs.

    Example:
        >>> TruePositives()([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.1])
        tensor(2.)

    Source: Keras 3.15 ``keras.metrics.TruePositives``.
    """

    direction: Mode | None = "max"
    _parts = ("true_positives",)
    true_positives: Tensor

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None
    ) -> None:
        super().__init__(thresholds, name)

    def result(self) -> Result:
        """Return the number."""
        return self._single(self.true_positives)


class TrueNegatives(_Counts):
    """Number of targets 0 that are predicted as 0; with weights, their sum.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape.
        name: Name in the logs.

    Example:
        >>> TrueNegatives()([0, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])
        tensor(2.)

    Source: Keras 3.15 ``keras.metrics.TrueNegatives``.
    """

    direction: Mode | None = "max"
    _parts = ("true_negatives",)
    true_negatives: Tensor

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None
    ) -> None:
        super().__init__(thresholds, name)

    def result(self) -> Result:
        """Return the number."""
        return self._single(self.true_negatives)


class FalsePositives(_Counts):
    """Number of targets 0 that are predicted as 1; with weights, their sum.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape.
        name: Name in the logs.

    Example:
        >>> FalsePositives()([0, 1, 0, 0], [0.9, 0.9, 0.1, 0.1])
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.FalsePositives``.
    """

    direction: Mode | None = "min"
    _parts = ("false_positives",)
    false_positives: Tensor

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None
    ) -> None:
        super().__init__(thresholds, name)

    def result(self) -> Result:
        """Return the number."""
        return self._single(self.false_positives)


class FalseNegatives(_Counts):
    """Number of targets 1 that are predicted as 0; with weights, their sum.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape.
        name: Name in the logs.

    Example:
        >>> FalseNegatives()([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.1])
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.FalseNegatives``.
    """

    direction: Mode | None = "min"
    _parts = ("false_negatives",)
    false_negatives: Tensor

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None
    ) -> None:
        super().__init__(thresholds, name)

    def result(self) -> Result:
        """Return the number."""
        return self._single(self.false_negatives)


class Precision(_Counts):
    """How many of the predicted 1 are right; 0 as long as there are none.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape. With
            ``top_k`` alone there is none.
        top_k: Only the k highest predictions of a sample may mean 1.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Example:
        >>> Precision()([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.1])
        tensor(0.6667)

    Source: Keras 3.15 ``keras.metrics.Precision``.
    """

    direction: Mode | None = "max"
    _parts = ("true_positives", "false_positives")
    true_positives: Tensor
    false_positives: Tensor

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(thresholds, name, top_k=top_k, class_id=class_id)

    def result(self) -> Result:
        """Return the precision."""
        predicted = self.true_positives + self.false_positives
        return self._single(ratio(self.true_positives, predicted))


class Recall(_Counts):
    """How many of the targets 1 are found; 0 as long as there are none.

    Args:
        thresholds: From where on a prediction means 1; several give a result of that shape. With
            ``top_k`` alone there is none.
        top_k: Only the k highest predictions of a sample may mean 1.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Example:
        >>> Recall()([0, 1, 1, 1], [0.9, 0.9, 0.9, 0.1])
        tensor(0.6667)

    Source: Keras 3.15 ``keras.metrics.Recall``.
    """

    direction: Mode | None = "max"
    _parts = ("true_positives", "false_negatives")
    true_positives: Tensor
    false_negatives: Tensor

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(thresholds, name, top_k=top_k, class_id=class_id)

    def result(self) -> Result:
        """Return the recall."""
        actual = self.true_positives + self.false_negatives
        return self._single(ratio(self.true_positives, actual))
