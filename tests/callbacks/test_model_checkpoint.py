import math
import sys
from pathlib import Path

import numpy as np
import pytest

from callboard import ConfigurationWarning, MetricNotFoundError, Run
from callboard.callbacks import LambdaCallback, ModelCheckpoint
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors
from callboard.testing import ScriptedModel, ScriptedRun

NAN = math.nan


class SavingModel(ScriptedModel):
    """A scripted model that writes its weight to a file."""

    def save(self, path, *, weights_only):
        write_safetensors(path, self.weights())
        super().save(path, weights_only=weights_only)


def saved(values, batches=1, **options):
    options = {"filepath": "{epoch}", **options}
    return ScriptedRun(values, batches=batches).play(ModelCheckpoint(**options)).saved


# ---- when ----------------------------------------------------------------------------------------


def test_after_every_epoch_by_default_under_numbers_from_one():
    assert saved([1, 2, 3]) == [("1", 0), ("2", 1), ("3", 2)]


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([3, 1, 2, 0.5], {}, [0, 1, 3]),
        ([NAN, 2, NAN, 1], {}, [1, 3]),
        ([math.inf, -math.inf, 1], {}, [2]),
        ([1, 2, 3], {"mode": "max"}, [0, 1, 2]),
        ([1, 1, 1], {}, [0]),
        ([2, 1, 0.5], {"initial_value_threshold": 1}, [2]),
        ([2, 1], {"initial_value_threshold": 0}, []),
        ([1, None, 2, 0.5], {}, [0, 3]),
    ],
)
def test_save_best_only_saves_what_is_better_than_ever_before(values, options, epochs):
    assert [weight for _, weight in saved(values, save_best_only=True, **options)] == epochs


@pytest.mark.parametrize(
    ("save_freq", "batches", "weights"),
    [
        ("epoch", 3, [0, 1, 2, 3]),
        ("2 epochs", 3, [1, 3]),
        ("3 epochs", 1, [2]),
        (3, 3, [0, 1, 2, 3]),
        (4, 6, [0, 1, 1, 2, 3, 3]),  # counted over the epochs
        ("5 steps", 2, [2]),
    ],
)
def test_periods(save_freq, batches, weights):
    found = saved([1] * 4, batches, save_freq=save_freq)
    assert [weight for _, weight in found] == weights


def test_a_period_of_time():
    checkpoint = ModelCheckpoint("{epoch}-{batch}", save_freq="10 s")
    now = [0.0]
    checkpoint._every._clock = lambda: now[0]
    checkpoint._every._since = 0.0
    tick = LambdaCallback(on_train_batch_begin=lambda batch, logs: now.__setitem__(0, now[0] + 4.0))
    played = ScriptedRun([1, 1], monitor="loss", batches=4).play(tick, checkpoint)
    assert [path for path, _ in played.saved] == ["1-3", "2-2"]


def test_saving_by_epochs_costs_nothing_per_batch():
    assert Run(callbacks=[ModelCheckpoint("a")], verbose=0).callbacks.idle("on_train_batch_end")
    by_batch = Run(callbacks=[ModelCheckpoint("a", save_freq=3)], verbose=0)
    assert not by_batch.callbacks.idle("on_train_batch_end")


def test_by_batches_the_best_of_a_training_metric():
    losses = {"loss": [3.0, 2.0, 4.0, 1.0]}
    found = saved(losses, monitor="loss", save_best_only=True, save_freq=1)
    assert [weight for _, weight in found] == [0, 1, 3]


# ---- under which name ----------------------------------------------------------------------------


def test_placeholders_for_epoch_batch_and_metrics():
    found = saved({"loss": [0.5], "val_loss": [0.25]}, filepath="{epoch:02d}-{val_loss:.2f}-{loss}")
    assert found == [("01-0.25-0.5", 0)]
    by_batch = saved({"loss": [0.5]}, 4, filepath="{epoch}-{batch:02d}", save_freq=2)
    assert [path for path, _ in by_batch] == ["1-02", "1-04"]


def test_a_missing_metric_in_the_name_is_an_error_only_when_it_is_needed():
    with pytest.raises(MetricNotFoundError, match="as a placeholder"):
        saved({"loss": [1.0]}, filepath="{acc}")


def test_a_validation_that_did_not_take_place_is_nan_in_the_name():
    assert saved({"loss": [1.0]}, filepath="{epoch}-{val_loss:.1f}") == [("1-nan", 0)]


def test_a_path_may_be_an_object(tmp_path):
    assert saved([1], filepath=tmp_path / "m.pt") == [(str(tmp_path / "m.pt"), 0)]


# ---- what is never saved -------------------------------------------------------------------------


def test_a_model_that_is_not_finite_is_not_saved_and_does_not_become_the_best():
    script = ScriptedRun([3, 1, 2])
    break_it = LambdaCallback(
        on_train_batch_end=lambda batch, logs: (
            script.run.progress.epoch == 1 and setattr(script.model, "weight", NAN)
        )
    )
    checkpoint = ModelCheckpoint("best.pt", save_best_only=True)
    with pytest.warns(
        RuntimeWarning, match="'weight' holds NaN or infinities, so the model is not"
    ):
        script.play(break_it, checkpoint)
    assert script.saved == [("best.pt", 0), ("best.pt", 2)]
    assert checkpoint.best == 2
    assert "holds NaN" in script.journal.of("skipped")[0].cause


def test_an_epoch_without_the_metric_saves_nothing_and_says_so():
    played = ScriptedRun([1, None]).play(ModelCheckpoint("best.pt", save_best_only=True))
    assert played.saved == [("best.pt", 0)]
    assert played.journal[-1].cause == "val_loss was not measured, so the model is not saved"


def test_without_any_validation_there_is_a_warning_and_no_file():
    with pytest.warns(ConfigurationWarning, match="there was no validation in epoch 1"):
        played = ScriptedRun({"loss": [1.0]}).play(ModelCheckpoint("best.pt", save_best_only=True))
    assert played.saved == []


# ---- what is said --------------------------------------------------------------------------------


def test_verbose_prints_the_words_of_keras(capsys):
    checkpoint = ModelCheckpoint("best.pt", verbose=1, save_best_only=True)
    ScriptedRun([0.5, 0.75, 0.25]).play(checkpoint)
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: val_loss improved from None to 0.50000, saving model to best.pt",
        "Epoch 2: val_loss did not improve from 0.50000",
        "Epoch 3: val_loss improved from 0.50000 to 0.25000, saving model to best.pt",
    ]
    ScriptedRun([0.5]).play(ModelCheckpoint("all-{epoch}", verbose=1))
    assert capsys.readouterr().out == "Epoch 1: saving model to all-1\n"


def test_silent_by_default_but_the_journal_knows(capsys):
    played = ScriptedRun([0.5, 0.75]).play(ModelCheckpoint("best.pt", save_best_only=True))
    assert capsys.readouterr().out == ""
    assert [(d.action, d.cause) for d in played.journal] == [
        ("saved", "val_loss improved from None to 0.50000, saved to best.pt"),
        ("skipped", "val_loss did not improve from 0.50000"),
    ]


# ---- files ---------------------------------------------------------------------------------------


def test_folders_are_made_and_the_file_holds_the_best_weights(tmp_path):
    script = ScriptedRun([3, 1, 2])
    script.model = SavingModel()
    path = tmp_path / "a" / "b" / "best.safetensors"
    script.play(ModelCheckpoint(path, save_best_only=True))
    np.testing.assert_array_equal(read_safetensors(path)["weight"], 1.0)
    assert [p.name for p in path.parent.iterdir()] == ["best.safetensors"]


class Failing(ScriptedModel):
    """Fails at its second save."""

    def save(self, path, *, weights_only):
        if self.saved:
            raise OSError(28, "No space left on device")
        super().save(path, weights_only=weights_only)


def test_an_error_of_the_disk_reaches_the_caller_and_the_best_stays_what_the_file_is():
    script = ScriptedRun([3, 1])
    script.model = Failing()
    checkpoint = ModelCheckpoint("best.pt", save_best_only=True)
    with pytest.raises(OSError, match="No space left") as caught:
        script.play(checkpoint)
    assert checkpoint.best == 3
    assert caught.value.__notes__ == ["raised in ModelCheckpoint.on_epoch_end"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_on_a_full_disk_the_file_before_is_whole(full_disk, tmp_path):
    said = full_disk(
        "import numpy as np\n"
        "from callboard.callbacks import ModelCheckpoint\n"
        "from callboard.checkpoint.safetensors import write_safetensors\n"
        "from callboard.testing import ScriptedModel, ScriptedRun\n"
        "class Growing(ScriptedModel):\n"
        "    def save(self, path, *, weights_only):\n"
        "        size = 100 if self.weight == 0 else 10_000\n"
        "        write_safetensors(path, {'w': np.full(size, self.weight)})\n"
        "script = ScriptedRun([2.0, 1.0])\n"
        "script.model = Growing()\n"
        "script.play(ModelCheckpoint(folder / 'best.safetensors', save_best_only=True))\n"
    )
    assert said == "OSError 27"
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    weights = read_safetensors(tmp_path / "best.safetensors")["w"]
    np.testing.assert_array_equal(weights, np.zeros(100))


# ---- again ---------------------------------------------------------------------------------------


def test_the_best_is_kept_from_one_run_to_the_next_as_the_file_is():
    checkpoint = ModelCheckpoint("best.pt", save_best_only=True)
    ScriptedRun([1]).play(checkpoint)
    assert ScriptedRun([2, 0.5]).play(checkpoint).saved == [("best.pt", 1)]


def test_batches_are_counted_anew_in_the_next_run():
    checkpoint = ModelCheckpoint("{batch}", save_freq=3)
    for _ in range(2):
        assert len(ScriptedRun([1], batches=4).play(checkpoint).saved) == 1


@pytest.mark.parametrize(("save_freq", "at"), [("2 epochs", [4, 6]), ("3 epochs", [3, 6])])
def test_periods_of_epochs_are_absolute_when_training_begins_later(save_freq, at):
    script = ScriptedRun([1] * 6, initial_epoch=2)
    script.play(ModelCheckpoint("{epoch}", save_freq=save_freq))
    assert [int(path) for path, _ in script.saved] == at


def test_the_path_is_one_it_writes():
    assert list(ModelCheckpoint("a/{epoch}.pt").writes()) == [Path("a/{epoch}.pt")]
