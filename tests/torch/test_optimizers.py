import copy
import functools
import json
import os
import pickle
import warnings

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError
from callboard.torch.optimizers import LearningRate, Optimizer, resolve_optimizer
from callboard.torch.optimizers.resolve import NAMES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras


def parameters(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def wrapped(lr=0.1, groups=1):
    return Optimizer(
        torch.optim.SGD(
            [{"params": parameters((2,)), "lr": lr * 10**-index} for index in range(groups)], lr=lr
        )
    )


@pytest.mark.parametrize("name", NAMES)
def test_five_steps_are_those_of_keras(name):
    (ours,) = parameters((4, 3))
    theirs = keras.Variable(ours.detach().numpy().copy())
    optimizer = resolve_optimizer(name, [ours])
    reference = keras.optimizers.get(name)
    reference.build([theirs])
    start = ours.detach().clone()
    for step in range(5):
        gradient = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        ours.grad = gradient.clone()
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Keras's own, of NumPy 2
            reference.apply([gradient], [theirs])
    moved, expected = ours.detach() - start, theirs.value.detach() - start
    # 1e-7 is inside the root in Keras's rmsprop, and scaled differently in its Adam.
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_rate_is_that_of_keras(name):
    optimizer = resolve_optimizer(name, parameters((2,)))
    rate = float(keras.optimizers.get(name).learning_rate)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_names_are_known_in_any_case():
    assert type(resolve_optimizer("AdamW", parameters((2,)))) is torch.optim.AdamW
    assert resolve_optimizer("ADAMW", parameters((2,))).defaults["weight_decay"] == 0.004


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad"])
def test_fused_where_torch_has_it(name):
    assert resolve_optimizer(name, parameters((2,))).defaults["fused"] is True
    double = [nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    assert resolve_optimizer(name, double).defaults["fused"] is None
    spread = [*parameters((2,)), nn.Parameter(torch.zeros(2, device="meta"))]
    assert resolve_optimizer(name, spread).defaults["fused"] is None


@pytest.mark.parametrize("name", NAMES)
def test_a_capturable_one_has_a_rate_that_changes_in_place(name):
    (weight,) = parameters((2,))
    optimizer = Optimizer(resolve_optimizer(name, [weight], capturable=True))
    rate = optimizer.param_groups[0]["lr"]
    optimizer.learning_rate = 0.0
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == 0
    before = weight.detach().clone()
    weight.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before)


def test_frozen_parameters_are_left_out_of_a_named_one():
    first, second = parameters((2,), (3,))
    second.requires_grad_(False)
    optimizer = resolve_optimizer("sgd", iter([first, second]))
    assert [p.shape for p in optimizer.param_groups[0]["params"]] == [first.shape]


def test_an_optimizer_of_the_module_is_used_as_it_is():
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD([module.weight], lr=0.1)
    assert resolve_optimizer(optimizer, module.parameters()) is optimizer
    assert resolve_optimizer(Optimizer(optimizer), module.parameters()) is optimizer


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.SGD,
        functools.partial(torch.optim.Adam, lr=0.5),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.5),
        lambda parameters: Optimizer(torch.optim.AdamW(parameters, lr=0.5)),
    ],
)
def test_classes_and_functions_get_the_parameters(make):
    own = parameters((2,))
    optimizer = resolve_optimizer(make, own)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["params"][0] is own[0]


def test_an_optimizer_of_another_module_is_an_error():
    other = torch.optim.Adam(nn.Linear(2, 1).parameters())
    with pytest.raises(ConfigurationError, match="2 of the 2 parameters of the Adam do not"):
        resolve_optimizer(other, nn.Linear(2, 1).parameters())
    with pytest.raises(ConfigurationError, match="2 of the 2 parameters of the Adam do not"):
        resolve_optimizer(lambda _: other, nn.Linear(2, 1).parameters())


def test_nothing_to_train_is_an_error():
    with pytest.raises(ConfigurationError, match=r"no parameters that can be trained$"):
        resolve_optimizer("adam", nn.ReLU().parameters())
    module = nn.Linear(2, 1).requires_grad_(False)
    for given_one in ("adam", torch.optim.SGD(module.parameters(), lr=0.1)):
        with pytest.raises(ConfigurationError, match="requires_grad=False"):
            resolve_optimizer(given_one, module.parameters())


def needs_rate(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("adan", "Did you mean 'adam'"),
        (None, "optimizer must be a name"),
        (3, "optimizer must be a name"),
        (needs_rate, "needs_rate cannot be called with the parameters alone"),
        (lambda parameters: None, "it returned None"),
        (nn.Linear, "Linear is not a class of optimizers"),
    ],
)
def test_anything_else_is_an_error(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        resolve_optimizer(wrong, parameters((2,)))
    assert issubclass(UnknownNameError, ConfigurationError)


def test_an_optimizer_of_keras_is_an_error():
    with pytest.raises(ConfigurationError, match="optimizer must be a name"):
        resolve_optimizer(keras.optimizers.Adam(), parameters((2,)))


def test_a_learning_rate_is_a_float_with_keras_methods():
    optimizer = wrapped(0.1)
    rate = optimizer.lr
    assert isinstance(rate, float)
    assert rate == 0.1
    assert rate.numpy() == np.float32(0.1)
    assert rate.numpy().dtype == np.float32
    assert json.dumps({"lr": rate}) == '{"lr": 0.1}'
    rate.assign(0.2)
    assert (rate, optimizer.learning_rate) == (0.1, 0.2)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_a_learning_rate_is_a_plain_float(copied):
    rate = copied(LearningRate(0.1, lambda _: None))
    assert type(rate) is float
    assert rate == 0.1


@pytest.mark.parametrize("value", [0.3, 0, np.float32(0.25), np.array(0.25), torch.tensor(0.25)])
def test_rates_that_can_be_set(value):
    optimizer = wrapped()
    optimizer.learning_rate = value
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert optimizer.lr == float(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -1e-9, True, np.True_, "0.1", None, torch.ones(2), [0.1]]
)
def test_rates_that_are_errors(value):
    optimizer = wrapped()
    for assign in (optimizer.lr.assign, functools.partial(setattr, optimizer, "learning_rate")):
        with pytest.raises(ConfigurationError, match="learning rate must be a finite number"):
            assign(value)
    assert optimizer.learning_rate == 0.1


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def test_groups_keep_their_ratio_to_the_first():
    optimizer = wrapped(0.5, groups=3)
    optimizer.lr = 1.0
    assert rates(optimizer) == pytest.approx([1.0, 0.1, 0.01])


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_ratios_outlive_zero_and_do_not_drift(path):
    optimizer = wrapped(0.7, groups=3)
    before = rates(optimizer)
    for rate in path:
        optimizer.lr = rate
        assert optimizer.lr == rate
    optimizer.lr = 0.7
    assert rates(optimizer) == pytest.approx(before, rel=1e-15)


def test_ratios_that_somebody_changes_are_taken_up():
    optimizer = wrapped(1.0, groups=2)
    optimizer.lr = 0.5
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.lr = 2.0
    assert rates(optimizer) == [2.0, 1.0]


def test_groups_that_begin_at_zero_rise_together():
    optimizer = wrapped(0.0, groups=2)
    optimizer.lr = 0.5
    assert rates(optimizer) == [0.5, 0.5]


def test_all_else_is_the_optimizers_own():
    (weight,) = parameters((2,))
    sgd = torch.optim.SGD([weight], lr=1.0)
    optimizer = Optimizer(sgd)
    assert optimizer.wrapped is sgd
    assert optimizer.param_groups is sgd.param_groups
    weight.grad = torch.ones(2)
    before = weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before - 1)
    optimizer.zero_grad()
    assert weight.grad is None
    assert optimizer.parameters() == [weight]
    with pytest.raises(AttributeError):
        optimizer.learnig_rate = 0.1
    with pytest.raises(AttributeError):
        _ = optimizer.nothing
    assert copy.deepcopy(optimizer).lr == 1.0


def test_iterations_are_a_whole_number_that_can_be_set():
    optimizer = wrapped()
    assert optimizer.iterations == 0
    optimizer.iterations += 2
    assert optimizer.iterations == 2
    for wrong in (-1, 1.0, True):
        with pytest.raises(ConfigurationError, match="whole number"):
            optimizer.iterations = wrong


@pytest.mark.parametrize("capturable", [False, True])
def test_a_restored_optimizer_goes_on_as_the_saved_one(capturable):
    def run(optimizer, weight, steps):
        for step in steps:
            weight.grad = torch.full((2,), float(step))
            optimizer.step()

    (first,), (second,) = parameters((2,)), parameters((2,))
    saved = Optimizer(resolve_optimizer("adam", [first], capturable=capturable))
    saved.lr = 0.25
    run(saved, first, range(3))
    restored = Optimizer(resolve_optimizer("adam", [second], capturable=capturable))
    rate = restored.param_groups[0]["lr"]
    second.data.copy_(first.data)
    restored.restore(copy.deepcopy(saved.state_dict()))
    assert restored.lr == 0.25
    assert (restored.param_groups[0]["lr"] is rate) == capturable
    run(saved, first, range(3, 6))
    run(restored, second, range(3, 6))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_state_of_other_parameters_is_an_error_and_changes_nothing():
    optimizer = Optimizer(resolve_optimizer("adam", parameters((2,))))
    other = resolve_optimizer("sgd", parameters((2,), (3,))).state_dict()
    with pytest.raises(DataError, match="does not fit this Adam"):
        optimizer.restore(other)
    assert optimizer.lr == 0.001
