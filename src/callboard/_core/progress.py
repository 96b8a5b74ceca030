"""Where a run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Progress"]


@dataclass(slots=True)
class Progress:
    """Counters of a run.

    Attributes:
        epoch: The current epoch, from 0; between two epochs, the one that ended.
        batch: Training batches done in the current epoch.
        step: Training batches done in the whole run.
        samples: Training samples seen in the whole run.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    samples: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the counters."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        for name, value in state.items():
            setattr(self, name, value)
