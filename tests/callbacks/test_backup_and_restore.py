"""A run that was interrupted goes on; one that has ended does not."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from callboard import (
    ConfigurationError,
    ConfigurationWarning,
    DamagedCheckpointError,
    DataError,
    Run,
)
from callboard._core import randomness
from callboard.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
)
from callboard.checkpoint import CheckpointStore
from callboard.testing import ScriptedModel, ScriptedRun


class CutOffError(Exception):
    """Ends a run."""


def play(folder, values=(0.5, 0.4, 0.3), *callbacks, until=None, model=None, verbose=0, **options):
    """Play losses of epochs with two batches each; interrupt at a step."""

    def interrupt(batch, logs):
        if script.run.progress.step == until:
            raise CutOffError

    script = ScriptedRun({"loss": values}, batches=2, verbose=verbose)
    script.model = model or ScriptedModel()
    backup = BackupAndRestore(folder, **options)
    return script.play(backup, LambdaCallback(on_train_batch_end=interrupt), *callbacks)


def interrupted(*arguments, **options):
    with pytest.raises(CutOffError):
        play(*arguments, **options)


def saved_steps(folder):
    return [checkpoint.step for checkpoint in CheckpointStore(folder).checkpoints()]


@pytest.mark.parametrize(
    ("save_freq", "saved"), [("epoch", 4), (1, 4), (3, 3), ("2 epochs", 4), ("4 steps", 4)]
)
def test_saves_as_often_as_asked(save_freq, saved, tmp_path):
    interrupted(tmp_path / "b", save_freq=save_freq, until=5)
    assert saved_steps(tmp_path / "b") == [saved]


def test_two_are_kept_if_asked(tmp_path):
    interrupted(tmp_path / "b", save_freq=1, double_checkpoint=True, until=5)
    assert saved_steps(tmp_path / "b") == [3, 4]


def test_the_run_goes_on_and_the_backup_is_removed_at_the_end(tmp_path):
    interrupted(tmp_path / "b", until=5)
    done = play(tmp_path / "b")
    assert done.history == {"loss": [0.5, 0.4, 0.3]}
    assert done.run.progress.step == 6
    assert not (tmp_path / "b").exists()
    again = play(tmp_path / "b", [0.1])
    assert again.history == {"loss": [0.1]}


def test_only_what_it_made_is_removed(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    play(tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["notes.txt"]


@pytest.mark.filterwarnings("ignore:LambdaCallback-2 was not among")
def test_without_removal_a_run_that_ended_stays_ended(tmp_path, capsys):
    play(tmp_path / "b", delete_checkpoint=False)
    trained = []
    watch = LambdaCallback(on_train_batch_begin=lambda batch, logs: trained.append(batch))
    again = play(tmp_path / "b", [0.5, 0.4, 0.3], watch, delete_checkpoint=False, verbose=2)
    assert not trained
    assert again.history == {"loss": [0.5, 0.4, 0.3]}
    assert "the run had ended with epoch 3 of 3; to begin anew, remove" in capsys.readouterr().out


def test_more_epochs_go_on_from_the_end(tmp_path):
    play(tmp_path / "b", [0.5, 0.4], delete_checkpoint=False)
    assert play(tmp_path / "b", [0.5, 0.4, 0.3]).history == {"loss": [0.5, 0.4, 0.3]}


def test_a_run_that_stopped_early_stays_stopped_and_says_so(tmp_path, capsys):
    def stopping():
        return EarlyStopping("loss", patience=1, restore_best_weights=True)

    values, model = [0.5, 0.6, 0.1], ScriptedModel()
    play(tmp_path / "b", values, stopping(), delete_checkpoint=False, model=model)
    fresh = ScriptedModel()
    again = play(
        tmp_path / "b", values, stopping(), delete_checkpoint=False, model=fresh, verbose=2
    )
    assert again.history == {"loss": [0.5, 0.6]}
    assert again.run.stop_reason == "loss did not improve on 0.5 for 1 epochs"
    assert model.weight == fresh.weight == 0.0  # the best, put back once more
    assert "had stopped in epoch 2, after step 4" in capsys.readouterr().out


def test_where_it_goes_on_is_said_and_in_the_journal(tmp_path, capsys):
    interrupted(tmp_path / "b", save_freq=1, until=4)
    done = play(tmp_path / "b", verbose=2)
    said = "the run goes on in epoch 2, after step 3"
    assert f"BackupAndRestore: {said}\n" in capsys.readouterr().out
    assert [d.cause for d in done.journal if d.action == "resumed"] == [said]


def test_a_callback_put_before_another_of_its_class_does_not_get_its_state(tmp_path):
    def best(name, monitor):
        return ModelCheckpoint(tmp_path / name, monitor, save_best_only=True)

    interrupted(
        tmp_path / "b", [0.2, 0.5, 0.4], best("a", "loss"), CSVLogger(tmp_path / "a.csv"), until=4
    )
    first, second = best("c", "loss"), best("a", "loss")
    logs = CSVLogger(tmp_path / "c.csv"), CSVLogger(tmp_path / "a.csv")
    with pytest.warns(ConfigurationWarning, match="ModelCheckpoint was not among the callbacks"):
        play(tmp_path / "b", [0.2, 0.5, 0.4], first, second, *logs)
    assert (first.best, second.best) == (0.4, 0.2)
    assert (tmp_path / "a.csv").read_text() == "epoch,loss\n0,0.2\n1,0.5\n2,0.4\n"


def test_hooks_of_an_epoch_that_is_gone_on_with(tmp_path, recorder):
    interrupted(tmp_path / "b", save_freq=1, until=4)
    seen = recorder(["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
    with pytest.warns(ConfigurationWarning, match="Recorder was not among the callbacks before"):
        play(tmp_path / "b", [0.5, 0.4], seen)
    assert seen.lines == ["on_train_begin", "on_train_batch_end 1 loss", "on_epoch_end 1 loss"]


def test_on_train_begin_comes_before_the_state_so_that_it_does_not_undo_it(tmp_path):
    class FromKeras(Callback):
        def on_train_begin(self, logs=None):
            self.epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

    interrupted(tmp_path / "b", (0.5, 0.4, 0.3), FromKeras(), until=5)
    counting = FromKeras()
    play(tmp_path / "b", (0.5, 0.4, 0.3), counting)
    assert counting.epochs == 3


def test_a_damaged_backup_is_named_and_the_one_before_used(tmp_path):
    interrupted(tmp_path / "b", save_freq=1, double_checkpoint=True, until=5)
    (newest,) = (tmp_path / "b").glob("step-*4/state.json")
    newest.write_bytes(newest.read_bytes().replace(b"loss", b"lost"))
    with pytest.warns(RuntimeWarning, match=r"step-00000004/state.json is damaged.*set aside"):
        done = play(tmp_path / "b", save_freq=1, double_checkpoint=True)
    assert done.history == {"loss": [0.5, 0.4, 0.3]}


def test_if_all_are_damaged_nothing_is_touched(tmp_path):
    interrupted(tmp_path / "b", until=5)
    (only,) = (tmp_path / "b").glob("step-*/manifest.json")
    only.write_bytes(only.read_bytes()[:-9])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DamagedCheckpointError, match="were left as they are"):
        play(tmp_path / "b")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_value_that_cannot_be_saved_is_an_error_that_names_it(tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"a": {"b": object()}}

    with pytest.raises(TypeError, match=r"callback\.Odd/a/b is a object, which cannot be saved"):
        play(tmp_path / "b", [0.5], Odd())


def test_a_disk_that_fails_ends_the_run_with_its_error(tmp_path, monkeypatch):
    def fail(self, path, *, direct=False):
        raise OSError(28, "No space left on device", str(path))

    interrupted(tmp_path / "b", until=5)
    with monkeypatch.context() as patched:
        patched.setattr("callboard._core.fs.Disk.create", fail)
        with pytest.raises(OSError, match="No space left on device"):
            play(tmp_path / "b", save_freq=1)
    assert saved_steps(tmp_path / "b") == [4]
    assert play(tmp_path / "b").history == {"loss": [0.5, 0.4, 0.3]}


def test_a_busy_writer_is_waited_for_or_the_backup_skipped(tmp_path, monkeypatch):
    go = threading.Event()
    write = CheckpointStore.write

    def slow(self, *arguments, **options):
        go.wait(10)
        return write(self, *arguments, **options)

    monkeypatch.setattr(CheckpointStore, "write", slow)
    free = LambdaCallback(on_train_end=lambda logs: go.set())
    played = play(
        tmp_path / "b", [0.5, 0.4], free, save_freq=1, when_busy="skip", delete_checkpoint=False
    )
    assert len(played.journal.of("skipped")) == 3
    assert saved_steps(tmp_path / "b") == [1]


def test_a_checkpoint_that_is_no_run_is_an_error_and_stays(tmp_path):
    ScriptedRun([0.5]).play(ModelCheckpoint(tmp_path / "b", save_weights_only=True))
    with pytest.raises(DataError, match=r"step-00000001 is no state of a run .* of its own"):
        play(tmp_path / "b")
    assert saved_steps(tmp_path / "b") == [1]


def test_two_that_have_a_run_to_go_on_with_are_an_error(tmp_path):
    for name in "ab":
        interrupted(tmp_path / name, until=3)
    with pytest.raises(ConfigurationError, match="both have a run to go on with"):
        play(tmp_path / "a", [0.5, 0.4], BackupAndRestore(tmp_path / "b"))


def test_one_folder_for_two_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="both write"):
        play(tmp_path / "a", [0.5], BackupAndRestore(tmp_path / "a"))


@pytest.mark.parametrize("given", [0, -1, 1.5, True, None, "sometimes"])
def test_an_impossible_frequency_is_an_error(given, tmp_path):
    with pytest.raises(ConfigurationError):
        BackupAndRestore(tmp_path, save_freq=given)


def test_other_wrong_arguments_are_errors(tmp_path):
    with pytest.raises(ConfigurationError, match="backup_dir must be a path"):
        BackupAndRestore("")
    with pytest.raises(ConfigurationError, match="'wait' or 'skip'"):
        BackupAndRestore(tmp_path, when_busy="maybe")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        play(tmp_path / "file" / "b")


def test_a_run_with_a_directory_keeps_itself(tmp_path):
    def train(until):
        model = ScriptedModel()
        with Run(trainable=model, epochs=2, directory=tmp_path, verbose=0) as run:
            for epoch in run.epochs():
                for batch in run.train([1.0, 2.0]):
                    if (epoch, batch) == until:
                        raise CutOffError
                    run.log(loss=batch * (epoch + 1))
        return run.history.history

    with pytest.raises(CutOffError):
        train((1, 2.0))
    assert saved_steps(tmp_path / "backup") == [2]
    assert train(None) == {"loss": [1.5, 3.0]}


def test_another_environment_is_told(tmp_path, monkeypatch):
    interrupted(tmp_path / "b", until=5)
    monkeypatch.setattr(np, "__version__", "0.1")
    with pytest.warns(ConfigurationWarning, match=r"numpy: .* then, 0\.1 now"):
        play(tmp_path / "b")


def test_nothing_but_json_and_tensors_is_in_a_backup(tmp_path):
    interrupted(tmp_path / "b", until=5)
    (folder,) = (tmp_path / "b").glob("step-*")
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".json", ".safetensors"}
    for path in folder.glob("*.json"):
        json.loads(path.read_text())
    assert randomness.random_states().keys() <= {"python", "numpy", "keras", "jax", "torch"}


def test_an_evaluation_saves_and_restores_nothing(tmp_path):
    interrupted(tmp_path / "b", until=5)
    with Run(callbacks=[BackupAndRestore(tmp_path / "b")], purpose="test", verbose=0) as run:
        for _ in run.validate([1]):
            run.log(loss=1.0)
    assert saved_steps(tmp_path / "b") == [4]


HOLDING = """
import sys
from callboard.checkpoint import CheckpointStore
store = CheckpointStore(sys.argv[1])
store.save({"step": 1}, step=1)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", [BackupAndRestore, ModelCheckpoint])
def test_a_folder_another_process_writes_to_is_an_error_before_the_first_epoch(
    tmp_path, monkeypatch, kind
):
    monkeypatch.setattr("callboard._core.fs.lock._PATIENCE_S", 0.05)
    epochs = []
    noting = LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "b")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(BlockingIOError, match="another process writes to this folder"):
            ScriptedRun([0.5], monitor="loss").play(kind(tmp_path / "b"), noting)
        assert epochs == []
        other.stdin.close()


def test_to_find_out_whether_a_folder_is_free_makes_nothing(tmp_path):
    store = CheckpointStore(tmp_path / "b")
    store.require_free()
    assert not (tmp_path / "b").exists()
    store.save({"step": 1}, step=1)
    store.require_free()  # it is ours
    store.close()
    store.require_free()
    with CheckpointStore(tmp_path / "b") as other:
        other.save({"step": 2}, step=2)
