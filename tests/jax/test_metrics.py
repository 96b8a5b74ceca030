"""Results of metrics, against those of PyTorch's side, which are Keras's."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from callboard import ConfigurationError, DataError, UnknownNameError
from callboard.jax import losses, metrics
from callboard.jax.metrics.resolve import NAMES
from callboard.torch import metrics as reference
from callboard.torch.metrics.resolve import NAMES as REFERENCE_NAMES

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
    return true, pred


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), CASES, ids=IDS)
def test_results_are_those_of_the_reference(name, arguments, kind, shape):
    ours, theirs = getattr(metrics, name)(**arguments), getattr(reference, name)(**arguments)
    weight = np.random.default_rng(0).integers(0, 4, shape[:1]).astype("f4") / 2
    batches = [batch(kind, shape, 0), (*batch(kind, shape, 1), weight)]

    @jax.jit  # as a step has it: the state is a value
    def result(batches):
        own = copy.copy(ours)
        for parts in batches:
            own.update_state(*parts)
        return own.state_dict()

    ours.load_state_dict(result(batches))
    for parts in batches:
        theirs.update_state(*map(torch.as_tensor, parts))
    np.testing.assert_allclose(ours.result(), theirs.result(), rtol=3e-5, atol=3e-6)
    assert ours.directions() == theirs.directions()


def test_a_state_that_was_handed_out_stays_what_it_was():
    metric = metrics.Precision()
    metric.update_state([1, 0], jnp.array([0.9, 0.9]))
    before = metric.state_dict()
    metric.update_state([1, 1], jnp.array([0.9, 0.9]))
    assert float(metric.result()) == 0.75
    metric.load_state_dict(before)
    assert float(metric.result()) == 0.5
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_names_are_those_of_torch_and_so_of_keras():
    assert sorted(NAMES) == sorted(REFERENCE_NAMES)
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        metrics.resolve_metric("acuracy")


@pytest.mark.parametrize(
    ("true", "pred", "expected"),
    [
        (np.array([1]), np.array([[0.1, 2.0]], "f4"), 1.0),
        (np.array([[0, 1]]), np.array([[0.1, 2.0]], "f4"), 1.0),
        (np.array([[1]]), np.array([[0.3]], "f4"), 0.0),
    ],
)
def test_accuracy_is_chosen_by_shapes(true, pred, expected):
    metric = metrics.resolve_metric("accuracy")
    assert metric.name == "accuracy"
    assert float(metric(true, pred)) == expected


def test_losses_and_functions_are_metrics():
    metric = metrics.resolve_metric(losses.Huber(delta=2.0))
    assert (metric.name, metric.direction) == ("huber_loss", "min")
    assert float(metric(jnp.zeros((1, 1)), jnp.ones((1, 1)))) == 0.5
    off = metrics.resolve_metric(lambda y_true, y_pred: jnp.abs(y_true - y_pred).mean())
    off.update_state(jnp.zeros((2, 1)), jnp.ones((2, 1)))
    off.update_state(jnp.zeros((1, 1)), jnp.full((1, 1), 4.0))
    assert float(off.result()) == 2.0


def test_mistakes_are_errors():
    with pytest.raises(ConfigurationError, match=r"MeanIoU\(num_classes=...\)"):
        metrics.resolve_metric(metrics.MeanIoU)
    with pytest.raises(ConfigurationError, match="a metric must be a name"):
        metrics.resolve_metric(3)
    with pytest.raises(DataError, match="one-hot targets"):
        metrics.SparseCategoricalAccuracy()(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(DataError, match="was saved by another metric"):
        metrics.Precision().load_state_dict({"total": 1})
