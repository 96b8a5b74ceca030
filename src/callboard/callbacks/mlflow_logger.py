"""Log a run to MLflow."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from callboard.callbacks.point_queue import Point
from callboard.callbacks.tracker import Status, Tracker

__all__ = ["MLflowLogger"]

_PARAMS_AT_ONCE = 100  # MLflow's own limit
# Its defaults are made for programs that have nothing else to do: they wait for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MLflowLogger(Tracker):
    """Log parameters, metrics, checkpoints and the status of a run to MLflow.

    Needs ``pip install mlflow-skinny`` (or ``mlflow``, which has the viewer too). Metrics have the
    training step as their step. A database keeps NaN as it is and
    infinities as the largest float. Characters that MLflow does not allow in names become ``_``.

    When the run goes on, points that the run has are left out by their steps, and parameters that
    it has stay, as MLflow's cannot be changed.

    A request that fails is tried once more, with 10 seconds for each, and then later; set
    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` for other numbers.

    Args:
        tracking_uri: The server or store: "http://host:5000", "sqlite:///mlflow.db"; by default
            what ``MLFLOW_TRACKING_URI`` or ``mlflow.set_tracking_uri`` said.
        experiment_name: The experiment, made if there is none; by default what
            ``MLFLOW_EXPERIMENT_NAME`` says, or "Default".
        run_name: The run's name; by default MLflow makes one up.
        tags: Tags of the run.
        params: As of :class:`Tracker`, like those below.
        update_freq: "epoch", "batch", or a number of batches.
        log_checkpoints: Whether to upload the best checkpoints.
        run_id: A run to log into: ``mlflow.active_run().info.run_id`` for one of your own.
        required: Whether training must not begin without it.

    Raises:
        ConfigurationError: Before the first batch, as of :class:`Tracker`.

    Example:
        >>> MLflowLogger("http://127.0.0.1:5000", "digits", params={"data": "mnist"}).run_id

    Source: https://mlflow.org/docs/latest/api_reference/python_api/mlflow.client.html
    """

    package: ClassVar[str] = "mlflow-skinny"
    module: ClassVar[str] = "mlflow"

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_name: str | None = None,
        run_name: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
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
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.tags = dict(tags or {})
        self._client: Any = None
        self._experiment_id = ""

    def connect(self) -> None:
        """Find the experiment, or make it."""
        self._client = self.imported().MlflowClient(tracking_uri=self.tracking_uri)
        name = self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        with _patience():
            found = self._client.get_experiment_by_name(name)
            self._experiment_id = (
                self._client.create_experiment(name) if found is None else found.experiment_id
            )

    def begin(self, run_id: str | None) -> str:
        """Create a run, or set the one there is to running."""
        with _patience():
            if run_id is None:
                run = self._client.create_run(
                    self._experiment_id, run_name=self.run_name, tags=self.tags
                )
                new: str = run.info.run_id
                return new
            self._client.update_run(run_id, status="RUNNING")
        return run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log those that the run does not have."""
        param = self.imported().entities.Param
        with _patience():
            had = self._client.get_run(self.run_id).data.params
            new = [param(_name(n), str(v)) for n, v in params.items() if _name(n) not in had]
            for first in range(0, len(new), _PARAMS_AT_ONCE):
                self._client.log_batch(self.run_id, params=new[first : first + _PARAMS_AT_ONCE])

    def log_metrics(self, point: Point) -> None:
        """Log all values in one request."""
        metric = self.imported().entities.Metric
        now_ms = int(time.time() * 1000)
        metrics = [metric(_name(n), v, now_ms, point.step) for n, v in point.values.items()]
        with _patience():
            self._client.log_batch(self.run_id, metrics=metrics)

    def last_step(self, name: str) -> int:
        """Read the metric's history."""
        with _patience():
            history = self._client.get_metric_history(self.run_id, _name(name))
        return max((metric.step for metric in history), default=-1)

    def log_artifact(self, path: Path) -> None:
        """Upload a file, or a folder under its name."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))

    def end(self, status: Status) -> None:
        """Set the run to finished, failed or killed."""
        with _patience():
            self._client.set_terminated(self.run_id, status=status.upper())


def _name(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Limit how long training waits for a server that is away; MLflow reads the environment."""
    ours = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
