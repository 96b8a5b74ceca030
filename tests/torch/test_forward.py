import pytest
import torch
from torch import nn
from torch.nn import functional

from callboard import ConfigurationError, DataError
from callboard._core.batches import Batch
from callboard.torch import Model, losses
from callboard.torch.forward import ForwardPass
from callboard.torch.objectives import Objectives


def forward_of(module, loss, metrics=(), **options):
    model = module if isinstance(module, Model) else Model(module)
    return ForwardPass(model, Objectives(loss, metrics=list(metrics), **options))


def dense(*last, out=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, out), *last)


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([0, 2, 1, 1, 0])
ONE_HOT = functional.one_hot(LABELS, 3).float()
BINARY = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("last", "loss", "y", "expected"),
    [
        (
            nn.Softmax(-1),
            "sparse_categorical_crossentropy",
            LABELS,
            lambda z: functional.cross_entropy(z, LABELS),
        ),
        (
            nn.Softmax(1),
            "categorical_crossentropy",
            ONE_HOT,
            lambda z: functional.cross_entropy(z, LABELS),
        ),
        (nn.Softmax(-1), "crossentropy", LABELS, lambda z: functional.cross_entropy(z, LABELS)),
        (
            nn.Sigmoid(),
            "binary_crossentropy",
            ONE_HOT,
            lambda z: functional.binary_cross_entropy_with_logits(z, ONE_HOT),
        ),
    ],
    ids=["sparse", "one-hot", "by shape", "binary"],
)
def test_a_loss_on_probabilities_is_computed_from_the_logits(last, loss, y, expected):
    net = dense(last)
    outcome = forward_of(net, loss)(Batch(X, y, None))
    torch.testing.assert_close(outcome.loss, expected(net[0](X)))


def test_the_loss_is_exact_where_a_probability_rounds_to_zero():
    net = nn.Sequential(nn.Identity(), nn.Softmax(-1))
    logits = torch.tensor([[0.0, 200.0]], requires_grad=True)
    outcome = forward_of(net, "sparse_categorical_crossentropy")(
        Batch(logits, torch.tensor([0]), None)
    )
    assert outcome.loss.item() == 200.0
    outcome.loss.backward()
    assert logits.grad.tolist() == [[-1.0, 1.0]]


def test_sample_weights_are_applied_to_the_loss_on_logits():
    net, weight = dense(nn.Softmax(-1)), torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0])
    outcome = forward_of(net, "sparse_categorical_crossentropy")(Batch(X, LABELS, weight))
    each = functional.cross_entropy(net[0](X), LABELS, reduction="none")
    torch.testing.assert_close(outcome.loss, (each * weight).mean())


@pytest.mark.parametrize(
    ("metrics", "probabilities"),
    [
        ([], False),
        (["accuracy"], False),
        (["sparse_top_k_categorical_accuracy"], False),
        (["accuracy", "sparse_categorical_crossentropy"], True),
        ([lambda y, p: p.max()], True),
    ],
    ids=["none", "accuracy", "top k", "one that needs them", "a function"],
)
def test_metrics_get_probabilities_unless_logits_give_the_same(metrics, probabilities):
    net = dense(nn.Softmax(-1))
    outcome = forward_of(net, "sparse_categorical_crossentropy", metrics)(Batch(X, LABELS, None))
    (predictions,) = outcome.predictions
    assert torch.equal(predictions, net(X) if probabilities else net[0](X))
    assert not predictions.requires_grad


def test_a_threshold_of_a_sigmoid_needs_probabilities():
    net = dense(nn.Sigmoid(), out=1)
    outcome = forward_of(net, "binary_crossentropy", ["accuracy"])(Batch(X, BINARY, None))
    assert torch.equal(outcome.predictions[0], net(X))


@pytest.mark.parametrize(
    "register",
    [
        lambda net, heard: net[-1].register_forward_hook(lambda *_: heard.append(1)),
        lambda net, heard: net[-1].register_forward_pre_hook(lambda *_: heard.append(1)),
        lambda net, heard: net.register_forward_hook(lambda *_: heard.append(1)),
        lambda net, heard: net[-1].register_full_backward_hook(lambda *_: heard.append(1)),
        lambda net, heard: net[-1].register_full_backward_pre_hook(lambda *_: heard.append(1)),
    ],
    ids=["forward", "forward pre", "container", "backward", "backward pre"],
)
def test_a_layer_that_somebody_listens_to_is_not_passed_over(register):
    net, heard = dense(nn.Softmax(-1)), []
    forward = forward_of(net, "sparse_categorical_crossentropy")
    batch = Batch(X, LABELS, None)
    direct = forward(batch).loss
    handle = register(net, heard)  # also one that comes later, in a callback
    watched = forward(batch).loss
    watched.backward()
    assert heard == [1]
    torch.testing.assert_close(watched, direct)
    handle.remove()
    forward(batch)
    assert heard == [1]


class Classifier(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.body, self.last = dense(), last

    def forward(self, x):
        return self.last(self.body(x))


def test_the_last_layer_of_another_module_is_called_as_usual():
    net = Classifier(nn.Softmax(-1))
    outcome = forward_of(net, "sparse_categorical_crossentropy")(Batch(X, LABELS, None))
    torch.testing.assert_close(outcome.loss, functional.cross_entropy(net.body(X), LABELS))
    assert torch.equal(outcome.predictions[0], net(X))


@pytest.mark.parametrize(
    ("loss", "axis"), [("sparse_categorical_crossentropy", -1), ("axis 1", 1)], ids=str
)
def test_a_softmax_over_another_axis_than_the_loss_is_not_passed_over(loss, axis):
    if loss == "axis 1":
        loss = losses.SparseCategoricalCrossentropy(axis=1)
    net = nn.Sequential(nn.Identity(), nn.Softmax(1 if axis == -1 else -1))
    z = torch.randn(2, 3, 3)
    y = torch.zeros(2, 3, dtype=torch.int64)
    forward = forward_of(net, loss)
    expected = losses.SparseCategoricalCrossentropy(axis=axis)(y, net(z))
    for _ in range(2):
        torch.testing.assert_close(forward(Batch(z, y, None)).loss, expected)


def test_a_softmax_over_the_axis_of_the_loss_is_passed_over_in_pictures_too():
    net = nn.Sequential(nn.Identity(), nn.Softmax(1))
    z, y = torch.randn(2, 3, 4, 4) * 50, torch.zeros(2, 4, 4, dtype=torch.int64)
    forward = forward_of(net, losses.SparseCategoricalCrossentropy(axis=1))
    torch.testing.assert_close(forward(Batch(z, y, None)).loss, functional.cross_entropy(z, y))


@pytest.mark.parametrize(
    ("net", "loss"),
    [
        (dense(nn.Softmax(-1)), "mse"),
        (dense(nn.Sigmoid()), "categorical_crossentropy"),
        (nn.Sequential(nn.Softmax(-1)), "categorical_crossentropy"),
    ],
    ids=["another loss", "another activation", "a softmax alone"],
)
def test_other_pairs_of_layer_and_loss_are_taken_as_they_are(net, loss):
    x = X if len(net) > 1 else X[:, :3]
    outcome = forward_of(net, loss)(Batch(x, ONE_HOT, None))
    torch.testing.assert_close(
        outcome.loss, Objectives(loss).heads[0].loss(ONE_HOT, net(x)), rtol=1e-6, atol=1e-6
    )


def test_a_forward_of_the_users_own_is_called():
    class Scaled(Model):
        def forward(self, x):
            return super().forward(x * 10)

    net = dense(nn.Softmax(-1))
    outcome = forward_of(Scaled(net), "sparse_categorical_crossentropy")(Batch(X, LABELS, None))
    torch.testing.assert_close(
        outcome.loss, functional.cross_entropy(net[0](X * 10), LABELS), rtol=1e-4, atol=1e-4
    )


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_inputs_are_several_arguments(kind):
    net = nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1))
    net[0] = Sum()
    with pytest.raises(TypeError):  # a Sequential takes one input, with the last layer or without
        forward_of(net, "categorical_crossentropy")(Batch(kind([ONE_HOT, ONE_HOT]), ONE_HOT, None))
    outcome = forward_of(Sum(), "mse")(Batch(kind([ONE_HOT, ONE_HOT]), ONE_HOT, None))
    torch.testing.assert_close(outcome.loss, ONE_HOT.square().mean())


def test_logits_with_a_loss_on_probabilities_are_an_error_at_the_first_batch():
    forward = forward_of(dense(), "sparse_categorical_crossentropy")
    with pytest.raises(
        ConfigurationError, match=r"takes probabilities.*lie between -.*from_logits"
    ):
        forward(Batch(X * 10, LABELS, None))


@pytest.mark.parametrize("make", ["SparseCategoricalCrossentropy", "CategoricalCrossentropy"])
def test_logits_are_right_for_a_loss_that_was_told(make):
    net = dense()
    y = LABELS if make.startswith("Sparse") else ONE_HOT
    outcome = forward_of(net, getattr(losses, make)(from_logits=True))(Batch(X, y, None))
    torch.testing.assert_close(outcome.loss, functional.cross_entropy(net(X), LABELS))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())

    def forward(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_losses_of_several_outputs_are_summed_up_by_their_weights():
    net = Two()
    y = {"a": ONE_HOT, "b": BINARY}
    forward = forward_of(
        net,
        {"a": "mse", "b": "binary_crossentropy"},
        loss_weights={"a": 0.5, "b": 3.0},
    )
    outcome = forward(Batch(X, y, None))
    a = functional.mse_loss(net.a(X), ONE_HOT)
    b = functional.binary_cross_entropy(net.b(X).flatten(), BINARY)
    torch.testing.assert_close(outcome.parts, (a, b))
    torch.testing.assert_close(outcome.loss, 0.5 * a + 3 * b)
    assert [p.shape for p in outcome.predictions] == [(5, 3), (5, 1)]


def test_each_output_may_have_sample_weights_of_its_own():
    net = Two()
    forward = forward_of(net, {"a": "mse", "b": "mse"})
    y = {"a": ONE_HOT, "b": BINARY}
    only_a = forward(Batch(X, y, {"a": torch.ones(5), "b": torch.zeros(5)}))
    torch.testing.assert_close(only_a.loss, functional.mse_loss(net.a(X), ONE_HOT))
    shared = forward(Batch(X, y, torch.zeros(5)))
    assert shared.loss.item() == 0.0


def test_an_output_without_a_loss_may_have_metrics():
    forward = forward_of(Two(), {"a": "mse", "b": None})
    outcome = forward(Batch(X, {"a": ONE_HOT, "b": BINARY}, None))
    assert len(outcome.parts) == 1
    assert len(outcome.predictions) == 2


def test_the_check_of_probabilities_is_made_for_each_output():
    forward = forward_of(Two(), {"a": "categorical_crossentropy", "b": "mse"})
    with pytest.raises(ConfigurationError, match="takes probabilities"):
        forward(Batch(X * 10, {"a": ONE_HOT, "b": BINARY}, None))


def test_no_targets_are_an_error():
    with pytest.raises(DataError, match="there are no targets"):
        forward_of(dense(), "mse")(Batch(X, None, None))


def test_one_loss_for_several_outputs_is_an_error():
    with pytest.raises(ConfigurationError, match="returns a dict, and there is one loss"):
        forward_of(Two(), "mse")(Batch(X, ONE_HOT, None))


@pytest.mark.parametrize("loss", [["mse", "mse"], {"a": "mse", "b": "mse"}], ids=str)
def test_several_losses_for_one_output_are_an_error(loss):
    y = [ONE_HOT, ONE_HOT] if isinstance(loss, list) else dict.fromkeys("ab", ONE_HOT)
    with pytest.raises(DataError, match="have one"):
        forward_of(dense(), loss)(Batch(X, y, None))


def test_no_loss_at_all_is_an_error():
    with pytest.raises(ConfigurationError, match=r"there is no loss; call model\.compile"):
        forward_of(dense(), None)(Batch(X, ONE_HOT, None))
