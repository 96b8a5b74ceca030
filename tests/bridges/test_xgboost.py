"""What is particular to XGBoost."""

import contextlib
import copy
import pickle
import signal

import numpy as np
import pytest
import xgboost as xgb
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
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
from callboard._core.checks import ConfigurationWarning
from callboard.bridges.xgboost import Callbacks
from callboard.checkpoint import CheckpointStore

pytestmark = pytest.mark.xdist_group("loop xgboost")

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(200, 4))
Y = (X[:, 0] + _RNG.normal(size=200) > 0).astype(int)
CLASSES = _RNG.integers(0, 3, 200)
TRAIN, VALIDATION = xgb.DMatrix(X[:120], Y[:120]), xgb.DMatrix(X[120:], Y[120:])
SETS = [(TRAIN, "train"), (VALIDATION, "validation")]
BINARY = {"objective": "binary:logistic", "nthread": 1}


def train(used, settings=None, rounds=12, evals=SETS, beside=(), **options):
    bridge = Callbacks(used)
    booster = xgb.train(
        BINARY | (settings or {}),
        TRAIN,
        rounds,
        evals=evals,
        callbacks=[bridge, *beside],
        verbose_eval=False,
        **options,
    )
    return booster, bridge.run


def best_round(settings=None):
    """Return the index of the round with the lowest loss of the validation, of 50."""
    return int(np.argmin(train([], settings, 50)[1].history.history["val_loss"]))


@pytest.mark.parametrize(
    ("settings", "evals", "names"),
    [
        ({"eval_metric": ["logloss", "auc"]}, SETS, {"loss", "auc", "val_loss", "val_auc"}),
        ({"eval_metric": ["auc", "logloss"]}, SETS, {"auc", "logloss", "val_auc", "val_logloss"}),
        ({"eval_metric": "error@0.4"}, SETS, {"loss", "val_loss"}),
        ({}, [*SETS, (VALIDATION, "test")], {"loss", "validation_loss", "val_loss"}),
        ({}, [(VALIDATION, "test")], {"val_loss"}),
        ({}, SETS[::-1], {"loss", "val_loss"}),
        ({}, [], set()),
    ],
    ids=[
        "loss first",
        "auc first",
        "with a threshold",
        "three sets",
        "one",
        "turned round",
        "none",
    ],
)
def test_metrics_are_named_by_their_place(settings, evals, names):
    _, run = train([], settings, 2, evals)
    assert set(run.history.history) == names


@pytest.mark.parametrize(
    ("objective", "metric", "best"),
    [
        ("multi:softprob", "merror", "min"),
        ("rank:ndcg", "ndcg@3", "max"),
        ("rank:map", "map@5-", "max"),
    ],
)
def test_directions_of_metrics_of_many_kinds_are_known(objective, metric, best):
    data = xgb.DMatrix(X, CLASSES > 0 if "map" in objective else CLASSES)
    if objective.startswith("rank"):
        data.set_group([100, 100])
    settings = {"objective": objective, "eval_metric": metric, "nthread": 1}
    settings |= {"num_class": 3} if "multi" in objective else {}
    stopping = callbacks.EarlyStopping(f"test-{metric}", patience=9)
    bridge = Callbacks([stopping])
    log = {}
    xgb.train(settings, data, 4, evals=[(data, "test")], callbacks=[bridge], evals_result=log,
              verbose_eval=False)  # fmt: skip
    values = log["test"][metric]
    assert stopping.best == pytest.approx(min(values) if best == "min" else max(values))


@pytest.mark.parametrize(
    ("evals", "monitor", "message"),
    [
        ([], "loss", r"Logged: nothing. nothing is evaluated; pass evals=\[\(train"),
        (SETS[:1], "val_loss", r"no validation data was given; pass evals=\[\(train"),
        (SETS, "val_losss", "Did you mean 'val_loss'"),
    ],
    ids=["nothing evaluated", "no validation", "typo"],
)
def test_a_metric_that_is_missing_is_an_error_that_says_what_to_pass(evals, monitor, message):
    with pytest.raises(MetricNotFoundError, match=message):
        train([callbacks.EarlyStopping(monitor, mode="min")], evals=evals)


class ActsByBatches(Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise AssertionError


class ActsByBoth(ActsByBatches):
    def on_epoch_end(self, epoch, logs=None):
        self.heard = epoch


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (ActsByBatches(), r"ActsByBatches acts by batches \(on_train_batch_end\)"),
        (callbacks.ModelCheckpoint("a.ubj", save_freq=9), "this ModelCheckpoint acts by batches"),
        (callbacks.SwapEMAWeights(momentum=0.9), "XGBoost shows no updates of weights"),
        (callbacks.TerminateOnNaN(gradients=True), "XGBoost shows no gradients"),
        (
            callbacks.TensorBoard("logs", histogram_freq=1),
            "no layers to draw; leave histogram_freq",
        ),
    ],
    ids=["own", "checkpoint", "averages", "gradients", "histograms"],
)
def test_what_boosting_lacks_is_an_error_before_the_first_round(recorder, used, message):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match=message):
        train([used, heard])
    assert heard.lines == []


def test_what_acts_by_epochs_too_is_warned_of():
    both = ActsByBoth()
    with pytest.warns(ConfigurationWarning, match="ActsByBoth.on_train_batch_end is never called"):
        train([both], rounds=3)
    assert both.heard == 2


@pytest.mark.parametrize("suffix", [".h5", ".pt", ".safetensors"])
def test_other_formats_are_errors_that_name_those_there_are(suffix):
    with pytest.raises(ConfigurationError, match=r"Allowed: \.json, \.ubj"):
        train([callbacks.ModelCheckpoint(f"model{suffix}")])


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_rates_are_read_set_and_used(booster):
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.3 / (epoch + 1))
    model, run = train([schedule], {"booster": booster}, 3)
    assert run.history.history["learning_rate"] == pytest.approx([0.3, 0.15, 0.1])
    expected = xgb.train(
        BINARY | {"booster": booster, "learning_rate": 0.3},
        TRAIN,
        3,
        callbacks=[_Rates([0.15, 0.1, 0.1])],
    )
    assert (model.predict(VALIDATION) == expected.predict(VALIDATION)).all()


class _Rates(xgb.callback.TrainingCallback):
    """Sets the rates as XGBoost's own scheduler does."""

    def __init__(self, rates):
        self.rates = rates

    def after_iteration(self, model, epoch, evals_log):
        model.set_param("learning_rate", self.rates[epoch])
        return False


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_the_best_weights_come_back_exactly(booster):
    settings = {"booster": booster} | ({"rate_drop": 0.5, "seed": 1} if booster == "dart" else {})
    best = best_round(settings)
    stopping = callbacks.EarlyStopping(patience=50, restore_best_weights=True)
    model, run = train([stopping], settings, 50)
    expected, _ = train([], settings, best + 1)
    assert stopping.best_epoch == best < 49
    assert model.best_iteration == best
    assert (model.predict(VALIDATION) == expected.predict(VALIDATION)).all()
    assert run.history.epoch[-1] == 49


@pytest.mark.parametrize("saves", [False, True], ids=["last model", "save_best"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "XGBoost's first"])
def test_beside_xgboosts_early_stopping_the_first_to_ask_ends(saves, ours_first):
    best = best_round()
    for ours, theirs, last in ((2, 6, best + 2), (6, 2, best + 2)):
        stopping = callbacks.EarlyStopping(patience=ours, restore_best_weights=True)
        own, bridge = (
            xgb.callback.EarlyStopping(rounds=theirs, save_best=saves),
            Callbacks([stopping]),
        )
        both = [bridge, own] if ours_first else [own, bridge]
        model = xgb.train(BINARY, TRAIN, 50, evals=SETS, callbacks=both, verbose_eval=False)
        assert bridge.history.epoch[-1] == last
        assert bool(bridge.run.stop_reason) == (ours < theirs)
        assert (model.num_boosted_rounds(), model.best_iteration) == (best + 1, best)


class Ends(xgb.callback.TrainingCallback):
    """Ends training before or after a round."""

    def __init__(self, before=None, after=None):
        self.before, self.after = before, after

    def before_iteration(self, model, epoch, evals_log):
        return epoch == self.before

    def after_iteration(self, model, epoch, evals_log):
        return epoch == self.after


@pytest.mark.parametrize("evals", [SETS, []], ids=["evaluated", "not evaluated"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "XGBoost's first"])
@pytest.mark.parametrize("ends", [{"before": 3}, {"after": 2}], ids=["before", "after"])
def test_the_rounds_are_those_that_took_place_if_another_callback_ends_them(
    ends, ours_first, evals
):
    bridge = Callbacks([])
    both = [bridge, Ends(**ends)] if ours_first else [Ends(**ends), bridge]
    model = xgb.train(BINARY, TRAIN, 9, evals=evals, callbacks=both, verbose_eval=False)
    assert bridge.history.epoch == [0, 1, 2]
    assert model.num_boosted_rounds() == 3
    assert bridge.run.progress.epoch == 2


def test_estimators_predict_by_the_round_that_was_restored():
    stopping = callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    model = xgb.XGBClassifier(
        n_estimators=50, n_jobs=1, early_stopping_rounds=6, eval_metric=["logloss", "auc"],
        callbacks=[Callbacks([stopping])],
    )  # fmt: skip
    model.fit(X[:120], Y[:120], eval_set=[(X[120:], Y[120:])], verbose=False)
    plain = xgb.XGBClassifier(n_estimators=stopping.best_epoch + 1, n_jobs=1).fit(X[:120], Y[:120])
    assert model.best_iteration == stopping.best_epoch
    assert (model.predict_proba(X) == plain.predict_proba(X)).all()


@pytest.mark.parametrize("suffix", [".ubj", ".json"])
def test_the_best_model_is_saved_whole_and_loads(tmp_path, suffix):
    path = tmp_path / f"best{suffix}"
    train([callbacks.ModelCheckpoint(path, save_best_only=True)], rounds=50)
    model = xgb.Booster(model_file=path)
    assert model.num_boosted_rounds() == best_round() + 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_save_that_fails_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "model.ubj"
    train([callbacks.ModelCheckpoint(path)], rounds=2)
    before = path.read_bytes()
    monkeypatch.setattr(xgb.Booster, "save_raw", _fails)
    with pytest.raises(OSError, match="disk"):
        train([callbacks.ModelCheckpoint(path)], rounds=3)
    assert path.read_bytes() == before


def _fails(*arguments, **options):
    raise OSError("disk")


def test_training_goes_on_from_a_saved_model(tmp_path):
    path = tmp_path / "model.ubj"
    straight, _ = train([], rounds=8)
    train([callbacks.ModelCheckpoint(path)], rounds=5)
    model, run = train([], rounds=3, xgb_model=path)
    assert run.history.epoch == [0, 1, 2]
    assert (model.predict(VALIDATION) == straight.predict(VALIDATION)).all()


def test_cross_validation_shows_means_and_takes_rates_and_stops():
    bridge = Callbacks([callbacks.EarlyStopping(patience=1)])
    table = xgb.cv(BINARY, TRAIN, 50, nfold=3, callbacks=[bridge], as_pandas=False)
    means = table["test-logloss-mean"]
    assert bridge.history.history["val_loss"] == means
    assert len(means) < 50
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate)
    bridge = Callbacks([schedule])
    table = xgb.cv(BINARY, TRAIN, 4, nfold=3, callbacks=[bridge], as_pandas=False)
    assert bridge.history.history["learning_rate"] == [0.3, 0, 0, 0]
    assert len(set(table["test-logloss-mean"])) == 1


@pytest.mark.parametrize(
    "used",
    [
        callbacks.EarlyStopping(restore_best_weights=True),
        callbacks.ModelCheckpoint("a.ubj"),
        callbacks.ModelCheckpoint("folder"),
    ],
    ids=["weights", "checkpoint", "folder"],
)
def test_cross_validation_has_no_model(recorder, used):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match="trains a model for every fold"):
        xgb.cv(BINARY, TRAIN, 3, callbacks=[Callbacks([used, heard])])
    assert heard.lines == []


def test_a_line_a_round_says_of_how_many_if_that_was_told(capsys):
    for epochs in (0, 2):
        bridge = Callbacks([], verbose=2, epochs=epochs)
        xgb.train(BINARY, TRAIN, 2, evals=SETS, callbacks=[bridge], verbose_eval=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == [
        "Epoch 1",
        "Epoch 2",
        "Epoch 1/2",
        "Epoch 2/2",
    ]


def test_a_pipeline_trains_and_is_stored_with_used_callbacks():
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model = xgb.XGBClassifier(n_estimators=50, n_jobs=1, callbacks=[Callbacks([stopping])])
    pipeline = make_pipeline(StandardScaler(), model)
    held_out = {"eval_set": [(X[120:], Y[120:])], "verbose": False}
    pipeline.fit(
        X[:120], Y[:120], **{f"xgbclassifier__{name}": value for name, value in held_out.items()}
    )
    assert model.best_iteration == stopping.best_epoch < 47
    stored = pickle.loads(pickle.dumps(pipeline))
    assert (stored.predict_proba(X) == pipeline.predict_proba(X)).all()
    again = clone(pipeline)[-1].fit(X[:120], Y[:120], **held_out)
    assert again.callbacks[0] is not model.callbacks[0]
    assert again.callbacks[0].history.epoch[-1] == again.best_iteration + 2


def test_a_search_in_processes_trains_each_model_with_callbacks_of_its_own():
    bridge = Callbacks([callbacks.EarlyStopping(min_delta=10, patience=1)])
    model = xgb.XGBClassifier(n_estimators=9, n_jobs=1, callbacks=[bridge])
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, n_jobs=2, error_score="raise")
    search.fit(X, Y, eval_set=[(X, Y)], verbose=False)
    assert search.best_estimator_.get_booster().num_boosted_rounds() == 2
    assert bridge._run is None
    model.set_params(callbacks=[Callbacks([callbacks.EarlyStopping("val_auc")])])
    with pytest.raises(MetricNotFoundError, match=r"'val_auc' was not logged.*Logged: val_loss"):
        search.fit(X, Y, eval_set=[(X, Y)], verbose=False)


def test_copies_take_part_before_and_after_a_training():
    bridge = Callbacks([callbacks.EarlyStopping(patience=2)])
    model = xgb.XGBClassifier(n_estimators=30, n_jobs=1, callbacks=[bridge])
    for each in (clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        each.fit(X[:120], Y[:120], eval_set=[(X[120:], Y[120:])], verbose=False)
        (own,) = each.callbacks
        assert own is not bridge
        assert 2 < len(own.history.epoch) < 30
        assert pickle.loads(pickle.dumps(each)).predict(X).tolist() == each.predict(X).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [(3, "has 3, which is no callback"), ([xgb.callback.EarlyStopping(rounds=2)], "no callback")],
    ids=["number", "XGBoost's"],
)
def test_what_is_no_callback_of_ours_is_an_error(given, message):
    with pytest.raises(ConfigurationError, match=message):
        Callbacks(given)


@pytest.mark.parametrize(
    "given", [iter, tuple, lambda used: used[0]], ids=["iterator", "tuple", "one"]
)
def test_callbacks_are_given_in_any_kind_of_list(recorder, given):
    heard = recorder(only=["on_train_begin"])
    bridge = Callbacks(given([heard]))
    for _ in range(2):
        xgb.train(BINARY, TRAIN, 1, callbacks=[bridge])
    assert len(heard.lines) == 2


def test_a_folder_holds_models_that_xgboost_loads(tmp_path):
    model, _ = train([callbacks.ModelCheckpoint(tmp_path / "models")], rounds=3)
    _, state = CheckpointStore(tmp_path / "models").load_newest()
    loaded = xgb.Booster(model_file=bytearray(state["weights"]["model"].tobytes()))
    assert (loaded.predict(VALIDATION) == model.predict(VALIDATION)).all()


@pytest.mark.parametrize("inside", [True, False], ids=["with", "without"])
def test_ctrl_c_in_the_middle_is_heard_of_in_a_block(recorder, tmp_path, inside):
    class Pressed(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                signal.raise_signal(signal.SIGINT)

    heard, log = recorder(only=["on_train_end", "on_exception", "close"]), tmp_path / "log.csv"
    bridge = Callbacks([Pressed(), heard, callbacks.CSVLogger(log)])
    with pytest.raises(KeyboardInterrupt), bridge if inside else contextlib.nullcontext():
        xgb.train(BINARY, TRAIN, 9, evals=SETS, callbacks=[bridge], verbose_eval=False)
    assert heard.lines == ["on_exception KeyboardInterrupt", "close"]
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.parametrize("ends", [True, False], ids=["over before", "goes on"])
def test_another_training_with_the_same_object_meanwhile_ends_the_first(ends):
    class Trains(Callback):
        inner = False

        def on_epoch_end(self, epoch, logs=None):
            if self.inner and epoch == 2 and not ends:
                raise ArithmeticError
            if not self.inner and epoch == 1:
                self.inner = True
                with contextlib.suppress(ArithmeticError):
                    begin(4)

    bridge = Callbacks([Trains()])

    def begin(rounds):
        xgb.train(BINARY, TRAIN, rounds, callbacks=[bridge])

    with pytest.raises(RunStateError, match="another training that began meanwhile; give each"):
        begin(9)
    assert bridge.history.epoch == list(range(4 if ends else 2))
