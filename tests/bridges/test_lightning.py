"""What is particular to Lightning."""

import math
from pathlib import Path

import pytest
import torch

from callboard import Callback, ConfigurationError, MetricNotFoundError, callbacks

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


def test_of_several_validations_in_an_epoch_the_latest_counts(lightning, losses):
    heard = []
    listener = callbacks.LambdaCallback(on_test_end=lambda logs: heard.append(dict(logs)))
    used = lightning.Callbacks([listener])
    fit(lightning, used, losses([0.5, 0.4, 0.3, 0.2]), 2, val_check_interval=0.5)
    assert heard == [{"loss": pytest.approx(loss)} for loss in (0.5, 0.4, 0.3, 0.2)]
    assert used.history.history["val_loss"] == pytest.approx([0.4, 0.2])


def test_names_with_a_slash_and_those_that_say_nothing_of_where_they_come_from(lightning, losses):
    class Slashes(lightning.Module):
        def log(self, name, value, **options):
            super().log(name.replace("_", "/"), value, **options)
            super().log(f"error/{name}", value, **options)

    script = losses([0.5, 0.4, 0.6, 0.7])
    used = lightning.Callbacks(
        [
            callbacks.EarlyStopping("error/val_loss", mode="min", patience=1),
            callbacks.ModelCheckpoint("{epoch}-{val/loss:.1f}.safetensors"),
        ]
    )
    fit(lightning, used, script, 4, module=Slashes(script))
    names = {"loss", "val_loss", "error/train_loss", "error/val_loss"}
    assert set(used.history.history) == names
    assert used.history.epoch == [0, 1, 2]
    assert sorted(path.name for path in Path().glob("*.safetensors")) == [
        "1-0.5.safetensors", "2-0.4.safetensors", "3-0.6.safetensors"
    ]  # fmt: skip


def test_a_metric_logged_by_steps_alone_is_that_of_the_last_batch_as_in_lightning(
    lightning, losses
):
    class BySteps(lightning.Module):
        def training_step(self, _batch, index):
            loss = self.weight - self.weight.detach() + self.script.train() + index
            self.log("train_loss", loss)
            return loss

    heard = []
    listener = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: heard.append(logs["loss"])
    )
    used = lightning.Callbacks([listener])
    script = losses([0.5])
    trainer = fit(lightning, used, script, 1, module=BySteps(script))
    assert heard == [0.5, 1.0]
    assert used.history.history["loss"] == [1.5] == [trainer.callback_metrics["train_loss"]]


def test_a_run_ends_with_lightnings_steps_and_in_the_middle_of_an_epoch(lightning, losses):
    used = lightning.Callbacks([])
    trainer = fit(lightning, used, losses([0.5, 0.4, 0.3]), -1, max_steps=3)
    assert used.run.progress.step == trainer.global_step == 3
    assert used.history.history["loss"] == pytest.approx([0.5, 0.4])


def test_batches_are_those_of_the_loader_whatever_is_accumulated(lightning, losses):
    used = lightning.Callbacks([callbacks.TerminateOnNaN()])
    script = losses([0.5, math.nan, 0.5])
    module = lightning.Module(script)
    trainer = fit(lightning, used, script, 3, module=module, accumulate_grad_batches=2)
    assert (used.run.progress.step, trainer.global_step) == (3, 1)
    assert module.weight.item() == -0.5  # one update of two batches by the mean of both


def test_what_lightning_does_outside_of_fit_is_not_heard_of(lightning, losses, recorder):
    class Tested(lightning.Module):
        def test_step(self, batch, index):
            pass

        def predict_step(self, batch, index):
            return self.weight

    heard = recorder()
    used = lightning.Callbacks([heard])
    script = losses([0.5] * 4)
    module = Tested(script)
    trainer = fit(lightning, used, script, 1, module=module)
    count = len(heard.lines)
    loader = torch.utils.data.DataLoader([torch.zeros(1)])
    for act in (trainer.validate, trainer.test, trainer.predict):
        act(module, loader)
    assert len(heard.lines) == count > 0


def test_lightnings_early_stopping_and_checkpoint_act_beside_ours(lightning, losses, tmp_path):
    class Monitor(lightning.pl.callbacks.EarlyStopping):
        def _log_info(self, *_, **__):
            pass

    theirs = [
        Monitor("val_loss", patience=1),
        lightning.pl.callbacks.ModelCheckpoint(tmp_path / "theirs", monitor="val_loss"),
    ]
    used = lightning.Callbacks([callbacks.ModelCheckpoint("b.safetensors", save_best_only=True)])
    script = losses(LOSSES)
    module = lightning.Module(script)
    fit(lightning, [*theirs, used], script, 6, module=module, enable_checkpointing=True)
    assert used.history.history["val_loss"] == pytest.approx(LOSSES[:3])
    saved = torch.load(theirs[1].best_model_path)["state_dict"]
    assert lightning.loaded("b.safetensors") == saved["weight"].item() == -2.0


def test_a_second_fit_goes_on_counting_epochs(lightning, losses):
    used = lightning.Callbacks([])
    script = losses([0.5, 0.4, 0.3])
    module = lightning.Module(script)
    trainer = fit(lightning, used, script, 1, module=module)
    trainer.fit_loop.max_epochs = 3
    loaders = [torch.utils.data.DataLoader([torch.zeros(1)] * rows) for rows in (2, 1)]
    trainer.fit(module, *loaders)
    assert used.history.epoch == [1, 2]
    assert used.history.history["loss"] == pytest.approx([0.4, 0.3])


def test_a_loss_that_is_nan_does_not_reach_the_weights(lightning, losses):
    used = lightning.Callbacks([callbacks.TerminateOnNaN()])
    script = losses([0.5, float("nan"), 0.5])
    module = lightning.Module(script)
    module.weight.data.fill_(1.0)
    fit(lightning, used, script, 3, module=module)
    assert "invalid loss" in used.run.stop_reason
    assert module.weight.item() == 0.0  # two updates by 0.5 in the first epoch, none later


@pytest.fixture
def manual(lightning):
    """The class of a module with two optimizers that it steps itself, and returns no loss."""

    class Manual(lightning.Module):
        automatic_optimization = False

        def __init__(self, script):
            super().__init__(script)
            self.other = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, _batch, _index):
            loss = self.script.train()
            for optimizer, weight in zip(self.optimizers(), self.parameters(), strict=True):
                optimizer.zero_grad()
                self.manual_backward(weight - weight.detach() + loss)
                optimizer.step()
            self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=1)

        def configure_optimizers(self):
            return [torch.optim.SGD([weight], lr=0.5) for weight in self.parameters()]

    return Manual


def test_callbacks_act_in_a_module_that_steps_its_optimizers_itself(lightning, losses, manual):
    plateau = callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.1)
    batches = []
    heard = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))
    used = lightning.Callbacks([plateau, heard], optimizer=1)
    script = losses([0.5, 0.6])
    trainer = fit(lightning, used, script, 2, module=manual(script))
    assert [each.param_groups[0]["lr"] for each in trainer.optimizers] == pytest.approx([0.5, 0.05])
    assert used.history.history["loss"] == pytest.approx([0.5, 0.6])
    assert batches == [0, 1, 0, 1]


def test_a_loss_that_is_nan_reaches_none_of_the_weights_that_a_module_steps(
    lightning, losses, manual
):
    script = losses([0.5, math.nan, 0.5])
    module = manual(script)
    used = lightning.Callbacks([callbacks.TerminateOnNaN()])
    fit(lightning, used, script, 3, module=module)
    assert "invalid loss" in used.run.stop_reason
    assert [weight.item() for weight in module.parameters()] == [-1.0, -1.0]
    assert used.run.progress.step == 3


@pytest.mark.filterwarnings("ignore:.training_step. returned")
def test_a_batch_that_the_module_leaves_out_counts_and_has_no_loss(lightning, losses):
    class Leaving(lightning.Module):
        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            return None if index else loss

    used = lightning.Callbacks([callbacks.TerminateOnNaN()])
    script = losses([0.5, 0.25])
    fit(lightning, used, script, 2, module=Leaving(script))
    assert used.run.progress.step == 4
    assert used.history.history["loss"] == [0.5, 0.25]


def test_an_epoch_at_whose_beginning_the_end_is_asked_for_does_not_take_place(
    lightning, losses, stop_at_epoch
):
    used = lightning.Callbacks([stop_at_epoch(1)])
    script = losses([0.5, 0.25])
    fit(lightning, used, script, 2)
    assert used.history.epoch == [0]
    assert script.trained == 2


def test_a_plateau_of_torch_is_a_second_controller_of_the_rate(lightning, losses):
    class Falling(lightning.Module):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"},
            }

    script = losses([0.5])
    used = lightning.Callbacks([callbacks.LearningRateScheduler(lambda epoch: 0.1)])
    with pytest.raises(ConfigurationError, match="the module's ReduceLROnPlateau"):
        fit(lightning, used, script, 1, module=Falling(script))


def test_what_has_no_validation_says_what_to_pass(lightning, losses):
    used = lightning.Callbacks([callbacks.EarlyStopping()])
    with pytest.raises(MetricNotFoundError, match="pass val_dataloaders= to fit"):
        fit(lightning, used, losses([0.5]), 1, limit_val_batches=0)


@pytest.mark.parametrize("parts", [1, 4])
def test_running_means_come_back_with_the_weights(lightning, parts):
    class Normalized(lightning.pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
            self.before = {}

        def training_step(self, batch, _index):
            self.before = {name: value.clone() for name, value in self.state_dict().items()}
            return self.net(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    rows = torch.randn(20, 2)
    rows[9] = math.nan
    module, used = Normalized(), lightning.Callbacks([callbacks.TerminateOnNaN()])
    trainer = lightning.trainer(max_epochs=2, callbacks=[used], accumulate_grad_batches=parts)
    trainer.fit(module, torch.utils.data.DataLoader(rows, 4))
    assert used.run.progress.step == 3
    for name, value in module.state_dict().items():
        assert torch.equal(value, module.before[name]), name


def test_progress_does_not_say_of_how_many_epochs_where_steps_end_the_run(
    lightning, losses, capsys
):
    fit(lightning, lightning.Callbacks([], verbose=2), losses([0.5, 0.4]), -1, max_steps=3)
    lines = [line.split(" - ")[0] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1", "Epoch 2"]
