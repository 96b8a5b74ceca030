"""What modules keep by ``get_extra_state`` goes on with the run."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from callboard import ConfigurationWarning, Run
from callboard.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback
from callboard.torch import Model


class Counting(nn.Linear):
    """A layer whose output depends on how often it was called."""

    def __init__(self, kind):
        super().__init__(1, 1)
        self.kind, self.count = kind, 0

    def forward(self, x):
        self.count += 1
        return super().forward(x) * (1 + 0.1 * self.count)

    def get_extra_state(self):
        if self.kind == "growing tensor":
            return torch.arange(self.count)
        return {"count": self.count, "of": [torch.tensor(1.5), None, "x"]}

    def set_extra_state(self, state):
        self.count = len(state) if self.kind == "growing tensor" else state["count"]


def train(kind, folder, *, fails_at=None):
    def fail(epoch, logs):
        if epoch == fails_at:
            raise InterruptedError

    torch.manual_seed(0)
    net = nn.Sequential(Counting(kind))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    stopping = EarlyStopping("loss", patience=9, restore_best_weights=True)
    callbacks = [stopping, BackupAndRestore(folder), LambdaCallback(on_epoch_begin=fail)]
    with Run(net, optimizer, epochs=3, callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([torch.ones(1, 1)] * 2):
                loss = net(x).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss)
    return run.history.history, [p.tolist() for p in net.parameters()]


@pytest.mark.parametrize("kind", ["dict", "growing tensor"])
def test_a_run_goes_on_with_it(kind, tmp_path):
    expected = train(kind, tmp_path / "a")
    with pytest.raises(InterruptedError):
        train(kind, tmp_path / "b", fails_at=2)
    assert train(kind, tmp_path / "b") == expected


def test_what_cannot_be_saved_is_told(tmp_path):
    class Odd(nn.Linear):
        def get_extra_state(self):
            return io.BytesIO()

        def set_extra_state(self, state):
            raise AssertionError

    model = Model(Odd(1, 1))
    with pytest.warns(ConfigurationWarning, match="module's '_extra_state' is not saved"):
        state = model.trainable.state_dict()
    assert "extra" not in state
    model.trainable.load_state_dict(state)


def test_weights_are_loaded_without_it():
    model = Model(Counting("growing tensor"))
    weights = model.trainable.weights()
    model.module.count = 5
    weights["weight"] = np.full((1, 1), 2.0, np.float32)
    model.trainable.set_weights(weights)
    assert model.module.weight.item() == 2.0
    assert model.module.count == 5
