"""Two processes that train one model: they decide alike, and the first one writes."""

import json
import subprocess
import sys

import pytest
import torch

from callboard._core.logs import Logs, Mean
from callboard.torch import distributed

SCRIPT = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from torch.nn.parallel import DistributedDataParallel
from callboard import Run, callbacks
from callboard.torch import Model

rank, folder, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)
torch.manual_seed(0)
net = DistributedDataParallel(torch.nn.Linear(3, 1))
generator = torch.Generator().manual_seed(rank)
x = torch.randn(24 if rank else 16, 3, generator=generator)
y = x.sum(1, keepdim=True)
if kind == "nan" and rank == 1:
    y[8:16] = float("nan")
batches = list(zip(x[:16].split(8), y[:16].split(8)))
used = [
    callbacks.EarlyStopping(patience=2, monitor="val_loss", mode="max"),
    callbacks.ModelCheckpoint(folder / "model.safetensors", monitor="loss", save_best_only=True),
    callbacks.CSVLogger(folder / "log.csv"),
    callbacks.TerminateOnNaN(),
]
if kind == "run":
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with Run(net, optimizer, epochs=9, callbacks=used, verbose=2) as run:
        for _ in run.epochs():
            for a, b in run.train(batches):
                loss = ((net(a) - b) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
            for a, b in run.validate([(x, y)]):
                run.log(loss=((net(a) - b) ** 2).mean())
    history, reason = run.history, run.stop_reason
else:
    model = Model(net)
    model.compile(torch.optim.SGD(net.parameters(), lr=0.1), "mse")
    history = model.fit(
        batches, validation_data=(x, y), epochs=9, callbacks=used, verbose=2
    )
    reason = history.run.stop_reason
told = {
    "history": history.history,
    "epochs": history.epoch,
    "reason": reason,
    "weights": [p.flatten().tolist() for p in net.parameters()],
}
(folder / f"told{rank}.json").write_text(json.dumps(told))
torch.distributed.destroy_process_group()
"""


def train_on_two(folder, kind, text=SCRIPT):
    script = folder / "train.py"
    script.write_text(text)
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(folder), kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
    told = [json.loads((folder / f"told{rank}.json").read_text()) for rank in (0, 1)]
    return told, [out for out, _ in outputs]


@pytest.mark.parametrize("kind", ["run", "fit"])
def test_both_see_the_same_metrics_and_stop_alike_and_the_first_one_writes(tmp_path, kind):
    (first, second), (shown, silent) = train_on_two(tmp_path, kind)
    assert first == second
    # val_loss falls, and is watched for its maximum: two epochs after the first it ends.
    assert first["epochs"] == [0, 1, 2]
    assert "did not improve" in first["reason"]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert shown.count("Epoch ") == 3
    assert silent == ""
    saved = (tmp_path / "model.safetensors").read_bytes()
    assert b'"weight"' in saved, "without the name of the wrapper"


def test_a_validation_is_weighed_by_the_samples_of_each(tmp_path):
    (first, _), _ = train_on_two(tmp_path, "run")
    weights = [torch.tensor(values) for values in first["weights"]]
    total = 0.0
    for rank, count in ((0, 16), (1, 24)):
        x = torch.randn(count, 3, generator=torch.Generator().manual_seed(rank))
        error = x @ weights[0] + weights[1] - x.sum(1)
        total += float((error**2).sum())
    assert first["history"]["val_loss"][-1] == pytest.approx(total / 40, rel=1e-5)


def test_a_loss_that_is_nan_in_one_process_stops_both_before_their_weights_change(tmp_path):
    (first, second), _ = train_on_two(tmp_path, "nan")
    assert first["weights"] == second["weights"]
    assert all(torch.isfinite(torch.tensor(w)).all() for w in first["weights"])
    assert "invalid" in first["reason"]
    assert "invalid" in second["reason"]


RESUMING = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from torch.nn.parallel import DistributedDataParallel
from callboard import DataError, Run, callbacks

rank, folder, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)

def train(epochs):
    net = DistributedDataParallel(torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    backups = folder / ("b" if kind == "shared" else f"b{rank}")
    backup = callbacks.BackupAndRestore(backups, delete_checkpoint=False)
    with Run(net, optimizer, epochs=epochs, callbacks=[backup], verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([torch.ones(2, 3)]):
                loss = net(x).square().mean()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
    return run

train(1)
try:
    told = str(train(2).progress.step)
except DataError as error:
    told = str(error)
(folder / f"told{rank}.json").write_text('"' + told + '"')
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("kind", ["shared", "apart"])
def test_a_backup_that_one_process_does_not_see_is_an_error_in_all(tmp_path, kind):
    told, _ = train_on_two(tmp_path, kind, RESUMING)
    if kind == "shared":
        assert told == ["2", "2"]
    else:
        assert "finds a backup of step 1, and others that train with it do not" in told[0]
        assert "finds no backup" in told[1]


def test_alone_nothing_is_reduced():
    logs = Logs({"loss": Mean(3.0, 2.0)})
    assert distributed.reduced(logs, torch.device("cpu")) is logs
    assert distributed.rank() == 0
    module = torch.nn.Linear(1, 1)
    assert distributed.unwrapped(module) is module
