"""What callbacks do is the same in every loop."""

import copy
import csv
import math
import pickle
import re

import pytest
from tensorboard.compat.proto.event_pb2 import Event

from callboard import Callback, ConfigurationError, UnsupportedError, callbacks
from callboard._core.callback import HOOKS
from callboard.events import read_records

DOWN_AND_UP = [0.5, 0.4, 0.45, 0.6, 0.7, 0.8]


class Watch(Callback):
    """Notes how long the model was trained when an epoch ends."""

    def __init__(self, loop):
        self.loop = loop
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.loop.trained_for(self.run))


def scalars(folder):
    """Return what the event files in a folder hold: file's folder, step, tag and value."""
    found = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for event in map(Event.FromString, read_records(path)):
            for value in event.summary.value:
                number = value.simple_value or value.tensor.float_val[:]
                found.append((path.parent.name, event.step, value.tag, number))
    return found


def test_hooks_are_called_in_the_same_order(loop, reference, recorder, script):
    hooks = set(HOOKS) - loop.LACKS
    expected, heard = recorder(only=hooks), recorder(only=hooks)
    reference.train([expected], script([0.5, 0.4]))
    loop.train(loop.given([heard]), script([0.5, 0.4]))
    lines = expected.lines
    if loop.ALSO_LOGS:
        heard.lines = [re.sub(f" (val_)?{loop.ALSO_LOGS}", "", line) for line in heard.lines]
    if "logs of validation batches" in loop.LACKS:
        lines = [re.sub("(on_test_batch_end [0-9]+).*", r"\1", line) for line in lines]
    if "logs of batches" in loop.LACKS:
        lines = [re.sub("(on_train_batch_end [0-9]+).*", r"\1", line) for line in lines]
    assert heard.lines == lines


def test_hooks_are_called_in_the_same_order_up_to_a_stop(loop, reference, recorder, script):
    hooks = {h for h in HOOKS if "batch" not in h} - loop.LACKS
    lines = []
    for each in (reference, loop):
        heard = recorder(only=hooks)
        run = each.train(each.given([Stop(after=1), heard]), script(DOWN_AND_UP))
        assert run.stop_reason == "enough"
        lines.append([re.sub(f" (val_)?{each.ALSO_LOGS or '$'}", "", line) for line in heard.lines])
    assert lines[1] == lines[0]
    assert lines[0][-2:] == ["on_train_end loss val_loss", "close"]


class Stop(Callback):
    """Asks for the end after an epoch."""

    def __init__(self, after):
        self.after = after

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.after:
            self.run.stop("enough")


def test_a_stop_in_the_middle_of_an_epoch_ends_it_and_the_run(loop, reference, script):
    if "on_train_batch_end" in loop.LACKS:
        pytest.skip("the loop has no batches")
    runs = [each.train(each.given([StopAt(step=4)]), script(DOWN_AND_UP, batches=3))
            for each in (reference, loop)]  # fmt: skip
    for run in runs:
        assert run.stop_reason == "enough"
        assert run.history.epoch == [0, 1]
        assert run.progress.step == 4


class StopAt(Callback):
    """Asks for the end after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.run.progress.step == self.step:
            self.run.stop("enough")


def test_callbacks_are_called_in_their_declared_order(loop, recorder, script):
    lines = []
    one, late, early = (
        recorder(["on_epoch_end"], lines, name) for name in ("one", "late", "early")
    )
    late.order, early.order = 5, -5
    loop.train(loop.given([one, late, early]), script([0.5]))
    assert [line.split()[0] for line in lines] == ["early", "one", "late"]


@pytest.mark.parametrize(
    ("losses", "patience"),
    [(DOWN_AND_UP, 1), (DOWN_AND_UP, 3), ([0.5, float("nan"), 0.6, 0.4, 0.3], 2), ([0.5] * 4, 0)],
    ids=["patience 1", "patience 3", "NaN", "patience 0"],
)
def test_early_stopping_stops_after_the_same_epoch(loop, reference, script, losses, patience):
    if not loop.KNOWS_NAN and any(map(math.isnan, losses)):
        pytest.skip("the host itself fails at a metric that is NaN")
    expected, run = (
        each.train(
            each.given([callbacks.EarlyStopping(patience=patience)]),
            script([0.1] * len(losses), losses),
        )
        for each in (reference, loop)
    )
    assert run.history.epoch == expected.history.epoch
    assert run.stop_reason == expected.stop_reason != ""


def test_a_plateau_lowers_the_rate_in_the_hosts_optimizer(loop, reference, script):
    def plateau():
        return callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.1)

    if not loop.SETS_THE_RATE:
        with pytest.raises(UnsupportedError, match="learning rate"):
            loop.train(loop.given([plateau()]), script(DOWN_AND_UP))
        return
    expected = reference.train([plateau()], script(DOWN_AND_UP[:4]))
    run = loop.train(loop.given([plateau()]), script(DOWN_AND_UP[:4]))
    assert expected.rate_in_host == pytest.approx(0.005)
    assert run.rate_in_host == pytest.approx(0.005)
    assert run.history.history["learning_rate"] == pytest.approx(
        expected.history.history["learning_rate"]
    )


def test_the_best_epoch_is_saved_and_loads_into_a_fresh_model(loop, script, tmp_path):
    path = tmp_path / f"best{loop.SUFFIX or '.cbm'}"
    checkpoint = callbacks.ModelCheckpoint(path, save_best_only=True)
    watch = Watch(loop)
    if not loop.SUFFIX:
        with pytest.raises(UnsupportedError, match="save"):
            loop.train(loop.given([checkpoint]), script(DOWN_AND_UP))
        with pytest.raises(UnsupportedError, match="save"):
            loop.train(loop.given([callbacks.ModelCheckpoint("folder")]), script(DOWN_AND_UP))
        return
    loop.train(loop.given([watch, checkpoint]), script(DOWN_AND_UP))
    assert len(set(watch.seen)) == len(DOWN_AND_UP)
    assert loop.loaded(path) == watch.seen[1]


def test_the_best_weights_come_back(loop, script):
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    watch = Watch(loop)
    if not loop.RESTORES:
        with pytest.raises(UnsupportedError, match="weights"):
            loop.train(loop.given([stopping]), script(DOWN_AND_UP))
        return
    run = loop.train(loop.given([watch, stopping]), script(DOWN_AND_UP))
    assert loop.trained_for(run) == watch.seen[1] != watch.seen[-1]


def test_logs_are_the_same(loop, reference, script, tmp_path):
    written = []
    batches = 1 if "on_train_batch_end" in loop.LACKS else 2
    for name, each in (("expected", reference), ("actual", loop)):
        folder = tmp_path / name
        writers = [
            callbacks.CSVLogger(folder / "log.csv"),
            callbacks.TensorBoard(folder / "logs", write_graph=False),
        ]
        losses = [value / 2 for value in DOWN_AND_UP]
        run = each.train(each.given(writers), script(losses, DOWN_AND_UP, batches=batches))
        with (folder / "log.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        written.append(
            {
                "history": {n: run.history.history[n] for n in ("loss", "val_loss")},
                "csv": {n: [float(row[n]) for row in rows] for n in ("epoch", "loss", "val_loss")},
                "events": [e for e in scalars(folder / "logs") if "_loss" in e[2]],
            }
        )
        names = set(rows[0]) | set(run.history.history)
        also = {f"{p}{each.ALSO_LOGS}" for p in ("", "val_") if each.ALSO_LOGS}
        assert names - also == {"epoch", "loss", "val_loss"}
    expected, actual = written
    for part in ("history", "csv"):
        for name, values in expected[part].items():
            assert actual[part][name] == pytest.approx(values, rel=1e-6)
    assert len(expected["events"]) == 18
    assert [e[:3] for e in actual["events"]] == [e[:3] for e in expected["events"]]
    assert [e[3] for e in actual["events"]] == pytest.approx([e[3] for e in expected["events"]])


@pytest.mark.parametrize("failure", [ValueError("broken data"), KeyboardInterrupt()], ids=repr)
def test_a_failure_in_the_middle_is_heard_of(loop, recorder, script, failure, tmp_path):
    if isinstance(failure, KeyboardInterrupt) and not loop.HEARS_OF_CTRL_C:
        pytest.skip("the host takes Ctrl-C for an end like any other")
    heard = recorder(only=["on_train_end", "on_exception", "close"])
    log = tmp_path / "log.csv"
    given = loop.given([heard, callbacks.CSVLogger(log)])
    with pytest.raises(type(failure)):
        loop.train(given, script(DOWN_AND_UP, failure=failure))
    assert heard.lines == [f"on_exception {type(failure).__name__}", "close"]
    assert len(log.read_text().splitlines()) == 2


def test_an_error_of_a_callback_ends_the_training(loop, recorder, script):
    class Broken(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ArithmeticError("mine")

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    with pytest.raises(Exception, match="mine") as caught:
        loop.train(loop.given([Broken(), heard]), script(DOWN_AND_UP))
    assert "Broken.on_epoch_end" in "".join(_notes(caught.value))
    assert heard.lines == ["on_exception ArithmeticError", "close"]


def _notes(error):
    while error is not None:
        yield from getattr(error, "__notes__", ())
        error = error.__cause__ or error.__context__


def test_the_same_objects_take_part_in_two_runs(loop, script, tmp_path):
    stopping, log = callbacks.EarlyStopping(patience=1), tmp_path / "log.csv"
    history = callbacks.History()
    saved = [callbacks.ModelCheckpoint(tmp_path / f"best{loop.SUFFIX}", save_best_only=True)]
    given = loop.given([stopping, history, callbacks.CSVLogger(log), *saved * bool(loop.SUFFIX)])
    first, second = (
        loop.train(given, script([0.1] * 6, losses)).history.epoch
        for losses in (DOWN_AND_UP, [0.9, 0.8, 0.7, 0.6, 0.9, 0.5])
    )
    assert (first, second) == ([0, 1, 2], [0, 1, 2, 3, 4])
    assert stopping.best == pytest.approx(0.6)
    assert history.epoch == second
    assert len(log.read_text().splitlines()) == 1 + len(second)
    if loop.SUFFIX:  # the best of all its runs, as in Keras: a worse model does not replace a file
        assert saved[0].best == pytest.approx(0.4)


def test_a_plateau_counts_anew_in_a_second_run(loop, script):
    if not loop.SETS_THE_RATE:
        pytest.skip("the host's rate cannot be changed")
    plateau = callbacks.ReduceLROnPlateau("loss", patience=2, factor=0.1)
    given = loop.given([plateau])
    loop.train(given, script([0.5, 0.6]))
    second = loop.train(given, script([0.5, 0.6, 0.7])).journal.of("reduced")
    assert [decision.epoch for decision in second] == [2]


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))],
    ids=["copy", "pickle"],
)
def test_callbacks_are_copied_before_the_training(loop, script, copied):
    stopping = callbacks.EarlyStopping(patience=1)
    given = copied(loop.given([stopping]))
    assert loop.train(given, script([0.1] * 6, DOWN_AND_UP)).history.epoch == [0, 1, 2]
    assert stopping.best is None


def test_mistakes_are_found_before_the_first_epoch(loop, recorder, script):
    heard = recorder(only=["on_epoch_begin"])
    twice = [callbacks.CSVLogger("a.csv"), callbacks.CSVLogger("a.csv"), heard]
    with pytest.raises(ConfigurationError, match="both write"):
        loop.train(loop.given(twice), script(DOWN_AND_UP))
    with pytest.raises(ConfigurationError, match="the class EarlyStopping"):
        loop.train(loop.given([callbacks.EarlyStopping]), script(DOWN_AND_UP))
    assert heard.lines == []


def test_a_saved_run_goes_on_or_the_host_says_how(loop, script, tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path / "backup")
    if loop.RESUMES:
        assert loop.train(loop.given([backup]), script(DOWN_AND_UP)).history.epoch[-1] == 5
        return
    with pytest.raises(UnsupportedError, match=r"BackupAndRestore saves runs|gone on with exactly"):
        loop.train(loop.given([backup]), script(DOWN_AND_UP))


def test_what_acts_by_batches_is_an_error_where_there_are_none(loop, script):
    by_batches = callbacks.TensorBoard("logs", update_freq=2)
    if "on_train_batch_end" not in loop.LACKS:
        pytest.skip("the loop has batches")
    with pytest.raises(UnsupportedError, match="acts by batches"):
        loop.train(loop.given([by_batches]), script(DOWN_AND_UP))
    printing = callbacks.LambdaCallback(on_train_batch_end=print)
    with pytest.raises(UnsupportedError, match="acts by batches"):
        loop.train(loop.given([printing]), script(DOWN_AND_UP))
