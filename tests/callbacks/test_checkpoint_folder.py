"""ModelCheckpoint into a folder of checkpoints."""

import signal

import pytest
import torch

from callboard import Callback, ConfigurationError, MetricNotFoundError, Run, UnsupportedError
from callboard.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback, ModelCheckpoint
from callboard.checkpoint import CheckpointStore
from callboard.testing import ScriptedModel, ScriptedRun
from callboard.torch import Model


def play(checkpoint, values, batches=1, **options):
    script = ScriptedRun(values, batches=batches, **options)
    return script.play(checkpoint)


def steps(folder):
    return [checkpoint.step for checkpoint in CheckpointStore(folder).checkpoints()]


VALUES = [0.5, 0.2, 0.4, 0.3, 0.6]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [5]),
        ({"keep_last": 2}, [4, 5]),
        ({"save_top_k": 2}, [2, 4, 5]),  # the newest is never removed
        ({"save_top_k": 1, "keep_last": 2}, [2, 4, 5]),
        ({"every_n_epochs": 2}, [2, 4, 5]),
        ({"every_n_steps": 3}, [3, 5]),
        ({"save_best_only": True, "keep_last": 9}, [1, 2]),
        ({"save_freq": "2 epochs", "keep_last": 9}, [2, 4]),
    ],
)
def test_what_is_saved_and_kept(options, kept, tmp_path):
    play(ModelCheckpoint(tmp_path / "c", **options), VALUES)
    assert steps(tmp_path / "c") == kept


def test_steps_are_saved_besides_epochs_and_kept(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", every_n_steps=2), VALUES, batches=3)
    assert steps(tmp_path / "c") == [2, 4, 6, 8, 10, 12, 14, 15]


def test_seconds_are_a_period_too(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", every_seconds=1e-5, save_freq="99 epochs"), [1, 2])
    assert steps(tmp_path / "c") == [1, 2]


def test_the_higher_is_the_better_where_it_is(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "c", "val_accuracy", save_top_k=1)
    play(checkpoint, {"val_accuracy": [*VALUES[:-1], 0.1]})
    assert CheckpointStore(tmp_path / "c").pointed_to("best") == "step-00000001"


def test_pointers_name_the_best_and_the_last(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", save_top_k=1), VALUES)
    store = CheckpointStore(tmp_path / "c")
    assert [store.pointed_to(name) for name in ("best", "last")] == [
        "step-00000002",
        "step-00000005",
    ]
    assert store.pointed_to("worst") is None


def test_the_best_survives_a_restart(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", save_best_only=True, save_top_k=1), [0.5, 0.2])
    again = ModelCheckpoint(tmp_path / "c", save_best_only=True, save_top_k=1)
    played = play(again, [0.3, 0.1])
    assert [d.action for d in played.journal] == ["skipped", "saving"]
    assert again.best == 0.1


def test_a_worse_run_leaves_the_best_of_an_earlier_one(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", save_best_only=True), [0.5, 0.2])
    again = ModelCheckpoint(tmp_path / "c", save_best_only=True)
    assert [d.action for d in play(again, [0.4, 0.3]).journal] == ["skipped", "skipped"]
    assert [c.metrics["val_loss"] for c in CheckpointStore(tmp_path / "c").checkpoints()] == [0.2]


@pytest.mark.parametrize("options", [{"save_best_only": True}, {"save_top_k": 1}])
@pytest.mark.parametrize("at", [2, 3])
def test_what_is_saved_at_an_error_does_not_take_the_place_of_the_best(options, at, tmp_path):
    def fail(epoch, logs):
        if epoch == at:
            raise RuntimeError

    checkpoint = ModelCheckpoint(tmp_path / "c", save_on_exception=True, **options)
    with pytest.raises(RuntimeError):
        ScriptedRun([0.5, 0.2, 0.4, 0.3]).play(checkpoint, LambdaCallback(on_epoch_begin=fail))
    *_, kept, newest = CheckpointStore(tmp_path / "c").checkpoints()
    assert kept.metrics == {"val_loss": 0.2}
    assert newest.step == at
    assert CheckpointStore(tmp_path / "c").pointed_to("best") == kept.name


def test_metrics_and_epoch_are_in_the_checkpoint(tmp_path):
    play(ModelCheckpoint(tmp_path / "c"), {"loss": [0.5], "val_loss": [0.25]})
    (checkpoint,) = CheckpointStore(tmp_path / "c").checkpoints()
    assert (checkpoint.epoch, checkpoint.metrics) == (1, {"loss": 0.5, "val_loss": 0.25})


def test_the_epoch_in_which_a_loop_is_left_is_saved_too(tmp_path):
    backup = BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    checkpoint = ModelCheckpoint(tmp_path / "c", "loss", save_top_k=1)
    with Run(trainable=ScriptedModel(), epochs=9, callbacks=[checkpoint, backup], verbose=0) as run:
        for loss in (0.5, 0.3):
            for _ in run.epochs():
                for _ in run.train([0, 1]):
                    run.log(loss=loss)
                break
    saved = CheckpointStore(tmp_path / "c").checkpoints()
    assert [(c.step, c.epoch, c.metrics["loss"]) for c in saved] == [(4, 2, 0.3)]
    assert steps(tmp_path / "b") == [4]


def test_it_is_taken_when_all_callbacks_have_seen_the_epoch(tmp_path):
    played = play(ModelCheckpoint(tmp_path / "c"), VALUES[:2])
    tree = CheckpointStore(tmp_path / "c").load()
    assert tree["callback.History"]["history"] == played.history


def test_weights_alone_if_asked(tmp_path):
    play(ModelCheckpoint(tmp_path / "c", save_weights_only=True), [1.0])
    assert CheckpointStore(tmp_path / "c").load().keys() == {"weights"}


def test_best_weights_of_early_stopping_are_stored_once(tmp_path):
    stopping = EarlyStopping(patience=9, restore_best_weights=True)
    ScriptedRun([0.1, 0.5, 0.6]).play(ModelCheckpoint(tmp_path / "c", keep_last=3), stopping)
    files = sorted((tmp_path / "c").glob("step-*/callback.EarlyStopping.safetensors"))
    assert len(files) == 3
    assert len({path.stat().st_ino for path in files}) == 1


def test_words_and_journal(tmp_path, capsys):
    path = tmp_path / "c"
    played = play(ModelCheckpoint(path, verbose=1, save_best_only=True), [0.5])
    said = f"val_loss improved from None to 0.50000, saving model to {path}"
    assert capsys.readouterr().out == f"Epoch 1: {said}\n"
    assert played.journal[0].action == "saving"


def test_a_run_without_a_model_is_an_error_before_the_first_epoch(recorder, tmp_path):
    heard = recorder(only=["on_epoch_begin"])
    run = Run(epochs=1, callbacks=[ModelCheckpoint(tmp_path / "c"), heard], verbose=0)
    with pytest.raises(UnsupportedError, match=r"needs the model .* pass Run\(model="), run:
        raise AssertionError
    assert heard.lines == []


def test_nan_is_not_saved(tmp_path):
    script = ScriptedRun([0.5])
    bad = LambdaCallback(
        on_train_batch_end=lambda *_: setattr(script.model, "weight", float("nan"))
    )
    with pytest.warns(RuntimeWarning, match="holds NaN"):
        script.play(bad, ModelCheckpoint(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"save_top_k": 1},
        {"keep_last": 1},
        {"every_n_epochs": 1},
        {"every_n_steps": 1},
        {"every_seconds": 1.0},
        {"save_on_exception": True},
    ],
)
def test_arguments_for_folders_are_errors_for_files(options):
    with pytest.raises(ConfigurationError, match="is a file; pass a path without a suffix"):
        ModelCheckpoint("best.pt", **options)


@pytest.mark.parametrize("name", ["save_top_k", "keep_last", "every_n_epochs", "every_seconds"])
@pytest.mark.parametrize("value", [-1, True, "2"])
def test_wrong_amounts_are_errors(name, value, tmp_path):
    with pytest.raises(ConfigurationError, match=f"{name} must be a (whole|finite) number"):
        ModelCheckpoint(tmp_path / "c", **{name: value})


def test_a_misspelt_monitor_is_an_error_if_it_matters(tmp_path):
    with pytest.raises(MetricNotFoundError):
        play(ModelCheckpoint(tmp_path / "c", "los", mode="min", save_top_k=1), {"loss": [1]})


def test_a_slash_makes_a_folder_of_any_name(tmp_path):
    play(ModelCheckpoint(f"{tmp_path}/run.v2/"), [1.0])
    assert steps(tmp_path / "run.v2") == [1]


def test_checkpoints_beside_a_backup_share_the_copy(tmp_path):
    script = ScriptedRun(VALUES)
    taken = []

    class Counting(ScriptedModel):
        def state_dict(self):
            taken.append(1)
            return super().state_dict()

    script.model = Counting()
    backup = BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    script.play(ModelCheckpoint(tmp_path / "c"), backup)
    # And once to get the memory, and twice to describe the model: its size, and its table.
    assert len(taken) == len(VALUES) + 1 + 2
    states = [CheckpointStore(tmp_path / name).load() for name in "bc"]
    assert states[0]["run"]["progress"] == states[1]["run"]["progress"]


def test_a_model_loads_the_best_or_a_certain_one(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    model = Model(torch.nn.Linear(3, 1))
    model.compile("adam", "mse")
    kept = {}
    keep = LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.update({epoch: model.module.weight.detach().clone()})
    )
    losses = iter([0.3, 0.1, 0.2])

    class Adds(LambdaCallback):
        order = -10
        adds = ("score",)

    score = Adds(on_epoch_end=lambda epoch, logs: logs.update(score=next(losses)))
    folder = tmp_path / "c"
    model.fit(
        x,
        x.sum(1, keepdim=True),
        epochs=3,
        verbose=0,
        callbacks=[keep, score, ModelCheckpoint(folder, "score", mode="min", save_top_k=3)],
    )
    fresh = Model(torch.nn.Linear(3, 1))
    fresh.compile("adam", "mse")
    fresh.load_weights(folder)
    assert torch.equal(fresh.module.weight, kept[1])
    fresh.load(folder / "step-00000003")
    assert torch.equal(fresh.module.weight, kept[2])
    assert fresh.optimizer.state_dict()["state"][0]["step"] == 3


class Failing(Callback):
    """Raises before the first step."""

    def __init__(self, hook):
        setattr(self, hook, self._fail)

    def _fail(self, *_):
        raise ZeroDivisionError


@pytest.mark.parametrize("hook", ["check", "on_train_begin", "on_epoch_begin"])
@pytest.mark.parametrize("position", [0, 1])
def test_an_error_before_the_first_step_does_not_save_an_untrained_model(tmp_path, hook, position):
    def train(*others):
        saving = ModelCheckpoint(tmp_path / "c", "loss", save_on_exception=True)
        listed = [*others]
        listed.insert(position, saving)
        with Run(trainable=ScriptedModel(), epochs=1, callbacks=listed, verbose=0) as run:
            for _ in run.epochs():
                for _ in run.train([1, 2]):
                    run.log(loss=1.0)

    train()
    with pytest.raises(ZeroDivisionError):
        train(Failing(hook))
    assert steps(tmp_path / "c") == [2]  # not 0, which would have taken its place


@pytest.mark.parametrize("signaled", [False, True])
def test_weights_that_are_not_finite_do_not_take_the_place_of_good_ones_at_the_end(
    tmp_path, signaled
):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    saving = ModelCheckpoint(tmp_path / "c", "loss", save_on_exception=True)

    def train():
        with Run(net, optimizer, epochs=2, callbacks=[saving], verbose=0) as run:
            for epoch in run.epochs():
                for _ in run.train([1, 2]):
                    run.log(loss=1.0)
                    if epoch:
                        torch.nn.init.constant_(net.weight, float("nan"))
                        if not signaled:
                            raise FloatingPointError
                        signal.raise_signal(signal.SIGTERM)

    with (
        pytest.raises((FloatingPointError, SystemExit)),
        pytest.warns(RuntimeWarning, match="'weight' holds NaN or infinities, so the model is not"),
    ):
        train()
    assert steps(tmp_path / "c") == [2]
