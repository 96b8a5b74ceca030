"""A bad batch in a host, where nobody hears of the good ones: it is found, and it is the last."""
# ruff: noqa: PLC0415 - a process imports the one host that it tests

import logging
import math

import numpy as np
import pytest
import torch

from callboard import callbacks

BATCHES, BAD = 80, 150  # the seventieth batch of the second epoch


class Seldom(callbacks.TerminateOnNaN):
    """Counts how often it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def on_train_batch_end(self, batch, logs=None):
        self.asked += 1
        super().on_train_batch_end(batch, logs)


class Losses:
    """The losses of a weight whose gradient is 1, spoilt in one batch."""

    def __init__(self, spoilt):
        self.spoilt = spoilt
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.count = 0

    def next(self):
        self.count += 1
        loss = self.weight - self.weight.detach() + 0.5
        return self.spoilt(loss) if self.count == BAD else loss


def ignite(used, losses):
    from ignite.engine import Engine

    from callboard.bridges.ignite import Callbacks

    module = torch.nn.ParameterList([losses.weight])
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)

    def update(_engine, _batch):
        optimizer.zero_grad()
        loss = losses.next()
        loss.backward()
        optimizer.step()
        return loss.item()

    bridge = Callbacks(used, model=module, optimizer=optimizer).attach(trainer := Engine(update))
    trainer.run([torch.zeros(2)] * BATCHES, max_epochs=3)
    return bridge.run


def skorch(used, losses):
    import skorch as host

    from callboard.bridges.skorch import Callbacks

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = losses.weight

        def forward(self, _x):
            return losses.next()

    class Net(host.NeuralNet):
        def get_loss(self, y_pred, *_, **__):
            return y_pred

    x = np.zeros((2 * BATCHES, 1), np.float32)
    net = Net(
        Module, criterion=torch.nn.MSELoss, optimizer=torch.optim.SGD, lr=1.0, max_epochs=3,
        batch_size=2, train_split=None, verbose=0, callbacks=[bridge := Callbacks(used)],
    )  # fmt: skip
    net.fit(x, x)
    return bridge.run


def lightning(used, losses):
    import lightning.pytorch as pl

    from callboard.bridges.lightning import Callbacks

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = losses.weight

        def training_step(self, _batch, _index):
            loss = losses.next()
            self.log("loss", loss, on_step=False, on_epoch=True, batch_size=2)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", callbacks=[bridge := Callbacks(used)],
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader([torch.zeros(2)] * BATCHES, batch_size=None))
    return bridge.run


def transformers(used, losses):
    from transformers import Trainer, TrainingArguments

    from callboard.bridges.transformers import Callbacks

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = losses.weight

        def forward(self, labels=None):
            return {"loss": losses.next()}

    arguments = TrainingArguments(
        "hf", num_train_epochs=3, per_device_train_batch_size=1, learning_rate=1.0, optim="sgd",
        lr_scheduler_type="constant", max_grad_norm=0.0, save_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True, logging_steps=15, logging_nan_inf_filter=False,
    )  # fmt: skip
    rows = [{"labels": torch.zeros(2)}] * BATCHES
    bridge = Callbacks(used)
    Trainer(Module(), arguments, train_dataset=rows, callbacks=[bridge]).train()
    return bridge.run


def each(function, name):
    group = pytest.mark.xdist_group(f"loop {name}")
    ignored = pytest.mark.filterwarnings(
        "ignore:.*LeafSpec:FutureWarning",
        "ignore:.*does not have many workers",
        "ignore:The number of training batches",
    )
    return pytest.param(function, id=name, marks=[group, ignored])


HOSTS = [ignite, skorch, lightning, transformers]


@pytest.mark.parametrize("train", [each(host, host.__name__) for host in HOSTS])
def test_a_gradient_that_is_nan_is_not_applied_and_its_batch_is_the_last(
    train, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    losses = Losses(lambda loss: loss * math.nan)
    run = train([one := Seldom()], losses)
    assert run.stop_reason.startswith("batch 69 has an invalid ")
    assert (run.progress.epoch, run.progress.batch, run.progress.step) == (1, 70, BAD)
    assert losses.count == BAD
    assert losses.weight.item() == -(BAD - 1)
    assert one.asked < BATCHES + 10  # Lightning's batches are looked at in the first epoch


@pytest.mark.parametrize("train", [each(host, host.__name__) for host in HOSTS])
def test_a_loss_that_is_nan_though_its_gradient_is_not_ends_the_training(
    train, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    losses = Losses(lambda loss: loss + math.nan)
    run = train([Seldom()], losses)
    # The Trainer says its losses after every fifteenth batch, and the callbacks act at the next.
    late = 1 if train is transformers else 0
    assert run.stop_reason == f"batch {69 + late} has an invalid loss: nan"
    assert run.progress.step == losses.count == BAD + late
    assert math.isfinite(losses.weight.item())


@pytest.mark.parametrize("train", [each(host, host.__name__) for host in HOSTS])
def test_batches_that_nobody_hears_of_are_counted(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    used = [callbacks.EarlyStopping("loss", patience=9), one := Seldom()]
    run = train(used, losses := Losses(lambda loss: loss))
    run_samples = 0 if train is transformers else 2 * 3 * BATCHES
    assert run.history.history["loss"] == [0.5] * 3
    assert (run.progress.step, run.progress.batch, losses.count) == (240, BATCHES, 240)
    assert run.progress.samples in (run_samples, 2 * BATCHES)  # Lightning's: of its first epoch
    assert one.asked == 0
