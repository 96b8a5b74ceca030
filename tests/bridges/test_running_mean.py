import pytest
import torch

from callboard import DataError
from callboard.bridges.running_mean import RunningMean


@pytest.mark.parametrize("value", [2.0, 2, torch.tensor(2.0), torch.tensor([2.0]).bfloat16()])
def test_numbers_of_all_kinds_are_weighed_by_samples(value):
    mean = RunningMean("loss")
    mean.add(value, 3)
    before = mean.so_far()
    mean.add(6.0, 1)
    assert (float(before), float(mean.so_far())) == (2.0, 3.0)


def test_without_values_there_is_no_weight():
    assert not RunningMean("loss").so_far().weight


def test_what_is_no_number_is_named():
    with pytest.raises(DataError, match="loss="):
        RunningMean("loss").add(torch.ones(2), 1)


class OnDevice(torch.Tensor):
    """Says that it lies on a device."""

    is_cpu = False


def test_values_on_a_device_are_added_up_together_and_widened():
    mean = RunningMean("loss")
    for index in range(130):
        value = torch.tensor(1000.0, dtype=torch.float16, requires_grad=True)
        mean.add(value.as_subclass(OnDevice), 32 if index < 129 else 7)
    assert 0 < len(mean._waiting) < 64
    assert not mean._waiting[0][0].requires_grad
    assert float(mean.so_far()) == pytest.approx(1000.0)
