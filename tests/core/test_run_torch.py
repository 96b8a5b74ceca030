import pytest

from callboard import Run
from callboard.callbacks import (
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)

torch = pytest.importorskip("torch")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def train(run, net, optimizer, losses):
    """Train a little; log the losses that are given, as tensors with their graph."""
    with run:
        for epoch in run.epochs():
            for x in run.train([torch.ones(4, 2), torch.zeros(2, 2)]):
                loss = net(x).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                run.log(loss=loss - loss.detach() + losses[epoch])
            for _ in run.validate([torch.ones(4, 2)]):
                run.log(loss=torch.tensor(losses[epoch]))


def test_a_module_and_its_optimizer_are_trained_under_callbacks(net, tmp_path):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(net.weight.detach().clone()))
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    checkpoint = ModelCheckpoint(tmp_path / "best.safetensors", save_best_only=True)
    run = Run(net, optimizer, epochs=9, callbacks=[stopping, keep, checkpoint], verbose=0)
    train(run, net, optimizer, [3.0, 1.0, 2.0, 2.0, 2.0])
    assert run.history.epoch == [0, 1, 2, 3]
    assert run.history.history["val_loss"] == [3.0, 1.0, 2.0, 2.0]
    assert run.history.history["loss"] == pytest.approx([3.0, 1.0, 2.0, 2.0])
    assert torch.equal(net.weight, kept[1])
    assert not torch.equal(kept[1], kept[3])
    assert run.progress.samples == 4 * 6
    saved = (tmp_path / "best.safetensors").read_bytes()
    assert net.weight.detach().numpy().tobytes() in saved


@pytest.mark.parametrize(
    ("control", "rates"),
    [
        (LearningRateScheduler(lambda epoch, lr: lr / 2), [0.25, 0.125, 0.0625]),
        (ReduceLROnPlateau(factor=0.5, patience=1), [0.5, 0.5, 0.25]),
    ],
)
def test_the_rate_of_the_optimizer_is_what_callbacks_control(net, control, rates):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    used = []
    look = LambdaCallback(
        on_train_batch_begin=lambda batch, logs: used.append(optimizer.param_groups[0]["lr"])
    )
    run = Run(net, optimizer, epochs=3, callbacks=[control, look], verbose=0)
    train(run, net, optimizer, [1.0, 1.0, 1.0])
    assert used[::2] == used[1::2] == rates
    assert run.history.history["learning_rate"] == rates
