import sys

import pytest
from tracked_training import Memory, by_name, expected, train

from callboard import ConfigurationError, Run, callbacks
from callboard.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint
from callboard.testing import ScriptedModel, ScriptedRun, _killed

LOGGERS = ["AimLogger", "CometLogger", "MLflowLogger", "WandbLogger"]
SCRIPT = {"loss": [0.5, 0.25, 0.125], "val_loss": [0.6, 0.4, 0.3]}


def play(tracker, *others, metrics=SCRIPT, batches=4):
    return ScriptedRun(metrics, batches=batches).play(*others, tracker)


def steps(tracker, name):
    return [step for own, step, _ in tracker.logged["points"] if own == name]


def test_an_epoch_is_logged_by_the_training_steps_done():
    tracker = Memory()
    play(tracker)
    curves = by_name(tracker.logged["points"])
    assert curves["val_loss"] == [(4, 0.6), (8, 0.4), (12, 0.3)]
    assert curves["epoch"] == [(4, 0.0), (8, 1.0), (12, 2.0)]
    assert curves["learning_rate"] == [(4, 0.001), (8, 0.001), (12, 0.001)]
    assert not any(name.startswith("batch/") for name in curves)


@pytest.mark.parametrize(
    ("update_freq", "logged"), [("batch", list(range(1, 13))), (3, [3, 6, 9, 12]), ("epoch", [])]
)
def test_batches_are_logged_as_often_as_asked(update_freq, logged):
    tracker = Memory(update_freq=update_freq)
    play(tracker)
    assert steps(tracker, "batch/loss") == logged


@pytest.mark.parametrize("update_freq", [0, -1, True, 1.5, "step", None])
def test_an_impossible_frequency_is_told(update_freq):
    with pytest.raises(ConfigurationError, match="update_freq must be 'epoch', 'batch' or"):
        Memory(update_freq=update_freq)


def test_logs_are_read_only_when_something_is_due():
    read = []

    class OnDevice:
        shape, dtype = (), "float32"

        def item(self):
            read.append(run.progress.step)
            return 0.5

        def __add__(self, other):
            return self

        def __mul__(self, other):
            return self

        def __float__(self):
            return self.item()

    with Run(epochs=1, callbacks=[Memory(update_freq=5)], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(12)):
                run.log(loss=OnDevice())
                run.logs = run.logs
    assert set(read) == {5, 10, 12}


def test_the_parameters_are_the_settings_of_the_run_and_the_users():
    tracker = Memory(params={"data": {"size": 28}, "epochs": "mine"})
    checkpoint = ModelCheckpoint("{epoch}.pt")
    play(tracker, EarlyStopping(patience=7), checkpoint, callbacks.History())
    params = tracker.logged["params"]
    assert params["EarlyStopping.patience"] == 7
    assert params["EarlyStopping.min_delta"] == 0
    assert params["ModelCheckpoint.filepath"] == "{epoch}.pt"
    assert params["learning_rate"] == 0.001
    assert params["data.size"] == 28
    assert params["epochs"] == "mine"
    assert not any(name.startswith("Memory") for name in params)


def test_secrets_among_the_settings_are_left_out():
    class Posts(callbacks.Callback):
        def __init__(self, url, api_key, auth_token=None):
            pass

    tracker = Memory()
    play(tracker, Posts("http://x", "sesame", auth_token="sesame"))
    params = tracker.logged["params"]
    assert params["Posts.url"] == "http://x"
    assert "sesame" not in params.values()


def test_the_size_of_a_torch_model_is_a_parameter():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    tracker = Memory()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    with Run(net, optimizer, callbacks=[tracker], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([0]):
                run.log(loss=1.0)
    params = tracker.logged["params"]
    assert params["model_parameters"] == 4 * 3 + 3 + 3 + 3
    assert (params["model"], params["optimizer"]) == ("Sequential", "Adam")
    assert params["learning_rate"] == 0.01


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("x"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(143), "killed")],
)
def test_the_status_tells_how_the_run_ended(tmp_path, error, status):
    tracker = Memory()
    with pytest.raises(type(error)):
        train(tracker, tmp_path, error=error)
    assert tracker.logged["status"] == status


def test_a_run_that_ended_by_itself_or_by_request_is_finished():
    tracker = Memory()
    play(tracker)
    assert tracker.logged["status"] == "finished"
    stopped = Memory()
    play(stopped, EarlyStopping("loss", patience=1, mode="max"))
    assert stopped.logged["status"] == "finished"
    assert steps(stopped, "loss") == [4, 8]


@pytest.mark.parametrize("kill", [1, 7, "epoch end", "validation", "train end"])
@pytest.mark.parametrize("behind", [0, 5])
def test_a_run_that_is_killed_and_goes_on_has_every_point_once(tmp_path, kill, behind):
    """Also if the service has lost the latest points, which it had not written."""
    store = {}

    def training(folder):  # keeps nothing of a run that is killed, as its lock would stay
        train(Memory(store, update_freq="batch"), folder)

    assert _killed(training, tmp_path, kill)
    goes_on = any((tmp_path / "backup").glob("step-*"))
    assert store["run-0"]["status"] == "running"
    if behind:
        del store["run-0"]["points"][-behind:]
    training(tmp_path)
    assert list(store) == (["run-0"] if goes_on else ["run-0", "run-1"])
    *_, logged = store.values()
    assert by_name(logged["points"]) == expected(tmp_path / "whole")
    assert logged["status"] == "finished"


def test_the_state_before_the_first_epoch_begins_a_run_of_its_own():
    tracker = Memory()
    tracker.load_state_dict(Memory().state_dict())
    play(tracker)
    assert tracker.run_id == "run-0"


def test_an_object_that_is_used_again_begins_another_run():
    tracker = Memory(update_freq=3)
    for number in range(2):
        play(tracker)
        assert tracker.run_id == f"run-{number}"
        assert steps(tracker, "batch/loss") == [3, 6, 9, 12]


def test_a_run_that_is_given_is_logged_into_from_its_beginning():
    store = {"mine": {"points": [("loss", 100, 1.0)], "artifacts": [], "params": {}}}
    tracker = Memory(store, run_id="mine")
    play(tracker)
    assert steps(tracker, "loss") == [100, 4, 8, 12]


def test_a_service_that_is_away_for_a_while_loses_nothing_and_stops_nothing():
    tracker = Memory(update_freq="batch")

    def fail(batch, logs):
        tracker.broken = ConnectionError("no route") if 3 <= tracker.run.progress.step < 7 else None

    with pytest.warns(RuntimeWarning) as warned:
        run = play(tracker, LambdaCallback(on_train_batch_end=fail))
    assert [str(w.message) for w in warned] == [
        "Memory: points were not logged and will be sent again later: ConnectionError: no route"
    ]
    assert [d.callback for d in run.journal.of("skipped")] == ["Memory"]
    assert steps(tracker, "batch/loss") == list(range(1, 13))
    assert steps(tracker, "loss") == [4, 8, 12]
    assert tracker.logged["status"] == "finished"


def test_a_service_that_stays_away_is_told_once_and_what_is_lost_at_the_end():
    tracker = Memory()
    fail = LambdaCallback(on_epoch_end=lambda *_: setattr(tracker, "broken", OSError("gone")))
    with pytest.warns(RuntimeWarning) as warned:
        run = play(tracker, fail)
    assert len(warned) == 1
    assert [d.cause for d in run.journal.of("skipped")][-1] == "3 points were not logged"
    assert len(run.history["loss"]) == 3


def away_after_three_steps(store):
    tracker = Memory(store, update_freq="batch")
    log = tracker.log_metrics

    def log_or_fail(point):
        if point.step > 3:
            raise ConnectionError("no route")
        log(point)

    tracker.log_metrics = log_or_fail
    return tracker


def test_points_that_wait_are_part_of_the_state(tmp_path):
    store = {}
    with pytest.warns(RuntimeWarning, match="no route"):
        assert _killed(lambda to: train(away_after_three_steps(store), to), tmp_path, 7)
    second = Memory(store, update_freq="batch")
    train(second, tmp_path)
    assert by_name(second.logged["points"]) == expected(tmp_path / "whole")


def test_a_point_that_the_service_calls_impossible_does_not_hold_up_the_others():
    class Picky(Memory):
        def log_metrics(self, point):
            if point.step == 4:
                raise ValueError("no such step")
            super().log_metrics(point)

    tracker = Picky()
    with pytest.warns(RuntimeWarning, match="no such step"):
        run = play(tracker)
    assert steps(tracker, "loss") == [8, 12]
    assert run.journal[-1].cause == "1 points were not logged"


def test_a_service_that_says_no_at_the_start_is_an_error_before_the_first_batch():
    tracker = Memory()
    tracker.broken = PermissionError("not logged in")
    seen = []
    with pytest.raises(ConfigurationError, match=r"not logged in.*required=False"):
        play(tracker, LambdaCallback(on_train_batch_begin=lambda *_: seen.append(1)))
    assert not seen


def test_a_service_that_is_not_required_is_done_without():
    tracker = Memory(required=False)
    tracker.broken = PermissionError("not logged in")
    with pytest.warns(RuntimeWarning, match="Memory: nothing is logged: PermissionError") as warned:
        run = play(tracker)
    assert len(warned) == 1
    assert len(run.history["loss"]) == 3
    assert not tracker.store


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_named_before_the_first_epoch(name, monkeypatch):
    kind = getattr(callbacks, name)
    monkeypatch.setitem(sys.modules, kind.module, None)
    seen = []
    begin = LambdaCallback(on_epoch_begin=lambda *_: seen.append(1))
    with pytest.raises(ConfigurationError, match=f"pip install {kind.package}"):
        play(kind(), begin)
    assert not seen
    with pytest.warns(RuntimeWarning, match=f"pip install {kind.package}"):
        play(kind(required=False))


@pytest.mark.parametrize("name", LOGGERS)
def test_a_misspelt_argument_is_named(name):
    with pytest.raises(TypeError, match="Did you mean 'update_freq'"):
        getattr(callbacks, name)(update_frq=1)


def test_the_best_checkpoint_is_uploaded_at_the_end(tmp_path):
    tracker = Memory(log_checkpoints=True)
    best = ModelCheckpoint(tmp_path / "{epoch}.pt", save_best_only=True)
    every = ModelCheckpoint(tmp_path / "folder", save_top_k=1)
    play(tracker, best, every, metrics={"loss": [1.0] * 3, "val_loss": [0.5, 0.2, 0.4]})
    assert tracker.logged["artifacts"] == [
        tmp_path / "2.pt",
        tmp_path / "folder" / "step-00000008",
    ]
    assert tracker.logged["artifacts"][1].is_dir()


def test_nothing_is_uploaded_after_an_error_or_without_being_asked_to(tmp_path):
    tracker = Memory(log_checkpoints=True)
    with pytest.raises(ValueError, match="x"):
        train(tracker, tmp_path / "a", error=ValueError("x"), fail_at=10)
    quiet = Memory()
    train(quiet, tmp_path / "b")
    assert tracker.logged["artifacts"] == quiet.logged["artifacts"] == []


def test_only_the_first_process_logs():
    tracker = Memory()
    tracker.broken = AssertionError("was asked")
    script = ScriptedRun(SCRIPT)
    script.model.rank = 1
    script.play(tracker)
    assert not tracker.store


def test_an_evaluation_contacts_nobody():
    tracker = Memory()
    tracker.connect = pytest.fail
    with Run(callbacks=[tracker], purpose="test", trainable=ScriptedModel(), verbose=0) as run:
        for _ in run.validate([0]):
            run.log(loss=1.0)
    assert not tracker.store


def test_without_steps_the_epochs_are_counted():
    from callboard._core.hosted import HostedRun  # noqa: PLC0415 - for this one

    tracker = Memory()
    run = HostedRun(epochs=2, callbacks=[tracker], verbose=0)
    run.begin()
    for epoch in range(2):
        run.begin_epoch(epoch)
        run.end_epoch({"loss": 0.5})
    run.end()
    assert steps(tracker, "loss") == [1, 2]
