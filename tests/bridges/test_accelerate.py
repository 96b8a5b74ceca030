"""What Accelerate wraps is unwrapped."""

import pytest
import torch

from callboard import Run
from callboard.callbacks import (
    BackupAndRestore,
    EarlyStopping,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from callboard.testing import assert_exact_resume

accelerate = pytest.importorskip("accelerate")


def test_the_optimizer_inside_is_the_one_that_is_guarded():
    module = torch.nn.Linear(1, 1)
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(module, torch.optim.SGD(module.parameters(), lr=1.0))
    before = module.weight.detach().clone()
    with Run(model, optimizer, callbacks=[TerminateOnNaN()], verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([torch.full((1, 1), float("nan"))]):
                loss = model(x).sum()
                accelerator.backward(loss)
                optimizer.step()
                run.log(loss=loss)
    assert "invalid" in run.stop_reason
    assert torch.equal(module.weight, before)


@pytest.mark.filterwarnings("ignore:.*gone through again")
def test_a_prepared_loader_is_gone_on_with(tmp_path):
    def train(folder):
        torch.manual_seed(0)
        module = torch.nn.Linear(2, 1)
        data = torch.utils.data.DataLoader(torch.randn(6, 2), shuffle=True)
        accelerator = accelerate.Accelerator(cpu=True)
        model, optimizer, loader = accelerator.prepare(
            module, torch.optim.Adam(module.parameters()), data
        )
        backup = BackupAndRestore(folder / "backup", save_freq=1)
        with Run(model, optimizer, epochs=2, callbacks=[backup], verbose=0) as run:
            for _ in run.epochs():
                for x in run.train(loader):
                    loss = model(x).square().sum()
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                    run.log(loss=loss)
        return run.history.history, dict(module.state_dict())

    assert_exact_resume(train, kills=[2, 6, "epoch end"], directory=tmp_path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_module_has_the_names_of_the_one_inside():
    module = torch.nn.Linear(1, 1)
    assert set(Run(torch.compile(module), verbose=0).trainable.weights()) == {"weight", "bias"}


class Accumulation:
    """The batches since the last update, which Accelerate counts and does not save."""

    def __init__(self, accelerator):
        self.accelerator = accelerator

    def state_dict(self):
        return {"step": self.accelerator.step}

    def load_state_dict(self, state):
        self.accelerator.step = state["step"]


def train_by_parts(used, parts=3, spoilt=None, **options):
    """Train with gradients of several batches for one update."""
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=parts)
    data = torch.utils.data.DataLoader(torch.randn(7, 2))
    model, optimizer, loader = accelerator.prepare(
        module, torch.optim.SGD(module.parameters(), lr=0.1), data
    )
    counted = {"accumulation": Accumulation(accelerator)}
    run = Run(model, optimizer, callbacks=used, stateful=counted, verbose=0, **options)
    with run:
        for _ in run.epochs():
            for x in run.train(loader):
                with accelerator.accumulate(model):
                    loss = model(x).square().sum()
                    loss = loss * float("nan") if run.progress.step + 1 == spoilt else loss
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                run.log(loss=loss)
    return run, {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.filterwarnings("ignore:.*gone through again")
def test_accumulated_gradients_are_gone_on_with(tmp_path):
    def train(folder):
        backup = BackupAndRestore(folder / "backup", save_freq=1)
        run, weights = train_by_parts([backup], epochs=2)
        return run.history.history, weights

    assert_exact_resume(train, kills=[2, 8, "epoch end"], directory=tmp_path)


def test_a_bad_batch_among_accumulated_ones_is_the_last_and_reaches_no_weights():
    _, before = train_by_parts([], epochs=1)
    run, after = train_by_parts([TerminateOnNaN()], spoilt=9, epochs=2)
    assert run.progress.step == 9
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_states_of_callbacks_are_in_what_accelerate_saves(tmp_path):
    def accelerator_with(*used):
        accelerator = accelerate.Accelerator(cpu=True)
        module = torch.nn.Linear(1, 1)
        accelerator.prepare(module, torch.optim.SGD(module.parameters(), lr=0.1))
        accelerator.register_for_checkpointing(*used)
        return accelerator

    used, loaded = (
        [EarlyStopping("loss", patience=9), ReduceLROnPlateau("loss", patience=3)] for _ in range(2)
    )
    train_by_parts(used, epochs=2)
    accelerator_with(*used).save_state(tmp_path / "state")
    accelerator_with(*loaded).load_state(tmp_path / "state")
    for before, after in zip(used, loaded, strict=True):
        assert (after.best, after.wait) == (before.best, before.wait)
        assert after.best is not None
