"""What is particular to Lightning."""

import math

import pytest
import torch

from callboard import Callback, callbacks

pytestmark = [
    pytest.mark.xdist_group("loop lightning"),
    pytest.mark.filterwarnings(
        "ignore:.*LeafSpec:FutureWarning",
        "ignore:.*does not have many workers",
        "ignore:The number of training batches",
        "ignore:Be aware that when using `ckpt_path`",
        "ignore:Checkpoint directory",
        "ignore:You're resuming",
    ),
]

LOSSES = [0.5, 0.4, 0.6, 0.3, 0.7, 0.8]


@pytest.fixture
def lightning(host, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return host("lightning")


def fit(lightning, used, script, epochs, module=None, ckpt_path=None, **options):
    module = module or lightning.Module(script)
    loaders = [
        torch.utils.data.DataLoader([torch.zeros(1)] * batches) for batches in (script.batches, 1)
    ]
    used = used if isinstance(used, list) else [used]
    trainer = lightning.trainer(max_epochs=epochs, callbacks=used, **options)
    trainer.fit(module, *loaders, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("moment", ["validation", "epoch end"])
def test_callbacks_go_on_from_lightnings_checkpoint(lightning, losses, tmp_path, moment):
    def used(folder):
        stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        return stopping, lightning.Callbacks([stopping, callbacks.CSVLogger(folder / "log.csv")])

    straight, expected = used(tmp_path / "straight")
    fit(lightning, expected, losses(LOSSES), 6)
    _, begun = used(tmp_path / "resumed")
    saving = lightning.pl.callbacks.ModelCheckpoint(
        tmp_path, save_last=True, save_on_train_epoch_end=moment == "epoch end"
    )
    fit(lightning, [begun, saving], losses(LOSSES), 3, enable_checkpointing=True)
    resumed, actual = used(tmp_path / "resumed")
    script = losses(LOSSES, epoch=3)
    fit(lightning, actual, script, 6, ckpt_path=tmp_path / "last.ckpt")
    assert actual.history.history["val_loss"] == expected.history.history["val_loss"]
    assert (resumed.best, resumed.best_epoch) == (straight.best, straight.best_epoch)
    assert (resumed.wait, resumed.stopped_epoch) == (straight.wait, straight.stopped_epoch)
    if moment == "validation":  # when the means of the training are not known yet
        assert math.isnan(actual.history.history["loss"][2])
        return
    assert actual.history.history == expected.history.history
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("straight", "resumed")]
    assert logs[0] == logs[1]


def test_a_validation_that_did_not_take_place_leaves_nothing_behind(lightning, losses):
    used = lightning.Callbacks([])
    fit(lightning, used, losses([0.5, 0.4, 0.3]), 3, check_val_every_n_epoch=2)
    assert used.history.epoch == [0, 1, 2]
    first, second, third = used.history.history["val_loss"]
    assert (math.isnan(first), second, math.isnan(third)) == (True, 0.5, True)


def test_names_of_the_module_are_ours_and_can_be_read_by_its_own(lightning, losses):
    class Reader(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.read = logs["train_loss"], dict(logs)

    reader = Reader()
    fit(lightning, lightning.Callbacks([reader]), losses([0.5]), 1)
    assert reader.read == (0.5, {"loss": 0.5, "val_loss": 0.5})


def test_a_loss_that_is_not_logged_is_the_mean_of_what_the_step_returns(lightning, losses):
    class Silent(lightning.Module):
        def log(self, *arguments, **options):
            pass

    used = lightning.Callbacks([])
    script = losses([0.5, 0.25])
    fit(lightning, used, script, 2, module=Silent(script))
    assert used.history.history == {"loss": [0.5, 0.25]}


def test_a_loss_that_is_nan_does_not_reach_the_weights(lightning, losses):
    used = lightning.Callbacks([callbacks.TerminateOnNaN()])
    script = losses([0.5, float("nan"), 0.5])
    module = lightning.Module(script)
    module.weight.data.fill_(1.0)
    fit(lightning, used, script, 3, module=module)
    assert "invalid loss" in used.run.stop_reason
    assert module.weight.item() == 0.0  # two updates by 0.5 in the first epoch, none later
