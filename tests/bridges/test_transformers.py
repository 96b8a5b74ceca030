"""What is particular to the Trainer of Hugging Face."""

import math
import shutil

import pytest
import torch
from transformers import EarlyStoppingCallback

from callboard import ConfigurationError, MetricNotFoundError, callbacks

pytestmark = pytest.mark.xdist_group("loop transformers")

LOSSES = [0.5, 0.4, 0.6, 0.3, 0.7, 0.8]


@pytest.fixture
def hf(host, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return host("transformers")


@pytest.mark.parametrize("step", [6, 7], ids=["epoch end", "middle of an epoch"])
def test_callbacks_go_on_from_the_trainers_checkpoint(hf, losses, tmp_path, step):
    def used(folder):
        stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        return stopping, hf.Callbacks([stopping, callbacks.CSVLogger(folder / "log.csv")])

    straight, expected = used(tmp_path / "straight")
    script = losses(LOSSES)
    strategy = "steps" if step == 7 else "epoch"
    saving = {"save_strategy": strategy, "save_steps": step, "num_train_epochs": 6}
    hf.trainer(hf.Tiny(script), expected, "straight", **saving).train()
    shutil.copytree(tmp_path / "straight", tmp_path / "resumed")
    resumed, actual = used(tmp_path / "resumed")
    script = losses(LOSSES, epoch=3)
    script.trained = step
    again = hf.trainer(hf.Tiny(script), actual, "resumed", **saving)
    again.train(resume_from_checkpoint=f"straight/checkpoint-{step}")
    for name, values in expected.history.history.items():
        assert actual.history.history[name] == pytest.approx(values, rel=1e-6)
    assert (resumed.best, resumed.best_epoch) == (straight.best, straight.best_epoch)
    assert (resumed.wait, resumed.stopped_epoch) == (straight.wait, straight.stopped_epoch)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("straight", "resumed")]
    assert logs[0] == logs[1]
    assert actual.run.progress == expected.run.progress


def test_a_schedule_goes_on_from_the_rate_that_a_callback_sets(hf, losses):
    plateau = callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.1)
    rates = callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(plateau.run.learning_rate)
    )
    seen = []
    used = hf.Callbacks([plateau, rates])
    trainer = hf.trainer(
        hf.Tiny(losses([0.5] * 4)), used, num_train_epochs=4, lr_scheduler_type="linear"
    )
    with pytest.warns(UserWarning, match="both change the learning rate"):
        trainer.train()
    straight = [0.5 * (1 - step / 8) for step in range(8)]
    factors = [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert seen == pytest.approx([a * b for a, b in zip(straight, factors, strict=True)], rel=1e-6)


def test_two_controllers_of_the_rate_are_an_error(hf, losses):
    scheduler = callbacks.LearningRateScheduler(lambda epoch: 0.1)
    model = hf.Tiny(losses([0.5]))
    trainer = hf.trainer(model, hf.Callbacks([scheduler]), lr_scheduler_type="cosine")
    with pytest.raises(ConfigurationError, match="the Trainer's lr_scheduler_type=cosine"):
        trainer.train()


def test_of_several_evaluations_in_an_epoch_the_latest_counts(hf, losses):
    used = hf.Callbacks([callbacks.EarlyStopping(patience=1)])
    script = losses([0.5, 0.4, 0.3, 0.2, 0.7, 0.6], batches=4)
    script.losses = [0.5] * 3 + script.losses  # of the training, and then of each evaluation
    script.validated = 3
    by_steps = {"eval_strategy": "steps", "eval_steps": 2}
    hf.trainer(hf.Tiny(script), used, num_train_epochs=4, **by_steps).train()
    assert used.history.history["val_loss"] == pytest.approx([0.4, 0.2, 0.6])
    assert used.run.stop_reason


def test_an_epoch_without_an_evaluation_is_not_counted(hf, losses):
    stopping = callbacks.EarlyStopping(patience=1)
    used = hf.Callbacks([stopping])
    model = hf.Tiny(losses([0.5, 0.4, 0.3, 0.2]))
    with pytest.warns(UserWarning, match="no validation in epoch 1"):
        hf.trainer(model, used, num_train_epochs=4, eval_strategy="steps", eval_steps=4).train()
    values = used.history.history["val_loss"]
    assert [math.isnan(value) for value in values] == [True, False, True, False]
    assert (stopping.wait, used.run.stop_reason) == (0, "")


def test_the_trainers_early_stopping_acts_beside_ours(hf, losses):
    used = hf.Callbacks([callbacks.EarlyStopping(patience=4)])
    trainer = hf.trainer(
        hf.Tiny(losses(LOSSES)), used, num_train_epochs=6, save_strategy="epoch",
        load_best_model_at_end=True, metric_for_best_model="eval_loss",
    )  # fmt: skip
    trainer.add_callback(EarlyStoppingCallback(1))
    trainer.train()
    assert used.history.history["val_loss"] == pytest.approx(LOSSES[:3])
    assert trainer.model.weight.item() == pytest.approx(-2.0)  # their best, after two epochs


def test_a_loss_that_the_trainer_does_not_tell_of_does_not_reach_the_weights(hf, losses):
    used = hf.Callbacks([callbacks.TerminateOnNaN()])
    model = hf.Tiny(losses([0.5, float("nan"), 0.5]))
    with torch.no_grad():
        model.weight.fill_(1.0)
    spoilt = hf.trainer(model, used, num_train_epochs=3)
    model.weight.register_hook(
        lambda grad: grad * model.script.losses[spoilt.state.global_step // 2]
    )
    spoilt.train()
    assert "invalid gradient" in used.run.stop_reason
    assert model.weight.item() == pytest.approx(0.5)  # two updates by a quarter, none later
    assert not math.isnan(used.history.history["loss"][1])  # it does not tell of it


def test_max_steps_end_a_run_in_the_middle_of_an_epoch(hf, losses):
    used = hf.Callbacks([])
    hf.trainer(hf.Tiny(losses([0.5, 0.4, 0.3])), used, max_steps=3).train()
    assert used.history.history["loss"] == pytest.approx([0.5, 0.4])
    assert used.run.progress.step == 3


def test_without_an_evaluation_the_epoch_ends_with_its_loss(hf, losses):
    used = hf.Callbacks([])
    model = hf.Tiny(losses([0.5, 0.25]))
    hf.trainer(model, used, num_train_epochs=2, eval_strategy="no").train()
    assert used.history.history == {"loss": [0.5, 0.25]}


class Stream(torch.utils.data.IterableDataset):
    """Two rows, and no length."""

    def __iter__(self):
        return iter([{"labels": torch.zeros(1)}] * 2)


def test_epochs_of_data_without_a_length_are_counted(hf, losses, tmp_path):
    log = callbacks.CSVLogger(tmp_path / "log.csv")
    rates = []
    schedule = callbacks.LearningRateScheduler(lambda epoch: rates.append(epoch) or 0.5)
    used = hf.Callbacks([log, schedule])
    trainer = hf.trainer(hf.Tiny(losses([0.5, 0.4, 0.3])), used, max_steps=6)
    trainer.train_dataset = Stream()
    trainer.train()
    assert used.history.epoch == rates == [0, 1, 2]
    assert used.history.history["loss"] == pytest.approx([0.5, 0.4, 0.3])
    assert [row[:2] for row in (tmp_path / "log.csv").read_text().splitlines()[1:]] == [
        "0,", "1,", "2,"
    ]  # fmt: skip
    assert used.run.params["steps"] is None


def test_an_epoch_is_as_long_as_the_loader_whatever_max_steps_leaves_of_the_last(hf, losses):
    used = hf.Callbacks([])
    trainer = hf.trainer(hf.Tiny(losses([0.5, 0.4], batches=4)), used, max_steps=5)
    trainer.train()
    assert used.run.params == {"verbose": 0, "epochs": 2, "steps": 4}


@pytest.mark.parametrize("logging_steps", [500, 2], ids=["seldom logged", "logged"])
@pytest.mark.parametrize("step", [4, 6], ids=["epoch end", "middle of an epoch"])
def test_losses_up_to_a_checkpoint_are_in_the_mean_of_its_epoch(
    hf, losses, tmp_path, step, logging_steps
):
    class Steps:
        """A loss of its own for every batch."""

        batches = 4

        def __init__(self, trained=0):
            self.trained = trained

        def train(self):
            self.trained += 1
            return self.trained / 16

        def validate(self):
            return 0.5

    saving = {
        "save_strategy": "steps",
        "save_steps": step,
        "num_train_epochs": 2,
        "logging_steps": logging_steps,
    }
    expected, actual = hf.Callbacks([]), hf.Callbacks([])
    hf.trainer(hf.Tiny(Steps()), expected, "straight", **saving).train()
    again = hf.trainer(hf.Tiny(Steps(trained=step)), actual, "resumed", **saving)
    again.train(resume_from_checkpoint=f"straight/checkpoint-{step}")
    assert expected.history.history["loss"] == pytest.approx([2.5 / 16, 6.5 / 16])
    assert actual.history.history["loss"][-1] == pytest.approx(6.5 / 16)


def test_speeds_are_not_among_the_metrics(hf, losses):
    used = hf.Callbacks([])
    trainer = hf.trainer(hf.Tiny(losses([0.5, 0.25])), used, num_train_epochs=1)
    trainer.evaluate()
    trainer.train()
    assert set(used.history.history) == {"loss", "val_loss"}


def test_a_monitor_of_evaluations_that_there_are_none_of_is_an_error(hf, losses):
    used = hf.Callbacks([callbacks.EarlyStopping()])
    model = hf.Tiny(losses([0.5, 0.25]))
    with pytest.raises(MetricNotFoundError, match="pass eval_dataset= to the Trainer and eval_str"):
        hf.trainer(model, used, num_train_epochs=2, eval_strategy="no").train()


@pytest.mark.parametrize("told", [False, True])
def test_evaluations_on_several_sets_belong_to_one_epoch(hf, losses, told):
    heard = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(dict(logs)))
    epochs = []
    used = hf.Callbacks([heard], **({"evaluations": 2} if told else {}))
    trainer = hf.trainer(hf.Tiny(losses([0.5, 0.25, 0.125, 0.5])), used, num_train_epochs=2)
    trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
    if not told:
        with pytest.raises(ConfigurationError, match="evaluations="):
            trainer.train()
        return
    trainer.train()
    assert [set(logs) for logs in epochs] == [{"loss", "val_a_loss", "val_b_loss"}] * 2
    assert [logs["val_b_loss"] for logs in epochs] == [0.25, 0.5]
