"""Log a run to Aim."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from callboard._core.errors import ConfigurationError
from callboard.callbacks.point_queue import Point
from callboard.callbacks.tracker import Status, Tracker

__all__ = ["AimLogger"]


class AimLogger(Tracker):
    """Log parameters, metrics, checkpoints and the status of a run to Aim.

    Needs ``pip install aim``; ``aim up`` shows what was logged. Parameters are the run's
    ``hparams``, its ``status`` is "finished", "failed" or "killed". Metrics have the training step
    as their step, with the epoch; ``val_loss`` is ``loss`` in the context ``{"subset": "val"}``, so
    that one chart has both. NaN and infinities are kept as they are.

    Aim keeps one value of a metric for each step: what is logged again when the run goes on takes
    the place of what was there.

    Args:
        repo: Path or address ("aim://host:port") of the repository; by default the one of the
            working folder. A local one is made if there is none.
        experiment: Name of the experiment.
        artifacts_uri: Where files go, such as "s3://bucket/folder" or "file:///folder"; needed for
            ``log_checkpoints``.
        options: More arguments of ``aim.Run``. By default it neither measures the machine nor
            captures the terminal.
        params: As of :class:`Tracker`, like those below.
        update_freq: "epoch", "batch", or a number of batches.
        log_checkpoints: Whether to upload the best checkpoints.
        run_id: Hash of a run to log into.
        required: Whether training must not begin without it.

    Raises:
        ConfigurationError: Before the first batch, as of :class:`Tracker`; for ``log_checkpoints``
            without ``artifacts_uri``.

    Example:
        >>> AimLogger("runs", "digits", params={"data": "mnist"}).run_id

    Source: https://aimstack.readthedocs.io/en/latest/refs/sdk.html
    """

    package: ClassVar[str] = "aim"
    module: ClassVar[str] = "aim"

    def __init__(
        self,
        repo: str | os.PathLike[str] | None = None,
        experiment: str | None = None,
        *,
        artifacts_uri: str | None = None,
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
        if log_checkpoints and artifacts_uri is None:
            raise ConfigurationError(
                "log_checkpoints=True needs a place for files; pass "
                "artifacts_uri='file:///absolute/folder' or 's3://bucket/folder'"
            )
        self.repo = None if repo is None else os.fspath(repo)
        self.experiment = experiment
        self.artifacts_uri = artifacts_uri
        self.options = dict(options or {})
        self._service: Any = None

    def begin(self, run_id: str | None) -> str:
        """Open a run; one that was killed holds a lock, which is taken over."""
        quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
        self._service = self.imported().Run(
            run_hash=run_id,
            repo=self.repo,
            experiment=self.experiment,
            force_resume=self._goes_on,
            **(quiet | self.options),
        )
        if self.artifacts_uri is not None:
            self._service.set_artifacts_uri(self.artifacts_uri)
        self._service["status"] = "running"
        name: str = self._service.hash
        return name

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Set the run's ``hparams``."""
        self._service["hparams"] = dict(params)

    def log_metrics(self, point: Point) -> None:
        """Track each value."""
        for name, value in point.values.items():
            of_validation = name.startswith("val_")
            self._service.track(
                value,
                name=name.removeprefix("val_"),
                step=point.step,
                epoch=point.epoch,
                context={"subset": "val" if of_validation else "train"},
            )

    def last_step(self, name: str) -> int:
        """Say that nothing has to be left out: a value takes the place of the one there is."""
        return -1

    def log_artifact(self, path: Path) -> None:
        """Copy a file or folder to the place for files, and wait for it."""
        if path.is_dir():
            self._service.log_artifacts(str(path), name=path.name, block=True)
        else:
            self._service.log_artifact(str(path), name=path.name, block=True)

    def end(self, status: Status) -> None:
        """Note the status and close the run."""
        service, self._service = self._service, None
        service["status"] = status
        service.close()
