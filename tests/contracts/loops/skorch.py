"""skorch's nets."""

import numpy as np
import skorch
import torch
from skorch.helper import predefined_split

from callboard.bridges.skorch import Callbacks

SUFFIX = ".safetensors"
LACKS = {"logs of validation batches"}
SETS_THE_RATE = RESTORES = KNOWS_NAN = True
RESUMES = HEARS_OF_CTRL_C = False
ALSO_LOGS = ""

given = Callbacks


class Net(skorch.NeuralNet):
    script = None

    def get_loss(self, y_pred, y_true, X=None, training=False):  # noqa: N803 - the host's
        value = self.script.train() if training else self.script.validate()
        return (y_pred - y_pred.detach()).sum() + value


def train(callbacks, script):
    x = np.ones((script.batches, 1), np.float32)
    net = Net(
        torch.nn.Linear, module__in_features=1, module__out_features=1, module__bias=False,
        criterion=torch.nn.MSELoss, optimizer=torch.optim.SGD, lr=0.5, max_epochs=script.epochs,
        batch_size=1, train_split=predefined_split(skorch.dataset.Dataset(x[:1], x[:1])),
        callbacks=[callbacks], verbose=0,
    )  # fmt: skip
    net.initialize()
    torch.nn.init.zeros_(net.module_.weight)
    net.script = script
    with callbacks:
        net.partial_fit(x, x)
    callbacks.run.rate_in_host = net.optimizer_.param_groups[0]["lr"]
    assert len(net.history) == len(callbacks.history.epoch)
    return callbacks.run


def trained_for(run):
    return float(run.trainable.weights()["weight"].item())


def loaded(path):
    net = Net(
        torch.nn.Linear, module__in_features=1, module__out_features=1, module__bias=False,
        criterion=torch.nn.MSELoss,
    ).initialize()  # fmt: skip
    net.load_params(f_params=path, use_safetensors=True)
    return net.module_.weight.item()
