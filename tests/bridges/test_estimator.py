"""Estimators of scikit-learn around whose ``partial_fit`` a loop is written."""

import numpy as np
import pytest
from sklearn.cluster import Birch, MiniBatchKMeans
from sklearn.decomposition import (
    IncrementalPCA,
    LatentDirichletAllocation,
    MiniBatchDictionaryLearning,
    MiniBatchNMF,
)
from sklearn.linear_model import Perceptron, SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from callboard import ConfigurationError, DataError, Run, UnsupportedError, callbacks
from callboard.bridges.sklearn import EstimatorTrainable

_RNG = np.random.default_rng(0)
X = _RNG.integers(0, 5, (60, 4)).astype(float)
WORDS = np.array(["a", "b", "c"])[_RNG.integers(0, 3, 60)]
NUMBERS = X @ _RNG.normal(size=4)

CLASSIFIERS = {
    "sgd": lambda: SGDClassifier(random_state=0),
    "sgd, averaged": lambda: SGDClassifier(random_state=0, average=70),
    "sgd, own generator": lambda: SGDClassifier(random_state=np.random.RandomState(3)),
    "sgd, global generator": SGDClassifier,
    "perceptron": lambda: Perceptron(random_state=0),
    "mlp": lambda: MLPClassifier([5], random_state=0),
    "mlp, sgd": lambda: MLPClassifier([5], solver="sgd", learning_rate="invscaling"),
    "mlp, own generator": lambda: MLPClassifier([5], random_state=np.random.RandomState(3)),
    "bernoulli": BernoulliNB,
    "categorical": lambda: CategoricalNB(min_categories=5),
    "complement": ComplementNB,
    "gaussian": GaussianNB,
    "multinomial": MultinomialNB,
}
REGRESSORS = {
    "sgd": lambda: SGDRegressor(random_state=0, eta0=1e-4),
    "mlp": lambda: MLPRegressor(hidden_layer_sizes=[5], random_state=0),
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
}
ALL = [
    *(pytest.param(make, {"y": WORDS}, id=name) for name, make in CLASSIFIERS.items()),
    *(
        pytest.param(make, {"y": NUMBERS}, id=f"{name} regression")
        for name, make in REGRESSORS.items()
    ),
    *(pytest.param(make, {}, id=name) for name, make in OTHERS.items()),
]


class StoppedError(Exception):
    """Ends a run in the middle of an epoch."""


def seed(number):
    np.random.seed(number)  # noqa: NPY002 - the global generator is meant


def train(estimator, data, epochs, used=(), stop_after=None, **options):
    run = Run(
        trainable=EstimatorTrainable(estimator), epochs=epochs, callbacks=used, verbose=0, **options
    )
    classes = {"classes": np.unique(WORDS)} if data.get("y") is WORDS else {}
    with run:
        for epoch in run.epochs():
            order = np.random.default_rng(epoch).permutation(60)
            for rows in run.train(list(order.reshape(6, 10))):
                if stop_after == run.progress.step:
                    raise StoppedError
                batch = {name: values[rows] for name, values in data.items()}
                estimator.partial_fit(
                    X[rows], **batch, **(classes if run.progress.step == 0 else {})
                )
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


@pytest.mark.filterwarnings("ignore:.*n_components:FutureWarning")
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


def test_what_cannot_be_saved_is_named(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(
        UnsupportedError, match=r"training of a Birch cannot .* dummy_leaf_ is a _CF"
    ):
        train(Birch(), {}, 1, [backup])


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
