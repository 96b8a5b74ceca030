import pytest
import torch
from torch import nn

from callboard._core.batches import Batch
from callboard.torch import Model
from callboard.torch.activations import recorded_activations


class Shape(nn.Module):
    """Gives out no tensor."""

    def forward(self, x):
        return None


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(2, 3, batch_first=True)
        self.silent = nn.Identity()
        self.shape = Shape()

    def forward(self, x):
        self.shape(x)
        self.cell(x)
        return self.cell(x * 2)[0]


def test_every_innermost_layer_gives_its_output_under_its_name():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    x = torch.ones(4, 2)
    outputs = recorded_activations(net, lambda: net(x))
    assert list(outputs) == ["0", "1.0", "1.1"]
    assert torch.equal(outputs["1.1"], net(x))
    assert not outputs["1.1"].requires_grad


def test_of_several_outputs_the_first_is_kept_and_of_several_calls_the_last():
    net = Recurrent()
    x = torch.ones(1, 4, 2)
    outputs = recorded_activations(net, lambda: net(x))
    assert list(outputs) == ["cell"]
    assert torch.equal(outputs["cell"], net.cell(x * 2)[0])


def test_a_single_layer_is_named_after_its_type():
    net = nn.Linear(2, 1)
    assert list(recorded_activations(net, lambda: net(torch.ones(1, 2)))) == ["linear"]


def test_it_leaves_no_trace():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    recorded_activations(net, lambda: (torch.rand(5), net(torch.ones(4, 2))))
    assert torch.equal(torch.rand(2), expected)
    assert all(layer.training for layer in net.modules())
    assert not any(layer._forward_hooks for layer in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_hooks_go_after_an_error_too():
    net = nn.Linear(2, 1)
    with pytest.raises(RuntimeError):
        recorded_activations(net, lambda: net(torch.ones(1, 3)))
    assert not net._forward_hooks
    assert net.training


@pytest.mark.parametrize(
    "inputs",
    [
        torch.ones(2, 3),
        (torch.ones(2, 3), torch.ones(2, 1)),
        [torch.ones(2, 3), None],
        Batch(torch.ones(2, 3), torch.ones(2, 1), None),
        [Batch(torch.ones(2, 3), torch.ones(2, 1), None), Batch(torch.zeros(2, 3), None, None)],
        torch.ones(2, 3).numpy(),
    ],
    ids=["inputs", "pair", "list", "batch", "batches of an execution", "array"],
)
def test_a_run_shows_the_activations_for_the_inputs_of_a_batch(inputs):
    model = Model(nn.Linear(3, 1).bfloat16().float())
    found = model.trainable.activations(inputs)
    assert found["linear"].tolist() == model.predict_on_batch(torch.ones(2, 3)).tolist()
