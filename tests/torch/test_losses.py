import math
import os
import types
import warnings

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import ProfilerActivity, profile

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError
from callboard.torch import losses
from callboard.torch.losses.resolve import NAMES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras

LOGITS = {
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalCrossentropy",
}
# name, arguments, kind of targets
CASES = [
    ("MeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("MeanAbsolutePercentageError", {}, "real"),
    ("MeanSquaredLogarithmicError", {}, "real"),
    ("Huber", {}, "real"),
    ("Huber", {"delta": 0.3}, "real"),
    ("LogCosh", {}, "real"),
    ("Poisson", {}, "positive"),
    ("Hinge", {}, "binary"),
    ("Hinge", {}, "real"),
    ("SquaredHinge", {}, "binary"),
    ("CategoricalHinge", {}, "onehot"),
    ("KLDivergence", {}, "distribution"),
    ("CosineSimilarity", {}, "real"),
    ("CosineSimilarity", {"axis": 1}, "real"),
    ("Dice", {}, "binary"),
    ("Dice", {"axis": -1}, "binary"),
    ("Tversky", {"alpha": 0.3, "beta": 0.9}, "binary"),
    ("Tversky", {"alpha": 0.3, "beta": 0.9, "axis": (-1,)}, "binary"),
    ("BinaryCrossentropy", {}, "binary"),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, "binary"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3}, "binary"),
    ("BinaryFocalCrossentropy", {"gamma": 3.0, "label_smoothing": 0.1}, "binary"),
    ("CategoricalCrossentropy", {}, "onehot"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "distribution"),
    ("CategoricalFocalCrossentropy", {"alpha": 0.4, "gamma": 1.5}, "onehot"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.7]}, "onehot"),
    ("SparseCategoricalCrossentropy", {}, "classes"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "classes"),
]
SHAPES = [(4, 1), (5, 3), (4, 2, 3)]


def data(kind, shape, *, logits=False, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=shape).astype("float32")
    classes = rng.permutation(np.arange(math.prod(shape[:-1])) % shape[-1]).reshape(shape[:-1])
    positive = rng.uniform(0.05, 0.95, size=shape).astype("float32")
    if kind in ("onehot", "classes", "distribution") and not logits:
        pred = positive  # not normalized on purpose: Keras does that
    elif kind == "real" or logits:
        pred = scores
    else:
        pred = positive
    true = {
        "real": rng.normal(size=shape).astype("float32"),
        "positive": rng.poisson(2.0, size=shape),
        "binary": rng.integers(0, 2, size=shape),
        "onehot": np.eye(shape[-1], dtype="int32")[classes],
        "distribution": rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]).astype("float32"),
        "classes": classes,
    }[kind]
    return true, pred


def both(name, arguments):
    return getattr(losses, name)(**arguments), getattr(keras.losses, name)(**arguments)


def close(ours, theirs, rtol=2e-5, atol=2e-6):
    np.testing.assert_allclose(
        np.asarray(ours.detach()), theirs.detach().cpu().numpy(), rtol=rtol, atol=atol
    )


def applicable(name, arguments, kind, shape):
    if kind in ("onehot", "distribution", "classes") and shape[-1] == 1:
        return False
    axis = arguments.get("axis")
    if isinstance(axis, int) and axis >= len(shape):
        return False
    return not (isinstance(arguments.get("alpha"), list) and shape[-1] != len(arguments["alpha"]))


def parameters():
    for name, arguments, kind in CASES:
        for logits in (False, True) if name in LOGITS else (False,):
            for shape in SHAPES:
                if applicable(name, arguments, kind, shape):
                    given = {**arguments, "from_logits": True} if logits else arguments
                    yield pytest.param(name, given, kind, shape, id=f"{name}-{given}-{shape}")


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), list(parameters()))
def test_values_are_those_of_keras(name, arguments, kind, shape):
    true, pred = data(kind, shape, logits=arguments.get("from_logits", False))
    for reduction in ("sum_over_batch_size", "sum", "none"):
        ours, theirs = both(name, {**arguments, "reduction": reduction})
        expected = theirs(torch.tensor(true), torch.tensor(pred))
        close(ours(torch.tensor(true), torch.tensor(pred)), expected)


WHOLE_BATCH = ("Dice-{}", "Tversky-{'alpha': 0.3, 'beta': 0.9}")  # no values per sample


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "shape"),
    [case for case in parameters() if not case.id.startswith(WHOLE_BATCH)],
)
def test_weighted_values_are_those_of_keras(name, arguments, kind, shape):
    true, pred = (torch.tensor(a) for a in data(kind, shape, logits="from_logits" in arguments))
    values = both(name, {**arguments, "reduction": "none"})[0](true, pred)
    # Weights of the rank of the values: Keras lets others meet the last axis.
    weight = torch.rand(values.shape)
    for reduction in ("mean", "sum", "mean_with_sample_weight", "none"):
        ours, theirs = both(name, {**arguments, "reduction": reduction})
        close(ours(true, pred, weight), theirs(true, pred, weight))


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES)
def test_gradients_are_those_of_keras(name, arguments, kind):
    true, pred = data(kind, (5, 3))
    gradients = []
    for loss in both(name, arguments):
        leaf = torch.tensor(pred, requires_grad=True)
        loss(torch.tensor(true), leaf).backward()
        gradients.append(leaf.grad)
    close(*gradients, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES)
def test_traced_as_a_whole_and_differentiated_by_functions(name, arguments, kind):
    loss = getattr(losses, name)(**arguments)
    true, pred = (torch.tensor(a) for a in data(kind, (5, 3)))
    eager = loss(true, pred)
    torch.compiler.reset()  # a limit on recompilations counts all cases together
    traced = torch.compile(loss.__call__, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(true, pred), eager)
    gradient = torch.func.grad(lambda p: loss(true, p))(pred)
    leaf = pred.clone().requires_grad_()
    loss(true, leaf).backward()
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("name", ["MeanSquaredError", "Huber", "BinaryCrossentropy", "Hinge"])
@pytest.mark.parametrize("shapes", [((6,), (6, 1)), ((6, 1), (6,)), ((6,), (6,))])
def test_samples_of_one_number_are_samples_with_or_without_an_axis(name, shapes):
    true, pred = data("binary", (6, 1))
    weight = torch.rand(6)
    loss = getattr(losses, name)(reduction="none")
    column = loss(torch.tensor(true), torch.tensor(pred), weight)
    assert column.shape == (6,)
    flat = loss(
        torch.tensor(true).reshape(shapes[0]), torch.tensor(pred).reshape(shapes[1]), weight
    )
    torch.testing.assert_close(flat, column)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32"])
@pytest.mark.parametrize("column", [False, True])
def test_class_numbers_of_any_type_and_shape(dtype, column):
    pred = torch.randn(7, 4)
    true = torch.arange(7) % 4
    given = true.to(getattr(torch, dtype)).unsqueeze(-1) if column else true
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    torch.testing.assert_close(loss(given, pred), nn.functional.cross_entropy(pred, true))


def test_a_weight_per_sample_weighs_all_steps_of_the_sample():
    true, pred = (torch.tensor(a) for a in data("real", (4, 2, 3)))
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5])
    loss = losses.MeanSquaredError()
    by_sample = ((true - pred) ** 2).mean((1, 2))
    torch.testing.assert_close(loss(true, pred, weight), (by_sample * weight).sum() / 4)
    torch.testing.assert_close(loss.per_sample(true, pred), by_sample)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 3)), min_size=1, max_size=9)
)
@settings(max_examples=50, deadline=None)
def test_the_mean_is_the_weighted_sum_over_the_batch_size(rows):
    true, pred, weight = (torch.tensor(column) for column in zip(*rows, strict=True))
    expected = ((true - pred) ** 2 * weight).sum() / len(rows)
    torch.testing.assert_close(losses.MeanSquaredError()(true, pred, weight), expected)


def test_ignored_class_does_not_count_in_the_mean():
    true, pred = torch.tensor([[0, 2], [2, 2]]), torch.randn(2, 2, 3)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)
    expected = -pred[0, 0].log_softmax(-1)[0]
    torch.testing.assert_close(loss(true, pred), expected)
    torch.testing.assert_close(loss(true, pred, torch.ones(2)), expected)
    torch.testing.assert_close(loss.per_sample(true, pred), torch.stack([expected, expected * 0]))


def test_nothing_but_the_ignored_class_is_a_loss_of_zero_with_a_finite_gradient():
    pred = torch.randn(2, 3, requires_grad=True)
    losses.SparseCategoricalCrossentropy(True, 2)(torch.tensor([2, 2]), pred).backward()
    assert pred.grad.eq(0).all()


@pytest.mark.parametrize("name", sorted(LOGITS))
def test_on_logits_is_the_same_loss_before_the_activation(name):
    kind = next(kind for case, _, kind in CASES if case == name)
    loss = getattr(losses, name)(name="mine", reduction="sum")
    true, logits = (torch.tensor(a) for a in data(kind, (5, 3), logits=True))
    activation = torch.sigmoid if loss.links == "sigmoid" else lambda x: torch.softmax(x, -1)
    twin = loss.on_logits()
    assert (twin.name, twin.reduction, twin.links, twin.on_logits()) == ("mine", "sum", None, None)
    assert loss.links == ("sigmoid" if name.startswith("Binary") else "softmax")
    assert not loss.from_logits
    torch.testing.assert_close(
        twin(true, logits), loss(true, activation(logits)), rtol=1e-4, atol=1e-5
    )


def test_other_losses_have_no_form_on_logits():
    assert losses.MeanSquaredError().links is None
    assert losses.MeanSquaredError().on_logits() is None


def operators(call):
    with profile(activities=[ProfilerActivity.CPU]) as record:
        call()
    events = record.events()
    return [event.name for event in events if event.cpu_parent is None]


def test_the_hot_path_is_one_call():
    true, pred = torch.randint(0, 10, (32,)), torch.randn(32, 10)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert operators(lambda: loss(true, pred)) == ["aten::cross_entropy_loss"]
    assert operators(lambda: loss(true.int(), pred))[1:] == ["aten::to", "aten::cross_entropy_loss"]
    assert operators(lambda: losses.MeanSquaredError()(pred, pred))[-1] == "aten::mse_loss"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    pred, true = torch.rand(4, 3).to(dtype), torch.rand(4, 3)
    assert losses.MeanSquaredError()(true, pred).dtype is torch.float32
    labels = torch.arange(4) % 3
    for loss in (losses.SparseCategoricalCrossentropy(), losses.CategoricalCrossentropy(True)):
        target = labels if "sparse" in loss.name else torch.eye(3)[labels]
        assert loss(target, pred).dtype is torch.float32


def test_float64_stays_float64():
    assert losses.Huber()([[1]], torch.rand(1, 1, dtype=torch.float64)).dtype is torch.float64


def test_runs_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        value = losses.BinaryCrossentropy()(torch.ones(2, 1), torch.full((2, 1), 0.5))
    assert value == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("given", [((4, 3), (4, 2)), ((4,), (4, 3)), ((4, 1), (4, 3))])
def test_shapes_that_keras_would_broadcast_are_errors(given):
    with pytest.raises(DataError, match=r"y_true has shape .* and y_pred"):
        losses.MeanSquaredError()(torch.zeros(given[0]), torch.zeros(given[1]))


def test_one_hot_targets_of_a_sparse_loss_are_an_error_that_names_the_other():
    with pytest.raises(DataError, match=r"need the shape \(4,\).*categorical_crossentropy"):
        losses.SparseCategoricalCrossentropy()(torch.zeros(4, 3), torch.rand(4, 3))


def test_weights_of_another_number_are_an_error():
    true, pred = torch.zeros(4, 3), torch.zeros(4, 3)
    for weight in (torch.ones(3), torch.ones(4, 2, 3), torch.ones(5, 1)):
        with pytest.raises(DataError, match="one weight for each sample"):
            losses.MeanSquaredError()(true, pred, weight)


def test_weights_on_a_value_for_the_whole_batch_are_an_error():
    with pytest.raises(ConfigurationError, match="one value for each sample"):
        losses.Dice()(torch.ones(4, 3), torch.ones(4, 3), torch.ones(4))


def test_impossible_arguments_are_errors():
    with pytest.raises(UnknownNameError, match="Did you mean 'sum'"):
        losses.MeanSquaredError(reduction="sums")
    with pytest.raises(ConfigurationError, match="delta"):
        losses.Huber(delta=0.0)
    with pytest.raises(ConfigurationError, match="axis"):
        losses.CategoricalCrossentropy(axis=True)


def test_every_name_of_keras_is_known():
    theirs = set(keras.src.losses.ALL_OBJECTS_DICT)
    missing = {"Loss", "LossFunctionWrapper", "CTC", "ctc", "Circle", "circle"}
    assert set(NAMES) == theirs - missing


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_resolves_to_the_loss_and_name_of_keras(name):
    loss = losses.resolve_loss(name)
    theirs = keras.src.losses.get(name)
    assert loss.name == (getattr(theirs, "name", None) or theirs.__name__)
    kind = next(kind for case, _, kind in CASES if case == type(loss).__name__)
    true, pred = (torch.tensor(a) for a in data(kind, (5, 3)))
    expected = theirs(true.float() if kind != "classes" else true, pred)
    close(loss(true, pred), expected.mean())


def test_crossentropy_is_chosen_by_shapes():
    loss = losses.resolve_loss("crossentropy")
    for kind, shape in (("binary", (6, 1)), ("onehot", (6, 3)), ("classes", (6, 3))):
        name = {"binary": "Binary", "onehot": "Categorical", "classes": "SparseCategorical"}[kind]
        true, pred = (torch.tensor(a) for a in data(kind, shape))
        expected = getattr(losses, f"{name}Crossentropy")()(true, pred)
        torch.testing.assert_close(loss(true, pred), expected)


def test_a_loss_resolves_to_itself():
    loss = losses.Huber()
    assert losses.resolve_loss(loss) is loss


MODULES = [
    (nn.CrossEntropyLoss(), "classes"),
    (nn.CrossEntropyLoss(label_smoothing=0.1), "classes"),
    (nn.CrossEntropyLoss(), "distribution"),
    (nn.NLLLoss(), "classes"),
    (nn.MSELoss(), "real"),
    (nn.L1Loss(reduction="sum"), "real"),
    (nn.BCELoss(), "binary"),
    (nn.BCEWithLogitsLoss(), "binary"),
    (nn.SmoothL1Loss(reduction="none"), "real"),
    (nn.KLDivLoss(reduction="batchmean"), "distribution"),
]


@pytest.mark.parametrize(("module", "kind"), MODULES)
def test_modules_of_torch_are_called_in_their_order(module, kind):
    true, pred = (torch.tensor(a) for a in data(kind, (5, 3)))
    target = true if kind == "classes" else true.float()
    loss = losses.resolve_loss(module)
    expected = module(pred, target).mean()
    given = true.int().unsqueeze(-1) if kind == "classes" else true
    torch.testing.assert_close(loss(given, pred), expected)
    if module.reduction != "sum":
        torch.testing.assert_close(loss(given, pred, torch.ones(5)), expected)
    doubled = loss(given, pred, torch.full((5,), 2.0))
    torch.testing.assert_close(doubled, 2 * expected)


def test_a_module_of_torch_meets_a_missing_axis_without_broadcasting():
    true, pred = torch.rand(5), torch.rand(5, 1)
    expected = ((true - pred.squeeze(-1)) ** 2).mean()
    torch.testing.assert_close(losses.resolve_loss(nn.MSELoss())(true, pred), expected)
    torch.testing.assert_close(
        losses.resolve_loss(nn.MSELoss())(true.unsqueeze(-1), pred.squeeze(-1)), expected
    )


def test_weights_of_a_module_stay_shared_with_its_unreduced_form():
    module = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    loss = losses.resolve_loss(module)
    module.to(torch.float64)
    values = loss.per_sample(torch.tensor([1]), torch.zeros(1, 2, dtype=torch.float64))
    assert values.item() == pytest.approx(3 * np.log(2))


class Unreduced(nn.Module):
    def forward(self, y_pred, y_true):
        return (y_pred - 2 * y_true).mean()


def test_a_module_of_the_user_gets_targets_as_they_are_and_no_weights():
    loss = losses.resolve_loss(Unreduced())
    assert loss.name == "unreduced"
    assert loss(torch.tensor([1]), torch.tensor([5.0])) == 3
    with pytest.raises(ConfigurationError, match="Unreduced has no attribute 'reduction'"):
        loss(torch.tensor([1]), torch.tensor([5.0]), torch.ones(1))


def test_functions_are_called_in_the_order_of_keras():
    def first_minus_second(y_true, y_pred):
        return (y_true - y_pred).mean(-1)

    loss = losses.resolve_loss(first_minus_second)
    assert loss.name == "first_minus_second"
    true, pred = torch.tensor([[5.0], [1.0]]), torch.tensor([[1.0], [0.0]])
    assert loss(true, pred) == 2.5
    assert loss(true, pred, torch.tensor([1.0, 0.0])) == 2.0


def test_a_function_with_one_value_for_the_batch_takes_no_weights():
    loss = losses.resolve_loss(lambda y_true, y_pred: (y_true - y_pred).abs().mean())
    assert loss(torch.tensor([5.0]), torch.tensor([1.0])) == 4
    with pytest.raises(ConfigurationError, match="return values of shape"):
        loss(torch.tensor([5.0]), torch.tensor([1.0]), torch.ones(1))


def test_a_function_that_returns_no_tensor_is_an_error():
    with pytest.raises(DataError, match="returned a float"):
        losses.resolve_loss(lambda y_true, y_pred: 1.0)(torch.ones(1), torch.ones(1))


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, losses.Huber])
def test_a_class_is_an_error_that_says_to_call_it(kind):
    with pytest.raises(ConfigurationError, match=rf"loss={kind.__name__}\(\)"):
        losses.resolve_loss(kind)


@pytest.mark.parametrize("function", [nn.functional.cross_entropy, nn.functional.mse_loss])
def test_functions_of_torch_are_an_error_because_of_their_order(function):
    with pytest.raises(ConfigurationError, match=r"takes \(y_pred, y_true\)"):
        losses.resolve_loss(function)


def test_anything_else_is_an_error():
    with pytest.raises(UnknownNameError, match="Did you mean 'mean_squared_error'"):
        losses.resolve_loss("mean_square_error")
    for other in (None, 3, types.SimpleNamespace()):
        with pytest.raises(ConfigurationError, match="loss must be a name"):
            losses.resolve_loss(other)


@pytest.mark.parametrize(
    "kind",
    [
        losses.BinaryCrossentropy,
        losses.BinaryFocalCrossentropy,
        losses.CategoricalCrossentropy,
        losses.CategoricalFocalCrossentropy,
    ],
)
@pytest.mark.parametrize("smoothing", [-0.1, 1.5, "0.1", True])
def test_label_smoothing_is_a_fraction(kind, smoothing):
    with pytest.raises(ConfigurationError, match="label_smoothing must be between 0 and 1; got"):
        kind(label_smoothing=smoothing)
    assert kind(label_smoothing=1).label_smoothing == 1.0
