"""What a bridge adds to a batch of its host: with the eight callbacks, and with none by batches.

The time of a batch is the fifth percentile of the time that the training thread computes from one
forward pass to the next, which other programs on the machine disturb the least; hosts with and
without the bridge take turns.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from fit import eight_callbacks
from measure import machine
from torch import nn

from callboard import callbacks as keras

BATCHES = 300


class Network(nn.Module):
    """Notes when it is called for training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.times = []

    def forward(self, x):
        if self.training:
            self.times.append(time.thread_time())
        return self.layers(x)

    def microseconds(self):
        pairs = zip(self.times[20:], self.times[21:], strict=False)
        times = sorted(b - a for a, b in pairs)
        return times[len(times) // 20] * 1e6


def data(batches):
    return [(torch.randn(32, 16), torch.randint(0, 4, (32,))) for _ in range(batches)]


def lightning(used):
    import lightning.pytorch as pl

    from callboard.bridges.lightning import Callbacks

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Network()

        def training_step(self, batch, _index):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True, batch_size=32)
            return loss

        def validation_step(self, batch, _index):
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    module = Module()
    pl.Trainer(
        max_epochs=2,
        callbacks=[Callbacks(used)] if used is not None else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    ).fit(
        module,
        torch.utils.data.DataLoader(data(BATCHES), batch_size=None),
        torch.utils.data.DataLoader(data(1), batch_size=None),
    )
    module.net.times = module.net.times[BATCHES:]  # of the second epoch
    return module.net.microseconds()


def transformers(used):
    from transformers import Trainer, TrainingArguments

    from callboard.bridges.transformers import Callbacks

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Network()

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    module = Module()
    rows = [{"x": x, "labels": y} for x, y in data(BATCHES)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=1, eval_strategy="epoch",
            save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, optim="sgd",
            lr_scheduler_type="constant",
        )  # fmt: skip
        Trainer(
            module,
            arguments,
            train_dataset=rows,
            eval_dataset=rows[:1],
            data_collator=lambda batch: batch[0],
            callbacks=[Callbacks(used)] if used is not None else [],
        ).train()
    return module.net.microseconds()


def ignite(used):
    from ignite.engine import Engine, Events

    from callboard.bridges.ignite import Callbacks

    net = Network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def update(_engine, batch):
        net.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.item()

    def validate(engine):
        engine.state.metrics["loss"] = 1.0

    trainer, evaluator = Engine(update), Engine(lambda _engine, batch: batch)
    evaluator.add_event_handler(Events.COMPLETED, validate)
    if used is not None:
        Callbacks(used, model=net, optimizer=optimizer).attach(trainer, evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
    trainer.run(data(BATCHES), max_epochs=1)
    return net.microseconds()


def skorch(used):
    import skorch as host
    from skorch.helper import predefined_split

    from callboard.bridges.skorch import Callbacks

    net = Network()
    x, y = torch.randn(32 * BATCHES, 16), torch.randint(0, 4, (32 * BATCHES,))
    host.NeuralNetClassifier(
        net, criterion=nn.CrossEntropyLoss, lr=0.01, batch_size=32, max_epochs=1, verbose=0,
        train_split=predefined_split(host.dataset.Dataset(x[:32], y[:32])),
        callbacks=[Callbacks(used)] if used is not None else [],
    ).fit(x, y)  # fmt: skip
    return net.microseconds()


def epoch_callbacks(folder):
    return [keras.EarlyStopping(patience=5), keras.CSVLogger(folder / "epochs.csv")]


def without_guard(folder):
    return [c for c in eight_callbacks(folder) if not isinstance(c, keras.TerminateOnNaN)]


def eight(folder):
    used = eight_callbacks(folder)
    used[0] = keras.ModelCheckpoint(folder / "best.pt", save_best_only=True)
    used[4] = keras.TensorBoard(folder / "logs", histogram_freq=1, activations=False)
    return used


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument(
        "--hosts", nargs="*", default=["lightning", "transformers", "ignite", "skorch"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"\nmicroseconds that a bridge adds to a batch of its host; {machine()}")
    print(f"{'host':<14}{'alone':>10}{'eight':>10}{'without TerminateOnNaN':>25}{'by epochs':>12}")
    for host in map(globals().get, options.hosts):
        lists = {"alone": None, "eight": eight, "quiet": without_guard, "epochs": epoch_callbacks}
        times = {name: [] for name in lists}
        for _ in range(options.repetitions):
            for name, make in lists.items():
                with (
                    tempfile.TemporaryDirectory() as folder,
                    contextlib.redirect_stdout(io.StringIO()),
                ):
                    times[name].append(host(make and make(Path(folder))))
        added = {
            name: statistics.median(a - b for a, b in zip(each, times["alone"], strict=True))
            for name, each in times.items()
        }
        alone = statistics.median(times["alone"])
        print(
            f"{host.__name__:<14}{alone:>10.0f}{added['eight']:>10.1f}"
            f"{added['quiet']:>25.1f}{added['epochs']:>12.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
