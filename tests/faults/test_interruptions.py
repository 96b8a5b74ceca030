"""Signals and the end of the time: one more save at the next step, and the right exit status."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from callboard import Callback, ConfigurationError, Run
from callboard._core.time_budget import TimeBudget
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
)
from callboard.checkpoint import CheckpointStore
from callboard.testing import ScriptedModel
from callboard.torch import Model

HEAD = """
import os, pathlib, signal, sys
from callboard import Run
from callboard.callbacks import BackupAndRestore, LambdaCallback
folder = pathlib.Path(sys.argv[1])
number = getattr(signal, sys.argv[2]) if len(sys.argv) > 2 else None
def send():
    if number is not None:
        os.kill(os.getpid(), number)
"""
LOOP = """
backup = BackupAndRestore(folder / "backup", save_freq=False)
with Run(epochs=3, callbacks=[backup], verbose=0) as run:
    for epoch in run.epochs():
        for batch in run.train([1.0, 2.0, 3.0]):
            run.log(loss=batch * (epoch + 1))
            if (epoch, batch) == (1, 2.0):
                send()
        for batch in run.validate([1, 2]):
            run.log(loss=batch)
print(run.history.history, run.progress.step)
"""
WHOLE = "{'loss': [2.0, 4.0, 6.0], 'val_loss': [1.5, 1.5, 1.5]} 9\n"
STATUS = {"SIGTERM": 143, "SIGINT": -signal.SIGINT, "SIGUSR1": 138}


def start(script, *arguments):
    command = [sys.executable, "-c", HEAD + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("name", STATUS)
def test_a_signal_saves_at_the_next_step_and_the_program_goes_on_from_there(name, tmp_path):
    ended = start(LOOP, tmp_path, name)
    assert ended.returncode == STATUS[name], ended.stderr
    saved = CheckpointStore(tmp_path / "backup").checkpoints()
    assert [checkpoint.step for checkpoint in saved] == [5]
    done = start(LOOP, tmp_path)
    assert (done.returncode, done.stdout) == (0, WHOLE)
    assert not (tmp_path / "backup").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    ended = start(
        LOOP.replace("send()", "send(); send(); print('not reached')"), tmp_path, "SIGINT"
    )
    assert ended.returncode == -signal.SIGINT
    assert ended.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_without_anything_to_save_ctrl_c_acts_at_once_and_sigusr1_as_ever(tmp_path):
    script = LOOP.replace("callbacks=[backup], ", "").replace("send()", "send(); print('reached')")
    assert start(script, tmp_path, "SIGINT").stdout == ""
    assert start(script, tmp_path, "SIGUSR1").returncode == -signal.SIGUSR1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_handler_of_the_programs_own_for_sigusr1_stays(tmp_path):
    own = "signal.signal(signal.SIGUSR1, lambda number, frame: print('mine'))\n"
    ended = start(own + LOOP, tmp_path, "SIGUSR1")
    assert (ended.returncode, ended.stdout) == (0, "mine\n" + WHOLE)


def test_a_signal_in_the_validation_of_a_loop_of_ones_own_waits_for_the_end_of_the_epoch(tmp_path):
    backup = BackupAndRestore(tmp_path / "backup", save_freq=False)
    with pytest.raises(SystemExit):
        interrupted_in_validation(backup)
    saved = CheckpointStore(tmp_path / "backup").last
    assert (saved.step, saved.epoch) == (1, 1)
    assert backup_of(saved, tmp_path)["run"]["in_epoch"] is False


def backup_of(checkpoint, folder):
    return CheckpointStore(folder / "backup").load(checkpoint)


def interrupted_in_validation(backup):
    with Run(epochs=2, callbacks=[backup], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1.0]):
                run.log(loss=1.0)
            for batch in run.validate([1, 2, 3]):
                if batch == 1:
                    signal.raise_signal(signal.SIGTERM)
                run.log(loss=1.0)


def test_max_time_saves_and_pauses_and_the_next_start_goes_on(tmp_path):
    heard = []

    def train(max_time):
        listed = [
            BackupAndRestore(tmp_path / "backup", save_freq=False),
            EarlyStopping("loss", patience=9),
            LambdaCallback(on_train_end=lambda logs: heard.append("on_train_end")),
        ]
        run = Run(epochs=3, callbacks=listed, verbose=0, max_time=max_time)
        with run:
            for epoch in run.epochs():
                for batch in run.train([1.0, 2.0, 3.0]):
                    run.log(loss=batch * (epoch + 1))
                    if max_time and run.progress.step == 4:
                        time.sleep(0.5)
                for _ in run.validate([1]):
                    run.log(loss=1.0)
        return run

    paused = train("0.4 s")
    assert paused.paused
    assert paused.stop_reason == "max_time='0.4 s' is over"
    assert paused.progress.step == 5
    assert paused.history.history["loss"] == [2.0]  # the second epoch is not over
    assert [d.action for d in paused.journal] == ["paused"]
    done = train(None)
    assert not done.paused
    assert done.history.history["loss"] == [2.0, 4.0, 6.0]
    assert heard == ["on_train_end"] * 2
    assert not (tmp_path / "backup").exists()


def test_the_end_of_a_slurm_job_pauses(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time())))
    with Run(epochs=2, callbacks=[BackupAndRestore(tmp_path / "backup")], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1.0, 2.0]):
                run.log(loss=1.0)
    assert run.paused
    assert run.stop_reason == "the SLURM job ends"
    assert CheckpointStore(tmp_path / "backup").last.step == 1


def test_time_for_one_save_is_left_twice_of_what_the_longest_took():
    now = [0.0]
    budget = TimeBudget("100 s", environment={}, clock=lambda: now[0])
    assert budget
    assert [budget.over(save) for save in (0.0, 20.0, None)] == ["", "", ""]
    now[0] = 70.0
    assert budget.over(20.0) == "max_time='100 s' is over"
    assert budget.over(10.0) == ""
    now[0] = 91.0
    assert budget.over(None)  # not measured yet: a tenth of the time, a minute at most
    assert not budget.over(0.0)
    now[0] = 100.0
    assert budget.over(0.0)


def test_the_earlier_end_counts():
    budget = TimeBudget(
        1000, environment={"SLURM_JOB_END_TIME": "150"}, clock=lambda: 0.0, now=lambda: 100.0
    )
    assert budget.over(25.0) == "the SLURM job ends"
    assert budget.over(24.0) == ""


@pytest.mark.parametrize("given", [0, -1, "soon", "3 epochs", float("nan"), float("inf")])
def test_a_time_that_is_none_is_an_error(given):
    with pytest.raises(ConfigurationError, match=r"max_time|period"):
        Run(max_time=given)


def test_a_job_end_that_is_no_number_is_an_error():
    with pytest.raises(ConfigurationError, match="SLURM_JOB_END_TIME must be seconds"):
        TimeBudget(environment={"SLURM_JOB_END_TIME": "noon"})


def test_no_limit_is_no_budget():
    assert not TimeBudget(environment={})


def test_a_folder_of_checkpoints_saves_when_interrupted_only_if_asked(tmp_path):
    for asked in (False, True):
        folder = tmp_path / str(asked)
        checkpoint = ModelCheckpoint(folder, "loss", save_freq="50 epochs", save_on_exception=asked)
        with pytest.raises(SystemExit):
            interrupted_in_training(checkpoint)
        assert folder.exists() == asked
    assert [c.step for c in CheckpointStore(tmp_path / "True").checkpoints()] == [2]


def interrupted_in_training(checkpoint):
    with Run(trainable=ScriptedModel(), epochs=2, callbacks=[checkpoint], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([1, 2, 3]):
                if batch == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                run.log(loss=1.0)


def test_after_an_error_a_folder_has_the_state_there_was(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "c", "loss", save_on_exception=True)
    with pytest.raises(ZeroDivisionError):
        failing(checkpoint)
    saved = CheckpointStore(tmp_path / "c").checkpoints()
    assert [c.step for c in saved] == [1]


def failing(checkpoint):
    with Run(trainable=ScriptedModel(), epochs=1, callbacks=[checkpoint], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([1, 0]):
                run.log(loss=1 / batch)


# ---- in fit --------------------------------------------------------------------------------------


def fit(folder, *extra, **options):
    torch.manual_seed(0)
    x = torch.randn(48, 4)
    model = Model(
        torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    )
    model.compile("adam", "mse")
    history = model.fit(
        x,
        x.sum(1, keepdim=True),
        batch_size=8,
        epochs=3,
        validation_data=torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True
        ),
        verbose=0,
        callbacks=[
            BackupAndRestore(folder / "backup", save_freq=False),
            CSVLogger(folder / "log.csv"),
            *extra,
        ],
        **options,
    )
    log = (folder / "log.csv").read_text()
    return model.module.state_dict(), history.history, log, model


def same(first, second):
    assert first[1:3] == second[1:3]
    for name, value in first[0].items():
        assert torch.equal(value, second[0][name]), name


class Once(Callback):
    """Does something at the n-th call of a hook."""

    def __init__(self, hook, at, action):
        self._left, self._action = at, action
        setattr(self, hook, self._call)

    def _call(self, *_):
        self._left -= 1
        if not self._left:
            self._action()

    def state_dict(self):
        return {}


@pytest.mark.filterwarnings("ignore:Once was (not )?among")
@pytest.mark.parametrize(
    ("hook", "at", "step"),
    [
        ("on_train_batch_end", 9, 9),
        ("on_test_batch_end", 8, 12),  # in the validation of the second epoch
        ("on_epoch_end", 2, 12),
        ("on_epoch_begin", 2, 7),  # answered after the next batch
    ],
)
def test_a_signal_anywhere_in_fit_saves_and_fit_goes_on(tmp_path, hook, at, step):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    expected = fit(tmp_path / "whole")
    send = Once(hook, at, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        fit(tmp_path / "cut", send)
    assert CheckpointStore(tmp_path / "cut" / "backup").last.step == step
    same(expected, fit(tmp_path / "cut"))


@pytest.mark.filterwarnings("ignore:Once was (not )?among")
@pytest.mark.parametrize(("hook", "at"), [("on_train_batch_end", 9), ("on_test_batch_end", 8)])
def test_max_time_in_fit_leaves_out_the_validation_and_fit_goes_on(tmp_path, hook, at):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    expected = fit(tmp_path / "whole")
    paused = fit(tmp_path / "cut", Once(hook, at, lambda: time.sleep(2.0)), max_time="2 s")
    assert len(paused[1]["loss"]) == 1
    same(expected, fit(tmp_path / "cut"))


def test_a_run_whose_time_ends_with_its_last_epoch_is_done(tmp_path):
    with Run(
        epochs=1, callbacks=[BackupAndRestore(tmp_path / "b")], verbose=0, max_time=0.2
    ) as run:
        for _ in run.epochs():
            for _ in run.train([1.0]):
                run.log(loss=1.0)
            time.sleep(0.2)
    assert not run.paused
    assert not (tmp_path / "b").exists()
