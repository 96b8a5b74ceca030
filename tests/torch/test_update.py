import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from callboard.torch.optimizers import Optimizer
from callboard.torch.settings import Settings
from callboard.torch.update import Update


def weights(*values):
    return [nn.Parameter(torch.tensor(value)) for value in values]


def updated(optimizer, gradients, **settings):
    update = Update(optimizer, Settings(**settings))
    for parameter, gradient in zip(optimizer.parameters(), gradients, strict=True):
        parameter.grad = None if gradient is None else torch.tensor(gradient)
    update()
    return [parameter.tolist() for parameter in optimizer.parameters()]


def sgd(parameters, **options):
    return Optimizer(torch.optim.SGD(parameters, lr=1.0, **options))


def test_it_steps_and_counts_and_leaves_the_gradients_to_be_looked_at():
    optimizer = sgd(weights([1.0, 2.0]))
    assert updated(optimizer, [[0.5, 1.0]]) == [[0.5, 1.0]]
    assert optimizer.iterations == 1
    assert optimizer.parameters()[0].grad.tolist() == [0.5, 1.0]
    Update(optimizer, Settings()).drop_gradients()
    assert optimizer.parameters()[0].grad is None


def test_weights_without_a_gradient_stay_as_they_are():
    optimizer = sgd(weights([1.0], [1.0]), weight_decay=0.5)
    assert updated(optimizer, [[0.0], None], clipnorm=1.0) == [[0.5], [1.0]]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"clipvalue": 1.0}, [[-1.0, -1.0], [-0.3]]),
        ({"clipnorm": 1.0}, [[-0.6, -0.8], [-0.3]]),
        ({"global_clipnorm": 2.5}, [[-1.5, -2.0], [-0.15]]),
    ],
)
def test_gradients_are_clipped_before_the_step(limit, expected):
    gradients = [[3.0, 4.0], [0.3]]
    found = updated(sgd(weights([0.0, 0.0], [0.0])), gradients, **limit)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=5e-3)


def test_someone_who_listens_to_the_step_hears_it():
    heard = []
    optimizer = sgd(weights([0.0]))
    handle = optimizer.register_step_post_hook(lambda *_: heard.append("own"))
    updated(optimizer, [[1.0]])
    handle.remove()
    updated(optimizer, [[1.0]])
    assert heard == ["own"]
    everywhere = register_optimizer_step_pre_hook(lambda *_: heard.append("global"))
    updated(optimizer, [[1.0]])
    everywhere.remove()
    updated(optimizer, [[1.0]])
    assert heard == ["own", "global"]
    assert optimizer.parameters()[0].tolist() == [-4.0]


def test_a_scheduler_sees_the_steps():
    optimizer = sgd(weights([0.0]))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer.wrapped, 1, gamma=0.5)
    updated(optimizer, [[1.0]])
    scheduler.step()  # would warn that no step came before it
    assert updated(optimizer, [[1.0]]) == [[-1.5]]


def test_an_optimizer_of_another_make_is_called_through_its_own_step():
    class Signs(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 1.0})

        def step(self, closure=None):
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    parameter.sub_(parameter.grad.sign())

    assert updated(Optimizer(Signs(weights([0.0, 0.0]))), [[3.0, -2.0]]) == [[-1.0, 1.0]]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "Adamax"])
def test_the_step_is_that_of_the_optimizer_itself(name):
    kind = getattr(torch.optim, name)
    ours, plain = weights([1.0, -2.0]), weights([1.0, -2.0])
    update, reference = Update(Optimizer(kind(ours)), Settings()), kind(plain)
    for number in range(3):
        ours[0].grad = torch.tensor([0.1, -0.2]) * number
        plain[0].grad = ours[0].grad.clone()
        update()
        reference.step()
    assert torch.equal(ours[0], plain[0])
