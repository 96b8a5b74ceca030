"""How a model trains, as given to ``compile``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

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
        for name in ("steps_per_execution", "gradient_accumulation_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} must be a whole number, 1 or more; got {value!r}")
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise ConfigurationError(f"{name} must be a positive number; got {limit!r}")
        if sum(limit is not None for limit in (self.clipnorm, self.clipvalue, self.global_clipnorm)) > 1:
            raise ConfigurationError("pass one of clipnorm, clipvalue and global_clipnorm, not several")
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
        return any(limit is not None for limit in (self.clipnorm, self.clipvalue, self.global_clipnorm))

    def clip(self, parameters: Iterable[torch.Tensor]) -> None:
        """Clip the parameters' gradients in place, as Keras's optimizers do."""
        if self.global_clipnorm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.global_clipnorm)
        elif self.clipvalue is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.clipvalue)
        elif self.clipnorm is not None:
            for parameter in parameters:
                torch.nn.utils.clip_grad_norm_([parameter], self.clipnorm)
