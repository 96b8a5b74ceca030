"""``Model.fit`` for torch."""

import torch

from callboard.torch import Model

SUFFIX = ".safetensors"
LACKS = frozenset()
SETS_THE_RATE = RESTORES = RESUMES = HEARS_OF_CTRL_C = True
KNOWS_NAN = True
ALSO_LOGS = ""


def given(callbacks):
    return callbacks


def train(callbacks, script):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    model = Model(module)

    def loss(y_true, y_pred):
        value = script.train() if module.training else script.validate()
        return (y_pred - y_pred.detach()).mean(-1) + value

    model.compile(torch.optim.SGD(module.parameters(), lr=0.5), loss)
    x = torch.ones(script.batches, 1)
    history = model.fit(
        x, x, batch_size=1, epochs=script.epochs, validation_data=(x[:1], x[:1]),
        callbacks=callbacks, verbose=0,
    )  # fmt: skip
    history.run.rate_in_host = model.optimizer.param_groups[0]["lr"]
    return history.run


def trained_for(run):
    return float(run.trainable.weights()["weight"].item())


def loaded(path):
    model = Model(torch.nn.Linear(1, 1, bias=False))
    model.load_weights(path)
    return model.get_weights()[0].item()
