"""What is particular to scikit-learn's callback protocol."""

import copy
import pickle
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from callboard import (
    Callback,
    ConfigurationError,
    MetricNotFoundError,
    RunStateError,
    UnsupportedError,
    callbacks,
)
from callboard.bridges.sklearn import Callbacks, EstimatorTrainable

pytestmark = [
    pytest.mark.xdist_group("loop sklearn"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
]

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(200, 4))
Y = (X[:, 0] + _RNG.normal(size=200) > 0).astype(int)
CLASSES = np.array(["a", "b", "c"])[_RNG.integers(0, 3, 200)]
HELD_OUT = (X[150:], Y[150:])


def fit(used, estimator=None, y=Y, **options):
    bridge = Callbacks(used, **options)
    estimator = LogisticRegression(C=1000) if estimator is None else estimator
    return estimator.set_callbacks(bridge).fit(X, y), bridge.run


def test_iterations_are_epochs_with_metrics_of_both_sets():
    _, run = fit([], validation_data=HELD_OUT)
    assert set(run.history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert run.history.epoch == list(range(len(run.history.history["loss"])))
    assert run.epoch_count == 100
    _, run = fit([], y=CLASSES)
    assert set(run.history.history) == {"loss", "accuracy"}


def test_metrics_are_functions_or_scorers_and_of_scorers_higher_is_better():
    metrics = {"gain": get_scorer("neg_log_loss"), "weights": lambda e, x, y: np.abs(e.coef_).sum()}
    stopping = callbacks.EarlyStopping("gain", patience=99)
    _, run = fit([stopping], metrics=metrics)
    values = run.history.history["gain"]
    assert stopping.best == max(values) > values[0]
    with pytest.raises(ConfigurationError, match="cannot tell whether a lower or a higher"):
        fit([callbacks.EarlyStopping("weights")], metrics=metrics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": {"loss": 3}}, r"metrics must be a dict of functions .*\.get_scorer"),
        ({"metrics": ["accuracy"]}, "metrics must be a dict of functions"),
        ({"metrics": {}}, "metrics must be a dict of functions"),
        ({"validation_data": X}, r"validation_data must be \(X, y\); got a ndarray"),
        ({"validation_data": (X, Y, Y)}, r"validation_data must be \(X, y\); got a tuple"),
        ({"validation_data": (X, Y[:3])}, "inconsistent numbers of samples"),
    ],
    ids=["number", "list", "empty", "array", "three", "lengths"],
)
def test_wrong_arguments_are_errors_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        Callbacks([], **options)


@pytest.mark.parametrize("value", [np.ones(2), None, "high"], ids=["array", "None", "text"])
def test_a_metric_that_returns_no_number_is_named(recorder, value):
    heard = recorder(only=["on_epoch_end", "close"])
    with pytest.raises(ConfigurationError, match=r"returns a number; metrics\['gain'\] returned"):
        fit([heard], metrics={"gain": lambda e, x, y: value})
    assert heard.lines == ["close"]


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("val_loss", r"no validation data was given; pass Callbacks\(validation_data=\(X, y\)\)"),
        ("los", "Did you mean 'loss'"),
    ],
)
def test_a_monitor_that_cannot_come_up_is_an_error_before_the_first_iteration(
    recorder, monitor, message
):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(MetricNotFoundError, match=message):
        fit([callbacks.EarlyStopping(monitor, mode="min"), heard])
    assert heard.lines == []


@pytest.mark.parametrize(
    "estimator",
    [
        StandardScaler(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1, 2]}),
    ],
    ids=["leaf", "pipeline", "search"],
)
def test_estimators_that_report_no_iterations_are_errors_that_say_where_to_set_them(estimator):
    bridge = Callbacks([])
    with pytest.raises(UnsupportedError, match=r"reports no iterations .* on the estimator inside"):
        estimator.set_callbacks(bridge).fit(X, Y)
    fit_again, run = LogisticRegression().set_callbacks(bridge).fit(X, Y), bridge.run
    assert fit_again.n_iter_ == len(run.history.epoch)


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (callbacks.ReduceLROnPlateau("loss"), "LogisticRegression has no learning rate"),
        (callbacks.BackupAndRestore("folder"), r"saves runs .* set warm_start=True"),
        (callbacks.SwapEMAWeights(momentum=0.9), "shows no updates of weights"),
        (callbacks.TerminateOnNaN(gradients=True), "shows no gradients"),
    ],
    ids=["rate", "backup", "averages", "gradients"],
)
def test_what_the_protocol_lacks_is_an_error_before_the_first_iteration(recorder, used, message):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match=message):
        fit([used, heard])
    assert heard.lines == []


def test_after_a_stop_the_estimator_has_the_weights_of_that_moment():
    weights = []

    class Watch(Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(self.model.coef_.copy())

    stopping = callbacks.EarlyStopping("loss", min_delta=0.004, patience=1)
    estimator, run = fit([Watch(), stopping])
    assert len(weights) == len(run.history.epoch) < LogisticRegression(C=1000).fit(X, Y).n_iter_
    assert (estimator.coef_ == weights[-1]).all()
    weights.clear()
    stopping = callbacks.EarlyStopping(
        "loss", min_delta=0.004, patience=1, restore_best_weights=True
    )
    estimator, _ = fit([Watch(), stopping])
    assert (estimator.coef_ == weights[stopping.best_epoch]).all()
    assert stopping.best_epoch == len(weights) - 2


def test_the_best_weights_are_saved_and_load_into_a_fresh_estimator(tmp_path):
    path = tmp_path / "best.safetensors"
    saved = [callbacks.ModelCheckpoint(path, "loss"), callbacks.ModelCheckpoint(tmp_path / "runs")]
    estimator, _ = fit(saved, y=CLASSES)
    fresh = LogisticRegression(max_iter=1).fit(X, CLASSES)
    EstimatorTrainable(fresh).load(path)
    assert (fresh.predict_proba(X) == estimator.predict_proba(X)).all()
    assert len(list((tmp_path / "runs").glob("step-*"))) == 1


def test_inside_other_estimators_each_fit_is_a_run(recorder):
    heard = recorder(only=["on_train_begin", "on_train_end", "close"])
    inner = LogisticRegression().set_callbacks(Callbacks([heard]))
    make_pipeline(StandardScaler(), inner).fit(X, Y)
    assert len(heard.lines) == 3
    for estimator, fits in (
        (OneVsRestClassifier(inner), 3),
        (GridSearchCV(inner, {"C": [1, 2]}, cv=2), 5),
    ):
        heard.lines.clear()
        estimator.fit(X, CLASSES)
        assert [line.split()[0] for line in heard.lines] == (
            ["on_train_begin", "on_train_end", "close"] * fits
        )


def test_in_processes_each_fit_has_a_copy():
    bridge = Callbacks([callbacks.EarlyStopping("loss", min_delta=9, patience=1)])
    inner = LogisticRegression(C=1000).set_callbacks(bridge)
    scores = cross_val_score(inner, X, Y, n_jobs=2, cv=2, error_score="raise")
    assert len(scores) == 2
    assert bridge._run is None


def test_a_second_fit_at_the_same_time_is_an_error_and_leaves_the_first_alone():
    entered, leave, failures = threading.Event(), threading.Event(), []

    class Wait(Callback):
        def on_epoch_end(self, epoch, logs=None):
            entered.set()
            assert leave.wait(20)

    bridge = Callbacks([Wait()])

    def second():
        assert entered.wait(20)
        try:
            LogisticRegression().set_callbacks(bridge).fit(X, Y)
        except RunStateError as error:
            failures.append(str(error))
        leave.set()

    thread = threading.Thread(target=second)
    thread.start()
    estimator = LogisticRegression().set_callbacks(bridge).fit(X, Y)
    thread.join()
    assert failures == [
        "these callbacks take part in another fit that goes on; give each a copy of its own"
    ]
    assert len(bridge.history.epoch) == estimator.n_iter_


def test_copies_take_part_before_and_after_a_fit():
    bridge = Callbacks([callbacks.EarlyStopping("loss", min_delta=0.004, patience=1)])
    estimator = LogisticRegression(C=1000).set_callbacks(bridge)
    for each in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        each.fit(X, Y)
        again = pickle.loads(pickle.dumps(each))
        assert (again.predict_proba(X) == each.predict_proba(X)).all()
        assert bridge._run is None
    clone(estimator).fit(X, Y)  # scikit-learn's clones share callbacks
    assert bridge.run.stop_reason


def test_warm_starts_are_runs_of_their_own():
    bridge = Callbacks([])
    estimator = LogisticRegression(C=1000, warm_start=True, max_iter=2).set_callbacks(bridge)
    estimator.fit(X, Y)
    first = bridge.history.history["loss"]
    estimator.fit(X, Y)
    assert len(first) == 2
    assert bridge.history.epoch == [0, 1]
    assert bridge.history.history["loss"][0] < first[-1]
