"""A short training that trackers log: of the tests, and as a process that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import callboard
from callboard import Run
from callboard.callbacks import BackupAndRestore, ModelCheckpoint, Tracker
from callboard.testing import ScriptedModel

BATCHES = 4


class Memory(Tracker):
    """A tracker whose service is a dict."""

    package = module = "json"

    def __init__(self, store=None, **options):
        super().__init__(**options)
        self.store = {} if store is None else store
        self.broken = None

    @property
    def logged(self):
        return self.store[self.run_id]

    def begin(self, run_id):
        if self.broken:
            raise self.broken
        run_id = run_id or f"run-{len(self.store)}"
        run = self.store.setdefault(run_id, {"points": [], "artifacts": [], "params": {}})
        run["status"] = "running"
        return run_id

    def log_params(self, params):
        self.logged["params"] |= params

    def log_metrics(self, point):
        if self.broken:
            raise self.broken
        self.logged["points"] += [(name, point.step, v) for name, v in point.values.items()]

    def last_step(self, name):
        return max((step for own, step, _ in self.logged["points"] if own == name), default=-1)

    def log_artifact(self, path):
        self.logged["artifacts"].append(path)

    def end(self, status):
        self.logged["status"] = status


def train(tracker, folder, *, kill_at=0, error=None, fail_at=5):
    """Train three epochs of four batches, with backups after every second one."""
    checkpoint = ModelCheckpoint(Path(folder, "best.pt"), save_best_only=True)
    backup = BackupAndRestore(Path(folder, "backup"), save_freq=2)
    callbacks = [backup, checkpoint, tracker]
    with Run(trainable=ScriptedModel(), epochs=3, callbacks=callbacks, verbose=0) as run:
        for epoch in run.epochs():
            for batch in run.train(range(BATCHES)):
                if kill_at and run.progress.step == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                if error and run.progress.step == fail_at:
                    raise error
                run.log(loss=1 / (1 + epoch * BATCHES + batch))
            for _ in run.validate([0]):
                run.log(loss=1 / (2 + epoch))
    return run


def expected(folder):
    """Return what is to be logged, with ``update_freq="batch"``: for each metric steps, values."""
    memory = Memory(update_freq="batch")
    train(memory, folder)
    return by_name(memory.logged["points"])


def by_name(points):
    curves = {}
    for name, step, value in points:
        curves.setdefault(name, []).append((step, value))
    return curves


def killed(source, folder, *, kill_at=7):
    """Run the training in a process that is killed, with the tracker that ``source`` makes."""
    paths = [str(Path(__file__).parent), str(Path(callboard.__file__).parents[1])]
    script = (
        f"import sys; sys.path[:0] = {paths}\n"
        "from callboard.callbacks import *\n"
        "from tracked_training import train\n"
        f"folder = {str(folder)!r}\n"
        f"train({source}, folder, kill_at={kill_at})\n"
    )
    # Not with the service of this process's wandb, which would outlive the one that is killed.
    environment = {name: v for name, v in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
