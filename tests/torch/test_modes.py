import pytest
from torch import nn

from callboard.torch.modes import evaluating, in_mode


def modes(module):
    return [layer.training for layer in module.modules()]


def mixed():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    net[1].eval()  # frozen statistics, as in fine-tuning
    return net


@pytest.mark.parametrize("training", [True, False])
def test_every_layer_has_the_mode_and_then_its_own_again(training):
    net = mixed()
    with in_mode(net, training=training):
        assert set(modes(net)) == {training}
    assert modes(net) == [True, True, False, True]


def test_an_error_puts_the_modes_back_too():
    net = mixed()
    with pytest.raises(ZeroDivisionError), evaluating(net):
        _ = 1 / len([mode for mode in modes(net) if mode])
    assert modes(net) == [True, True, False, True]
