"""A training that is killed and started again ends, to the last bit, as if it had not been."""

import itertools
import random
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from callboard import Callback, Run
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    JSONLLogger,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from callboard.testing import assert_exact_resume
from callboard.torch import Model

KILLS = {"epoch boundary": "epoch end", "mid-epoch": 6, "inside validation": "validation"}
SAMPLES, BATCH, EPOCHS = 40, 8, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SAMPLES, 4)).astype("f4")
Y = (X.sum(1) > 0).astype("i8")


class Augmented(Dataset):
    """Adds noise of every generator there is."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        noise = random.random() + np.random.random() + torch.rand(()).item()  # noqa: NPY002 - global
        return torch.from_numpy(X[index]) + noise, torch.tensor(Y[index])


class Streamed(IterableDataset):
    def __iter__(self):
        return (Augmented()[index] for index in range(SAMPLES))


def generator():
    numbers = np.random.default_rng(5)  # of its own: the same again when it is begun anew
    while True:
        rows = numbers.integers(0, SAMPLES, BATCH)
        yield torch.from_numpy(X[rows]), torch.from_numpy(Y[rows])


def data_of(kind):
    if kind == "arrays":
        return TensorLoader()
    if kind == "generator":
        return generator()
    workers = 2 if kind == "DataLoader workers 2" else 0
    return DataLoader(Augmented(), BATCH, shuffle=True, num_workers=workers)


class TensorLoader:
    """Batches of arrays for a loop of one's own: no order but theirs, so any list will do."""

    def __iter__(self):
        order = torch.randperm(SAMPLES)
        for rows in order.split(BATCH):
            yield torch.from_numpy(X[rows]), torch.from_numpy(Y[rows])

    def __len__(self):
        return SAMPLES // BATCH


class EMA(Callback):
    """Averages the weights, as a callback of a user's: tensors in its state."""

    def __init__(self, net):
        self.average = torch.optim.swa_utils.AveragedModel(
            net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        )
        self.net = net

    def on_train_batch_end(self, batch, logs=None):
        self.average.update_parameters(self.net)

    def state_dict(self):
        return {"average": self.average.state_dict()}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.average.load_state_dict(state["average"])


def network(kind):
    torch.manual_seed(0)
    np.random.seed(1)  # noqa: NPY002 - the global one is what user code draws from
    random.seed(2)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()]
    if kind == "dropout":
        layers.append(nn.Dropout(0.5))
    return nn.Sequential(*layers, nn.Linear(8, 2))


def callbacks(folder, net, kind):
    listed = [
        BackupAndRestore(folder / "backup", save_freq=2),
        CSVLogger(folder / "log.csv"),
        JSONLLogger(folder / "log.jsonl", update_freq=2),
        EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
        ModelCheckpoint(folder / "ckpt", save_top_k=2),
    ]
    return [*listed, EMA(net)] if kind == "EMA" else listed


def result(folder, net, run_history, listed, optimizer):
    averages = [c.average.state_dict() for c in listed if isinstance(c, EMA)]
    return {
        "weights": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": run_history.history,
        "csv": (folder / "log.csv").read_bytes(),
        "jsonl": re.sub(r'"time": [\d.]+', "", (folder / "log.jsonl").read_text()),
        "averages": averages,
    }


def with_model(data, kind):
    def train(folder):
        net = network(kind)
        model = Model(net)
        options = {"gradient_accumulation_steps": 2} if kind == "accumulation" else {}
        if kind == "bf16":
            options["mixed_precision"] = "bf16"
        model.compile(
            "adam",
            loss=nn.CrossEntropyLoss(),
            metrics=["sparse_categorical_accuracy"],
            **options,
        )
        listed = callbacks(folder, net, kind)
        given = (X, Y) if data == "arrays" else (data_of(data), None)
        history = model.fit(
            *given,
            batch_size=BATCH if data == "arrays" else None,
            steps_per_epoch=5 if data == "generator" else None,
            validation_data=(X, Y),
            epochs=EPOCHS,
            callbacks=listed,
            verbose=0,
        )
        return result(folder, net, history, listed, model.optimizer.wrapped)

    return train


def with_run(data, kind):
    def train(folder):
        net = network(kind)
        loss_of, autocast = nn.CrossEntropyLoss(), kind == "bf16"
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        every = 2 if kind == "accumulation" else 1
        listed = [c for c in callbacks(folder, net, kind) if not isinstance(c, ReduceLROnPlateau)]
        batches = data_of(data)
        with Run(
            net,
            optimizer,
            epochs=EPOCHS,
            callbacks=listed,
            stateful={"scheduler": scheduler},
            verbose=0,
        ) as run:
            for _ in run.epochs():
                net.train()
                items = batches if data != "generator" else itertools.islice(generator(), 5)
                for x, y in run.train(items):
                    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                        loss = loss_of(net(x), y)
                    loss.backward()
                    if run.progress.step % every == every - 1:
                        optimizer.step()
                        optimizer.zero_grad()
                        scheduler.step()
                    run.log(loss=loss)
                net.eval()
                with torch.no_grad():
                    for x, y in run.validate([(torch.from_numpy(X), torch.from_numpy(Y))]):
                        run.log(loss=loss_of(net(x), y))
        return result(folder, net, run.history, listed, optimizer)

    return train


DATA = ["arrays", "DataLoader workers 0", "DataLoader workers 2", "generator"]
KINDS = ["dropout", "EMA", "accumulation", "bf16"]
LOOPS = {"Model": with_model, "Run": with_run}


@pytest.mark.filterwarnings("ignore:.*gone through again")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("loop", LOOPS)
def test_resumed_equals_uninterrupted(loop, data, kind, tmp_path):
    assert_exact_resume(LOOPS[loop](data, kind), kills=KILLS.values(), directory=tmp_path)


@pytest.mark.parametrize("kill", ["epoch begin", "train end", 1, 5, 11])
def test_other_moments(kill, tmp_path):
    assert_exact_resume(with_model("arrays", "dropout"), kills=[kill], directory=tmp_path)
