"""What Accelerate wraps is unwrapped."""

import pytest
import torch

from callboard import Run
from callboard.callbacks import BackupAndRestore, TerminateOnNaN
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
