"""``Run`` around a loop of torch that Accelerate prepares."""

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from callboard import Run

SUFFIX = ".safetensors"
LACKS = frozenset()
SETS_THE_RATE = RESTORES = RESUMES = HEARS_OF_CTRL_C = KNOWS_NAN = True
ALSO_LOGS = ""


def given(callbacks):
    return callbacks


def train(callbacks, script):
    accelerator = Accelerator(cpu=True)
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    module, optimizer, loader = accelerator.prepare(
        module,
        torch.optim.SGD(module.parameters(), lr=0.5),
        torch.utils.data.DataLoader(torch.ones(script.batches, 1)),
    )
    run = Run(module, optimizer, epochs=script.epochs, callbacks=callbacks, verbose=0)
    with run:
        for _ in run.epochs():
            for x in run.train(loader):
                loss = script.train()
                y = module(x)
                accelerator.backward((y - y.detach() + loss).sum())
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss)
            for _ in run.validate([torch.ones(1)]):
                run.log(loss=script.validate())
    run.rate_in_host = optimizer.param_groups[0]["lr"]
    return run


def trained_for(run):
    return float(run.trainable.weights()["weight"].item())


def loaded(path):
    module = torch.nn.Linear(1, 1, bias=False)
    module.load_state_dict(load_file(path))
    return module.weight.item()
