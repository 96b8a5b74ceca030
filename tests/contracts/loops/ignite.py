"""Ignite's engines."""

import torch
from ignite.engine import Engine, Events
from safetensors.torch import load_file

from callboard.bridges.ignite import Callbacks

SUFFIX = ".safetensors"
LACKS = {"logs of validation batches"}
SETS_THE_RATE = RESTORES = HEARS_OF_CTRL_C = KNOWS_NAN = True
RESUMES = False
ALSO_LOGS = ""


def given(callbacks):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    return Callbacks(callbacks, model=module, optimizer=optimizer)


def train(callbacks, script):
    weight, optimizer = callbacks._model.weight, callbacks._optimizer

    def update(_engine, _batch):
        loss = (weight - weight.detach()).sum() + script.train()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def validate(engine):
        engine.state.metrics["loss"] = script.validate()

    trainer, evaluator = Engine(update), Engine(lambda _engine, batch: batch)
    callbacks.attach(trainer, evaluator)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, validate)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0.0]))
    trainer.run([torch.zeros(1)] * script.batches, max_epochs=script.epochs)
    callbacks.run.rate_in_host = optimizer.param_groups[0]["lr"]
    return callbacks.run


def trained_for(run):
    return float(run.trainable.weights()["weight"].item())


def loaded(path):
    module = torch.nn.Linear(1, 1, bias=False)
    module.load_state_dict(load_file(path))
    return module.weight.item()
