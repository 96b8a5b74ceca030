import pytest
import torch

from callboard import DataError
from callboard._core.batches import Batch
from callboard.torch.forward import Outcome
from callboard.torch.metrics import Metric
from callboard.torch.objectives import Objectives
from callboard.torch.scores import Scores


def outcome(loss, predictions, *parts):
    return Outcome(
        torch.tensor(loss, requires_grad=True), tuple(map(torch.tensor, parts)), predictions
    )


def batch(y, weight=None):
    return Batch(torch.zeros(len(y), 1), torch.tensor(y), weight)


def test_the_loss_is_the_mean_over_the_samples_of_all_batches():
    scores = Scores(Objectives("mse"))
    assert scores.add(batch([0.0]), outcome(1.0, (torch.zeros(1),))) == 1
    assert scores.add(batch([0.0, 0.0, 0.0]), outcome(5.0, (torch.zeros(3),))) == 3
    assert dict(scores.logs()) == {"loss": 4.0}


def test_metrics_are_those_of_all_samples_and_weights_are_for_the_weighted():
    scores = Scores(Objectives("mse", metrics=["mae"], weighted_metrics=["mse"]))
    weight = torch.tensor([1.0, 3.0])
    scores.add(batch([1.0, 2.0], weight), outcome(0.0, (torch.zeros(2),)))
    assert dict(scores.logs()) == {"loss": 0.0, "mae": 1.5, "mse": 13 / 4}


def test_logs_keep_the_values_of_their_batch():
    scores = Scores(Objectives("mse", metrics=["mae", "AUC", "r2_score"]))
    scores.add(batch([0.0, 1.0]), outcome(1.0, (torch.tensor([0.2, 0.4]),)))
    first = scores.logs()
    scores.add(batch([0.0, 1.0]), outcome(3.0, (torch.tensor([0.9, 0.1]),)))
    assert first["loss"] == 1.0
    assert first["mae"] == pytest.approx(0.4)
    assert first["AUC"] == pytest.approx(1.0, abs=0.02)
    second = scores.logs()
    assert second["loss"] == 2.0
    assert second["mae"] == pytest.approx(0.65)
    assert second["AUC"] == pytest.approx(0.25, abs=0.02)


def test_a_new_epoch_begins_anew():
    scores = Scores(Objectives("mse", metrics=["mae"]))
    scores.add(batch([1.0]), outcome(5.0, (torch.zeros(1),)))
    scores.reset()
    scores.add(batch([3.0]), outcome(7.0, (torch.zeros(1),)))
    assert dict(scores.logs()) == {"loss": 7.0, "mae": 3.0}


def test_before_the_first_batch_there_is_no_loss():
    assert "loss" not in Scores(Objectives("mse")).logs()


def test_no_graph_of_gradients_is_kept():
    scores = Scores(Objectives("mse"))
    scores.add(batch([1.0]), outcome(5.0, (torch.zeros(1),)))
    scores.add(batch([1.0]), outcome(5.0, (torch.zeros(1),)))
    assert not any(total.requires_grad for total in scores._losses)


def test_losses_in_half_precision_are_summed_in_float32():
    scores = Scores(Objectives("mse"))
    for _ in range(300):
        half = Outcome(torch.tensor(1.0, dtype=torch.bfloat16), (), (torch.zeros(8),))
        scores.add_losses(half, 8)
    assert scores.logs()["loss"] == 1.0


def test_the_compiled_metrics_are_not_touched():
    objectives = Objectives("mse", metrics=["mae"])
    Scores(objectives).add(batch([1.0]), outcome(5.0, (torch.zeros(1),)))
    assert float(objectives.heads[0].metrics[0].result()) == 0.0


def test_each_output_has_its_loss_and_metrics_under_its_name():
    scores = Scores(Objectives({"a": "mse", "b": "mae"}, metrics={"b": ["mse"]}))
    y = {"a": torch.zeros(2), "b": torch.ones(2)}
    scores.add(
        Batch(torch.zeros(2, 1), y, None),
        outcome(3.0, (torch.zeros(2), torch.zeros(2)), 1.0, 2.0),
    )
    assert dict(scores.logs()) == {"loss": 3.0, "a_loss": 1.0, "b_loss": 2.0, "b_mse": 1.0}


class Worst(Metric):
    """Two numbers at a time."""

    def __init__(self):
        super().__init__("worst")
        self.add_state("low", float("inf"))
        self.add_state("high", float("-inf"))

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = y_true - y_pred
        self.low, self.high = error.min().clamp(max=self.low), error.max().clamp(min=self.high)

    def directions(self):
        return {"low": "max", "high": "min"}

    def result(self):
        return {"low": self.low, "high": self.high}


def test_a_metric_may_give_several_numbers():
    scores = Scores(Objectives("mse", metrics=[Worst()]))
    scores.add(batch([1.0, 5.0]), outcome(0.0, (torch.zeros(2),)))
    first = scores.logs()
    scores.add(batch([-1.0]), outcome(0.0, (torch.zeros(1),)))
    assert (first["low"], first["high"]) == (1.0, 5.0)
    assert (scores.logs()["low"], scores.logs()["high"]) == (-1.0, 5.0)


class Vector(Worst):
    def directions(self):
        return {"worst": None}

    def result(self):
        return torch.stack([self.low, self.high])


def test_a_metric_that_gives_a_vector_is_an_error_that_names_it():
    scores = Scores(Objectives("mse", metrics=[Vector()]))
    scores.add(batch([1.0]), outcome(0.0, (torch.zeros(1),)))
    with pytest.raises(DataError, match=r"metric 'worst' has shape \(2,\)"):
        dict(scores.logs())


@pytest.mark.parametrize(
    "nest",
    [lambda y: y, lambda y: {"a": y, "b": -y}, lambda y: [y, -y], lambda y: (y, -y)],
    ids=["tensor", "dict", "list", "tuple"],
)
def test_an_execution_counts_as_its_batches_do(nest):
    losses = {"a": "mse", "b": "mse"} if isinstance(nest(torch.ones(1)), dict) else ["mse"] * 2
    nested = not isinstance(nest(torch.ones(1)), torch.Tensor)
    metrics = dict.fromkeys("ab", "mae") if isinstance(losses, dict) else ["mae"] * 2
    objectives = Objectives(losses, metrics=metrics) if nested else Objectives("mse", None, ["mae"])
    ys = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])]
    heads = len(objectives.heads)
    one_by_one, at_once = Scores(objectives), Scores(objectives)
    batches = [Batch(torch.zeros(2, 1), nest(y), torch.ones(2)) for y in ys]
    for number, each in enumerate(batches):
        parts = (1.0 + number, 2.0)[:heads] if nested else (1.0 + number,)
        one_by_one.add(each, outcome(3.0 + number, (torch.zeros(2),) * heads, *parts))
    sums = torch.tensor([7.0, 3.0, 4.0])[: 1 + heads]
    assert at_once.add_execution(batches, sums, [torch.zeros(4)] * heads) == 4
    assert dict(at_once.logs()) == dict(one_by_one.logs())


def test_an_execution_may_have_no_targets_for_metrics():
    scores = Scores(Objectives("mse"))
    batches = [Batch(torch.zeros(2, 1), torch.ones(2), None)] * 3
    assert scores.add_execution(batches, torch.tensor(6.0), [torch.zeros(6)]) == 6
    assert dict(scores.logs()) == {"loss": 2.0}
