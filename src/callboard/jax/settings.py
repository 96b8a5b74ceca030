"""How a model trains, as given to ``compile``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from callboard._core.batches import positive
from callboard._core.errors import ConfigurationError

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

    def __post_init__(self) -> None:
        positive(self.steps_per_execution, "steps_per_execution")
        positive(self.gradient_accumulation_steps, "gradient_accumulation_steps")
        limits = {
            name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")
        }
        for name, limit in limits.items():
            if limit is not None and not 0 < limit < math.inf:
                raise ConfigurationError(f"{name} must be a positive number; got {limit!r}")
        if sum(limit is not None for limit in limits.values()) > 1:
            raise ConfigurationError(
                "pass one of clipnorm, clipvalue and global_clipnorm, not several"
            )
        if self.jit_compile not in (True, False, "auto"):
            raise ConfigurationError(
                f"jit_compile must be True, False or 'auto'; got {self.jit_compile!r}"
            )

    @property
    def compiled(self) -> bool:
        """Whether steps are compiled by ``jax.jit``."""
        return self.jit_compile is not False and not self.run_eagerly
