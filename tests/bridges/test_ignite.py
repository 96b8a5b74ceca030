"""What is particular to Ignite."""

import math

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers import Checkpoint, DiskSaver
from ignite.metrics import ConfusionMatrix, Recall, RunningAverage

from callboard import (
    Callback,
    ConfigurationError,
    DataError,
    MetricNotFoundError,
    callbacks,
)
from callboard.bridges.ignite import Callbacks

pytestmark = pytest.mark.xdist_group("loop ignite")

LOSSES = [0.5, 0.4, 0.6, 0.3, 0.7, 0.8]


class Training:
    """An engine that says LOSSES, with one for its validations."""

    def __init__(self, used=(), **options):
        self.module = torch.nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.5)
        self.trainer, self.evaluator = Engine(self.update), Engine(lambda _engine, batch: batch)
        self.evaluator.add_event_handler(Events.COMPLETED, self.validate)
        self.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda _engine: self.evaluator.run([0.0])
        )
        self.callbacks = Callbacks(used, model=self.module, optimizer=self.optimizer, **options)
        self.callbacks.attach(self.trainer, self.evaluator)

    def update(self, engine, batch):
        loss = self.module(batch).sum() * 0 + LOSSES[engine.state.epoch - 1]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def validate(self, engine):
        engine.state.metrics["loss"] = LOSSES[self.trainer.state.epoch - 1]

    def run(self, epochs, data=None):
        self.trainer.run(data or [torch.ones(2, 1)] * 2, max_epochs=epochs)
        return self.callbacks.run


@pytest.mark.parametrize("moment", [Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED(every=5)])
def test_callbacks_go_on_from_ignites_checkpoint(tmp_path, moment):
    def training(folder):
        stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        return stopping, Training([stopping, callbacks.CSVLogger(folder / "log.csv")])

    straight, expected = training(tmp_path / "straight")
    expected.run(6)
    _, begun = training(tmp_path / "resumed")
    saved = {"trainer": begun.trainer, "callbacks": begun.callbacks}
    saver = Checkpoint(saved, DiskSaver(tmp_path / "ignite"), filename_pattern="saved.pt")
    begun.trainer.add_event_handler(moment, saver)
    begun.run(3, [torch.ones(2, 1)] * 2)
    if moment != Events.EPOCH_COMPLETED:
        begun.callbacks = None  # its log goes on past what was saved, and is cut off
    resumed, actual = training(tmp_path / "resumed")
    loaded = {"trainer": actual.trainer, "callbacks": actual.callbacks}
    Checkpoint.load_objects(loaded, torch.load(tmp_path / "ignite" / "saved.pt"))
    actual.run(6)
    assert actual.callbacks.history.history == expected.callbacks.history.history
    assert (resumed.best, resumed.best_epoch) == (straight.best, straight.best_epoch)
    assert (resumed.wait, resumed.stopped_epoch) == (straight.wait, straight.stopped_epoch)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("straight", "resumed")]
    assert logs[0] == logs[1]


def test_other_handlers_see_the_epoch_that_training_stops_in():
    training = Training([callbacks.EarlyStopping(patience=1)])
    seen = []
    training.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: seen.append(engine.state.epoch)
    )
    training.run(6)
    assert seen == [1, 2, 3]
    assert training.callbacks.history.epoch == [0, 1, 2]


def test_numbers_in_a_dict_keep_their_names_and_are_weighed_by_samples():
    engine = Engine(lambda _engine, batch: {"loss": batch.mean(), "b": 1, "text": "no number"})
    used = Callbacks([]).attach(engine)
    engine.run([torch.tensor([1.0, 3.0]), torch.tensor([8.0])], max_epochs=1)
    assert used.history.history == {"loss": [4.0], "b": [1.0]}


def test_what_a_transform_returns_has_to_be_numbers():
    engine = Engine(lambda _engine, batch: batch)
    Callbacks([], output_transform=lambda output: {"loss": output}).attach(engine)
    with pytest.raises(DataError, match="cannot be logged"):
        engine.run([torch.ones(2)], max_epochs=1)


def test_an_error_of_the_trainer_reaches_the_caller_and_the_callbacks(recorder):
    def update(_engine, _batch):
        raise KeyboardInterrupt

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    engine = Engine(update)
    Callbacks([heard]).attach(engine)
    with pytest.raises(KeyboardInterrupt):
        engine.run([0], max_epochs=1)
    assert heard.lines == ["on_exception KeyboardInterrupt", "close"]


def test_attached_twice_is_an_error():
    engine = Engine(lambda _engine, batch: batch)
    used = Callbacks([]).attach(engine)
    with pytest.raises(ConfigurationError, match="attached to this trainer already"):
        used.attach(engine)


def test_only_hooks_that_are_overridden_cost_the_engine_a_handler():
    class Both(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            pass

    quiet, listening = Training(), Training([Both()])
    quiet.run(1)
    listening.run(1)
    assert not quiet.trainer.has_event_handler(quiet.callbacks._iteration_started)
    assert listening.trainer.has_event_handler(listening.callbacks._iteration_started)


def test_a_schedule_beside_the_callbacks_is_seen_and_a_second_controller_is_an_error():
    training = Training([callbacks.LearningRateScheduler(lambda epoch: 0.1)])
    torch.optim.lr_scheduler.StepLR(training.optimizer, 1)
    with pytest.raises(ConfigurationError, match=r"torch.optim.lr_scheduler"):
        training.run(2)


def test_of_several_evaluations_in_an_epoch_the_latest_counts():
    engine, evaluator = Engine(lambda _engine, batch: batch), Engine(lambda _engine, batch: batch)

    def measure(evaluator):
        evaluator.state.metrics["loss"] = engine.state.iteration

    evaluator.add_event_handler(Events.COMPLETED, measure)
    used = Callbacks([]).attach(engine, evaluator)
    every_second = Events.ITERATION_COMPLETED(every=2)
    engine.add_event_handler(every_second, lambda _engine: evaluator.run([0]))
    engine.run([0.5] * 5, max_epochs=2)
    assert used.history.history["val_loss"] == [4, 10]


def test_an_evaluator_that_is_not_attached_is_not_a_validation():
    training = Training()
    other = Engine(lambda _engine, batch: batch)
    other.add_event_handler(Events.COMPLETED, lambda engine: engine.state.metrics.update(loss=9.0))
    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _engine: other.run([0]))
    history = training.run(2).history.history
    assert set(history) == {"loss", "val_loss"}
    assert history["val_loss"] == [0.5, 0.4]


def test_metrics_of_the_trainer_are_in_the_logs_instead_of_means_of_their_name():
    engine = Engine(lambda _engine, batch: batch)
    RunningAverage(output_transform=lambda output: output, alpha=0.5).attach(engine, "loss")
    used = Callbacks([]).attach(engine)
    engine.run([1.0, 3.0, 4.0], max_epochs=1)
    assert used.history.history["loss"] == [engine.state.metrics["loss"]] == [3.0]


def test_a_metric_with_a_value_for_each_class_is_logged_whole(tmp_path):
    evaluator = create_supervised_evaluator(
        torch.nn.Identity(), {"recall": Recall(), "cm": ConfusionMatrix(2)}
    )
    engine = Engine(lambda _engine, batch: 0.5)
    used = Callbacks([callbacks.CSVLogger(tmp_path / "log.csv")]).attach(engine, evaluator)
    batch = torch.eye(2), torch.tensor([0, 0])
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _engine: evaluator.run([batch]))
    engine.run([0], max_epochs=1)
    assert used.history.history["val_cm"][0].tolist() == [[1, 1], [0, 0]]
    row = (tmp_path / "log.csv").read_text().splitlines()[1]
    assert row == '0,0.5,"[[1, 1], [0, 0]]","[0.5, 0.0]"'


def test_an_epoch_is_as_long_as_the_engine_makes_it():
    training = Training()
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=4), lambda engine: engine.terminate_epoch()
    )
    training.trainer.run([torch.ones(2, 1)] * 5, max_epochs=3, epoch_length=3)
    run = training.callbacks.run
    assert run.history.epoch == [0, 1, 2]
    assert run.history.history["loss"] == pytest.approx(LOSSES[:3])
    assert (run.params["steps"], run.progress.step) == (3, 3 + 1 + 3)


def test_a_second_run_goes_on_with_the_engines_epochs():
    training = Training([callbacks.EarlyStopping(patience=9)])
    assert training.run(2).history.epoch == [0, 1]
    assert training.run(4).history.epoch == [2, 3]
    assert training.callbacks.history.history["loss"] == pytest.approx(LOSSES[2:4])


def test_a_loss_that_is_nan_stops_and_does_not_reach_the_weights():
    training = Training([callbacks.TerminateOnNaN()])
    before = training.module.weight.item()
    run = training.run(3, [torch.ones(2, 1), torch.full((2, 1), math.nan)])
    assert "invalid" in run.stop_reason
    assert run.progress.step == 2
    assert training.module.weight.item() == before


def test_an_epoch_that_is_terminated_in_its_middle_has_the_metrics_that_there_are():
    training = Training([])
    ending = Events.ITERATION_COMPLETED(once=3)
    training.trainer.add_event_handler(ending, lambda engine: engine.terminate())
    training.run(6)
    history = training.callbacks.history
    assert history.epoch == [0, 1]
    assert history.history["loss"] == [0.5, pytest.approx(0.4)]
    assert math.isnan(history.history["val_loss"][1])


def test_an_epoch_at_whose_beginning_the_end_is_asked_for_does_not_take_place(stop_at_epoch):
    training = Training([stop_at_epoch(1)])
    assert training.run(6).history.epoch == [0]
    assert training.trainer.state.iteration == 2


def test_a_monitor_of_validations_without_an_evaluator_is_an_error():
    engine = Engine(lambda _engine, batch: batch)
    Callbacks([callbacks.EarlyStopping()]).attach(engine)
    with pytest.raises(MetricNotFoundError, match="pass an evaluator to attach"):
        engine.run([0.5], max_epochs=2)
