import numpy as np
import pytest
import torch
from torch import nn

import callboard.torch
from callboard import ConfigurationError, DataError, Run
from callboard._core.errors import UnsupportedError
from callboard.torch import Model, Optimizer


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1).bfloat16().float())


def groups(module, *rates):
    return torch.optim.SGD(
        [
            {"params": part.parameters(), "lr": rate}
            for part, rate in zip(module, rates, strict=False)
        ]
    )


def test_a_module_and_its_optimizer_become_a_view_that_callbacks_know():
    module = net()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    view = callboard.torch.trainable(module, optimizer)
    assert view.model.module is module
    assert view.model.optimizer.wrapped is optimizer
    assert view.learning_rate == 0.1
    assert view.synchronous
    model = Model(module)
    assert callboard.torch.trainable(model) is model.trainable
    wrapped = Optimizer(optimizer)
    assert callboard.torch.trainable(model, wrapped) is model.trainable
    assert model.optimizer is wrapped


def test_what_is_no_torch_module_is_left_to_other_frameworks():
    assert callboard.torch.trainable(object()) is None


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.SGD, object()])
def test_an_optimizer_of_another_kind_is_an_error(optimizer):
    with pytest.raises(ConfigurationError, match=r"must be a torch\.optim\.Optimizer"):
        Run(model=net(), optimizer=optimizer)


def test_weights_are_copied_and_written_back():
    module = net()
    view = Model(module).trainable
    copy = view.weights()
    assert list(copy) == list(module.state_dict())
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(7)
    assert copy["0.weight"].max() < 7
    view.set_weights(copy)
    assert view.weights()["1.num_batches_tracked"] == 0
    assert np.array_equal(view.weights()["0.weight"], copy["0.weight"])


def test_arrays_of_an_earlier_copy_are_used_again():
    module = net()
    view = Model(module).trainable
    first = view.weights()
    with torch.no_grad():
        module[0].weight.fill_(3)
    again = view.weights(into=first)
    assert again is first
    assert (again["0.weight"] == 3).all()
    assert view.weights(into={"other": first["0.weight"]}).keys() == first.keys()


def test_weights_of_bfloat16_are_copied_and_written_back():
    module = net().bfloat16()
    view = Model(module).trainable
    kept, before = view.weights(), module[0].weight.clone()
    with torch.no_grad():
        module[0].weight.fill_(3)
    view.set_weights(kept)
    assert torch.equal(module[0].weight, before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("0.bias"), r"missing \['0.bias'\], unknown none"),
        (lambda w: w.update(more=np.zeros(1)), r"missing none, unknown \['more'\]"),
        (lambda w: w.update({"2.bias": np.zeros(2)}), r"'2.bias' has shape \(2,\).*\(1,\) in"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change, told):
    module = net()
    view = Model(module).trainable
    weights = {name: array * 0 for name, array in view.weights().items()}
    change(weights)
    with pytest.raises(DataError, match=told):
        view.set_weights(weights)
    assert module[0].weight.abs().max() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["0.bias", "1.running_var", "2.weight"])
def test_the_first_weight_or_buffer_that_is_not_finite_is_named(bad, name):
    module = net()
    view = Model(module).trainable
    assert view.nonfinite() == ""
    module.state_dict()[name].view(-1)[0] = bad
    assert view.nonfinite() == name


def test_modules_without_floats_are_finite():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(3, dtype=torch.int64))
            self.register_buffer("empty", torch.zeros(0))

    assert Model(Counter()).trainable.nonfinite() == ""
    assert Model(nn.ReLU()).trainable.nonfinite() == ""


def test_gradients_are_those_of_the_last_backward_pass():
    module = net()
    view = Model(module).trainable
    assert view.gradients() == {}
    module[2](torch.ones(1, 4)).sum().backward()
    gradients = view.gradients()
    assert list(gradients) == ["2.weight", "2.bias"]
    module[2].weight.grad.fill_(9)
    assert gradients["2.weight"].tolist() == [[1.0] * 4]


def test_the_rate_of_several_groups_keeps_its_ratio():
    module = net()
    optimizer = groups(module, 0.1, 0.02, 0.5)
    view = callboard.torch.trainable(module, optimizer)
    view.learning_rate = 0.01
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.002, 0.05])


def test_without_an_optimizer_its_rate_is_an_error_and_the_rest_works():
    view = callboard.torch.trainable(net())
    with pytest.raises(UnsupportedError, match="needs the optimizer"):
        _ = view.learning_rate
    with pytest.raises(UnsupportedError, match="needs the optimizer"):
        view.learning_rate = 0.1
    assert view.rate_controller == ""
    view.guard(gradients=True)
    assert view.rejected == ""
    view.unguard()


def test_a_scheduler_of_torch_is_seen():
    module = net()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    view = callboard.torch.trainable(module, optimizer)
    assert view.rate_controller == ""
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert view.rate_controller == "a torch.optim.lr_scheduler"
