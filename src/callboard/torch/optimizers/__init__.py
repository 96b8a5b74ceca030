"""Optimizers of PyTorch by Keras's names and with Keras's defaults, and ``model.optimizer``."""

from callboard._core.learning_rate import LearningRate
from callboard.torch.optimizers.optimizer import Optimizer
from callboard.torch.optimizers.resolve import resolve_optimizer

__all__ = ["LearningRate", "Optimizer", "resolve_optimizer"]
