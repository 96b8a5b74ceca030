"""What is particular to LightGBM."""

import contextlib
import pickle
import signal

import lightgbm as lgb
import numpy as np
import pytest
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
from callboard.bridges.lightgbm import Callbacks
from callboard.bridges.lightgbm_machines import Machines

pytestmark = pytest.mark.xdist_group("loop lightgbm")

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(200, 4))
Y = (X[:, 0] + _RNG.normal(size=200) > 0).astype(int)
CLASSES = _RNG.integers(0, 3, 200)
BINARY = {"objective": "binary", "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5}


def sets():
    train = lgb.Dataset(X[:120], Y[:120], free_raw_data=False)
    return [train, lgb.Dataset(X[120:], Y[120:], reference=train, free_raw_data=False)]


def train(used, settings=None, rounds=12, evaluated=None, beside=(), block=True, **options):
    data, bridge = sets(), Callbacks(used)
    evaluated = data if evaluated is None else [data[i] for i in evaluated]
    with bridge if block else contextlib.nullcontext():
        booster = lgb.train(
            BINARY | (settings or {}),
            data[0],
            rounds,
            evaluated,
            callbacks=[*bridge, *beside],
            **options,
        )
    return booster, bridge.run


def best_round(settings=None):
    """Return the index of the round with the lowest loss of the validation, of 50."""
    return int(np.argmin(train([], settings, 50)[1].history.history["val_loss"]))


@pytest.mark.parametrize(
    ("settings", "evaluated", "names"),
    [
        ({"metric": ["binary_logloss", "auc"]}, None, {"loss", "auc", "val_loss", "val_auc"}),
        ({"metric": ["auc", "l2"]}, None, {"auc", "l2", "val_auc", "val_l2"}),
        ({"metric": "l2"}, None, {"loss", "val_loss"}),
        ({}, [1], {"val_loss"}),
        ({}, [], set()),
    ],
    ids=["loss first", "auc first", "l2", "no training data", "none"],
)
def test_metrics_are_named_by_their_place(settings, evaluated, names):
    _, run = train([], settings, 2, evaluated)
    assert set(run.history.history) == names


@pytest.mark.parametrize(
    ("settings", "metric", "best"),
    [
        ({"objective": "multiclass", "num_class": 3, "metric": "multi_error"}, "multi_error", min),
        ({"objective": "lambdarank", "metric": "ndcg", "eval_at": [3]}, "ndcg@3", max),
        ({"objective": "regression", "metric": "l2"}, "l2", min),
        ({"objective": "huber"}, "huber", min),
        ({"objective": "multiclass", "num_class": 3, "metric": "auc_mu"}, "auc_mu", max),
    ],
)
def test_directions_of_metrics_of_many_kinds_are_known(settings, metric, best):
    data = lgb.Dataset(X, CLASSES, group=[100, 100] if "lambda" in settings["objective"] else None)
    stopping = callbacks.EarlyStopping(f"training-{metric}", patience=9)
    bridge, log = Callbacks([stopping]), {}
    lgb.train(
        {"verbosity": -1, "num_threads": 1} | settings,
        data,
        4,
        [data],
        callbacks=[*bridge, lgb.record_evaluation(log)],
    )
    assert stopping.best == pytest.approx(best(log["training"][metric]))


@pytest.mark.parametrize(
    ("evaluated", "monitor", "message"),
    [
        ([], "loss", r"nothing is evaluated; pass valid_sets=\[train, validation\]"),
        ([0], "val_loss", r"no validation data was given; pass valid_sets="),
        ([0, 1], "val_losss", "Did you mean 'val_loss'"),
    ],
    ids=["nothing evaluated", "no validation", "typo"],
)
def test_a_metric_that_is_missing_is_an_error_that_says_what_to_pass(evaluated, monitor, message):
    with pytest.raises(MetricNotFoundError, match=message):
        train([callbacks.EarlyStopping(monitor, mode="min")], evaluated=evaluated)


class ActsByBatches(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        raise AssertionError


@pytest.mark.parametrize(
    ("used", "settings", "message"),
    [
        (ActsByBatches(), {}, r"ActsByBatches acts by batches \(on_train_batch_begin\)"),
        (callbacks.SwapEMAWeights(momentum=0.9), {}, "LightGBM shows no updates of weights"),
        (callbacks.TensorBoard("logs", histogram_freq=1), {}, "no layers to draw"),
        (
            callbacks.ReduceLROnPlateau(),
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
            "boosting='rf' has no learning rate",
        ),
    ],
    ids=["own", "averages", "histograms", "rate of a forest"],
)
def test_what_boosting_lacks_is_an_error_before_the_first_round(recorder, used, settings, message):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match=message):
        train([used, heard], settings)
    assert heard.lines == []


@pytest.mark.parametrize("monitor", ["loss", "training-binary_logloss", "valid_1-binary_logloss"])
def test_in_several_processes_training_data_is_nothing_to_decide_by(monkeypatch, monitor):
    monkeypatch.setattr(lgb.Booster, "set_network", lambda self, **_: self)
    settings = {"machines": "127.0.0.1:9001,127.0.0.1:9002", "local_listen_port": 9001}
    for used in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        expected = contextlib.nullcontext()
        if monitor != "valid_1-binary_logloss":
            message = f"{used.__name__} goes by '{monitor}', which LightGBM .* monitor .*val_loss"
            expected = pytest.raises(ConfigurationError, match=message)
        with expected:
            train([used(monitor, mode="min", patience=9)], settings, 2)


@pytest.mark.parametrize(
    ("settings", "rank"),
    [
        ({}, 0),
        ({"machines": "127.0.0.1:9001"}, 0),
        ({"workers": ["127.0.0.1:9001", "127.0.0.1:9002"], "local_port": 9002}, 1),
        ({"nodes": "192.0.2.1:12400,127.0.0.1:12400"}, 1),
        ({"machines": "127.0.0.1 9001, 127.0.0.1 9002", "port": "9002", "num_machine": 2}, 1),
        ({"machines": "192.0.2.1:9,192.0.2.2:9"}, 0),
    ],
    ids=["alone", "one", "aliases", "by address", "spaces", "not in the list"],
)
def test_the_first_machine_in_the_list_is_the_first(settings, rank):
    assert Machines.of(settings).rank == rank


def test_a_bridge_that_is_not_unpacked_works_or_says_so():
    message = r"pass callbacks=\[\*callbacks\], with the star"
    with pytest.raises(ConfigurationError, match=message):
        lgb.train(BINARY, sets()[0], 3, callbacks=[Callbacks([])])
    with pytest.raises(ConfigurationError, match=message):
        lgb.LGBMClassifier(verbose=-1).fit(X, Y, callbacks=Callbacks([]))
    bridge = Callbacks([])
    lgb.train(BINARY, sets()[0], 3, callbacks=bridge)
    assert bridge.history.epoch == [0, 1, 2]


@pytest.mark.parametrize("block", [True, False], ids=["with", "without"])
def test_a_bridge_that_is_unpacked_twice_says_so(recorder, block):
    heard = recorder(only=["on_epoch_end", "close"])
    bridge = Callbacks([heard])
    with (
        pytest.raises(ConfigurationError, match="heard of one round twice; pass them once"),
        bridge if block else contextlib.nullcontext(),
    ):
        lgb.train(BINARY, sets()[0], 3, callbacks=[*bridge, *bridge])
    assert heard.lines == ["close"]


def test_training_data_is_known_whatever_it_is_called():
    _, run = train([], rounds=2, valid_names=["mine", "held out"])
    assert set(run.history.history) == {"loss", "val_loss"}
    stopping = callbacks.EarlyStopping("mine-binary_logloss", patience=99)
    _, run = train([stopping], rounds=3, valid_names=["mine", "held out"])
    assert stopping.best == run.history.history["loss"][-1]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_first_metric_of_ones_own_is_the_loss_if_lower_is_better(higher_is_better):
    def own(predictions, data):
        return "own", 1.0, higher_is_better

    _, run = train([], {"metric": "None"}, 2, feval=own)
    names = {"own", "val_own"} if higher_is_better else {"loss", "val_loss"}
    assert set(run.history.history) == names
    stopping = callbacks.EarlyStopping("val_own", mode="max", patience=1)
    _, run = train([stopping], {"metric": "None"}, 9, feval=own)
    assert run.history.epoch == [0, 1]


@pytest.mark.parametrize("name", ["learning_rate", "eta", "shrinkage_rate"])
def test_rates_are_read_set_and_used(name):
    rates = [0.5, 0.25, 0.125]
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate if epoch == 0 else rate / 2)
    model, run = train([schedule], {name: 0.5}, 3)
    expected = lgb.train(
        BINARY | {name: 0.5}, sets()[0], 3, callbacks=[lgb.reset_parameter(learning_rate=rates)]
    )
    assert run.history.history["learning_rate"] == rates
    assert (model.predict(X) == expected.predict(X)).all()


@pytest.mark.parametrize("kept", [False, True], ids=["train", "keep_training_booster"])
@pytest.mark.parametrize("name", ["boosting", "boosting_type", "boost"])
@pytest.mark.parametrize("kind", ["gbdt", "dart", "rf"])
def test_the_best_weights_come_back_exactly(kind, name, kept):
    settings = {name: kind, "bagging_freq": 1, "bagging_fraction": 0.5}
    best = best_round(settings)
    stopping = callbacks.EarlyStopping(patience=50, restore_best_weights=True)
    model, run = train([stopping], settings, 50, keep_training_booster=kept)
    expected, _ = train([], settings, best + 1)
    assert stopping.best_epoch == best < 49
    assert model.best_iteration == best + 1
    assert (model.predict(X) == expected.predict(X)).all()
    assert model.best_score["valid_1"]["binary_logloss"] == pytest.approx(stopping.best)
    assert run.history.epoch[-1] == 49


def test_beside_lightgbms_early_stopping_the_first_to_stop_wins():
    best = best_round()
    for ours, theirs in ((2, 6), (6, 2), (2, 2)):
        stopping = callbacks.EarlyStopping(patience=ours, restore_best_weights=True)
        beside = [lgb.early_stopping(theirs, verbose=False)]
        model, run = train([stopping], rounds=50, beside=beside)
        assert run.history.epoch[-1] == best + 2
        assert bool(run.stop_reason) == (ours <= theirs)
        assert model.best_iteration == model.num_trees() == best + 1


def test_best_weights_that_lightgbms_early_stopping_cut_off_are_warned_of():
    stopping = callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    beside = [lgb.early_stopping(3, verbose=False)]
    with pytest.warns(ConfigurationWarning, match=r"cut the model to 6 .* of round 9, could not"):
        model, _ = train([stopping], rounds=50, beside=beside)
    assert model.best_iteration == best_round() + 1 == 6


def test_best_weights_come_back_after_another_callback_of_lightgbm_ended_training():
    stopping = callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    model, _ = train([stopping], rounds=50, beside=[_stop_after(9)])
    assert model.best_iteration == stopping.best_epoch + 1 == best_round() + 1


def _stop_after(rounds):
    """Return a callback of LightGBM that ends training and keeps all rounds."""

    def stop(env):
        if env.iteration + 1 == rounds:
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    stop.order = 99
    return stop


def test_estimators_predict_by_the_round_that_was_restored():
    stopping = callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    model = lgb.LGBMClassifier(n_estimators=50, n_jobs=1, verbose=-1)
    used = [*Callbacks([stopping])]
    model.fit(X[:120], Y[:120], eval_X=X[120:], eval_y=Y[120:], callbacks=used)
    rounds = stopping.best_epoch + 1
    plain = lgb.LGBMClassifier(n_estimators=rounds, n_jobs=1, verbose=-1).fit(X[:120], Y[:120])
    assert model.best_iteration_ == rounds < 50
    assert (model.predict_proba(X) == plain.predict_proba(X)).all()
    assert (pickle.loads(pickle.dumps(model)).predict_proba(X) == plain.predict_proba(X)).all()


def test_the_best_model_is_saved_whole_and_training_goes_on_from_it(tmp_path):
    path = tmp_path / "best.txt"
    train([callbacks.ModelCheckpoint(path, save_best_only=True)], rounds=50)
    best = best_round() + 1
    assert lgb.Booster(model_file=path).current_iteration() == best
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, run = train([stopping], rounds=50, init_model=path)
    assert run.history.epoch[0] == best
    assert model.best_iteration == stopping.best_epoch + 1


def test_a_save_that_fails_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "model.txt"
    train([callbacks.ModelCheckpoint(path)], rounds=2)
    before = path.read_bytes()

    def fails(*arguments, **options):
        raise OSError("disk")

    monkeypatch.setattr(lgb.Booster, "model_to_string", fails)
    with pytest.raises(OSError, match="disk"):
        train([callbacks.ModelCheckpoint(path)], rounds=3)
    assert path.read_bytes() == before


def test_cross_validation_shows_means_and_takes_rates_and_stops():
    bridge = Callbacks([callbacks.EarlyStopping(patience=1)])
    table = lgb.cv(BINARY, sets()[0], 50, nfold=3, callbacks=[*bridge])
    means = table["valid binary_logloss-mean"]
    assert bridge.history.history["val_loss"] == means
    assert len(means) < 50
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    bridge = Callbacks([schedule])
    table = lgb.cv(BINARY, sets()[0], 3, nfold=3, callbacks=[*bridge])
    own = lgb.reset_parameter(learning_rate=[0.1, 0.05, 0.025])
    expected = lgb.cv(BINARY, sets()[0], 3, nfold=3, callbacks=[own])
    assert bridge.history.history["learning_rate"] == [0.1, 0.05, 0.025]
    assert table == expected


@pytest.mark.parametrize(
    "used",
    [
        callbacks.EarlyStopping(restore_best_weights=True),
        callbacks.ModelCheckpoint("a.txt"),
        callbacks.ModelCheckpoint("folder"),
    ],
    ids=["weights", "checkpoint", "folder"],
)
def test_cross_validation_has_no_model(recorder, used):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match="trains a model for every fold"):
        lgb.cv(BINARY, sets()[0], 3, callbacks=[*Callbacks([used, heard])])
    assert heard.lines == []


def test_a_pipeline_trains_and_is_stored():
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model = lgb.LGBMRegressor(n_estimators=50, n_jobs=1, verbose=-1)
    pipeline = make_pipeline(StandardScaler(), model)
    held_out = {"eval_X": X[120:], "eval_y": Y[120:], "callbacks": [*Callbacks([stopping])]}
    pipeline.fit(X[:120], Y[:120], **{f"lgbmregressor__{n}": v for n, v in held_out.items()})
    assert model.best_iteration_ == stopping.best_epoch + 1 < 48
    stored = pickle.loads(pickle.dumps(pipeline))
    assert (stored.predict(X) == pipeline.predict(X)).all()


def test_a_search_trains_one_model_after_the_other_with_copies_of_callbacks():
    bridge = Callbacks([callbacks.EarlyStopping(min_delta=10, patience=1)])
    model = lgb.LGBMClassifier(n_estimators=9, n_jobs=1, verbose=-1)
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2, error_score="raise")
    sent = pickle.loads(pickle.dumps([*bridge]))  # as to another process
    search.fit(X, Y, eval_X=X, eval_y=Y, callbacks=sent)
    assert search.best_estimator_.booster_.num_trees() == 2
    assert bridge._run is None


def test_ctrl_c_in_the_middle_is_heard_of_in_a_block(recorder):
    def press(env):
        if env.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    with pytest.raises(KeyboardInterrupt):
        train([heard], beside=[press])
    assert heard.lines == ["on_exception KeyboardInterrupt", "close"]


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
        lgb.train(BINARY, sets()[0], rounds, callbacks=[*bridge])

    with pytest.raises(RunStateError, match="another training that began meanwhile; give each"):
        begin(9)
    assert bridge.history.epoch == list(range(4 if ends else 2))
