"""Weights of classes, as weights of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

from callboard._core.batches import Batch
from callboard._core.class_weights import class_weight_table
from callboard._core.errors import DataError

__all__ = ["ClassWeights"]


class ClassWeights:
    """Turns ``class_weight`` into sample weights, on top of those there are.

    Args:
        weights: Weight of each class by its number; classes that are not in it weigh 1.

    Raises:
        ConfigurationError: If a class or weight is not a number of 0 or more.
    """

    def __init__(self, weights: Mapping[int, float]) -> None:
        self._table = torch.from_numpy(class_weight_table(weights))

    @classmethod
    def of(cls, weights: Mapping[int, float] | None) -> Self | None:
        """Return the weights, or None if none were given."""
        if weights is None or (isinstance(weights, Mapping) and not weights):
            return None
        return cls(weights)

    def apply(self, batch: Batch) -> Batch:
        """Return the batch with the weight of each sample's class multiplied in.

        Raises:
            DataError: If the targets are not class numbers or one-hot vectors.
        """
        y = batch.y
        if not isinstance(y, torch.Tensor) or not 1 <= y.ndim <= 2:
            raise DataError(
                "class_weight needs targets that are one array of class numbers, shape (samples,), "
                "or of one-hot vectors, shape (samples, classes); otherwise pass sample_weight"
            )
        if y.ndim > 1 and y.shape[-1] > 1:
            y = y.argmax(-1)
        classes = y.reshape(y.shape[0], -1)[:, 0].long()
        self._table = self._table.to(y.device)
        weights = self._table[classes.clamp(max=len(self._table) - 1)]
        given = batch.sample_weight
        if given is not None:  # of shape (samples,), or with further axes
            weights = given * weights.reshape(-1, *(1 for _ in given.shape[1:]))
        return batch._replace(sample_weight=weights)
