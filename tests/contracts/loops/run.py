"""``Run`` around a loop of torch written by hand."""

import torch
from safetensors.torch import load_file

from callboard import Run

SUFFIX = ".safetensors"
LACKS = frozenset()
SETS_THE_RATE = RESTORES = RESUMES = HEARS_OF_CTRL_C = True
KNOWS_NAN = True
ALSO_LOGS = ""


def given(callbacks):
    return callbacks


def train(callbacks, script):
    module = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(module.weight)
    optimizer = torch.optim.SGD([module.weight], lr=0.5)
    run = Run(module, optimizer, epochs=script.epochs, callbacks=callbacks, verbose=0)
    with run:
        for _ in run.epochs():
            for _ in run.train([torch.ones(1)] * script.batches):
                loss = script.train()
                (module.weight - module.weight.detach() + loss).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss)
            for _ in run.validate([torch.ones(1)]):
                run.log(loss=script.validate())
    run.rate_in_host = optimizer.param_groups[0]["lr"]
    return run


def trained_for(run):
    """Return a number that tells how long the model was trained."""
    return float(run.trainable.weights()["weight"].item())


def loaded(path):
    """Return that number of a fresh model with the weights of a file."""
    module = torch.nn.Linear(1, 1)
    module.load_state_dict(load_file(path))
    return module.weight.item()
