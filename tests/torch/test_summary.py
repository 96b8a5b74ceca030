import pytest
import torch
from torch import nn

from callboard.torch import Model


def net():
    block = nn.Sequential(nn.Linear(784, 10), nn.BatchNorm1d(10))
    block[0].bias.requires_grad_(False)
    return nn.Sequential(block, nn.Softmax(-1))


def printed(model, **options):
    texts = []
    model.summary(texts.append, **options)
    (text,) = texts
    return text.splitlines()


def test_the_layers_are_a_table_with_their_parameters():
    assert printed(Model(net())) == [
        "Sequential",
        "Layer  Type         Parameters",
        "------------------------------",
        "0.0    Linear            7,850",
        "0.1    BatchNorm1d          20",
        "1      Softmax               0",
        "------------------------------",
        "Total parameters: 7,870 (30.83 KB)",
        "Trainable: 7,860   Frozen: 10",
    ]


def test_with_inputs_the_table_has_the_output_shapes():
    lines = printed(Model(net()), inputs=torch.zeros(5, 784))
    assert lines[1:5] == [
        "Layer  Type         Output shape  Parameters",
        "--------------------------------------------",
        "0.0    Linear       (5, 10)            7,850",
        "0.1    BatchNorm1d  (5, 10)               20",
    ]


def test_it_is_printed_by_default(capsys):
    Model(nn.Linear(2, 1)).summary()
    assert capsys.readouterr().out.startswith("Linear\n")


@pytest.mark.parametrize(
    ("numbers", "size"), [(2, "8 B"), (300, "1.172 KB"), (2**19, "2 MB"), (2**28, "1 GB")]
)
def test_the_size_is_told_in_a_unit_that_suits(numbers, size):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(numbers, device="meta"))

    assert printed(Model(Holder()))[-2] == f"Total parameters: {numbers:,} ({size})"
