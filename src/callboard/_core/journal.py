"""What the callbacks decided during a run, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

__all__ = ["Decision", "Journal"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of one callback.

    Attributes:
        callback: Name of the callback's class.
        action: What was done: "stopped", "saved", "skipped", "reduced", "restored", "rejected"...
        epoch: The epoch it was taken in, from 0.
        step: Training steps done in the whole run by then.
        cause: The reason, as a sentence.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> from callboard.testing import ScriptedRun
        >>> script = ScriptedRun([0.5, 0.6], monitor="val_loss")
        >>> (decision,) = script.play(EarlyStopping(patience=1)).journal
        >>> decision.action, decision.epoch, decision.cause
        ('stopped', 1, 'val_loss did not improve on 0.5 for 1 epochs')
    """

    callback: str
    action: str
    epoch: int
    step: int
    cause: str


class Journal(Sequence[Decision]):
    """All decisions of a run, oldest first.

    Example:
        >>> journal = Journal()
        >>> journal.record(Decision("EarlyStopping", "stopped", 6, 700, "no improvement"))
        >>> [d.epoch for d in journal.of("stopped")]
        [6]
    """

    def __init__(self) -> None:
        self._decisions: list[Decision] = []

    @overload
    def __getitem__(self, index: int) -> Decision: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Decision]: ...
    def __getitem__(self, index: int | slice) -> Decision | Sequence[Decision]:
        return self._decisions[index]

    def __len__(self) -> int:
        return len(self._decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    def __repr__(self) -> str:
        return "\n".join(
            f"epoch {d.epoch + 1}, step {d.step}: {d.callback} {d.action}: {d.cause}" for d in self
        )

    def record(self, decision: Decision) -> None:
        """Add a decision."""
        self._decisions.append(decision)

    def of(self, action: str) -> list[Decision]:
        """Return the decisions with this action."""
        return [decision for decision in self if decision.action == action]

    def state_dict(self) -> dict[str, Any]:
        """Return all decisions as JSON values."""
        return {"decisions": [asdict(decision) for decision in self]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the journal that gave ``state``."""
        self._decisions = [Decision(**decision) for decision in state["decisions"]]
