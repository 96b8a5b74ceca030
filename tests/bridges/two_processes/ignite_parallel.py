"""Ignite's ``Parallel``, which starts the processes itself."""

import os

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from told import LOSSES, tell, used

from callboard.bridges.ignite import Callbacks


def train(local_rank):
    torch.manual_seed(0)
    module = torch.nn.Linear(1, 1)
    net = idist.auto_model(module)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def update(_engine, x):
        loss = net(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def validate(engine):
        engine.state.metrics["loss"] = LOSSES[local_rank][trainer.state.epoch - 1]

    trainer, evaluator = Engine(update), Engine(lambda _engine, batch: batch)
    evaluator.add_event_handler(Events.COMPLETED, validate)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
    callbacks = Callbacks(used(), model=net, optimizer=optimizer, verbose=2)
    callbacks.attach(trainer, evaluator)
    trainer.run([torch.full((2, 1), local_rank + float(i)) for i in range(2)], max_epochs=5)
    tell(local_rank, callbacks.run, module.parameters())


if __name__ == "__main__":
    with idist.Parallel(
        backend="gloo",
        nproc_per_node=2,
        master_addr="127.0.0.1",
        master_port=int(os.environ["MASTER_PORT"]),
    ) as parallel:
        parallel.run(train)
