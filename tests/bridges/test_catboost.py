"""What is particular to CatBoost."""

import contextlib
import copy
import pickle
import signal

import catboost
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from callboard import Callback, ConfigurationError, MetricNotFoundError, UnsupportedError, callbacks
from callboard._core.checks import ConfigurationWarning
from callboard.bridges.catboost import Callbacks

pytestmark = [
    pytest.mark.xdist_group("loop catboost"),
    pytest.mark.filterwarnings("ignore:Failed to import numba", "ignore:Can.t optimze method"),
]

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(400, 4))
Y = (X[:, 0] + 2 * _RNG.normal(size=400) > 0).astype(int)
CLASSES = _RNG.integers(0, 3, 400)


def classifier(**options):
    settings = {"iterations": 60, "learning_rate": 0.5, "verbose": False, "thread_count": 1}
    return catboost.CatBoostClassifier(**(settings | options), allow_writing_files=False)


def fit(used, model=None, y=Y, validation=True, block=True, **options):
    model = model or classifier()
    bridge = used if isinstance(used, Callbacks) else Callbacks(used)
    held_out = (X[200:], y[200:]) if validation is True else validation or None
    with bridge.attach(model) if block else contextlib.nullcontext():
        model.fit(X[:200], y[:200], eval_set=held_out, callbacks=[bridge], **options)
    return model, bridge.run


def best_round():
    """Return the index of the round with the lowest loss of the validation, of 60."""
    return int(np.argmin(fit([])[1].history.history["val_loss"]))


@pytest.mark.parametrize(
    ("options", "validation", "names"),
    [
        ({}, True, {"loss", "val_loss"}),
        ({}, None, {"loss"}),
        ({}, [(X[:50], Y[:50]), (X[50:], Y[50:])], {"loss", "validation_0_loss", "val_loss"}),
        ({"custom_metric": ["AUC", "F1"]}, True, {"loss", "F1", "val_loss", "val_F1", "val_AUC"}),
        ({"loss_function": "MultiClass"}, True, {"loss", "val_loss"}),
        ({"loss_function": "Focal:focal_alpha=0.5;focal_gamma=1"}, True, {"loss", "val_loss"}),
    ],
    ids=["one set", "none", "two sets", "several metrics", "classes", "with parameters"],
)
def test_metrics_are_named_by_their_place(options, validation, names):
    _, run = fit([], classifier(iterations=3, **options), validation=validation)
    assert set(run.history.history) == names


@pytest.mark.parametrize(
    ("metric", "best"),
    [("Kappa", max), ("MultiClass", min), ("AUC:type=Mu", max), ("TotalF1", max)],
)
def test_directions_of_metrics_are_those_that_catboost_knows(metric, best):
    stopping = callbacks.EarlyStopping(f"validation-{metric}", patience=99)
    model = classifier(iterations=9, loss_function="MultiClass", eval_metric=metric)
    fit([stopping], model, CLASSES)
    assert stopping.best == pytest.approx(best(model.get_evals_result()["validation"][metric]))


class Wins:
    """A metric written in Python, of which a higher value is better."""

    def is_max_optimal(self):
        return True

    def get_final_error(self, error, weight):
        return error / weight

    def evaluate(self, approxes, target, weight):
        return float(sum((a > 0) == t for a, t in zip(approxes[0], target, strict=True))), len(
            target
        )


def test_the_direction_of_a_metric_written_in_python_is_asked_of_it():
    stopping = callbacks.EarlyStopping("val_Wins", patience=99)
    model = classifier(iterations=9, eval_metric=Wins())
    _, run = fit([stopping], model)
    values = run.history.history["val_Wins"]
    assert stopping.best == max(values) > min(values)


def test_rounds_that_are_not_evaluated_have_no_metrics_and_do_not_count():
    stopping = callbacks.EarlyStopping("val_loss", mode="max", patience=2)  # improves never
    _, run = fit([stopping], classifier(learning_rate=0.1), metric_period=3)
    values = run.history.history["val_loss"]
    assert run.history.epoch == list(range(7))
    assert [i for i, value in enumerate(values) if not np.isnan(value)] == [0, 3, 6]


@pytest.mark.parametrize(
    ("validation", "monitor", "message"),
    [
        (None, "val_loss", r"no validation data was given; pass eval_set=\(x, y\) to fit"),
        (True, "val_losss", "Did you mean 'val_loss'"),
    ],
    ids=["no validation", "typo"],
)
def test_a_metric_that_is_missing_is_an_error_that_says_what_to_pass(validation, monitor, message):
    with pytest.raises(MetricNotFoundError, match=message):
        fit([callbacks.EarlyStopping(monitor, mode="min")], validation=validation)


class ActsByBatches(Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise AssertionError


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (ActsByBatches(), r"ActsByBatches acts by batches \(on_train_batch_end\)"),
        (callbacks.ReduceLROnPlateau(), "CatBoost's learning rate cannot be changed"),
        (callbacks.LearningRateScheduler(lambda _: 0.1), "learning rate cannot be changed"),
        (callbacks.ModelCheckpoint("a.cbm"), r"cannot be saved while .* fit\(save_snapshot=True\)"),
        (callbacks.ModelCheckpoint("folder"), "cannot be saved while it trains"),
        (callbacks.BackupAndRestore("folder"), "BackupAndRestore saves runs"),
        (callbacks.SwapEMAWeights(momentum=0.9), "CatBoost shows no updates of weights"),
        (callbacks.TensorBoard("logs", histogram_freq=1), "no layers to draw"),
    ],
    ids=["own", "plateau", "schedule", "file", "folder", "backup", "averages", "histograms"],
)
def test_what_catboost_lacks_is_an_error_before_the_first_round(recorder, used, message):
    heard = recorder(only=["on_epoch_begin"])
    with (
        pytest.raises(UnsupportedError, match=message),
        Callbacks([used, heard]).attach(classifier()),
    ):
        raise AssertionError
    assert heard.lines == []


@pytest.mark.parametrize(
    "given", [3, catboost.CatBoostClassifier, None], ids=["3", "class", "None"]
)
def test_what_is_attached_has_to_be_a_model(given):
    with pytest.raises(ConfigurationError, match="takes the model that fit is called of"):
        Callbacks([]).attach(given)


def test_another_model_than_the_one_that_was_trained_is_named():
    stopping = callbacks.EarlyStopping("loss", restore_best_weights=True)
    model, other = classifier(iterations=3), classifier(iterations=3)
    with (
        pytest.raises(ConfigurationError, match="another model than the one that was trained"),
        Callbacks([stopping]).attach(other) as bridge,
    ):
        model.fit(X, Y, callbacks=[bridge])


@pytest.mark.parametrize("begins_with", [0, 5], ids=["from nothing", "init_model"])
@pytest.mark.parametrize("keeps_best", [None, False], ids=["use_best_model", "all trees"])
@pytest.mark.parametrize("patience", [3, 99], ids=["stopped", "to the end"])
def test_the_best_weights_come_back_exactly(
    tmp_path, monkeypatch, begins_with, keeps_best, patience
):
    monkeypatch.chdir(tmp_path)  # where CatBoost writes what it evaluates
    options = {} if keeps_best is None else {"use_best_model": keeps_best}
    before = {"init_model": fit([], classifier(iterations=5))[0]} if begins_with else {}
    start = before["init_model"].tree_count_ if before else 0
    stopping = callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    model, run = fit([stopping], classifier(**options), **before)
    best = stopping.best_epoch
    assert model.tree_count_ == start + best + 1
    assert len(run.history.epoch) == min(60, best + 1 + patience)
    held_out = catboost.Pool(X[200:], Y[200:])
    value = model.eval_metrics(held_out, ["Logloss"])["Logloss"][-1]
    assert value == pytest.approx(stopping.best)


def test_best_weights_that_catboost_has_cut_off_are_warned_of():
    stopping = callbacks.EarlyStopping("loss", patience=99, restore_best_weights=True)
    with pytest.warns(ConfigurationWarning, match="of round 60, could not .* use_best_model=False"):
        model, _ = fit([stopping])
    assert model.tree_count_ == best_round() + 1


def test_beside_catboosts_early_stopping_the_first_to_stop_wins():
    best = best_round()
    for ours, theirs in ((2, 6), (6, 2)):
        stopping = callbacks.EarlyStopping(patience=ours, restore_best_weights=True)
        model, run = fit([stopping], early_stopping_rounds=theirs)
        assert model.tree_count_ == best + 1
        assert bool(run.stop_reason) == (ours < theirs)
        assert run.history.epoch[-1] == run.progress.epoch == best + 2
        assert run.journal[-1].epoch == best + 2


def test_without_the_block_rounds_are_heard_of_and_trainings_told_apart(recorder):
    heard = recorder(only=["on_train_begin", "on_train_end"])
    bridge = Callbacks([heard, callbacks.EarlyStopping("loss", patience=3)])
    fit(bridge, classifier(), block=False, early_stopping_rounds=2)
    assert bridge.history.epoch[-1] < 59
    fit(bridge, classifier(iterations=4), block=False)
    assert bridge.history.epoch == [0, 1, 2, 3]
    assert [line.split()[0] for line in heard.lines[:3]] == [
        "on_train_begin",
        "on_train_end",
        "on_train_begin",
    ]


def test_what_needs_the_block_says_so_before_the_second_round():
    stopping = callbacks.EarlyStopping(restore_best_weights=True)
    with pytest.raises(
        catboost.CatBoostError, match=r"in a block `with Callbacks\(\[...\]\).attach"
    ):
        fit([stopping], block=False)


@pytest.mark.parametrize("error", [ArithmeticError("mine"), KeyboardInterrupt()], ids=repr)
def test_errors_of_callbacks_keep_their_type(recorder, error):
    class Broken(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise error

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    with pytest.raises(type(error)) as caught:
        fit([Broken(), heard])
    assert caught.value is error
    assert "raised in Broken.on_epoch_end" in error.__notes__
    assert heard.lines == [f"on_exception {type(error).__name__}", "close"]


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_signals_in_the_middle_are_heard_of(recorder, number, error):
    class Signalled(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                signal.raise_signal(number)

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    with pytest.raises(error):
        fit([Signalled(), heard])
    assert heard.lines == [f"on_exception {error.__name__}", "close"]


def test_training_goes_on_from_a_model():
    first, _ = fit([], classifier(iterations=5), validation=None)
    model, run = fit([], classifier(iterations=4), init_model=first, validation=None)
    assert (model.tree_count_, run.history.epoch) == (9, [0, 1, 2, 3])


def test_training_that_goes_on_from_a_snapshot_goes_on_counting(tmp_path):
    class Broken(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise ArithmeticError

    def model():
        return catboost.CatBoostClassifier(
            iterations=9, verbose=False, thread_count=1, train_dir=tmp_path, use_best_model=False
        )

    keeps = {"save_snapshot": True, "snapshot_interval": 0}
    with pytest.raises(ArithmeticError):
        fit([Broken()], model(), **keeps)
    stopping = callbacks.EarlyStopping("loss", patience=99, restore_best_weights=True)
    trained, run = fit([stopping], model(), **keeps)
    assert run.history.epoch == list(range(run.history.epoch[0], 9))
    assert 0 < run.history.epoch[0] <= 4
    assert trained.tree_count_ == stopping.best_epoch + 1 == 9


def test_a_block_that_hears_of_no_round_says_what_to_pass():
    model = classifier(iterations=3)
    with (
        pytest.warns(ConfigurationWarning, match=r"no round was heard .*\.fit\(\.\.\., callbacks="),
        Callbacks([]).attach(model),
    ):
        model.fit(X, Y)


@pytest.mark.parametrize("twice", ["in the list", "one after the other"])
def test_a_block_is_for_one_training(twice):
    model, bridge = classifier(iterations=3), Callbacks([])

    def train():
        with bridge.attach(model):
            model.fit(X, Y, callbacks=[bridge] * (2 if twice == "in the list" else 1))
            model.fit(X, Y, callbacks=[bridge])

    with pytest.raises(ConfigurationError, match="heard of one round twice; pass them once"):
        train()


def test_searches_and_pipelines_train_one_model_after_the_other():
    bridge = Callbacks([callbacks.EarlyStopping("loss", min_delta=10, patience=1)])
    search = GridSearchCV(classifier(), {"depth": [1, 2]}, cv=2, error_score="raise")
    search.fit(X, Y, callbacks=[bridge])
    assert search.best_estimator_.tree_count_ == 2
    pipeline = make_pipeline(StandardScaler(), classifier())
    pipeline.fit(X, Y, catboostclassifier__callbacks=[bridge])
    assert pipeline[-1].tree_count_ == 2
    stored = pickle.loads(pickle.dumps(pipeline))
    assert (stored.predict(X) == pipeline.predict(X)).all()


def test_copies_take_part_before_and_after_a_training():
    bridge = Callbacks([callbacks.EarlyStopping(patience=2)])
    fit(bridge)
    for each in (copy.deepcopy(bridge), pickle.loads(pickle.dumps(bridge))):
        model, run = fit(each, clone(classifier()))
        assert model.tree_count_ == best_round() + 1
        assert run is not bridge.run
