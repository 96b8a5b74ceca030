import pytest
import torch

from callboard import ConfigurationError, DataError
from callboard._core.errors import UnknownNameError
from callboard.torch.metrics import MeanSquaredError, Metric
from callboard.torch.objectives import Objectives


def test_one_output_has_one_head_without_a_prefix():
    objectives = Objectives("mse", None, ["accuracy", "mae"], ["mse"])
    (head,) = objectives.heads
    assert head.key is None
    assert head.prefix == ""
    assert head.weight == 1.0
    assert head.loss.name == "mean_squared_error"
    assert objectives.names == ["loss", "accuracy", "mae", "mse"]
    assert objectives.directions == {"loss": "min", "accuracy": "max", "mae": "min", "mse": "min"}


def test_a_single_metric_needs_no_list_and_none_is_none():
    assert Objectives("mse", metrics="mae").names == ["loss", "mae"]
    assert Objectives("mse", metrics=MeanSquaredError()).names == ["loss", "mean_squared_error"]
    assert Objectives("mse", metrics=None).names == ["loss"]
    assert Objectives(None).heads[0].loss is None


def test_a_list_of_one_loss_is_that_loss():
    objectives = Objectives(["mse"], 0.5, ["mae", "accuracy"])
    assert objectives.heads[0].key is None
    assert objectives.heads[0].weight == 0.5
    assert objectives.names == ["loss", "mae", "accuracy"]


def test_losses_by_name_give_heads_with_their_names():
    objectives = Objectives(
        {"a": "mse", "b": "mae", "c": None},
        {"a": 2.0},
        {"b": ["mse", "accuracy"], "c": "mae"},
        {"a": "mse"},
    )
    a, b, c = objectives.heads
    assert (a.weight, b.weight) == (2.0, 1.0)
    assert c.loss is None
    assert objectives.names == [
        "loss",
        "a_loss",
        "b_loss",
        "a_mse",
        "b_accuracy",
        "b_mse",
        "c_mae",
    ]


def test_losses_in_a_list_are_numbered_from_one():
    objectives = Objectives(["mse", "mae"], [1, 0.5], [["mse"], None])
    assert objectives.names == ["loss", "output_1_loss", "output_2_loss", "output_1_mse"]
    assert [head.weight for head in objectives.heads] == [1.0, 0.5]


def test_a_shorter_list_leaves_the_last_outputs_alone():
    objectives = Objectives(["mse", "mae"], [0.5], [["mse"]])
    assert [head.weight for head in objectives.heads] == [0.5, 1.0]
    assert objectives.heads[1].metrics == ()


def test_a_head_finds_its_part():
    a, b = Objectives({"a": "mse", "b": "mae"}).heads
    assert b.of({"a": 1, "b": 2}) == 2
    assert Objectives(["mse", "mae"]).heads[1].of((1, 2)) == 2
    assert Objectives("mse").heads[0].of((1, 2)) == (1, 2)
    assert a.weight_of(None) is None
    assert a.weight_of({"a": 3, "b": 4}) == 3
    weight = torch.ones(2)
    assert a.weight_of(weight) is weight


@pytest.mark.parametrize("losses", [{"a": "mse", "b": "mae"}, ["mse", "mae"]], ids=str)
@pytest.mark.parametrize("outputs", [torch.ones(2, 2), None, {"c": 1}, ()], ids=str)
def test_a_missing_part_is_an_error_and_a_tensor_is_never_indexed(losses, outputs):
    head = Objectives(losses).heads[0]
    with pytest.raises(DataError, match="there is a loss or metric for output"):
        head.of(outputs)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), True, "1"])
def test_an_impossible_loss_weight_is_an_error(weight):
    with pytest.raises(ConfigurationError, match="loss_weights must be finite numbers"):
        Objectives("mse", weight)
    with pytest.raises(ConfigurationError, match="loss_weights must be finite numbers"):
        Objectives({"a": "mse"}, {"a": weight})


@pytest.mark.parametrize("argument", ["loss_weights", "metrics", "weighted_metrics"])
def test_keys_without_a_loss_are_errors(argument):
    with pytest.raises(ConfigurationError, match=rf"{argument} has \['c'\]"):
        Objectives({"a": "mse", "b": "mse"}, **{argument: {"c": 1.0}})


@pytest.mark.parametrize("metrics", ["mae", ["mae"]])
def test_with_named_outputs_metrics_must_be_named_too(metrics):
    with pytest.raises(ConfigurationError, match="must be a dict as the losses are"):
        Objectives({"a": "mse", "b": "mse"}, metrics=metrics)


def test_with_several_outputs_one_metric_for_all_is_an_error():
    with pytest.raises(ConfigurationError, match="must be a list as the losses are"):
        Objectives(["mse", "mse"], metrics="mae")


def test_two_metrics_of_one_name_are_an_error():
    with pytest.raises(ConfigurationError, match="two metrics are named 'mae'"):
        Objectives("mse", metrics=["mae"], weighted_metrics=["mae"])


def test_unknown_names_are_errors():
    with pytest.raises(UnknownNameError, match="unknown loss 'msse'"):
        Objectives("msse")
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy'"):
        Objectives("mse", metrics=["acuracy"])


def test_directions_come_from_the_metrics():
    class Speed(Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return 0.0

    assert Objectives("mse", metrics=[Speed()]).directions["speed"] is None
