"""How a model trains, as given to ``compile``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from callboard._core.batches import positive
from callboard._core.errors import ConfigurationError, UnknownNameError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``Model.compile`` that are neither optimizer, loss nor metric; see there.

    Raises:
        ConfigurationError: For values that cannot work.
    """

    run_eagerly: bool = False
    steps_per_execution: int = 1
    jit_compile: bool | str = "auto"
    gradient_accumulation_steps: int = 1
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    mixed_precision: str | None = None
    flush_denormals: bool = True

    def __post_init__(self) -> None:
        positive(self.steps_per_execution, "steps_per_execution")
        positive(self.gradient_accumulation_steps, "gradient_accumulation_steps")
        for name, limit in self._limits.items():
            if not 0 < limit < math.inf:
                raise ConfigurationError(f"{name} must be a positive number; got {limit!r}")
        if len(self._limits) > 1:
            raise ConfigurationError(
                "pass one of clipnorm, clipvalue and global_clipnorm, not several"
            )
        if self.mixed_precision not in (None, "bf16"):
            raise UnknownNameError("mixed_precision", self.mixed_precision, ["bf16"])
        if self.jit_compile not in (True, False, "auto"):
            raise ConfigurationError(
                f"jit_compile must be True, False or 'auto'; got {self.jit_compile!r}"
            )

    @property
    def compiled(self) -> bool:
        """Whether the training step is compiled."""
        return self.jit_compile is True and not self.run_eagerly

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which outputs and losses are computed."""
        if self.mixed_precision is None:
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped."""
        return bool(self._limits)

    @property
    def _limits(self) -> dict[str, float]:
        """The limits to clip gradients by that are given, by name."""
        limits = {
            name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    def clipped(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return gradients clipped as Keras's optimizers do; new tensors, for compiled code too."""
        if self.clipvalue is not None:
            return [gradient.clamp(-self.clipvalue, self.clipvalue) for gradient in gradients]
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        limit = self.clipnorm
        if self.global_clipnorm is not None:
            limit = self.global_clipnorm
            norms = [torch.linalg.vector_norm(torch.stack(norms))] * len(norms)
        return [
            gradient * (limit / norm.clamp(min=limit))
            for gradient, norm in zip(gradients, norms, strict=True)
        ]
