import numpy as np
import pytest

from callboard.callbacks.histograms import floats


def test_numbers_that_are_not_floating_are_left_out():
    arrays = {"count": np.array(3), "mask": np.ones(2, bool), "z": np.ones(2, complex)}
    halves = {"half": np.ones(2, "f2"), "double": np.ones((), "f8")}
    assert [name for name, _ in floats({**arrays, **halves})] == ["half", "double"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("shape", [(-1,), (2, -1)])
def test_every_number_of_a_dtype_that_numpy_lacks_is_what_torch_says(dtype, shape):
    torch = pytest.importorskip("torch")
    to_array = pytest.importorskip("callboard.torch.arrays").to_array
    bits = torch.arange(2**16 if dtype == "bfloat16" else 256)
    unsigned = bits.to(torch.uint16 if dtype == "bfloat16" else torch.uint8)
    tensor = unsigned.view(getattr(torch, dtype)).reshape(shape)
    ((_, values),) = floats({"w": to_array(tensor)})
    assert values.shape == tensor.shape
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(values.astype("f4"), tensor.float().numpy())


def test_a_single_number_is_decoded():
    ((_, value),) = floats({"w": np.array((0x3F80,), [("bfloat16", "<u2")])})
    assert value.tolist() == [1.0]
