import math

import pytest
import torch

from callboard import ConfigurationError
from callboard._core.errors import UnknownNameError
from callboard.torch.settings import Settings


@pytest.mark.parametrize("name", ["steps_per_execution", "gradient_accumulation_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_counts_must_be_whole_and_positive(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["clipnorm", "clipvalue", "global_clipnorm"])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_limits_must_be_positive_and_finite(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} must be a positive number"):
        Settings(**{name: value})


def test_gradients_are_clipped_in_one_way_only():
    with pytest.raises(ConfigurationError, match="one of clipnorm, clipvalue and global_clipnorm"):
        Settings(clipnorm=1.0, clipvalue=1.0)


def test_unknown_words_are_errors():
    with pytest.raises(UnknownNameError, match=r"mixed_precision 'bf1'.*Did you mean 'bf16'"):
        Settings(mixed_precision="bf1")
    with pytest.raises(ConfigurationError, match="jit_compile must be True, False or 'auto'"):
        Settings(jit_compile="yes")


def test_compiling_is_asked_for_and_not_forbidden():
    assert Settings(jit_compile=True).compiled
    assert not Settings(jit_compile=True, run_eagerly=True).compiled
    assert not Settings(jit_compile="auto").compiled
    assert not Settings().compiled


def test_autocast_is_on_only_with_mixed_precision():
    cpu, layer = torch.device("cpu"), torch.nn.Linear(2, 2)
    with Settings(mixed_precision="bf16").autocast(cpu):
        assert layer(torch.ones(1, 2)).dtype is torch.bfloat16
    with Settings().autocast(cpu):
        assert layer(torch.ones(1, 2)).dtype is torch.float32


GRADIENTS = [torch.tensor([3.0, -4.0]), torch.tensor([[0.3], [0.4]]), torch.zeros(2)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"clipvalue": 0.35}, [[0.35, -0.35], [[0.3], [0.35]], [0.0, 0.0]]),
        ({"clipnorm": 1.0}, [[0.6, -0.8], [[0.3], [0.4]], [0.0, 0.0]]),
        (
            {"global_clipnorm": 25.25**0.5 / 2},
            [[1.5, -2.0], [[0.15], [0.2]], [0.0, 0.0]],
        ),
        ({"global_clipnorm": 100.0}, [[3.0, -4.0], [[0.3], [0.4]], [0.0, 0.0]]),
    ],
    ids=["value", "norm", "global norm", "below the limit"],
)
def test_gradients_are_clipped_as_keras_does_and_not_in_place(options, expected):
    settings = Settings(**options)
    assert settings.clips
    clipped = settings.clipped(GRADIENTS)
    for found, wanted in zip(clipped, expected, strict=True):
        torch.testing.assert_close(found, torch.tensor(wanted))
    assert GRADIENTS[0].tolist() == [3.0, -4.0]


def test_nothing_is_clipped_by_default():
    assert not Settings().clips
