"""Estimators of scikit-learn around whose ``partial_fit`` a loop is written."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import Birch, MiniBatchKMeans
from sklearn.decomposition import (
    IncrementalPCA,
    LatentDirichletAllocation,
    MiniBatchDictionaryLearning,
    MiniBatchNMF,
)
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import (
    LogisticRegression,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils import all_estimators

from callboard import ConfigurationError, DataError, Run, UnsupportedError, callbacks
from callboard.bridges.sklearn import EstimatorTrainable

_RNG = np.random.default_rng(0)
X = _RNG.integers(0, 5, (60, 4)).astype(float)
WORDS = np.array(["a", "b", "c"])[_RNG.integers(0, 3, 60)]
NUMBERS = X @ _RNG.normal(size=4)
CODES = np.searchsorted(np.unique(WORDS), WORDS)
PAIRS = np.stack([WORDS, WORDS[::-1]], axis=1)

CLASSIFIERS = {
    "sgd": lambda: SGDClassifier(random_state=0),
    "sgd, averaged": lambda: SGDClassifier(random_state=0, average=70),
    "sgd, own generator": lambda: SGDClassifier(random_state=np.random.RandomState(3)),
    "sgd, global generator": SGDClassifier,
    "perceptron": lambda: Perceptron(random_state=0),
    "passive-aggressive": lambda: PassiveAggressiveClassifier(random_state=0),
    "mlp": lambda: MLPClassifier([5], random_state=0),
    "mlp, sgd": lambda: MLPClassifier([5], solver="sgd", learning_rate="invscaling"),
    "mlp, own generator": lambda: MLPClassifier([5], random_state=np.random.RandomState(3)),
    "bernoulli": BernoulliNB,
    "categorical": lambda: CategoricalNB(min_categories=5),
    "complement": ComplementNB,
    "gaussian": GaussianNB,
    "multinomial": MultinomialNB,
    "one against the rest": lambda: OneVsRestClassifier(SGDClassifier(random_state=0)),
    "selected features": lambda: SelectFromModel(
        SGDClassifier(random_state=np.random.RandomState(3))
    ),
}
REGRESSORS = {
    "sgd": lambda: SGDRegressor(random_state=0, eta0=1e-4),
    "mlp": lambda: MLPRegressor(hidden_layer_sizes=[5], random_state=0),
    "passive-aggressive": lambda: PassiveAggressiveRegressor(random_state=0),
}
OTHERS = {
    "one class": lambda: SGDOneClassSVM(random_state=0),
    "k-means": lambda: MiniBatchKMeans(3, random_state=0),
    "pca": lambda: IncrementalPCA(2),
    "topics": lambda: LatentDirichletAllocation(2, random_state=0),
    "dictionary": lambda: MiniBatchDictionaryLearning(2, random_state=0),
    "nmf": lambda: MiniBatchNMF(2, init="random", random_state=0),
    "machine": lambda: BernoulliRBM(2, random_state=0),
    "scaler": StandardScaler,
    "range": MinMaxScaler,
    "largest": MaxAbsScaler,
}
ALL = [
    *(pytest.param(make, {"y": WORDS}, id=name) for name, make in CLASSIFIERS.items()),
    *(
        pytest.param(make, {"y": NUMBERS}, id=f"{name} regression")
        for name, make in REGRESSORS.items()
    ),
    *(pytest.param(make, {}, id=name) for name, make in OTHERS.items()),
    pytest.param(
        lambda: OneVsOneClassifier(SGDClassifier(random_state=0)), {"y": CODES}, id="pairs"
    ),
    pytest.param(
        lambda: MultiOutputClassifier(MLPClassifier([3], random_state=0)),
        {"y": PAIRS},
        id="several classes",
    ),
    pytest.param(
        lambda: MultiOutputRegressor(SGDRegressor(random_state=0, eta0=1e-4)),
        {"y": np.stack([NUMBERS, -NUMBERS], axis=1)},
        id="several numbers",
    ),
]


class StoppedError(Exception):
    """Ends a run in the middle of an epoch."""


def seed(number):
    np.random.seed(number)  # noqa: NPY002 - the global generator is meant


def classes_of(y):
    """Return what a classifier has to be told with its first batch."""
    if y is PAIRS:
        return {"classes": [np.unique(WORDS)] * 2}
    return {"classes": np.unique(y)} if y is WORDS or y is CODES else {}


def train(estimator, data, epochs, used=(), stop_after=None, **options):
    run = Run(
        trainable=EstimatorTrainable(estimator), epochs=epochs, callbacks=used, verbose=0, **options
    )
    with run:
        for epoch in run.epochs():
            order = np.random.default_rng(epoch).permutation(60)
            for rows in run.train(list(order.reshape(6, 10))):
                if stop_after == run.progress.step:
                    raise StoppedError
                batch = {name: values[rows] for name, values in data.items()}
                first = classes_of(data.get("y")) if run.progress.step == 0 else {}
                estimator.partial_fit(X[rows], **batch, **first)
                run.log(loss=float(epoch))
    return run


def contents(value):
    """Return what an estimator holds in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.random.RandomState):
        return contents(value.get_state())
    if isinstance(value, list | tuple):
        return [contents(each) for each in value]
    if hasattr(value, "__dict__"):
        return {name: contents(each) for name, each in vars(value).items()}
    return value.__reduce__()[1] if type(value).__name__ == "Hinge" else value


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of scikit-learn
@pytest.mark.parametrize(("make", "data"), ALL)
def test_a_run_that_was_interrupted_goes_on_exactly(tmp_path, make, data):
    seed(0)
    straight = make()
    train(straight, data, 4)
    seed(0)
    backup = callbacks.BackupAndRestore(tmp_path / "backup", save_freq=5)
    with pytest.raises(StoppedError):
        train(make(), data, 4, [backup], stop_after=18)
    seed(7)
    resumed = make()
    run = train(resumed, data, 4, [callbacks.BackupAndRestore(tmp_path / "backup", save_freq=5)])
    assert run.progress.step == 24
    assert contents(resumed) == contents(straight)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("make", "data"), ALL)
def test_weights_that_are_put_back_are_those_of_their_moment(make, data):
    estimator = make()
    estimator.partial_fit(
        X[:30], **{n: v[:30] for n, v in data.items()}, **classes_of(data.get("y"))
    )
    trainable = EstimatorTrainable(estimator)
    before, then = trainable.weights(), answers(estimator)
    for _ in range(3):
        estimator.partial_fit(X[30:], **{name: values[30:] for name, values in data.items()})
    changed = not np.array_equal(answers(estimator), then)
    trainable.set_weights(before)
    if isinstance(estimator, IncrementalPCA):  # its arrays were parts of larger ones
        assert answers(estimator) == pytest.approx(then, rel=1e-12)
    else:
        assert np.array_equal(answers(estimator), then)
    assert changed or isinstance(estimator, MinMaxScaler | MaxAbsScaler)


def answers(estimator):
    """Return what an estimator answers by what it has learned."""
    names = ("decision_function", "predict_proba", "predict", "transform")
    method = next(getattr(estimator, name) for name in names if hasattr(estimator, name))
    return np.array(method(X))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_all_estimators_of_scikit_learn_are_here():
    tested = {type(each.values[0]()).__name__ for each in ALL}
    found = {name for name, kind in all_estimators() if hasattr(kind, "partial_fit")}
    assert found == tested | {"Birch", "HashingVectorizer"}  # refused; learns nothing


def saving(folder):
    return [
        callbacks.BackupAndRestore(folder / "backup"),
        callbacks.ModelCheckpoint(folder / "runs"),
        callbacks.ModelCheckpoint(folder / "best.safetensors"),
        callbacks.EarlyStopping("loss", restore_best_weights=True),
    ]


class Grove(Birch):
    """An estimator made of one that cannot be saved."""


@pytest.mark.parametrize("make", [Birch, Grove, lambda: SelectFromModel(Birch())])
@pytest.mark.parametrize("index", range(4))
def test_what_cannot_be_saved_is_an_error_before_the_first_epoch(recorder, tmp_path, index, make):
    heard, estimator = recorder(only=["on_epoch_begin"]), make()
    with pytest.raises(
        UnsupportedError,
        match=r"a Birch keeps a tree .* cannot be saved and put back; leave out",
    ):
        train(estimator, {}, 1, [saving(tmp_path)[index], heard])
    assert heard.lines == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved_can_be_trained_with_callbacks_that_do_not(tmp_path):
    logger = callbacks.JSONLLogger(tmp_path / "log.jsonl", journal=True)
    stopping = callbacks.EarlyStopping("loss", patience=2)
    pictures = callbacks.TensorBoard(tmp_path)
    run = train(Birch(), {}, 5, [logger, stopping, pictures])
    assert run.history.epoch == [0, 1, 2]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(warm_start=True),
        make_pipeline(StandardScaler(), LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
    ],
    ids=["forest", "pipeline", "several"],
)
def test_without_partial_fit_nothing_is_saved_that_is_not_the_whole(
    recorder, tmp_path, index, estimator
):
    heard = recorder(only=["on_epoch_begin"])
    with pytest.raises(UnsupportedError, match=r"has no partial_fit, and is more .* leave out"):
        train(estimator, {}, 1, [saving(tmp_path)[index], heard])
    assert heard.lines == []


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_a_linear_model_goes_on_without_partial_fit(tmp_path):
    def fit(epochs):
        estimator = LogisticRegression(warm_start=True, max_iter=1)
        used = saving(tmp_path)
        used[0].delete_checkpoint = False
        trainable = EstimatorTrainable(estimator)
        with Run(trainable=trainable, epochs=epochs, callbacks=used, verbose=0) as run:
            for epoch in run.epochs():
                for _ in run.train([None]):
                    run.log(loss=-epoch + 0 * estimator.fit(X, WORDS).n_iter_[0])
        return estimator

    fit(2)
    resumed = fit(4)
    straight = LogisticRegression(warm_start=True, max_iter=1)
    for _ in range(4):
        straight.fit(X, WORDS)
    assert (resumed.coef_ == straight.coef_).all()


class Keeps(SGDRegressor):
    """An estimator of the user's, with something that only shows when it is fitted."""

    def partial_fit(self, X, y):  # noqa: N803 - scikit-learn's
        self.kept_ = object()
        return super().partial_fit(X, y)


def test_what_is_found_in_a_fitted_estimator_is_named(recorder, tmp_path):
    message = "training of a Keeps cannot be saved and gone on with: its kept_ is a object"
    with pytest.raises(UnsupportedError, match=message):
        train(Keeps(), {"y": NUMBERS}, 1, [callbacks.BackupAndRestore(tmp_path)])
    heard, fitted = recorder(only=["on_epoch_begin"]), Keeps().partial_fit(X, NUMBERS)
    for used in saving(tmp_path)[:2]:
        with pytest.raises(UnsupportedError, match=message):
            train(fitted, {"y": NUMBERS}, 1, [used, heard])
    assert heard.lines == []
    train(fitted, {"y": NUMBERS}, 1, saving(tmp_path)[2:])


def test_the_state_of_another_estimator_is_refused_whole():
    source = SGDRegressor(alpha=0.1).partial_fit(X, NUMBERS)
    state = EstimatorTrainable(source).state_dict()
    for other, message in (
        (SGDRegressor(alpha=0.2), "alpha: 0.1 then, 0.2 now"),
        (MLPRegressor(), "that of a SGDRegressor, and this is a MLPRegressor"),
    ):
        with pytest.raises(DataError, match=message):
            EstimatorTrainable(other).load_state_dict(state)
        assert not hasattr(other, "n_features_in_")


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        (
            SGDClassifier(class_weight={0: 1, 1: 2}),
            SGDClassifier(class_weight={0: 1, 1: 3}),
            "1, 3",
        ),
        (SGDClassifier(class_weight={0: 1, 1: 2}), SGDClassifier(), "class_weight: .* None now"),
        (GaussianNB(priors=[0.5, 0.5]), GaussianNB(priors=[0.25, 0.75]), "priors: .* now"),
        (
            GaussianNB(priors=np.array([0.5, 0.5])),
            GaussianNB(priors=np.array([0.25, 0.75])),
            "priors: .* now",
        ),
    ],
    ids=["dict", "none", "list", "array"],
)
def test_parameters_of_all_kinds_have_to_be_the_same(tmp_path, then, now, message):
    def fit(estimator):
        backup = callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        with Run(
            trainable=EstimatorTrainable(estimator), epochs=2, callbacks=[backup], verbose=0
        ) as run:
            for _ in run.epochs():
                for _ in run.train([None]):
                    estimator.partial_fit(X, CODES > 0, [0, 1])

    fit(then)
    fit(clone(then))
    with pytest.raises(DataError, match=message):
        fit(now)


def test_estimators_inside_are_compared_too():
    def outer(**options):
        return MultiOutputRegressor(SGDRegressor(**options))

    y = np.stack([NUMBERS, NUMBERS], axis=1)
    source = outer(alpha=0.1)
    source.partial_fit(X, y)
    state = EstimatorTrainable(source).state_dict()
    for other, message in (
        (outer(alpha=0.2), "estimator__alpha: 0.1 then, 0.2 now"),
        (MultiOutputRegressor(MLPRegressor()), "estimator: 'SGDRegressor' then, 'MLPRegressor'"),
    ):
        with pytest.raises(DataError, match=message):
            EstimatorTrainable(other).load_state_dict(state)
        assert not hasattr(other, "estimators_")


def test_weights_of_estimators_inside_are_saved_and_load_after_a_first_batch(tmp_path):
    y, path = np.stack([NUMBERS, -NUMBERS], axis=1), tmp_path / "best.safetensors"
    estimator = MultiOutputRegressor(SGDRegressor(eta0=1e-4))
    train(estimator, {"y": y}, 2, [callbacks.ModelCheckpoint(path, "loss")])
    fresh = MultiOutputRegressor(SGDRegressor())
    with pytest.raises(DataError, match=r"no estimators_\[\d\] to put \w+ into; call partial_fit"):
        EstimatorTrainable(fresh).load(path)
    fresh.partial_fit(X, y)
    EstimatorTrainable(fresh).load(path)
    assert (fresh.predict(X) == estimator.predict(X)).all()


def test_the_best_weights_are_saved_and_load_into_a_fresh_estimator(tmp_path):
    estimator, path = MLPClassifier([5], random_state=0), tmp_path / "best.safetensors"
    stopping = callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
    checkpoint = callbacks.ModelCheckpoint(path, "loss", save_best_only=True)
    run = train(estimator, {"y": WORDS}, 9, [stopping, checkpoint])  # its loss is the epoch's index
    assert run.history.epoch == [0, 1, 2]
    fresh = MLPClassifier([5], random_state=1).partial_fit(X, WORDS, classes=np.unique(WORDS))
    EstimatorTrainable(fresh).load(path)
    assert (fresh.predict_proba(X) == estimator.predict_proba(X)).all()
    with pytest.raises(DataError, match=r"the estimator has .*coefs_\.0"):
        EstimatorTrainable(MLPClassifier([7]).partial_fit(X, WORDS, classes=np.unique(WORDS))).load(
            path
        )


@pytest.mark.parametrize(
    ("estimator", "read"),
    [
        (SGDClassifier(learning_rate="constant", eta0=0.5), lambda e: e.eta0),
        (MLPClassifier([3], learning_rate_init=0.5), lambda e: e._optimizer.learning_rate_init),
        (
            MLPClassifier([3], solver="sgd", learning_rate_init=0.5),
            lambda e: e._optimizer.learning_rate,
        ),
    ],
    ids=["sgd", "mlp", "mlp, sgd"],
)
def test_the_rate_is_that_of_the_estimators_optimizer(estimator, read):
    schedule = callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
    run = train(estimator, {"y": WORDS}, 2, [schedule])
    assert run.history.history["learning_rate"] == [0.5, 0.25]
    assert read(estimator) == 0.25


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SGDClassifier(), r"SGDClassifier\(learning_rate='optimal'\) has no .* pass .*'constant'"),
        (MiniBatchKMeans(), "a MiniBatchKMeans has no learning rate; leave out"),
    ],
    ids=["optimal", "none"],
)
def test_a_rate_that_has_no_effect_is_an_error_before_the_first_epoch(estimator, message):
    with pytest.raises(UnsupportedError, match=message):
        train(estimator, {"y": WORDS}, 2, [callbacks.LearningRateScheduler(lambda _: 0.1)])
    assert not hasattr(estimator, "n_features_in_")


@pytest.mark.parametrize("given", [SGDClassifier, 3, None], ids=["class", "number", "None"])
def test_what_is_no_estimator_is_an_error(given):
    with pytest.raises(ConfigurationError, match="takes an estimator, such as SGDClassifier"):
        EstimatorTrainable(given)


@pytest.mark.parametrize(
    ("callback", "what"),
    [
        (callbacks.SwapEMAWeights(momentum=0.9), "averages"),
        (callbacks.TerminateOnNaN(gradients=True), "gradients"),
    ],
    ids=["averages", "gradients"],
)
def test_what_an_estimator_does_not_show_is_an_error(callback, what):
    with pytest.raises(UnsupportedError, match=what):
        train(SGDRegressor(), {"y": NUMBERS}, 1, [callback])


def test_weights_that_are_not_finite_are_named():
    estimator = SGDRegressor().partial_fit(X, NUMBERS)
    estimator.coef_[0] = np.nan
    assert EstimatorTrainable(estimator).nonfinite() == "coef_"
