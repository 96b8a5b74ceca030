import copy
import functools

import pytest
import torch
from torch import nn

from callboard import Callback
from callboard._core.checks import ConfigurationWarning
from callboard.callbacks import LambdaCallback, LearningRateScheduler, TerminateOnNaN
from callboard.torch import Model
from callboard.torch.compiled import CompiledStep


def data(samples=24, features=4, outputs=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, features, generator=generator)
    return x, torch.randn(samples, outputs, generator=generator)


def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def normalized():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def frozen():
    net = dense()
    net[0].requires_grad_(False)
    return net


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode = nn.Linear(4, 3, bias=False)
        self.decode = nn.Linear(4, 3, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x) @ self.encode.weight)


class PartlyUsed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.used = nn.Linear(4, 3)
        self.spare = nn.Linear(4, 3)

    def forward(self, x):
        return self.used(x)


@pytest.fixture
def uncompiled(monkeypatch):
    """Let what is to be compiled run as it is, and count how often it is called."""
    calls = []

    def identity(function, **options):
        calls.append(0)
        place = len(calls) - 1

        def counted(*arguments):
            calls[place] += 1
            return function(*arguments)

        return counted

    monkeypatch.setattr(torch, "compile", identity)
    return calls


def trained(net, optimizer, *, jit, callbacks=(), epochs=2, batch_size=4, loss="mse", **options):
    model = Model(net)
    model.compile(optimizer, loss, steps_per_execution=3, jit_compile=jit, **options)
    model.fit(
        *data(),
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


def assert_same(one, other):
    first, second = one.module.state_dict(), other.module.state_dict()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-6, msg=name)
    states = [model.optimizer.state_dict()["state"] for model in (one, other)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(states[1][index][key], value, rtol=1e-5, atol=1e-6)
    assert one.optimizer.iterations == other.optimizer.iterations
    for name, values in one.history.history.items():
        assert other.history.history[name] == pytest.approx(values, rel=1e-5)


OPTIMIZERS = {
    "adam": functools.partial(torch.optim.Adam, lr=0.05),
    "adam with decay": functools.partial(torch.optim.Adam, lr=0.05, weight_decay=0.1),
    "fused adam": functools.partial(torch.optim.Adam, lr=0.05, fused=True),
    "adam without momentum": functools.partial(torch.optim.Adam, lr=0.05, betas=(0.0, 0.9)),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1),
    "sgd": functools.partial(torch.optim.SGD, lr=0.1),
    "sgd with decay": functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.1),
    "momentum": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5),
    "nesterov": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=0.01),
    "rmsprop with all": functools.partial(
        torch.optim.RMSprop, lr=0.01, momentum=0.5, weight_decay=0.1
    ),
    "rate as a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.05), capturable=False),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_execution_trains_as_the_eager_step_does(uncompiled, name):
    eager = trained(dense(), OPTIMIZERS[name], jit=False)
    compiled = trained(dense(), OPTIMIZERS[name], jit=True)
    assert uncompiled == [3]  # the first of four executions is eager
    assert_same(eager, compiled)


@pytest.mark.parametrize("make", [normalized, frozen, Tied, PartlyUsed])
@pytest.mark.parametrize("name", ["adam", "sgd with decay"])
def test_buffers_frozen_tied_and_unused_weights_are_treated_as_by_the_eager_step(
    uncompiled, make, name
):
    eager = trained(make(), OPTIMIZERS[name], jit=False)
    compiled = trained(make(), OPTIMIZERS[name], jit=True)
    assert uncompiled == [3]
    assert_same(eager, compiled)


def two_groups(net):
    return torch.optim.Adam(
        [
            {"params": net[0].parameters(), "lr": 0.1, "betas": (0.5, 0.9)},
            {"params": net[2].parameters(), "weight_decay": 0.2},
            {"params": []},
        ],
        lr=0.01,
    )


def test_groups_of_parameters_keep_their_own_options(uncompiled):
    nets = dense(), dense()
    eager = trained(nets[0], two_groups(nets[0]), jit=False)
    compiled = trained(nets[1], two_groups(nets[1]), jit=True)
    assert_same(eager, compiled)


@pytest.mark.parametrize("limit", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_gradients_are_clipped(uncompiled, limit):
    eager = trained(dense(), OPTIMIZERS["sgd"], jit=False, **{limit: 0.05})
    compiled = trained(dense(), OPTIMIZERS["sgd"], jit=True, **{limit: 0.05})
    unlimited = trained(dense(), OPTIMIZERS["sgd"], jit=True)
    assert_same(eager, compiled)
    assert not torch.allclose(compiled.module[0].weight, unlimited.module[0].weight, rtol=1e-3)


def test_computes_in_bfloat16_where_asked_to(uncompiled):
    eager = trained(dense(), OPTIMIZERS["sgd"], jit=False, mixed_precision="bf16")
    compiled = trained(dense(), OPTIMIZERS["sgd"], jit=True, mixed_precision="bf16")
    assert compiled.module[0].weight.dtype is torch.float32
    torch.testing.assert_close(compiled.module[0].weight, eager.module[0].weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"rate as a tensor"}))  # of float32
def test_weights_of_float64_are_trained_to_the_last_digits(uncompiled, name):
    eager = trained(dense().double(), OPTIMIZERS[name], jit=False)
    compiled = trained(dense().double(), OPTIMIZERS[name], jit=True)
    assert uncompiled == [3]
    for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        assert other.dtype is torch.float64
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-14)
    assert compiled.history.history["loss"] == pytest.approx(eager.history.history["loss"], 1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_of_bfloat16_are_trained_in_bfloat16(uncompiled, name):
    eager = trained(dense().bfloat16(), OPTIMIZERS[name], jit=False)
    compiled = trained(dense().bfloat16(), OPTIMIZERS[name], jit=True)
    assert uncompiled == [3]
    for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        assert other.dtype is torch.bfloat16
        torch.testing.assert_close(other, one, rtol=0.05, atol=0.02)
    states = compiled.optimizer.state_dict()["state"].values()
    moments = {v.dtype for state in states for k, v in state.items() if k != "step"}
    assert moments <= {torch.bfloat16, type(None)}
    assert compiled.history.history["loss"] == pytest.approx(eager.history.history["loss"], 0.02)


def test_several_outputs_and_metrics_are_reported_as_by_the_eager_step(uncompiled):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = dense()

        def forward(self, x):
            out = self.net(x)
            return {"a": out[:, :1], "b": out[:, 1:]}

    def fitted(jit):
        x, y = data()
        model = Model(Two())
        model.compile(
            "adam",
            {"a": "mse", "b": "mae"},
            loss_weights={"a": 2.0},
            metrics={"a": ["mae"]},
            weighted_metrics={"b": ["mse"]},
            steps_per_execution=2,
            jit_compile=jit,
        )
        model.fit(
            x,
            {"a": y[:, :1], "b": y[:, 1:]},
            sample_weight=torch.linspace(0, 1, 24),
            batch_size=4,
            epochs=2,
            shuffle=False,
            verbose=0,
        )
        return model

    eager, compiled = fitted(jit=False), fitted(jit=True)
    assert uncompiled == [5]
    assert set(compiled.history.history) == {"loss", "a_loss", "b_loss", "a_mae", "b_mse"}
    assert_same(eager, compiled)


def test_a_rate_that_a_callback_changes_is_used_by_the_next_execution(uncompiled):
    def scheduled(jit):
        halve = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
        return trained(dense(), OPTIMIZERS["adam"], jit=jit, callbacks=[halve], epochs=3)

    eager, compiled = scheduled(jit=False), scheduled(jit=True)
    assert compiled.optimizer.lr == 0.0125
    assert_same(eager, compiled)


def test_the_ragged_end_of_an_epoch_is_trained_on_eagerly(uncompiled):
    # 24 samples in batches of 5: four full ones, then one of 4.
    eager = trained(dense(), OPTIMIZERS["adam"], jit=False, batch_size=5, epochs=3)
    compiled = trained(dense(), OPTIMIZERS["adam"], jit=True, batch_size=5, epochs=3)
    assert uncompiled == [2]
    assert_same(eager, compiled)


def test_a_short_first_execution_is_not_taken_for_the_usual_one(uncompiled):
    model = Model(dense())
    model.compile("adam", "mse", steps_per_execution=3, jit_compile=True)
    x, y = data()
    model.fit(x[:4], y[:4], batch_size=4, verbose=0)
    model.fit(x, y, batch_size=4, verbose=0)
    assert uncompiled == [1]


class Poison(nn.Module):
    """Turns an input of 1e9 into NaN, with gradients of NaN."""

    def forward(self, x):
        return torch.where(x > 1e8, x * float("nan"), x)


def poisoned(net, optimizer, *, jit, bad, **options):
    x, y = data()
    x[bad * 4] = 1e9
    seen = []
    model = Model(nn.Sequential(Poison(), *net))
    model.compile(optimizer, "mse", steps_per_execution=3, jit_compile=jit)
    model.fit(
        x,
        y,
        batch_size=4,
        shuffle=False,
        verbose=0,
        callbacks=[
            TerminateOnNaN(**options),
            LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch)),
        ],
    )
    return model, seen


@pytest.mark.parametrize("make", [dense, normalized])
@pytest.mark.parametrize("bad", [1, 3, 4])
@pytest.mark.parametrize("jit", [False, True])
def test_no_update_from_a_bad_batch_on_is_applied_within_an_execution(uncompiled, make, bad, jit):
    model, seen = poisoned(make(), OPTIMIZERS["adam"], jit=jit, bad=bad)
    x, y = data()
    good = Model(nn.Sequential(Poison(), *make()))
    good.compile(OPTIMIZERS["adam"], "mse")
    good.fit(x[: bad * 4], y[: bad * 4], batch_size=4, shuffle=False, verbose=0)
    for name, value in good.module.state_dict().items():
        torch.testing.assert_close(model.module.state_dict()[name], value, msg=name)
    assert seen[-1] == (2 if bad < 3 else 5)


def test_a_first_execution_that_was_rejected_does_not_stand_for_the_others(uncompiled):
    x, y = data()
    x[0] = 1e9
    model = Model(nn.Sequential(Poison(), *dense()))
    model.compile(OPTIMIZERS["adam"], "mse", steps_per_execution=3, jit_compile=True)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[TerminateOnNaN(check_freq=100)], **options)
    assert uncompiled == [0]
    model.fit(x[4:], y[4:], **options)
    model.fit(x[4:16], y[4:16], **options)
    assert uncompiled == [1]


class Steep(nn.Module):
    """Has a finite output and an infinite gradient for large inputs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        size = (x[:, :1].abs() * self.scale).sqrt()  # the gradient at 0 is infinite
        return x[:, 1:] * self.scale + size


@pytest.mark.parametrize("jit", [False, True])
def test_infinite_gradients_of_a_finite_loss_are_rejected_on_request(uncompiled, jit):
    x = torch.ones(24, 4)
    x[16:20, 0] = 0.0
    model = Model(Steep())
    model.compile(OPTIMIZERS["sgd"], "mse", steps_per_execution=3, jit_compile=jit)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    y = torch.full((24, 3), 2.0)
    model.fit(x, y, callbacks=[TerminateOnNaN(gradients=True)], **options)
    good = Model(Steep())
    good.compile(OPTIMIZERS["sgd"], "mse")
    good.fit(x[:16], y[:16], **options)
    torch.testing.assert_close(model.module.scale, good.module.scale)


@pytest.mark.parametrize("optimizer", [torch.optim.Adagrad, torch.optim.Adam])
def test_what_has_no_compiled_update_has_its_forward_pass_compiled(monkeypatch, optimizer):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiled.append(options) or f)
    steps = 2 if optimizer is torch.optim.Adam else 1
    model = trained(dense(), optimizer, jit=True, gradient_accumulation_steps=steps)
    assert compiled == [{}]
    assert model.compiled_step is None
    eager = trained(dense(), optimizer, jit=False, gradient_accumulation_steps=steps)
    assert_same(eager, model)


def test_before_a_softmax_that_is_passed_over_the_rest_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiled.append(f) or f)
    model = Model(nn.Sequential(*dense(), nn.Softmax(-1)))
    model.compile(torch.optim.Adagrad, "sparse_categorical_crossentropy", jit_compile=True)
    model.fit(data()[0], torch.zeros(24, dtype=torch.int64), verbose=0)
    assert [type(part) for part in compiled if isinstance(part, nn.Module)] == [nn.Sequential]


@pytest.mark.parametrize(
    "options", [{"amsgrad": True}, {"maximize": True}], ids=["amsgrad", "maximize"]
)
def test_unusual_options_leave_the_update_to_the_optimizer(monkeypatch, options):
    monkeypatch.setattr(torch, "compile", lambda f, **options: f)
    model = trained(dense(), functools.partial(torch.optim.Adam, **options), jit=True)
    assert model.compiled_step is None


@pytest.mark.parametrize(
    "options", [{"jit_compile": "auto"}, {"jit_compile": True, "run_eagerly": True}]
)
def test_nothing_is_compiled_unless_asked_for(monkeypatch, options):
    monkeypatch.setattr(torch, "compile", None)
    model = Model(dense())
    model.compile("adam", "mse", **options)
    model.fit(*data(), verbose=0)


def test_the_compiled_step_is_kept_from_fit_to_fit_while_it_fits_the_module(uncompiled):
    model = trained(dense(), OPTIMIZERS["adam"], jit=True)
    step = model.compiled_step
    assert isinstance(step, CompiledStep)
    model.fit(*data(), batch_size=4, verbose=0)
    assert model.compiled_step is step
    model.module[0].requires_grad_(False)
    before = model.module[0].weight.clone()
    model.fit(*data(), batch_size=4, epochs=2, verbose=0)
    assert model.compiled_step is not step
    assert torch.equal(model.module[0].weight, before)
    step = model.compiled_step
    model.module[1] = nn.Sigmoid()
    model.fit(*data(), batch_size=4, verbose=0)
    assert model.compiled_step is not step


def test_compiling_anew_forgets_the_compiled_step(uncompiled):
    model = trained(dense(), OPTIMIZERS["adam"], jit=True)
    model.compile("sgd", "mse", jit_compile=True)
    assert model.compiled_step is None


class Branching(nn.Module):
    """Decides by its data, which a graph cannot."""

    def __init__(self):
        super().__init__()
        self.net = dense()

    def forward(self, x):
        return self.net(x) if x.sum().item() > 1e6 else self.net(x) * 2


def test_a_module_that_cannot_be_compiled_is_trained_eagerly_and_said_why(monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: compiled(f, backend="eager", **o))
    with pytest.warns(ConfigurationWarning, match=r"cannot be compiled as one \(.+\)"):
        model = trained(Branching(), OPTIMIZERS["adam"], jit=True)
    assert_same(trained(Branching(), OPTIMIZERS["adam"], jit=False), model)
    model.fit(*data(), batch_size=4, verbose=0)  # and does not try again


def test_an_error_that_is_not_of_the_compiler_is_not_hidden(monkeypatch):
    def failing(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(torch, "compile", lambda f, **options: failing)
    with pytest.raises(ZeroDivisionError):
        trained(dense(), OPTIMIZERS["adam"], jit=True)


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, inside its compiler
def test_a_network_is_really_compiled_once_whatever_the_learning_rate():
    from torch._dynamo.utils import counters  # noqa: PLC0415 - takes long, and one test needs it

    torch._dynamo.reset()
    counters.clear()

    class Halving(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.run.learning_rate /= 2

    def fitted(jit):
        torch.manual_seed(0)
        model = Model(nn.Linear(4, 3))
        model.compile("adam", "mse", steps_per_execution=2, jit_compile=jit)
        model.fit(*data(), batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[Halving()])
        return model

    compiled = fitted(jit=True)
    assert counters["stats"]["unique_graphs"] == 1
    assert_same(fitted(jit=False), compiled)


def test_a_copy_of_the_metrics_is_summed_up(uncompiled):
    model = Model(dense())
    model.compile("adam", "mse", metrics=["mae"], steps_per_execution=3, jit_compile=True)
    before = copy.deepcopy(model.objectives.heads[0].metrics[0].state_dict())
    model.fit(*data(), batch_size=4, epochs=2, verbose=0)
    assert model.objectives.heads[0].metrics[0].state_dict() == before
