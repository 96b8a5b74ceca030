"""Log a run to Comet."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from callboard._core.errors import ConfigurationError
from callboard.callbacks.point_queue import Point
from callboard.callbacks.tracker import Status, Tracker

__all__ = ["CometLogger"]

_KEPT_OFFLINE = 10_000


class CometLogger(Tracker):
    """Log parameters, metrics, checkpoints and the status of a run to Comet.

    Needs ``pip install comet_ml``, and ``comet login`` once; or ``online=False``, and
    ``comet upload`` of the archives later. Metrics have the training step and the epoch; NaN and
    infinities are sent as such. The status is "finished", "failed" or "killed" under "Other".

    When the run goes on, so does the experiment, and points that Comet has are left out by their
    steps, as far as it has taken them in by then. Offline, the rest is an archive of its own that
    goes on with the first. A process that is killed leaves an empty one; so the latest 10,000
    points are part of the saved run, and those that no archive has are logged again.

    Args:
        project: The project; by default what the configuration of Comet says.
        workspace: The workspace.
        online: Whether to send to Comet's server; else archives are written.
        options: More arguments of ``comet_ml.ExperimentConfig``, such as ``name``, ``tags``,
            ``offline_directory``. By default it captures neither the terminal nor what other
            libraries log.
        params: As of :class:`Tracker`, like those below.
        update_freq: "epoch", "batch", or a number of batches.
        log_checkpoints: Whether to upload the best checkpoints, as models.
        run_id: Key of an experiment to log into.
        required: Whether training must not begin without it.

    Raises:
        ConfigurationError: Before the first batch, as of :class:`Tracker`.

    Example:
        >>> CometLogger("digits", online=False, params={"data": "mnist"}).run_id

    Source: https://www.comet.com/docs/v2/api-and-sdk/python-sdk/reference/start/
    """

    package: ClassVar[str] = "comet_ml"
    module: ClassVar[str] = "comet_ml"

    def __init__(
        self,
        project: str | None = None,
        workspace: str | None = None,
        *,
        online: bool = True,
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
        self.workspace = workspace
        self.online = online
        self.options = dict(options or {})
        self._service: Any = None
        self._in_archives: dict[str, int] = {}
        if not online:
            self._kept = _KEPT_OFFLINE
            self.reset()

    def begin(self, run_id: str | None) -> str:
        """Start an experiment, or go on with one."""
        comet_ml = self.imported()
        quiet = {
            "auto_output_logging": False,
            "auto_metric_logging": False,
            "auto_param_logging": False,
            "log_graph": False,
            "parse_args": False,
        }
        self._service = comet_ml.start(
            workspace=self.workspace,
            project_name=self.project,
            experiment_key=run_id,
            mode="create" if run_id is None else "get",
            online=self.online,
            experiment_config=comet_ml.ExperimentConfig(**(quiet | self.options)),
        )
        if not self._service.alive:
            raise ConfigurationError(
                "Comet did not start the experiment, and has said why; look at the key (`comet "
                "login`), the names of project and workspace and the network, or pass online=False"
            )
        if self._goes_on and not self.online:
            folder = Path(self._service.offline_directory)
            self._in_archives = _last_steps(folder, self._service.get_key())
        key: str = self._service.get_key()
        return key

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log the experiment's parameters."""
        self._service.log_parameters(dict(params))

    def log_metrics(self, point: Point) -> None:
        """Log the values of one moment."""
        self._service.log_metrics(dict(point.values), step=point.step, epoch=point.epoch)

    def last_step(self, name: str) -> int:
        """Ask Comet, or offline the archives."""
        if not self.online:
            return self._in_archives.get(name, -1)
        there = self.imported().API().get_experiment_by_key(self.run_id).get_metrics(name)
        return max((int(each["step"]) for each in there if each["step"] is not None), default=-1)

    def log_artifact(self, path: Path) -> None:
        """Log a file or folder as a model."""
        self._service.log_model(path.stem, str(path))

    def end(self, status: Status) -> None:
        """Note the status and end the experiment."""
        service, self._service = self._service, None
        service.log_other("status", status)
        service.end()


def _last_steps(folder: Path, key: str) -> dict[str, int]:
    """Return for each metric the last step in the archives of an experiment."""
    steps: dict[str, int] = {}
    for path in folder.glob(f"{key}*.zip"):
        try:
            with zipfile.ZipFile(path) as archive, archive.open("messages.json") as messages:
                for line in messages:
                    metric = json.loads(line)["payload"].get("metric")
                    if metric is not None and metric["step"] is not None:
                        name = metric["metricName"]
                        steps[name] = max(steps.get(name, -1), metric["step"])
        except (KeyError, zipfile.BadZipFile):  # begun by a process that was killed
            continue
    return steps
