import numpy as np
import pytest

from callboard import Callback, DataError, Run, UnsupportedError
from callboard.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from callboard.testing import ScriptedModel


class DeviceScalar:
    """A number on a device that counts how often somebody waits for it."""

    dtype = np.dtype("float32")
    shape = ()

    def __init__(self, value, reads):
        self.value = value
        self.reads = reads

    def __mul__(self, factor):
        return DeviceScalar(self.value * factor, self.reads)

    def __add__(self, other):
        return DeviceScalar(self.value + other.value, self.reads)

    def __float__(self):
        self.reads.append(self.value)
        return float(self.value)


def test_metrics_are_means_weighted_by_the_length_of_the_batches():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([np.zeros((3, 2)), np.zeros((1, 2))]):
                run.log(loss=float(len(batch)), accuracy=1.0)
            for batch in run.validate([(np.zeros(1), np.zeros(1)), (np.zeros(4), np.zeros(4))]):
                run.log({"loss": float(len(batch[0]))})
    assert dict(run.logs) == {"accuracy": 1.0, "loss": 2.5, "val_loss": 3.4}


def test_a_weight_that_is_given_wins_and_values_may_come_in_both_ways():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([1.0, 4.0]):
                run.log({"a": x}, b=2 * x, weight=1 if x == 1.0 else 2)
    assert dict(run.logs) == {"a": 3.0, "b": 6.0}
    assert run.progress.samples == 3


def test_batch_logs_are_running_means_and_those_handed_out_keep_their_values():
    kept = []
    told = LambdaCallback(on_train_batch_end=lambda batch, logs: kept.append(logs))
    with Run(callbacks=[told], verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0, 6.0]):
                run.log(loss=x)
    assert [logs["loss"] for logs in kept] == [1.0, 1.5, 3.0]


def test_a_device_value_is_not_read_until_the_epoch_ends_and_then_once_per_metric():
    reads = []
    with Run(callbacks=[Callback(), Callback()], verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0, 3.0]):
                run.log(loss=DeviceScalar(x, reads))
            list(run.validate([1]))
            assert reads == []
    assert reads == [6.0]
    assert run.history.history == {"loss": [2.0]}


def test_a_batch_hook_that_reads_costs_one_read_a_batch_however_many_read():
    reads = []

    def look(batch, logs):
        _ = logs["loss"], dict(logs)

    with Run(callbacks=[LambdaCallback(on_train_batch_end=look)] * 1, verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0]):
                run.log(loss=DeviceScalar(x, reads))
            assert reads == [1.0, 3.0]


def test_a_metric_that_some_batches_log_is_the_mean_of_those():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0, 3.0]):
                run.log(loss=x)
                if x != 2.0:
                    run.log(rare=x)
    assert dict(run.logs) == {"loss": 2.0, "rare": 2.0}


def test_means_begin_anew_with_every_epoch():
    with Run(epochs=2, verbose=0) as run:
        for epoch in run.epochs():
            for _ in run.train([1]):
                run.log(loss=float(epoch))
    assert run.history.history == {"loss": [0.0, 1.0]}


def test_epoch_logs_are_sorted_by_name_as_in_keras():
    names = []
    told = LambdaCallback(on_epoch_end=lambda epoch, logs: names.extend(logs))
    with Run(callbacks=[told], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(zeta=1.0, alpha=1.0, mid=1.0)
    assert names == ["alpha", "mid", "zeta"]


@pytest.mark.parametrize("value", ["text", None, [1.0, 2.0], np.zeros(3), np.zeros(0)])
def test_a_value_that_is_not_one_number_is_an_error_where_it_is_logged(value):
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                with pytest.raises(DataError, match=r"tag=.* cannot be logged"):
                    run.log(tag=value)


# ---- the learning rate ---------------------------------------------------------------------------


def trained(*callbacks, epochs=4):
    model = ScriptedModel(1.0)
    with Run(trainable=model, epochs=epochs, callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
    return run


def halving(epoch, lr):
    return lr / 2


def test_the_rate_in_the_logs_is_the_one_the_epoch_was_trained_with_for_every_callback(tmp_path):
    class Reads(Callback):
        def __init__(self):
            self.rates = []

        def on_epoch_end(self, epoch, logs=None):
            self.rates.append(logs["learning_rate"])

    before, after = Reads(), Reads()
    log = CSVLogger(tmp_path / "log.csv")
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1)
    run = trained(log, before, plateau, after)
    assert before.rates == after.rates == [1.0, 1.0, 0.5, 0.25]
    assert run.history.history["learning_rate"] == before.rates
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == "epoch,learning_rate,loss"
    assert rows[-1] == "3,0.25,1.0"
    assert run.learning_rate == 0.125


def test_a_scheduler_writes_the_rate_before_a_reader_that_is_listed_first():
    seen = []
    reader = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["learning_rate"]))
    trained(reader, LearningRateScheduler(halving))
    assert seen == [0.5, 0.25, 0.125, 0.0625]


def test_without_a_callback_that_controls_it_the_rate_is_not_in_the_logs():
    assert "learning_rate" not in trained().logs


def test_the_run_reads_and_sets_the_rate_of_what_it_trains():
    run = Run(trainable=ScriptedModel(0.5), verbose=0)
    assert run.learning_rate == 0.5
    run.learning_rate = 0.25
    assert run.trainable.learning_rate == 0.25


# ---- names that are known ------------------------------------------------------------------------


def test_the_names_are_not_known_without_metrics_or_without_word_of_a_validation():
    assert Run(verbose=0).metric_names is None
    assert Run(verbose=0, metrics={"loss": "min"}).metric_names is None
    assert Run(verbose=0, validation=True).metric_names is None


def test_the_names_are_those_of_metrics_of_the_validation_and_of_callbacks():
    class Adds(Callback):
        adds = ("extra",)

        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 1.0

    metrics = {"loss": "min", "acc": "max"}
    run = Run(
        trainable=ScriptedModel(),
        callbacks=[Adds(), LearningRateScheduler(halving)],
        metrics=metrics,
        validation=True,
        verbose=0,
    )
    assert run.metric_names == {"loss", "acc", "val_loss", "val_acc", "extra", "learning_rate"}
    assert Run(metrics=metrics, validation=False, verbose=0).metric_names == {"loss", "acc"}


def test_a_callback_that_may_add_any_name_makes_them_unknown_only_if_it_acts_at_epoch_ends():
    known = {"metrics": {"loss": None}, "validation": False, "verbose": 0}
    assert Run(callbacks=[Callback()], **known).metric_names == {"loss"}
    adds = LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    assert Run(callbacks=[adds], **known).metric_names is None


# ---- a run without a model -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping("loss", restore_best_weights=True),
        ModelCheckpoint("model.pt"),
        ReduceLROnPlateau("loss"),
        LearningRateScheduler(halving),
        TerminateOnNaN(gradients=True),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_a_callback_that_needs_the_model_says_so_before_the_first_batch(callback):
    with (
        pytest.raises(UnsupportedError, match=r"needs the model .* pass Run\(model="),
        Run(callbacks=[callback], verbose=0),
    ):
        pytest.fail("the run began")


def test_callbacks_that_need_no_model_work_without_one(tmp_path):
    callbacks = [TerminateOnNaN(), EarlyStopping("loss"), CSVLogger(tmp_path / "a.csv")]
    with Run(callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
    assert run.history.history == {"loss": [1.0]}


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "two", [1, 2]])
def test_a_weight_that_is_no_number_of_samples_is_told(weight):
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                with pytest.raises(DataError, match="weight must be a number of samples"):
                    run.log(loss=1.0, weight=weight)
                run.log(loss=1.0, weight=np.float32(2))
