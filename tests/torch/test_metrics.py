import copy
import os
import re
import warnings

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError
from callboard.torch import losses, metrics
from callboard.torch.metrics.resolve import NAMES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras

# name, arguments, kind of data, shape of the predictions
CASES = [
    ("Accuracy", {}, "equal", (6,)),
    ("Accuracy", {}, "equal", (6, 3)),
    ("BinaryAccuracy", {}, "binary", (6,)),
    ("BinaryAccuracy", {"threshold": 0.7}, "binary", (6, 1)),
    ("BinaryAccuracy", {}, "binary", (6, 2, 3)),
    ("CategoricalAccuracy", {}, "onehot", (6, 4)),
    ("CategoricalAccuracy", {}, "onehot", (6, 2, 4)),
    ("SparseCategoricalAccuracy", {}, "classes", (6, 4)),
    ("SparseCategoricalAccuracy", {}, "classes", (6, 3, 4)),
    ("TopKCategoricalAccuracy", {"k": 2}, "onehot", (6, 4)),
    ("TopKCategoricalAccuracy", {"k": 2}, "onehot", (6, 2, 4)),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "classes", (6, 4)),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "classes", (6, 2, 4)),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "sorted", (6, 4)),
    ("MeanSquaredError", {}, "real", (6, 3)),
    ("MeanSquaredError", {}, "real", (6, 2, 3)),
    ("RootMeanSquaredError", {}, "real", (6, 3)),
    ("RootMeanSquaredError", {}, "real", (6,)),
    ("MeanAbsoluteError", {}, "real", (6, 3)),
    ("MeanAbsolutePercentageError", {}, "real", (6, 3)),
    ("MeanSquaredLogarithmicError", {}, "real", (6, 3)),
    ("LogCoshError", {}, "real", (6, 3)),
    ("CosineSimilarity", {}, "real", (6, 3)),
    ("PearsonCorrelation", {}, "real", (6, 5)),
    ("ConcordanceCorrelation", {}, "real", (6, 5)),
    ("R2Score", {}, "real", (6, 3)),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real", (6, 3)),
    ("R2Score", {"class_aggregation": None, "num_regressors": 2}, "real", (6, 3)),
    ("Hinge", {}, "binary", (6, 3)),
    ("SquaredHinge", {}, "binary", (6, 3)),
    ("CategoricalHinge", {}, "onehot", (6, 4)),
    ("KLDivergence", {}, "onehot", (6, 4)),
    ("Poisson", {}, "binary", (6, 3)),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, "binary", (6, 3)),
    ("BinaryCrossentropy", {"from_logits": True}, "binary", (6, 3)),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, "onehot", (6, 4)),
    ("CategoricalCrossentropy", {"from_logits": True}, "onehot", (6, 2, 4)),
    ("SparseCategoricalCrossentropy", {}, "classes", (6, 4)),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "classes", (6, 2, 4)),
    ("Precision", {}, "binary", (6, 3)),
    ("Precision", {"thresholds": [0.2, 0.5, 0.9]}, "binary", (6,)),
    ("Precision", {"top_k": 2}, "binary", (6, 4)),
    ("Precision", {"class_id": 1}, "binary", (6, 3)),
    ("Recall", {}, "binary", (6, 1)),
    ("Recall", {"thresholds": 0.3}, "binary", (6, 2, 3)),
    ("Recall", {"top_k": 1, "class_id": 1}, "binary", (6, 3)),
    ("TruePositives", {}, "binary", (6, 3)),
    ("TrueNegatives", {"thresholds": [0.1, 0.3]}, "binary", (6, 3)),
    ("FalsePositives", {}, "binary", (6, 3)),
    ("FalseNegatives", {}, "binary", (6, 3)),
    ("AUC", {}, "binary", (20,)),
    ("AUC", {}, "binary", (20, 1)),
    ("AUC", {"num_thresholds": 7, "summation_method": "majoring"}, "binary", (20, 3)),
    ("AUC", {"curve": "PR"}, "binary", (20,)),
    ("AUC", {"curve": "PR", "summation_method": "minoring"}, "binary", (20,)),
    ("AUC", {"curve": "PRGAIN"}, "binary", (20,)),
    ("AUC", {"thresholds": [0.1, 0.2, 0.7]}, "binary", (20,)),
    ("AUC", {"num_thresholds": 2}, "binary", (20,)),
    ("AUC", {"from_logits": True}, "logits", (20,)),
    ("AUC", {"label_weights": [0.2, 0.5, 2.0]}, "binary", (20, 3)),
    ("AUC", {"multi_label": True}, "binary", (20, 3)),
    ("AUC", {"multi_label": True, "num_labels": 3, "curve": "PR"}, "binary", (20, 3)),
    ("AUC", {"multi_label": True, "label_weights": [0.2, 0.5, 2.0]}, "binary", (20, 3)),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, "binary", (20,)),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6}, "binary", (20, 3)),
    ("PrecisionAtRecall", {"recall": 0.6}, "binary", (20,)),
    ("RecallAtPrecision", {"precision": 0.6, "class_id": 1}, "binary", (20, 3)),
    ("RecallAtPrecision", {"precision": 0.6, "num_thresholds": 1}, "binary", (20,)),
    ("F1Score", {}, "onehot", (6, 3)),
    ("F1Score", {"average": "macro", "threshold": 0.4}, "binary", (6, 3)),
    ("F1Score", {"average": "micro"}, "onehot", (6, 3)),
    ("FBetaScore", {"average": "weighted", "beta": 2.0}, "onehot", (6, 3)),
    ("MeanIoU", {"num_classes": 4}, "labels", (6,)),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 1}, "labels", (6, 3)),
    ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False}, "classes", (6, 2, 4)),
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, "labels", (6, 3)),
    ("BinaryIoU", {"threshold": 0.4}, "binary", (6, 3)),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [1]}, "onehot", (6, 4)),
    ("OneHotMeanIoU", {"num_classes": 4}, "onehot", (6, 4)),
]
IDS = [f"{name}-{arguments}-{shape}" for name, arguments, _, shape in CASES]
# Keras gives these an integer state, which cuts weights to whole numbers, and wants them whole.
INTEGER_STATE = ("IoU",)


def batch(kind, shape, seed):
    rng = np.random.default_rng(seed)
    real = rng.normal(size=shape).astype("float32")
    share = rng.uniform(0.0, 1.0, size=shape).astype("float32").round(2)
    classes = rng.integers(0, shape[-1], size=shape[:-1])
    true, pred = {
        "real": (rng.normal(size=shape).astype("float32"), real),
        "equal": (rng.integers(0, 2, size=shape), rng.integers(0, 2, size=shape)),
        "binary": (rng.integers(0, 2, size=shape), share),
        "logits": (rng.integers(0, 2, size=shape), real),
        "onehot": (np.eye(shape[-1], dtype="float32")[classes], share + 0.001),
        "classes": (classes, share + 0.001),
        "sorted": (classes, rng.permuted(np.tile(np.arange(4), (shape[0], 1)), axis=-1)),
        "labels": (rng.integers(0, 4, size=shape), rng.integers(0, 4, size=shape)),
    }[kind]
    return torch.tensor(true), torch.tensor(pred)


def both(name, arguments):
    return getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)


def close(ours, theirs):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(theirs.detach().cpu().tolist()), rtol=3e-5, atol=3e-6
    )


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_results_are_those_of_keras(name, arguments, kind, shape):
    ours, theirs = both(name, arguments)
    for seed in range(2):
        true, pred = batch(kind, shape, seed)
        ours.update_state(true, pred)
        theirs.update_state(true, pred)
        close(ours.result(), theirs.result())
    ours.reset_state()
    theirs.reset_state()
    true, pred = batch(kind, shape, 5)
    close(ours(true, pred), theirs(true, pred))


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_weighted_results_are_those_of_keras(name, arguments, kind, shape):
    ours, theirs = both(name, arguments)
    for seed in range(2):
        true, pred = batch(kind, shape, seed)
        weight = torch.tensor(np.random.default_rng(seed).integers(0, 4, shape[:1])) / 2
        if name.endswith(INTEGER_STATE):
            elements = true.shape[:-1] if kind == "onehot" else true.shape
            weight = (weight * 2).int().reshape(-1, *(1 for _ in elements[1:])).expand(elements)
        elif name in ("Precision", "Recall") and len(shape) == 3:
            weight = weight.unsqueeze(-1)  # Keras lets weights meet the last axis but one
        ours.update_state(true, pred, weight)
        theirs.update_state(true, pred, sample_weight=weight)
    close(ours.result(), theirs.result())


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_state_goes_on_where_it_was_saved_and_is_not_changed_by_later_batches(
    name, arguments, kind, shape
):
    first, _ = both(name, arguments)
    first.update_state(*batch(kind, shape, 0))
    saved, early = first.state_dict(), first.result()
    kept = (copy.deepcopy(saved), copy.deepcopy(early))
    first.update_state(*batch(kind, shape, 1))
    torch.testing.assert_close((saved, early), kept, rtol=0, atol=0, equal_nan=True)
    second, _ = both(name, arguments)
    second.load_state_dict(saved)
    second.update_state(*batch(kind, shape, 1))
    torch.testing.assert_close(second.result(), first.result(), rtol=0, atol=0)
    unused, _ = both(name, arguments)
    fresh, _ = both(name, arguments)
    fresh.load_state_dict(unused.state_dict())
    fresh.update_state(*batch(kind, shape, 0))
    torch.testing.assert_close(torch.as_tensor(fresh.result()), torch.as_tensor(early))


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_before_the_first_batch_and_after_a_reset_the_result_is_zero(name, arguments, kind, shape):
    metric, _ = both(name, arguments)
    start = torch.as_tensor(metric.result())
    assert start.eq(0).all()
    metric.update_state(*batch(kind, shape, 0))
    metric.reset_state()
    torch.testing.assert_close(torch.as_tensor(metric.result()), start, check_dtype=False)


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_names_and_directions_are_those_of_keras(name, arguments, kind, shape):
    ours, theirs = both(name, arguments)
    assert ours.name == re.sub(r"_\d+$", "", theirs.name)  # Keras numbers names by itself
    direction = getattr(theirs, "_direction", None)
    assert direction is None or ours.direction == {"up": "max", "down": "min"}[direction]
    assert ours.directions() == {ours.name: ours.direction}


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_the_state_lives_on_the_device_and_nothing_waits_for_it(name, arguments, kind, shape):
    # A tensor on the meta device has no values, so whoever asks for one gets an error.
    metric, _ = both(name, arguments)
    true, pred = (values.to("meta") for values in batch(kind, shape, 0))
    metric.update_state(true, pred)
    metric.update_state(true, pred, torch.ones(shape[0], device="meta"))
    state = metric.state_dict()
    assert {part for part, value in state.items() if value.device.type != "meta"} <= {"num_samples"}


MEANS = [case for case in CASES if hasattr(getattr(metrics, case[0]), "batch_sum")]


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), MEANS[::6])
def test_the_functional_form_is_traced_as_a_whole(name, arguments, kind, shape):
    metric, _ = both(name, arguments)
    true, pred = batch(kind, shape, 0)
    torch.compiler.reset()  # a limit on recompilations counts all cases together
    traced = torch.compile(metric.batch_sum, backend="eager", fullgraph=True)
    total, count = traced(true, pred)
    assert count == shape[0]
    assert metric.count == 0
    metric.accumulate(total=total, count=count)
    torch.testing.assert_close(metric.result(), both(name, arguments)[0](true, pred))
    weight = torch.rand(shape[0])
    torch.testing.assert_close(traced(true, pred, weight), metric.batch_sum(true, pred, weight))


def operators(call):
    with profile(activities=[ProfilerActivity.CPU]) as record:
        call()
    return [event.name for event in record.events() if event.cpu_parent is None]


@pytest.mark.parametrize("metric", [metrics.SparseCategoricalAccuracy(), metrics.AccuracyByShape()])
def test_the_hot_path_is_three_kernels_and_a_python_number(metric):
    true, pred = torch.randint(0, 10, (32,)), torch.randn(32, 10)
    assert operators(lambda: metric.batch_sum(true, pred)) == [
        "aten::argmax",
        "aten::eq",
        "aten::sum",
    ]
    assert type(metric.batch_sum(true, pred)[1]) is int
    assert metric.softmax_invariant


def test_no_graph_is_kept_alive():
    pred = torch.rand(4, 3, requires_grad=True)
    for metric in (metrics.MeanSquaredError(), metrics.F1Score(), metrics.R2Score()):
        metric.update_state(torch.ones(4, 3), pred)
        assert not any(value.requires_grad for value in metric.state_dict().values())


@pytest.mark.parametrize("shapes", [((6,), (6, 1)), ((6, 1), (6,)), ((6,), (6,))])
def test_samples_of_one_number_are_samples_with_or_without_an_axis(shapes):
    true, pred = batch("binary", (6, 1), 0)
    weight = torch.rand(6)
    for name in ("MeanSquaredError", "BinaryCrossentropy", "BinaryAccuracy", "AUC", "R2Score"):
        expected = getattr(metrics, name)()(true, pred, weight)
        flat = getattr(metrics, name)()(true.reshape(shapes[0]), pred.reshape(shapes[1]), weight)
        torch.testing.assert_close(flat, expected)


def test_half_precision_is_summed_in_float32():
    pred = torch.full((3000, 1), 0.1, dtype=torch.bfloat16)
    assert metrics.MeanMetricWrapper(lambda true, pred: pred)(pred, pred) == pytest.approx(
        float(pred[0, 0]), rel=1e-5
    )


def test_counts_stay_exact_where_float32_would_not_count_on():
    metric = metrics.BinaryAccuracy()
    metric.load_state_dict({"total": torch.tensor(2**24), "count": torch.tensor(2**24)})
    metric.update_state(torch.ones(1), torch.ones(1))
    assert metric.total == 2**24 + 1


def test_an_ignored_class_never_counts():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=0)
    pred = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    for weight in (None, torch.ones(2)):
        metric.reset_state()
        assert metric(torch.tensor([0, 1]), pred, weight) == pytest.approx(np.log(2))


def test_weights_of_iou_are_not_cut_to_whole_numbers():
    metric = metrics.MeanIoU(2)
    metric.update_state([0, 0, 1, 1], [0, 1, 0, 1], torch.tensor([0.5, 0.25, 0.25, 0.5]))
    assert metric.result() == pytest.approx(0.5)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 3)), min_size=1, max_size=5),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=50, deadline=None)
def test_batches_of_any_size_give_the_weighted_mean_of_all(batches):
    mean, whole = metrics.Mean(), metrics.Sum()
    for rows in batches:
        values, weight = (
            torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)
        )
        mean.update_state(values, weight)
        whole.update_state(values, weight)
    values, weight = np.array([row for rows in batches for row in rows]).T
    total, count = (values * weight).sum(), weight.sum()
    assert float(whole.result()) == pytest.approx(total, abs=1e-6)
    assert float(mean.result()) == pytest.approx(total / count if count else 0.0, abs=1e-6)


def test_shapes_that_do_not_fit_are_errors():
    wrong = [
        (metrics.BinaryAccuracy(), (4,), (4, 3)),
        (metrics.CategoricalAccuracy(), (4, 2), (4, 3)),
        (metrics.SparseCategoricalAccuracy(), (4, 3), (4, 3)),
        (metrics.Precision(), (4, 2), (4, 3)),
        (metrics.Precision(top_k=1), (4,), (4,)),
        (metrics.F1Score(), (4, 2, 2), (4, 2, 2)),
        (metrics.R2Score(), (4, 2, 2), (4, 2, 2)),
        (metrics.AUC(multi_label=True), (4,), (4,)),
        (metrics.MeanIoU(2), (4, 2), (4,)),
    ]
    for metric, true, pred in wrong:
        with pytest.raises(DataError, match=r"\(4,"):
            metric.update_state(torch.zeros(true), torch.zeros(pred))


@pytest.mark.parametrize(
    "make",
    [
        lambda: metrics.Precision(thresholds=1.5),
        lambda: metrics.AUC(num_thresholds=1),
        lambda: metrics.AUC(thresholds=[2.0]),
        lambda: metrics.AUC(curve="ROK"),
        lambda: metrics.SensitivityAtSpecificity(2.0),
        lambda: metrics.PrecisionAtRecall(0.5, num_thresholds=0),
        lambda: metrics.FBetaScore(average="mean"),
        lambda: metrics.FBetaScore(beta=0.0),
        lambda: metrics.F1Score(threshold=0.0),
        lambda: metrics.R2Score(class_aggregation="mean"),
        lambda: metrics.R2Score(num_regressors=-1),
        lambda: metrics.IoU(2, [2]),
    ],
)
def test_impossible_arguments_are_errors(make):
    with pytest.raises(ConfigurationError):
        make()


def test_adjusted_r2_without_enough_samples_is_the_plain_one_with_a_warning():
    metric = metrics.R2Score(num_regressors=2)
    metric.update_state([[1.0], [2.0]], [[1.0], [1.5]])
    with pytest.warns(UserWarning, match="more samples than 3"):
        adjusted = metric.result()
    assert adjusted == metrics.R2Score()([[1.0], [2.0]], [[1.0], [1.5]])


def test_a_state_of_another_metric_is_an_error():
    with pytest.raises(DataError, match=r"'auc' has the parts \['histogram'\]"):
        metrics.AUC().load_state_dict(metrics.BinaryAccuracy().state_dict())


def test_results_are_single_numbers_or_an_error_that_says_what_to_do():
    metric = metrics.F1Score()
    metric.update_state(torch.eye(3), torch.eye(3))
    with pytest.raises(DataError, match=r"'f1_score' has shape \(3,\).*average='macro'"):
        metrics.results_of(metric)
    assert metrics.results_of(metrics.AUC()) == {"auc": 0.0}


class Both(metrics.Metric):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.pair = {"high": y_pred.max(), "low": y_pred.min(), "text": "no number"}

    def result(self):
        return self.pair


def test_a_result_may_be_a_dict_of_numbers():
    metric = Both()
    metric.update_state(torch.zeros(2), torch.tensor([1.0, 2.0]))
    with pytest.raises(DataError, match="'text' is a str"):
        metrics.results_of(metric)
    del metric.pair["text"]
    assert metrics.results_of(metric) == {"high": 2.0, "low": 1.0}


# Resolving names and other objects


def test_every_name_of_keras_is_known():
    theirs = set(keras.src.metrics.ALL_OBJECTS_DICT)
    bases = {"Metric", "metric", "Mean", "mean", "Sum", "sum"}
    assert set(NAMES) == theirs - bases - {"MeanMetricWrapper", "mean_metric_wrapper"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_resolves_to_the_class_of_keras_under_that_name(name):
    theirs = keras.src.metrics.ALL_OBJECTS_DICT[name]
    try:
        theirs()
    except TypeError:
        with pytest.raises(ConfigurationError, match=rf"pass {theirs.__name__}\(\w+=\.\.\."):
            metrics.resolve_metric(name)
        return
    metric = metrics.resolve_metric(name)
    assert metric.name == name
    if name.lower() != "accuracy":
        assert type(metric).__name__ == theirs.__name__


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy"])
@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("binary", (6, 1), metrics.BinaryAccuracy),
        ("binary", (6,), metrics.BinaryAccuracy),
        ("onehot", (6, 3), metrics.CategoricalAccuracy),
        ("classes", (6, 3), metrics.SparseCategoricalAccuracy),
        ("classes", (6, 2, 3), metrics.SparseCategoricalAccuracy),
    ],
)
def test_accuracy_is_chosen_by_shapes(name, kind, shape, expected):
    true, pred = batch(kind, shape, 0)
    metric = metrics.resolve_metric(name)
    assert (metric.name, metric.direction) == (name, "max")
    assert metric(true, pred) == expected()(true, pred)
    if kind == "classes":
        metric.reset_state()
        assert metric(true.unsqueeze(-1), pred) == expected()(true, pred)


def test_objects_keep_their_names_and_classes_are_called():
    metric = metrics.AUC(name="area")
    assert metrics.resolve_metric(metric) is metric
    assert metrics.resolve_metric(metrics.Recall).name == "recall"
    with pytest.raises(ConfigurationError, match=r"pass MeanIoU\(num_classes=\.\.\.\)"):
        metrics.resolve_metric(metrics.MeanIoU)
    with pytest.raises(ConfigurationError, match="call it to make a metric"):
        metrics.resolve_metric(torchmetrics.MeanSquaredError)


def test_a_loss_becomes_the_mean_of_its_samples():
    metric = metrics.resolve_metric(losses.Huber(reduction="sum"))
    true, pred = batch("real", (6, 3), 0)
    assert (metric.name, metric.direction) == ("huber_loss", "min")
    torch.testing.assert_close(metric(true, pred), losses.Huber()(true, pred))
    with pytest.raises(ConfigurationError, match="'dice' gives a single value"):
        metrics.resolve_metric(losses.Dice()).update_state(true, pred)


def error(y_true, y_pred):
    return (y_true - y_pred).abs().mean(-1)


def test_a_function_with_values_per_sample():
    metric = metrics.resolve_metric(error)
    assert (metric.name, metric.direction) == ("error", None)
    metric.update_state(torch.zeros(3, 2), torch.ones(3, 2))
    metric.update_state(torch.zeros(1, 2), torch.ones(1, 2) * 5, torch.tensor([2.0]))
    assert metric.result() == pytest.approx(13 / 5)
    assert metrics.resolve_metric(losses.mean_squared_error).direction == "min"


def test_a_function_with_the_mean_of_a_batch_counts_its_samples():
    metric = metrics.resolve_metric(lambda y_true, y_pred: error(y_true, y_pred).mean())
    metric.update_state(torch.zeros(3, 2), torch.ones(3, 2))
    metric.update_state(torch.zeros(1, 2), torch.ones(1, 2) * 5)
    assert metric.result() == pytest.approx(8 / 4)
    with pytest.raises(ConfigurationError, match="one value for each sample"):
        metric.update_state(torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1))


def test_a_function_that_returns_something_else_is_an_error():
    for function, what in ((lambda t, p: 1.0, "float"), (lambda t, p: torch.ones(7), r"\(7,\)")):
        with pytest.raises(DataError, match=rf"must return a tensor of shape \(3,\).*{what}"):
            metrics.resolve_metric(function).update_state(torch.zeros(3), torch.zeros(3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("acuracy", "Did you mean 'accuracy'"),
        (None, "a metric must be a name"),
        (metrics.Mean(), "Mean averages values that it is given"),
        (keras.metrics.AUC(), "is a metric of another framework"),
    ],
)
def test_anything_else_is_an_error(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        metrics.resolve_metric(wrong)
    assert issubclass(UnknownNameError, ConfigurationError)


# torchmetrics


def accuracy_of_torchmetrics():
    return torchmetrics.Accuracy(task="multiclass", num_classes=4)


def test_torchmetrics_are_called_in_their_order():
    metric = metrics.resolve_metric(accuracy_of_torchmetrics())
    assert (metric.name, metric.direction) == ("multiclass_accuracy", "max")
    assert metric.result() == 0.0
    expected = accuracy_of_torchmetrics()
    for seed in range(2):
        true, pred = batch("classes", (6, 4), seed)
        expected.update(pred, true)
        metric.update_state(true.unsqueeze(-1), pred)
    assert metric.result() == expected.compute()
    metric.reset_state()
    assert metric.result() == 0.0
    with pytest.raises(ConfigurationError, match="takes no sample weights"):
        metric.update_state(true, pred, torch.ones(6))


def test_a_missing_axis_of_a_torchmetrics_target_is_added():
    metric = metrics.resolve_metric(torchmetrics.MeanSquaredError())
    assert metric.direction == "min"
    metric.update_state(torch.zeros(3), torch.ones(3, 1) * 2)
    assert metrics.results_of(metric) == {"mean_squared_error": 4.0}


def collection():
    return torchmetrics.MetricCollection(
        {
            "top": accuracy_of_torchmetrics(),
            "found": torchmetrics.Recall("multiclass", num_classes=4),
        },
        prefix="my_",
    )


def test_a_collection_gives_its_own_names():
    metric = metrics.resolve_metric(collection())
    assert metric.directions() == {"my_top": "max", "my_found": "max"}
    assert metrics.results_of(metric) == {"my_top": 0.0, "my_found": 0.0}
    true, pred = batch("classes", (6, 4), 0)
    metric.update_state(true, pred)
    expected = collection()
    expected.update(pred, true)
    assert metrics.results_of(metric) == expected.compute()


@pytest.mark.parametrize(
    "make",
    [accuracy_of_torchmetrics, collection, torchmetrics.CatMetric],
)
def test_torchmetrics_go_on_where_they_were_saved(make):
    def update(metric, seed):
        true, pred = batch("classes", (6, 4), seed)
        if isinstance(metric._metric, torchmetrics.CatMetric):
            metric._metric.update(true.float())
        else:
            metric.update_state(true, pred)

    first = metrics.resolve_metric(make())
    update(first, 0)
    saved, frozen = first.state_dict(), copy.copy(first)
    early = copy.deepcopy(saved), frozen.result()
    update(first, 1)
    second = metrics.resolve_metric(make())
    second.load_state_dict(saved)
    torch.testing.assert_close((saved, frozen.result()), early, rtol=0, atol=0)
    update(second, 1)
    torch.testing.assert_close(second.result(), first.result(), rtol=0, atol=0)
    torch.testing.assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
    with pytest.raises(DataError, match="is missing"):
        second.load_state_dict({})


def test_a_result_of_torchmetrics_that_is_no_single_number_is_an_error():
    metric = metrics.resolve_metric(
        torchmetrics.Accuracy(task="multiclass", num_classes=4, average=None)
    )
    metric.update_state(*batch("classes", (6, 4), 0))
    with pytest.raises(DataError, match=r"has shape \(4,\)"):
        metrics.results_of(metric)
