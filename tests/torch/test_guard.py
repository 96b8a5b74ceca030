import copy
import math

import pytest
import torch
from torch import nn

from callboard import Run
from callboard.callbacks import TerminateOnNaN
from callboard.torch import Model, trainable
from callboard.torch.guard import Guard

NAN, INF = math.nan, math.inf


def weight():
    return nn.ParameterList([nn.Parameter(torch.tensor([1.0, 2.0]))])


def guarded(make, **options):
    """Return a module with one weight, its optimizer, and a guard of a loop of the user's own."""
    module = weight()
    optimizer = make(module.parameters())
    model = trainable(module, optimizer).model
    return module[0], optimizer, Guard(model, **{"gradients": False, **options})


def step(parameter, optimizer, *gradient):
    parameter.grad = torch.tensor(gradient)
    optimizer.step()
    return parameter.tolist()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1.0)


def fused_adam(parameters):
    return torch.optim.Adam(parameters, lr=0.1, fused=True)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_step_with_gradients_that_are_not_finite_changes_nothing(bad):
    parameter, optimizer, guard = guarded(sgd)
    assert step(parameter, optimizer, 0.5, 0.5) == [0.5, 1.5]
    assert guard.rejected == ""
    assert step(parameter, optimizer, bad, 0.5) == [0.5, 1.5]
    assert guard.rejected.startswith("gradient: ")


def test_nothing_is_let_through_after_that():
    parameter, optimizer, _ = guarded(sgd)
    step(parameter, optimizer, NAN, 0.5)
    assert step(parameter, optimizer, 0.5, 0.5) == [1.0, 2.0]


def test_the_moments_of_an_optimizer_are_not_touched_either():
    parameter, optimizer, _ = guarded(lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1))
    step(parameter, optimizer, 1.0, 1.0)
    before = {name: value.clone() for name, value in optimizer.state[parameter].items()}
    step(parameter, optimizer, NAN, 1.0)
    for name, value in optimizer.state[parameter].items():
        assert torch.equal(value, before[name])


def test_weights_without_gradients_are_no_matter():
    parameter, optimizer, guard = guarded(sgd)
    parameter.grad = None
    optimizer.step()
    assert guard.rejected == ""


def test_a_loss_that_is_not_finite_is_not_admitted_from_then_on():
    model = Model(weight())
    model.compile("sgd", "mse")
    model.is_fitting = True
    guard = Guard(model, gradients=False)
    assert guard.sees_losses
    assert guard.admits(torch.tensor(1.0))
    assert not guard.admits(torch.tensor(NAN))
    assert guard.rejected == "loss: nan"
    assert not guard.admits(torch.tensor(1.0))


@pytest.mark.parametrize("gradients", [False, True])
def test_where_losses_are_asked_about_gradients_are_looked_at_on_request(gradients):
    model = Model(weight())
    model.compile(sgd, "mse")
    model.is_fitting = True
    guard = Guard(model, gradients=gradients)
    assert guard.admits(torch.tensor(1.0))
    step(model.module[0], model.optimizer, INF, 1.0)
    assert bool(guard.rejected) is gradients
    assert torch.isfinite(model.module[0]).all() == gradients


@pytest.mark.parametrize("remove", [True, False])
def test_after_its_removal_everything_goes_through(remove):
    parameter, optimizer, guard = guarded(sgd)
    if remove:
        guard.remove()
    step(parameter, optimizer, NAN, 0.5)
    assert math.isnan(parameter[0].item()) == remove
    assert bool(optimizer._optimizer_step_pre_hooks) != remove


def test_on_a_device_a_fused_optimizer_skips_the_step_without_a_wait():
    parameter, optimizer, guard = guarded(fused_adam, waits=True)
    first = step(parameter, optimizer, 1.0, 1.0)
    assert first != [1.0, 2.0]
    state = {name: value.clone() for name, value in optimizer.state[parameter].items()}
    assert step(parameter, optimizer, INF, 1.0) == first
    assert step(parameter, optimizer, 1.0, 1.0) == first  # the mark stays set
    for name, value in optimizer.state[parameter].items():
        assert torch.equal(value, state[name]), name
    assert guard._rejected == ""  # nobody has asked, so nothing was read
    assert guard.rejected == "loss or gradient"
    guard.remove()
    assert optimizer.found_inf is None
    assert not optimizer._optimizer_step_pre_hooks
    assert step(parameter, optimizer, 1.0, 1.0) != first


def test_on_a_device_the_loss_decides_too_and_the_host_goes_on():
    model = Model(weight())
    model.compile(fused_adam, "mse")
    model.is_fitting = True
    guard = Guard(model, gradients=False, waits=True)
    assert not model.optimizer._optimizer_step_pre_hooks
    parameter, optimizer = model.module[0], model.optimizer.wrapped
    assert guard.admits(torch.tensor(1.0))
    first = step(parameter, optimizer, 1.0, 1.0)
    assert first != [1.0, 2.0]
    assert guard.admits(torch.tensor(NAN))
    assert step(parameter, optimizer, 1.0, 1.0) == first
    assert guard.admits(torch.tensor(1.0))
    assert step(parameter, optimizer, 1.0, 1.0) == first
    assert guard.rejected


def test_on_a_device_other_optimizers_are_waited_for():
    parameter, optimizer, guard = guarded(sgd, waits=True)
    assert step(parameter, optimizer, NAN, 1.0) == [1.0, 2.0]
    assert guard.rejected == "gradient: nan"


def test_the_mark_is_one_after_a_rejection_and_may_be_set_from_outside():
    model = Model(weight())
    model.compile("sgd", "mse")
    guard = Guard(model, gradients=False)
    assert guard.mark.item() == 0
    assert guard.rejected == ""
    guard.mark.fill_(1)
    assert guard.rejected == "loss or gradient"
    assert not guard.admits(torch.tensor(1.0))


@pytest.mark.parametrize("make", [sgd, fused_adam])
@pytest.mark.parametrize("waits", [False, True])
def test_buffers_are_put_back_when_an_update_was_rejected(make, waits):
    model = Model(nn.BatchNorm1d(2))
    model.compile(make, "mse")
    guard = Guard(model, gradients=False, waits=waits)
    means = []
    for value, loss in ((1.0, 0.5), (2.0, NAN), (3.0, 0.5)):
        guard.buffers.keep()
        model.module(torch.full((4, 2), value))
        guard.admits(torch.tensor(loss))
        guard.settle_buffers()
        means.append(model.module.running_mean[0].item())
    assert means == pytest.approx([0.1, 0.1, 0.1])
    assert model.module.num_batches_tracked == 1


def test_a_model_without_an_optimizer_can_be_guarded():
    guard = Guard(Model(weight()), gradients=True)
    assert not guard.admits(torch.tensor(INF))
    assert guard.rejected == "loss: inf"
    guard.remove()


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize(
    "gradient",
    [
        lambda value: torch.tensor([1.0, value]),
        lambda value: torch.tensor([1.0, value]).to_sparse(),
        lambda value: torch.tensor(value).expand(2),
        lambda value: torch.tensor([[1.0, value], [1.0, 1.0]])[:, 1],
    ],
    ids=["plain", "sparse", "expanded", "not contiguous"],
)
def test_gradients_of_any_layout_are_looked_at_and_left_as_they_are(gradient, bad):
    parameter, optimizer, guard = guarded(sgd)
    parameter.grad = gradient(NAN if bad else 1e-42)
    before = parameter.grad.to_dense().tolist()
    kept = parameter.grad
    optimizer.step()
    assert bool(guard.rejected) is bad
    assert parameter.tolist() == [1.0, 2.0] or not bad
    assert repr(kept.to_dense().tolist()) == repr(before)


def test_gradients_of_several_types_are_looked_at_together():
    parameters = [nn.Parameter(torch.ones(2, dtype=t)) for t in (torch.float32, torch.float64)]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    guard = Guard(trainable(nn.ParameterList(parameters), optimizer).model, gradients=False)
    parameters[0].grad = torch.ones(2)
    parameters[1].grad = torch.tensor([NAN, 1.0], dtype=torch.float64)
    optimizer.step()
    assert guard.rejected == "gradient: nan"
    assert parameters[0].tolist() == [1.0, 1.0]


def closing(parameter, loss, gradient, says=True):
    """Return a closure as ``step`` takes it, which makes the gradients."""

    def closure():
        parameter.grad = torch.tensor(gradient)
        return torch.tensor(loss) if says else None

    return closure


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("make", [sgd, fused_adam])
@pytest.mark.parametrize("waits", [False, True])
def test_gradients_that_a_closure_makes_in_the_step_are_looked_at_in_it(make, waits, by_name):
    parameter, optimizer, guard = guarded(make, waits=waits)

    def step(*closing_with):
        closure = closing(parameter, *closing_with)
        said = optimizer.step(closure=closure) if by_name else optimizer.step(closure)
        return said.item(), parameter.tolist()

    loss, first = step(0.5, [0.5, 0.5])
    assert (loss, first != [1.0, 2.0], guard.rejected) == (0.5, True, "")
    loss, second = step(NAN, [NAN, 0.5])
    assert math.isnan(loss)
    assert second == first
    assert guard.rejected
    assert step(0.5, [0.5, 0.5])[1] == first


@pytest.mark.parametrize("gradients", [False, True])
def test_a_closure_shows_the_loss_so_its_gradients_are_looked_at_on_request(gradients):
    parameter, optimizer, guard = guarded(sgd, gradients=gradients)
    optimizer.step(closing(parameter, 0.5, [INF, 0.5]))
    assert guard.rejected == ("gradient: inf" if gradients else "")
    assert math.isinf(parameter[0].item()) != gradients


def test_where_a_closure_does_not_say_its_loss_the_gradients_decide():
    parameter, optimizer, guard = guarded(sgd)
    optimizer.step(closing(parameter, 0.5, [0.5, NAN], says=False))
    assert guard.rejected == "gradient: nan"
    assert parameter.tolist() == [1.0, 2.0]


def test_a_search_along_a_line_ends_at_a_loss_that_is_not_finite():
    parameter, optimizer, guard = guarded(lambda p: torch.optim.LBFGS(p, max_iter=5))
    optimizer.step(closing(parameter, NAN, [NAN, 1.0]))
    assert guard.rejected == "loss: nan"
    assert parameter.tolist() == [1.0, 2.0]


def test_a_rejection_is_told():
    told = []
    parameter, optimizer, guard = guarded(sgd)
    guard.on_rejected = lambda: told.append(guard.rejected)
    step(parameter, optimizer, 1.0, 1.0)
    assert told == []
    step(parameter, optimizer, NAN, 1.0)
    assert told == ["gradient: nan"]


def test_the_defaults_of_a_program_for_new_tensors_are_no_matter():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = sgd([parameter])
    model = trainable(nn.ParameterList([parameter]), optimizer).model
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            guard = Guard(model, gradients=False)
    finally:
        torch.set_default_dtype(torch.float32)
    parameter.grad = torch.tensor([NAN, 0.5], dtype=torch.float64)
    optimizer.step()
    assert guard.rejected == "gradient: nan"
    assert parameter.tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_running_means_come_back_in_a_loop_of_ones_own(compiled):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    called = torch.compile(net, backend="eager") if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batches = torch.randn(5, 4, 2)
    batches[3, 0] = NAN
    with Run(called, optimizer, callbacks=[TerminateOnNaN()], verbose=0) as run:
        for _ in run.epochs():
            for x in run.train(batches):
                before = copy.deepcopy(net.state_dict())
                loss = called(x).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
    assert run.progress.step == 4
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.isfinite(net[1].running_mean).all()
