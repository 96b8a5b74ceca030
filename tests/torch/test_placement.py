import numpy as np
import pytest
import torch

from callboard._core.batches import Batch
from callboard.torch.placement import Placement

CPU = torch.device("cpu")
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.int32, torch.int64, torch.bool, torch.complex64]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given", [*FLOATS, torch.uint8, *WHOLE])
def test_floats_and_bytes_get_the_modules_type_and_the_rest_stays(dtype, given):
    placed = Placement(CPU, dtype).input(torch.ones(2, dtype=given))
    assert placed.dtype is (given if given in WHOLE else dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("given", [*FLOATS, torch.uint8, *WHOLE])
def test_targets_are_of_float32_at_least(dtype, given):
    placed = Placement(CPU, dtype).target(torch.ones(2, dtype=given))
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    assert placed.dtype is (wide if given in FLOATS else given)


def test_what_is_a_tensor_already_stays_where_that_is_asked_for():
    batch = Batch({"a": torch.ones(2).double(), "b": np.ones(2)}, [1.5], torch.ones(2).half())
    placed = Placement(CPU, torch.bfloat16).of(batch, keep_tensors=True)
    assert placed.x["a"].dtype is torch.float64
    assert placed.x["b"].dtype is torch.bfloat16
    assert placed.y.dtype is torch.float32
    assert placed.sample_weight.dtype is torch.float16


def test_only_an_error_that_another_type_may_have_led_to_is_explained():
    placement = Placement(CPU, torch.float32)
    for x, noted in ((torch.ones(2).double(), 1), (torch.ones(2), 0), (torch.ones(2).long(), 0)):
        with pytest.raises(ValueError, match="boom") as caught, placement.explaining((x,)):
            raise ValueError("boom")
        assert len(getattr(caught.value, "__notes__", ())) == noted
