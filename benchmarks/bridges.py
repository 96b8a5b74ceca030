"""What a bridge adds to a batch of its host, in microseconds of processor time.

"hooks": what the host calls for a batch (the bridge's hooks, and the guard at the optimizer's step)
is noted near the end of a training and then called 20 times 200 times, with the same arguments.
"attached": how much longer a batch takes from one forward pass to the next than without the bridge;
the fifth percentile of a training, which other programs on the machine disturb the least.

Hosts with and without the bridge take turns, and the fastest round counts.
"""

import argparse
import contextlib
import functools
import importlib
import io
import logging
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
ROUNDS, CALLS = 9, 200
EPOCHS = {"callboard.bridges.lightning": 2}  # it sees in the first one what the module logs
# What the hosts call for a batch of training.
HOOKS = {
    "lightning": ("_on_train_batch_start", "_on_before_backward", "_on_train_batch_end"),
    "transformers": ("on_step_begin", "on_step_end"),
    "ignite": ("_iteration_started", "_iteration_completed"),
    "skorch": ("on_batch_begin", "on_batch_end"),
}


class Network(nn.Module):
    """Notes when it is called for training, and has the hooks called again in the middle of it."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.times = []
        self.hooks = None

    def forward(self, x):
        if self.training:
            self.times.append(time.thread_time())
            if self.hooks is not None:
                self.hooks.batch_begins(self)
        return self.layers(x)

    def microseconds(self):
        pairs = zip(self.times[20:], self.times[21:], strict=False)
        times = sorted(b - a for a, b in pairs)
        return times[len(times) // 20] * 1e6


def call_of(hook, arguments, given):
    """Return a function whose body is the call as it stands in a host: each argument by itself."""
    names = {f"argument{i}": value for i, value in enumerate(arguments)} | given
    call = ", ".join([*list(names)[: len(arguments)], *(f"{name}={name}" for name in given)])
    return eval(f"lambda: hook({call})", {**names, "hook": hook})


class Hooks:
    """Notes what a host calls of a bridge for a batch, to call it again."""

    def __init__(self, bridge, names):
        self.bridge = bridge
        self.calls = {}
        self.batches = 0
        self.is_measured = False
        self.measured_at = EPOCHS.get(bridge.__module__, 1) * BATCHES - 3
        self.microseconds = 0.0
        self.last = names[-1]
        for name in names:
            setattr(bridge, name, self.noting(name, getattr(bridge, name)))

    def noting(self, name, hook):
        def noted(*arguments, **given):
            if given.get("training", True):
                self.calls[name] = call_of(hook, arguments, given)
                if name == self.last and self.batches == self.measured_at:
                    self.measure()  # while the host's objects still show this batch
            return hook(*arguments, **given)

        return noted

    def batch_begins(self, net):
        self.batches += 1
        if self.batches == 1:
            self.note_step(net)
        if self.batches == self.measured_at + 1 and not self.is_measured:
            self.measure()  # the host does not call the last hook
        if self.batches == self.measured_at - 1:
            self.calls.clear()  # what is called from now on is called for every batch

    def note_step(self, net):
        """Have noted what the host's steps give to the hooks of its optimizer."""
        self.net = net
        self.optimizer = self.bridge.run.trainable.model.optimizer.wrapped
        self.hooks_of_step = dict(self.optimizer._optimizer_step_pre_hooks)  # noqa: SLF001 - whom it calls
        self.closure, self.loss = None, torch.zeros(())

        def note(_optimizer, args, kwargs):
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            self.closure = closure and (lambda: self.loss)

        self.optimizer.register_step_pre_hook(note)

    def call_as_step_does(self, hook):
        if self.closure is None:
            hook(self.optimizer, (self.optimizer,), {})
        else:
            (_, closure), _ = hook(self.optimizer, (self.optimizer, self.closure), {})
            closure()

    def measure(self):
        self.is_measured = True
        calls = list(self.calls.values())
        for parameter in self.net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        hooks = self.hooks_of_step.values()
        calls += [functools.partial(self.call_as_step_does, hook) for hook in hooks]
        times = []
        for _ in range(20):
            begin = time.thread_time()
            for _ in range(CALLS):
                for call in calls:
                    call()
            times.append((time.thread_time() - begin) / CALLS * 1e6)
        self.microseconds = min(times)


def data(batches):
    return [(torch.randn(32, 16), torch.randint(0, 4, (32,))) for _ in range(batches)]


def lightning(net, bridge):
    import lightning.pytorch as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, _index):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True, batch_size=32)
            return loss

        def validation_step(self, batch, _index):
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    pl.Trainer(
        max_epochs=2,
        callbacks=[] if bridge is None else [bridge],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    ).fit(
        Module(),
        torch.utils.data.DataLoader(data(BATCHES), batch_size=None),
        torch.utils.data.DataLoader(data(1), batch_size=None),
    )
    net.times = net.times[BATCHES:]  # of the second epoch


def transformers(net, bridge):
    from transformers import Trainer, TrainingArguments

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    rows = [{"x": x, "labels": y} for x, y in data(BATCHES)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=1, eval_strategy="epoch",
            save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, optim="sgd",
            lr_scheduler_type="constant",
        )  # fmt: skip
        Trainer(
            Module(),
            arguments,
            train_dataset=rows,
            eval_dataset=rows[:1],
            data_collator=lambda batch: batch[0],
            callbacks=[] if bridge is None else [bridge],
        ).train()


def ignite(net, bridge):
    from ignite.engine import Engine, Events

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
    if bridge is not None:
        bridge._model, bridge._optimizer = net, optimizer  # noqa: SLF001 - as its arguments
        bridge.attach(trainer, evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
    trainer.run(data(BATCHES), max_epochs=1)


def skorch(net, bridge):
    import skorch as host
    from skorch.helper import predefined_split

    x, y = torch.randn(32 * BATCHES, 16), torch.randint(0, 4, (32 * BATCHES,))
    host.NeuralNetClassifier(
        net, criterion=nn.CrossEntropyLoss, lr=0.01, batch_size=32, max_epochs=1, verbose=0,
        train_split=predefined_split(host.dataset.Dataset(x[:32], y[:32])),
        callbacks=[] if bridge is None else [bridge],
    ).fit(x, y)  # fmt: skip


def epoch_callbacks(folder):
    return [keras.EarlyStopping(patience=5), keras.CSVLogger(folder / "epochs.csv")]


def without_guard(folder):
    return [c for c in eight(folder) if not isinstance(c, keras.TerminateOnNaN)]


def eight(folder):
    used = eight_callbacks(folder)
    used[0] = keras.ModelCheckpoint(folder / "best.pt", save_best_only=True)
    used[4] = keras.TensorBoard(folder / "logs", histogram_freq=1, activations=False)
    return used


LISTS = {"by epochs": epoch_callbacks, "seven": without_guard, "eight": eight}


def fastest(host, bridge_of):
    """Return the fastest time of a batch alone, and with each list what it adds."""
    alone, hooks, attached = [], {n: [] for n in LISTS}, {n: [] for n in LISTS}
    for _ in range(ROUNDS):
        net = Network()
        host(net, None)
        alone.append(net.microseconds())
        for name, make in LISTS.items():
            for times, replays in ((hooks, True), (attached, False)):
                with (
                    tempfile.TemporaryDirectory() as folder,
                    contextlib.redirect_stdout(io.StringIO()),
                ):
                    net = Network()
                    bridge = bridge_of(make(Path(folder)))
                    if replays:
                        net.hooks = Hooks(bridge, HOOKS[host.__name__])
                    host(net, bridge)
                times[name].append(net.hooks.microseconds if replays else net.microseconds())
    least = min(alone)
    return least, *(
        {name: min(each) - less for name, each in times.items()}
        for times, less in ((hooks, 0), (attached, least))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", nargs="*", default=list(HOOKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"\nmicroseconds of processor time that a bridge adds to a batch; {machine()}")
    print(f"{'':<14}{'':>8}   {'its hooks, called in a loop':<38}{'attached to the host':<36}")
    print(f"{'host':<14}{'alone':>8}" + f"   {'by epochs':>10}{'seven':>10}{'eight':>10}" * 2)
    for name in options.hosts:
        module = importlib.import_module(f"callboard.bridges.{name}")
        alone, hooks, attached = fastest(globals()[name], module.Callbacks)
        figures = "   ".join(
            "".join(f"{times[each]:>10.1f}" for each in LISTS) for times in (hooks, attached)
        )
        print(f"{name:<14}{alone:>8.0f}   {figures}", flush=True)


if __name__ == "__main__":
    main()
