"""Values and gradients of losses, against those of PyTorch's side, which are Keras's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from callboard import ConfigurationError, DataError, UnknownNameError
from callboard.jax import losses
from callboard.jax.losses.resolve import NAMES
from callboard.torch import losses as reference
from callboard.torch.losses.resolve import NAMES as REFERENCE_NAMES

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
SHAPES = [(5, 3)]


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


def both(name, arguments):
    return getattr(losses, name)(**arguments), getattr(reference, name)(**arguments)


@pytest.mark.parametrize(("name", "arguments", "kind", "shape"), list(parameters()))
def test_values_weighted_values_and_gradients(name, arguments, kind, shape):
    true, pred = data(kind, shape, logits=arguments.get("from_logits", False))
    weight = np.arange(1.0, shape[0] + 1, dtype="f4")
    ours, theirs = both(name, arguments)
    own_values, own_unreduced = (both(name, {**arguments, "reduction": "none"})[i] for i in (0, 1))

    @jax.jit  # compiled at once, which takes less time than one operation after the other
    def computed(true, pred, weight):
        value, gradient = jax.value_and_grad(lambda p: ours(true, p))(pred)
        values = own_values(true, pred)
        weighted = own_values(true, pred, weight) if values.ndim else values
        return value, gradient, values, weighted

    value, gradient, values, weighted = computed(true, pred, weight)
    leaf = torch.tensor(pred, requires_grad=True)
    expected = theirs(torch.as_tensor(true), leaf)
    expected.backward()
    np.testing.assert_allclose(value, expected.detach(), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-4, atol=1e-6)
    unreduced = own_unreduced(torch.as_tensor(true), torch.as_tensor(pred))
    np.testing.assert_allclose(values, unreduced, rtol=2e-5, atol=2e-6)
    if unreduced.ndim:
        unreduced = own_unreduced(*map(torch.as_tensor, (true, pred, weight)))
        np.testing.assert_allclose(weighted, unreduced, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(LOGITS))
def test_on_logits_is_the_same_loss_before_the_activation(name):
    kind = next(kind for case, _, kind in CASES if case == name)
    true, logits = data(kind, (5, 3), logits=True)
    loss = getattr(losses, name)()
    activation = jax.nn.sigmoid if loss.links == "sigmoid" else jax.nn.softmax
    np.testing.assert_allclose(
        loss(true, activation(logits)), loss.on_logits()(true, logits), rtol=1e-4
    )
    assert loss.on_logits().on_logits() is None


def test_the_names_are_those_of_torch_and_so_of_keras():
    assert sorted(NAMES) == sorted(REFERENCE_NAMES)
    for name in NAMES:
        assert losses.resolve_loss(name).name == reference.resolve_loss(name).name
    with pytest.raises(UnknownNameError, match=r"Did you mean 'mse'"):
        losses.resolve_loss("msee")


def test_losses_of_optax_are_called_in_their_order():
    loss = losses.resolve_loss(optax.losses.softmax_cross_entropy_with_integer_labels)
    logits = np.array([[0.0, 2.0], [1.0, 0.0]], "f4")
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(logits, np.array([1, 1]))
    np.testing.assert_allclose(loss(np.array([[1], [1]]), logits), expected.mean(), rtol=1e-6)
    huber = losses.resolve_loss(optax.losses.huber_loss)
    np.testing.assert_allclose(huber(np.array([0.0]), np.array([[3.0]])), 2.5)


def test_functions_are_called_in_the_order_of_keras():
    loss = losses.resolve_loss(lambda y_true, y_pred: (y_true - 2 * y_pred).mean(-1))
    assert float(loss(jnp.array([[1.0]]), jnp.array([[2.0]]))) == -3.0
    with pytest.raises(DataError, match="it returned a str"):
        losses.resolve_loss(lambda *_: "none")(jnp.ones(1), jnp.ones(1))


def test_mistakes_are_errors():
    with pytest.raises(ConfigurationError, match=r"loss=Huber\(\)"):
        losses.resolve_loss(losses.Huber)
    with pytest.raises(ConfigurationError, match=r"a loss of optax"):
        losses.resolve_loss(3)
    with pytest.raises(DataError, match=r"must be equal"):
        losses.MeanSquaredError()(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(DataError, match="categorical_crossentropy"):
        losses.SparseCategoricalCrossentropy()(np.ones((4, 3)), np.ones((4, 3)))
    with pytest.raises(DataError, match=r"do not fit"):
        losses.MeanSquaredError()(np.ones((4, 1)), np.ones((4, 1)), np.ones(3))


def test_half_precision_is_computed_in_float32():
    loss = losses.MeanSquaredError()(jnp.zeros((2, 1)), jnp.ones((2, 1), jnp.bfloat16))
    assert loss.dtype == jnp.float32


def test_nothing_but_the_ignored_class_is_a_loss_of_zero_with_a_finite_gradient():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=0)
    value, gradient = jax.value_and_grad(lambda p: loss(np.zeros(2, int), p))(jnp.full((2, 3), 0.3))
    assert float(value) == 0.0
    assert np.isfinite(gradient).all()


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
