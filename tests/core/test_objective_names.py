from types import ModuleType, SimpleNamespace

import pytest

from callboard import ConfigurationError
from callboard._core import objective_names
from callboard._core.errors import UnknownNameError
from callboard._core.objective_names import (
    LossKinds,
    MetricKinds,
    losses_by_name,
    metrics_by_name,
)


class Kind:
    def __init__(self, name=""):
        self.name = name


class Values(Kind):
    pass


class Loss(Kind):
    pass


class Huber(Loss):
    def __init__(self):
        super().__init__("huber_loss")


class Needing(Kind):
    def __init__(self, classes, *rest, **options):
        super().__init__("needing")


def by_shape(name="by shape"):
    return Kind(name)


def of_function(function, direction=None):
    return SimpleNamespace(function=function, direction=direction)


LOSSES = LossKinds(Loss, {"huber": Huber, "Huber": Huber}, by_shape, of_function, "a tune")
METRICS = MetricKinds(
    base=Kind,
    names={"kind": Kind, "needing": Needing},
    by_shape=by_shape,
    of_values=(Values,),
    loss=Loss,
    of_loss=of_function,
    of_function=of_function,
    errors=frozenset({len}),
    package="here.metrics",
    others="a tune",
)


def module(names):
    made = ModuleType("made")
    vars(made).update({name: type(name, (Kind,), {}) for name in names})
    return made


def test_every_class_has_its_own_name_that_of_its_function_and_its_aliases():
    found = losses_by_name([module(objective_names._LOSSES)])
    for name in ("MeanSquaredError", "mean_squared_error", "mse", "MSE"):
        assert found[name].__name__ == "MeanSquaredError"
    for name in ("KLDivergence", "kl_divergence", "kld", "KLD"):
        assert found[name].__name__ == "KLDivergence"
    metrics = metrics_by_name([module(objective_names._METRICS)])
    assert metrics["auc"] is metrics["AUC"]
    assert metrics["mean_io_u"] is metrics["MeanIoU"]
    assert "kld" not in metrics


def test_a_framework_that_lacks_one_is_noticed():
    with pytest.raises(KeyError):
        losses_by_name([module(["MeanSquaredError"])])


def test_losses_are_found_by_name_shape_object_and_function():
    huber = Huber()
    assert LOSSES.resolve(huber) is huber
    assert LOSSES.resolve("Huber").name == "huber_loss"
    assert LOSSES.resolve("huber").name == "huber"
    assert LOSSES.resolve("CE").name == "by shape"
    assert LOSSES.resolve(len).function is len


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("hubber", UnknownNameError, "Did you mean 'huber'"),
        ("crossentropyy", UnknownNameError, "Did you mean 'crossentropy'"),
        (Huber, ConfigurationError, r"call it to make a loss: loss=Huber\(\)"),
        (3, ConfigurationError, "a name, a Loss, a tune or a function of .*; got 3"),
        (None, ConfigurationError, "got None"),
    ],
)
def test_what_is_no_loss_is_told_what_is(given, error, match):
    with pytest.raises(error, match=match):
        LOSSES.resolve(given)


def test_metrics_are_found_by_name_shape_class_object_loss_and_function():
    kind = Kind()
    assert METRICS.resolve(kind) is kind
    assert METRICS.resolve("kind").name == "kind"
    assert isinstance(METRICS.resolve(Kind), Kind)
    assert METRICS.resolve("ACC").name == "ACC"
    assert METRICS.resolve(len).direction == "min"
    assert METRICS.resolve(print).direction is None


class Unhashable:
    __hash__ = None

    def __call__(self, y_true, y_pred):
        return y_pred


def test_a_function_that_cannot_be_hashed_is_none_of_ours():
    assert METRICS.resolve(Unhashable()).direction is None


class Foreign:
    def update_state(self):
        return None


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("kinnd", UnknownNameError, "Did you mean 'kind'"),
        ("needing", ConfigurationError, r"pass Needing\(classes=\.\.\.\)"),
        (Needing, ConfigurationError, r"pass Needing\(classes=\.\.\.\)"),
        (Foreign, ConfigurationError, r"call it to make a metric: Foreign\(\.\.\.\)"),
        (Foreign(), ConfigurationError, r"Foreign is a metric of another .* in here\.metrics, or"),
        (Values(), ConfigurationError, "Values averages values"),
        (3, ConfigurationError, "a name, a Metric, a tune or a function"),
    ],
)
def test_what_is_no_metric_is_told_what_is(given, error, match):
    with pytest.raises(error, match=match):
        METRICS.resolve(given)
