"""Log a run to Weights & Biases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from callboard.callbacks.point_queue import Point
from callboard.callbacks.tracker import Status, Tracker
from callboard.callbacks.wandb_file import last_steps

__all__ = ["WandbLogger"]

_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 143}


class WandbLogger(Tracker):
    """Log parameters, metrics, checkpoints and the status of a run to Weights & Biases.

    Needs ``pip install wandb``, and ``wandb login`` once; or ``options={"mode": "offline"}``, and
    ``wandb sync`` later. The step of metrics is the training step; what you log yourself should say
    ``step=run.progress.step`` too, as Weights & Biases takes no step that is behind. NaN and
    infinities are kept as such and left out of its charts. If your program has called
    ``wandb.init``, that run is logged into, and you finish it.

    When the run goes on, the run of Weights & Biases is resumed, and what it has by then is not
    sent again. Offline, the rest is in a folder of its own with the same run's name, and
    ``wandb sync`` puts them together.

    Args:
        project: The project; by default what ``WANDB_PROJECT`` says.
        name: The run's name for display; by default one is made up.
        options: More arguments of ``wandb.init``, such as ``entity``, ``group``, ``tags``,
            ``mode``, ``dir``.
        params: As of :class:`Tracker`, like those below.
        update_freq: "epoch", "batch", or a number of batches.
        log_checkpoints: Whether to upload the best checkpoints, as artifacts of the type "model".
        run_id: A run to log into, or the name of a new one.
        required: Whether training must not begin without it.

    Raises:
        ConfigurationError: Before the first batch, as of :class:`Tracker`.

    Example:
        >>> WandbLogger("digits", options={"mode": "offline"}).run_id

    Source: https://docs.wandb.ai/ref/python/
    """

    package: ClassVar[str] = "wandb"
    module: ClassVar[str] = "wandb"

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        update_freq: int | str = "epoch",
        log_checkpoints: bool = False,
        run_id: str | None = None,
        required: bool = True,
    ) -> None:
        super().__init__(
            params=params,
            update_freq=update_freq,
            log_checkpoints=log_checkpoints,
            run_id=run_id,
            required=required,
        )
        self.project = project
        self.name = name
        self.options = dict(options or {})
        self._service: Any = None
        self._is_mine = True
        self._resumed_at = 0
        self._in_files: Mapping[str, int] = {}

    def begin(self, run_id: str | None) -> str:
        """Begin or resume a run, unless the program has done so itself."""
        wandb = self.imported()
        current = wandb.run
        self._is_mine = current is None or run_id not in (None, current.id)
        if self._is_mine:
            given: dict[str, Any] = {"project": self.project, "name": self.name, "id": run_id}
            if run_id is not None:
                given["resume"] = "allow"
            if current is not None:
                given["reinit"] = "create_new"
            current = wandb.init(
                **{n: v for n, v in given.items() if v is not None}, **self.options
            )
        self._service = current
        self._resumed_at = current.step
        if current.offline and self._goes_on:
            self._in_files = last_steps(Path(current.settings.wandb_dir), current.id)
        name: str = current.id
        return name

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Put them into the run's config."""
        self._service.config.update(dict(params), allow_val_change=True)

    def log_metrics(self, point: Point) -> None:
        """Log one row; the epoch's end completes the row of its last batch."""
        self._service.log(dict(point.values), step=point.step, commit=not point.of_batch)

    def last_step(self, name: str) -> int:
        """Return the step that was resumed from, offline what the files have."""
        if self._service.offline:
            return self._in_files.get(name, -1)
        return self._resumed_at - 1

    def log_artifact(self, path: Path) -> None:
        """Log a file or folder as an artifact of the type "model"."""
        name = re.sub(r"[^\w.\-]", "_", f"{path.stem}-{self._service.id}")
        artifact = self.imported().Artifact(name, type="model")
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        self._service.log_artifact(artifact)

    def end(self, status: Status) -> None:
        """Finish the run with an exit code, if it was begun here."""
        service, self._service = self._service, None
        if self._is_mine:
            service.finish(exit_code=_EXIT_CODES[status])
