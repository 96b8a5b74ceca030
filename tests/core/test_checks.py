import numpy as np
import pytest

from callboard import (
    Callback,
    ConfigurationError,
    ConfigurationWarning,
    DataError,
    MetricNotFoundError,
    Run,
    UnknownNameError,
)
from callboard.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    MonitorCallback,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from callboard.testing import ScriptedModel, ScriptedRun


def begin(*callbacks, **options):
    """Begin a run and say that it went well; nothing may be trained before the checks are done."""
    with Run(trainable=ScriptedModel(), callbacks=callbacks, verbose=0, **options):
        return True


def fixed(epoch):
    return 0.1


def relative(epoch, lr):
    return lr


# ---- two controllers of one learning rate --------------------------------------------------------


@pytest.mark.parametrize(
    "callbacks",
    [
        (LearningRateScheduler(fixed), ReduceLROnPlateau()),
        (ReduceLROnPlateau(), LearningRateScheduler(fixed)),
        (LearningRateScheduler(relative), LearningRateScheduler(fixed)),
        (LearningRateScheduler(fixed), LearningRateScheduler(relative)),
    ],
)
def test_a_schedule_that_sets_the_rate_beside_another_controller_is_an_error(callbacks):
    with pytest.raises(ConfigurationError, match="LearningRateScheduler sets it anew every epoch"):
        begin(*callbacks)


def test_two_that_scale_the_rate_are_a_warning():
    with pytest.warns(ConfigurationWarning, match="LearningRateScheduler and ReduceLROnPlateau"):
        assert begin(LearningRateScheduler(relative), ReduceLROnPlateau())


def test_a_scheduler_of_the_framework_counts_as_a_controller():
    model = ScriptedModel()
    model.rate_controller = "a torch.optim.lr_scheduler"
    run = Run(trainable=model, callbacks=[LearningRateScheduler(fixed)], verbose=0)
    with pytest.raises(ConfigurationError, match=r"and a torch.optim.lr_scheduler all control"):
        run.__enter__()
    run = Run(trainable=model, callbacks=[ReduceLROnPlateau()], verbose=0)
    with pytest.warns(ConfigurationWarning, match=r"and a torch\.optim\.lr_scheduler both"), run:
        pass


def test_one_controller_is_neither():
    assert begin(LearningRateScheduler(fixed))
    assert begin(ReduceLROnPlateau())


# ---- stopping and plateaus -----------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "reduce"), [(3, 3), (3, 10), (0, 1)])
def test_a_stop_that_always_comes_before_the_plateau_is_a_warning(stop, reduce):
    message = rf"EarlyStopping\(patience={stop}\) stops before ReduceLROnPlateau\(patience={reduce}"
    with pytest.warns(ConfigurationWarning, match=message):
        begin(ReduceLROnPlateau(patience=reduce), EarlyStopping(patience=stop))


def test_a_larger_patience_or_another_metric_is_none():
    assert begin(EarlyStopping(patience=4), ReduceLROnPlateau(patience=3))
    assert begin(EarlyStopping("loss", patience=1), ReduceLROnPlateau("val_loss", patience=3))


# ---- writers -------------------------------------------------------------------------------------


def test_two_writers_of_one_path_are_an_error_however_it_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for other in ("log", "./log", tmp_path / "log", "sub/../log", "link/log"):
        with pytest.raises(ConfigurationError, match="ModelCheckpoint and CSVLogger both write"):
            begin(CSVLogger("log"), ModelCheckpoint(other))
    assert begin(CSVLogger("log"), ModelCheckpoint("log2"))


def test_two_checkpoints_with_one_template_are_an_error():
    with pytest.raises(ConfigurationError, match=r"both write '\{epoch\}\.pt'"):
        begin(ModelCheckpoint("{epoch}.pt"), ModelCheckpoint("{epoch}.pt", save_freq=10))


# ---- names of metrics ----------------------------------------------------------------------------

KNOWN = {"metrics": {"loss": "min", "accuracy": "max"}, "validation": True}


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, MonitorCallback])
def test_a_monitor_that_can_never_come_up_is_an_error_before_the_first_batch(make):
    message = r"'val_los' was not logged\. Did you mean 'val_loss'\? Logged: accuracy"
    with pytest.raises(MetricNotFoundError, match=message):
        begin(make("val_los", mode="min"), **KNOWN)
    assert begin(make("val_loss"), **KNOWN)


def test_save_best_only_checks_its_monitor_and_saving_always_does_not_need_one():
    with pytest.raises(MetricNotFoundError, match="ModelCheckpoint monitors it"):
        begin(ModelCheckpoint("a.pt", "acuracy", mode="max", save_best_only=True), **KNOWN)
    assert begin(ModelCheckpoint("a.pt", "acuracy"), **KNOWN)


def test_a_monitor_of_the_validation_without_one_says_what_to_pass():
    with pytest.raises(MetricNotFoundError, match="no validation data was given; pass validation"):
        begin(EarlyStopping(), metrics={"loss": "min"}, validation=False)


def test_without_known_names_a_missing_validation_is_an_error_when_the_first_epoch_ends():
    run = Run(callbacks=[EarlyStopping()], validation=False, epochs=3, verbose=0)
    with pytest.raises(MetricNotFoundError, match="no validation data was given"):
        train(run)
    assert run.progress.step == 1


def train(run):
    with run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)


def test_an_unknown_monitor_is_an_error_when_the_first_epoch_ends_and_names_the_nearest():
    with pytest.raises(MetricNotFoundError, match=r"'val_acc'.*Did you mean 'val_accuracy'"):
        ScriptedRun({"loss": [1.0], "val_accuracy": [1.0]}).play(EarlyStopping("val_acc"))
    with pytest.raises(MetricNotFoundError, match="give its class `order = -10`"):
        ScriptedRun({"loss": [1.0]}).play(EarlyStopping("mine", mode="min"))


def test_a_loop_that_has_not_validated_yet_is_warned_of_once():
    with pytest.warns(ConfigurationWarning, match="there was no validation in epoch 1") as warned:
        ScriptedRun({"loss": [1.0] * 4}).play(EarlyStopping())
    assert len(warned) == 1


def test_a_metric_that_came_once_may_be_missing_later():
    stopping = EarlyStopping(patience=2)
    run = ScriptedRun([1.0, None, None, None, 0.5, None, None], monitor="val_loss").play(stopping)
    assert run.stopped_epoch is None
    assert stopping.best == 0.5


def test_a_direction_that_cannot_be_known_is_an_error_before_the_first_batch():
    with pytest.raises(ConfigurationError, match="pass mode='min' or mode='max'"):
        begin(EarlyStopping("val_score"))
    assert begin(EarlyStopping("val_score"), metrics={"score": "max"})
    assert begin(EarlyStopping("val_score", mode="max"))


def test_a_monitor_that_is_a_vector_is_an_error_that_says_so():
    class Adds(Callback):
        order = -10

        def on_epoch_end(self, epoch, logs=None):
            logs["recall"] = np.array([0.5, 0.25])

    with pytest.raises(DataError, match=r"EarlyStopping monitors 'recall'.* must be one number"):
        ScriptedRun({"loss": [1.0]}).play(Adds(), EarlyStopping("recall"))


def test_a_monitor_that_an_early_callback_adds_may_be_watched_by_one_that_is_listed_first():
    class Adds(Callback):
        order = -10

        def on_epoch_end(self, epoch, logs=None):
            logs["recall"] = 1.0 - epoch / 10

    stopping = EarlyStopping("recall", patience=2)
    run = ScriptedRun({"loss": [1.0] * 5}).play(stopping, Adds())
    assert run.stopped_epoch == 2


# ---- placeholders --------------------------------------------------------------------------------


def test_a_placeholder_that_no_metric_fills_is_an_error_before_the_first_batch():
    with pytest.raises(MetricNotFoundError, match=r"'val_los'.*'\{val_los:.2f\}.pt' has it as a"):
        begin(ModelCheckpoint("{val_los:.2f}.pt"), **KNOWN)
    assert begin(ModelCheckpoint("{epoch}-{val_loss:.2f}.pt"), **KNOWN)


def test_a_placeholder_for_the_batch_when_saving_by_epochs_is_an_error():
    with pytest.raises(ConfigurationError, match=r"has \{batch\}, which is known only with"):
        begin(ModelCheckpoint("{batch}.pt"))
    assert begin(ModelCheckpoint("{batch}.pt", save_freq=3))


# ---- names of hooks ------------------------------------------------------------------------------


def test_a_misspelt_hook_is_a_warning_that_names_the_nearest():
    class Mine(Callback):
        def on_epoch_ended(self, epoch, logs=None):
            pytest.fail("never called")

        def on_my_own_terms(self):
            """Like no hook."""

    with pytest.warns(
        ConfigurationWarning, match=r"Mine\.on_epoch_ended is no hook .* 'on_epoch_end'"
    ) as warned:
        begin(Mine())
    assert len(warned) == 1


# ---- impossible values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=-1), "patience must be a whole number of epochs"),
        (lambda: EarlyStopping(patience=2.5), "patience must be a whole number of epochs"),
        (lambda: EarlyStopping(min_delta=float("nan")), "min_delta must be a finite number"),
        (lambda: EarlyStopping(start_from_epoch=-1), "start_from_epoch must be a whole number"),
        (lambda: EarlyStopping(baseline=float("nan")), "baseline must be a number or None"),
        (lambda: EarlyStopping(baseline=True), "baseline must be a number or None"),
        (lambda: EarlyStopping(mode="minimum"), "unknown mode 'minimum'"),
        (lambda: ReduceLROnPlateau(factor=1.0), "factor must lie between 0 and 1"),
        (lambda: ReduceLROnPlateau(factor=0.0), "factor must lie between 0 and 1"),
        (lambda: ReduceLROnPlateau(factor=-0.5), "factor must lie between 0 and 1"),
        (lambda: ReduceLROnPlateau(factor=float("nan")), "factor must lie between 0 and 1"),
        (lambda: ReduceLROnPlateau(patience=-2), "patience must be"),
        (lambda: ReduceLROnPlateau(cooldown=-1), "cooldown must be"),
        (lambda: ReduceLROnPlateau(min_lr=-1e-3), "min_lr must be"),
        (lambda: ReduceLROnPlateau(min_lr=float("inf")), "min_lr must be"),
        (lambda: ReduceLROnPlateau(min_delta=float("nan")), "min_delta must be a finite number"),
        (lambda: ModelCheckpoint("a.pt", save_freq=0), "save_freq must be 'epoch'"),
        (lambda: ModelCheckpoint("a.pt", save_freq=-3), "save_freq must be 'epoch'"),
        (lambda: ModelCheckpoint("a.pt", save_freq=False), "save_freq must be 'epoch'"),
        (lambda: ModelCheckpoint("a.pt", save_freq=1.5), "save_freq must be 'epoch'"),
        (lambda: ModelCheckpoint("a.pt", save_freq="sometimes"), "cannot read the period"),
        (
            lambda: ModelCheckpoint("a.pt", initial_value_threshold=float("nan")),
            "initial_value_threshold must be a number",
        ),
        (
            lambda: ModelCheckpoint("a.pt", save_best_only=True, save_freq=3),
            "compares between validations",
        ),
        (lambda: CSVLogger("a.csv", separator=""), "separator must be one character"),
        (lambda: CSVLogger("a.csv", separator="::"), "separator must be one character"),
        (lambda: CSVLogger("a.csv", separator="\n"), "separator must be one character"),
        (lambda: LearningRateScheduler(0.1), "schedule must be a function"),
        (lambda: LearningRateScheduler(lambda: 0.1), r"must take \(epoch, lr\) or \(epoch\)"),
        (lambda: LearningRateScheduler(lambda a, b, c: 0.1), "schedule must take"),
        (lambda: TerminateOnNaN(check_freq=0), "check_freq must be a whole number of batches"),
        (lambda: Run(epochs=-1), "epochs must be a whole number, 0 or more; got -1"),
        (lambda: Run(epochs=2.5), "epochs must be a whole number"),
        (lambda: Run(epochs=True), "epochs must be a whole number"),
        (lambda: Run(initial_epoch=-1), "initial_epoch must be a whole number"),
        (lambda: Run(verbose=3), "verbose must be 0, 1, 2 or 'auto'; got 3"),
        (lambda: Run(verbose="loud"), "verbose must be"),
        (lambda: Run(callbacks=[EarlyStopping]), r"call it: EarlyStopping\(...\)"),
    ],
)
def test_an_impossible_value_is_an_error_at_construction(make, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        make()
    assert isinstance(caught.value, ValueError)


def test_numbers_of_numpy_are_numbers():
    run = Run(epochs=np.int64(3), initial_epoch=np.int32(1), verbose=0)
    assert (run.epoch_count, run.initial_epoch) == (3, 1)
    assert EarlyStopping(patience=np.int64(2), min_delta=np.float32(0.5)).patience == 2


def test_auto_is_verbose_and_an_unknown_mode_is_named():
    assert Run(verbose="auto").verbose == 1
    with pytest.raises(UnknownNameError, match="Did you mean 'max'"):
        EarlyStopping(mode="maxi")


# ---- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [CSVLogger, ModelCheckpoint])
def test_a_path_that_cannot_be_written_is_an_error_before_the_first_batch(make, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(IsADirectoryError):
        begin(make(tmp_path / "folder.pt"))
    with pytest.raises(NotADirectoryError):
        begin(make(tmp_path / "file" / "x"))
    with pytest.raises(NotADirectoryError):
        begin(make(str(tmp_path / "file" / "{epoch}" / "x")))


# ---- hooks that cannot be called -----------------------------------------------------------------


class TakesTooLittle(Callback):
    def on_epoch_end(self, logs):
        """It misses the epoch."""


class TakesTooMuch(Callback):
    def on_train_end(self, epoch, logs):
        """There is no epoch."""


class Generates(Callback):
    def on_epoch_end(self, epoch, logs=None):
        yield logs


class Waits(Callback):
    async def on_train_begin(self, logs=None):
        """It is never awaited."""


class OfKeras:
    def set_model(self, model):
        self.model = model

    def on_epoch_end(self):
        """It takes nothing."""


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            TakesTooLittle(),
            r"on_epoch_end takes \(logs\), and is called with \(epoch, logs\)",
        ),
        (TakesTooMuch(), r"TakesTooMuch\.on_train_end takes \(epoch, logs\), and is .* \(logs\)"),
        (Generates(), r"Generates\.on_epoch_end is a generator, so calling it would not run it"),
        (Waits(), r"Waits\.on_train_begin is async"),
        (OfKeras(), r"OfKeras\.on_epoch_end takes \(\)"),
        (LambdaCallback(on_epoch_end=lambda logs: logs), r"LambdaCallback\.on_epoch_end takes"),
        (
            LambdaCallback(close=lambda error: error),
            r"close takes \(error\), and is called",
        ),
    ],
)
def test_a_hook_that_cannot_be_called_is_an_error_before_the_first_batch(callback, message):
    with pytest.raises(ConfigurationError, match=message):
        begin(callback)


def test_hooks_may_name_their_arguments_as_they_like_and_take_more():
    class Free(Callback):
        def on_epoch_end(self, number, values, extra=None, *more, **named):
            """Enough."""

        def on_train_batch_end(self, *anything):
            """Enough."""

    assert begin(Free(), LambdaCallback(on_train_begin=print))


def test_a_misspelt_hook_of_a_base_class_of_ones_own_is_named_too():
    class Base(Callback):
        def on_epoch_ends(self, epoch, logs=None):
            """Misspelt."""

    class Derived(Base):
        pass

    with pytest.warns(ConfigurationWarning, match="Derived.on_epoch_ends is no hook"):
        assert begin(Derived())


def test_names_that_a_callback_adds_are_no_single_text():
    class Adder(Callback):
        adds = "f1"

    with pytest.raises(ConfigurationError, match=r"write adds = \('f1',\)"):
        begin(Adder())


def test_paths_that_a_callback_writes_may_be_texts(tmp_path):
    class Writer(Callback):
        def writes(self):
            return [str(tmp_path / "log.csv")]

    with pytest.raises(ConfigurationError, match="Writer and CSVLogger both write"):
        begin(Writer(), CSVLogger(tmp_path / "log.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metrics": {"acc": "maximum"}},
            r"direction of metrics\['acc'\] 'maximum'.*'max'",
        ),
        ({"metrics": ["acc"]}, "metrics must be a dict of names"),
        ({"stateful": [object()]}, "stateful must be a dict of objects by names"),
        ({"steps_per_epoch": 2.5}, "steps_per_epoch must be a whole number"),
        ({"max_time": True}, "max_time must be a time"),
        ({"max_time": [1]}, "max_time must be a time"),
    ],
)
def test_an_impossible_argument_of_a_run_is_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        begin(**options)
