import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from callboard.torch.update_rules import factors_of, rule_of


def states(optimizer):
    return {
        name: value.clone()
        for name, value in optimizer.state.get(optimizer.param_groups[0]["params"][0], {}).items()
        if isinstance(value, torch.Tensor)
    }


def compare(kind, options, *, rate, done, seed):
    """Take a step after ``done`` steps, by the optimizer and by the rule."""
    torch.manual_seed(seed)
    weight = nn.Parameter(torch.randn(3, 2))
    optimizer = kind([weight], lr=rate, **options)
    for _ in range(done):
        weight.grad = torch.randn(3, 2)
        optimizer.step()
    before, state = weight.detach().clone(), states(optimizer)
    weight.grad = torch.randn(3, 2)
    group = optimizer.param_groups[0]
    factors = factors_of([state], group, 1)[0, 0]
    rule = rule_of(optimizer)
    after, moments = rule(before, weight.grad, state, torch.tensor(rate), factors, group)
    optimizer.step()
    torch.testing.assert_close(after, weight.detach(), rtol=1e-5, atol=1e-6)
    expected = states(optimizer)
    assert moments.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(moments[name], value, rtol=1e-5, atol=1e-6)


decay = st.sampled_from([0.0, 0.1])
rates = st.floats(1e-4, 0.5)


@given(
    st.sampled_from([torch.optim.Adam, torch.optim.AdamW]),
    decay,
    rates,
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.9, 0.999]),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_adam(kind, weight_decay, rate, beta1, beta2, done, seed):
    options = {"weight_decay": weight_decay, "betas": (beta1, beta2)}
    compare(kind, options, rate=rate, done=done, seed=seed)


@given(
    decay,
    rates,
    st.sampled_from([(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 0.5, False), (0.9, 0.0, True)]),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_sgd(weight_decay, rate, momentum, done, seed):
    options = dict(zip(("momentum", "dampening", "nesterov"), momentum, strict=True))
    options["weight_decay"] = weight_decay
    compare(torch.optim.SGD, options, rate=rate, done=done, seed=seed)


@given(decay, rates, st.sampled_from([0.0, 0.9]), st.integers(1, 4), st.integers(0, 99))
def test_rmsprop(weight_decay, rate, momentum, done, seed):
    options = {"weight_decay": weight_decay, "momentum": momentum}
    compare(torch.optim.RMSprop, options, rate=rate, done=done, seed=seed)


def test_the_factors_of_adam_are_exact_for_a_beta_close_to_one():
    group = {"betas": (0.9, 0.999)}
    at = [{"step": torch.tensor(step)} for step in (0.0, 1e6)]
    factors = factors_of(at, group, 3).double()
    for row, start in zip(factors, (0, 10**6), strict=True):
        for step, (first, second) in enumerate(row.tolist(), start + 1):
            assert first == pytest.approx(1 / (1 - 0.9**step), rel=1e-6)
            assert second == pytest.approx((1 - 0.999**step) ** -0.5, rel=1e-6)


def test_optimizers_without_bias_correction_have_factors_of_one():
    assert factors_of([{}, {}], {"momentum": 0.9}, 3).tolist() == [[[1.0, 1.0]] * 3] * 2


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.Adagrad,
        lambda p: torch.optim.Adam(p, amsgrad=True),
        lambda p: torch.optim.SGD(p, maximize=True),
        lambda p: torch.optim.RMSprop(p, centered=True),
        lambda p: torch.optim.Adam(p, differentiable=True),
    ],
    ids=["adagrad", "amsgrad", "maximize", "centered", "differentiable"],
)
def test_there_is_no_rule_for_what_is_unusual(make):
    assert rule_of(make([nn.Parameter(torch.ones(1))])) is None


def test_there_is_no_rule_for_a_subclass():
    class Mine(torch.optim.Adam):
        pass

    assert rule_of(Mine([nn.Parameter(torch.ones(1))])) is None
