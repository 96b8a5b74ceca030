import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard import DataError
from callboard.torch.arrays import to_array, to_tensor

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int8,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_element_type_comes_back_bit_for_bit(dtype):
    tensor = torch.tensor([[0, 1, 3], [5, 7, 1]]).to(dtype)
    array = to_array(tensor)
    back = to_tensor(array)
    assert back.dtype is dtype
    assert back.shape == (2, 3)
    assert torch.equal(back.view(torch.uint8), tensor.view(torch.uint8))


def test_a_type_that_numpy_lacks_has_its_name():
    assert to_array(torch.ones(2, dtype=torch.bfloat16)).dtype.names == ("bfloat16",)


def test_a_parameter_that_needs_gradients_and_lies_crosswise_can_be_read():
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    assert to_array(weight).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert to_array(weight.T).tolist() == [[0, 3], [1, 4], [2, 5]]
    crosswise = weight.detach().bfloat16().T
    assert torch.equal(to_tensor(to_array(crosswise)), crosswise)


def test_memory_is_shared_where_it_can_be():
    array = np.zeros(2, np.float32)
    to_tensor(array)[0] = 5.0
    assert array[0] == 5.0
    tensor = torch.zeros(2)
    to_array(tensor)[0] = 5.0
    assert tensor[0] == 5.0
    assert to_tensor(tensor) is tensor


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0)[::-1], np.arange(6.0).astype(">f4"), np.broadcast_to(1.0, (2, 3))],
    ids=["backwards", "other byte order", "read-only"],
)
def test_arrays_that_torch_cannot_share_are_copied(array):
    assert to_tensor(array).tolist() == array.tolist()


@given(hnp.arrays(st.sampled_from([np.float32, np.int16, np.uint8]), hnp.array_shapes(min_side=0)))
def test_arrays_come_back_as_they_were(array):
    back = to_array(to_tensor(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(("given", "shape"), [(3, ()), ([1, 2], (2,)), ([[1.5], [2.5]], (2, 1))])
def test_numbers_and_lists_of_them_become_tensors(given, shape):
    tensor = to_tensor(given)
    assert tensor.shape == shape
    assert tensor.tolist() == given


def test_a_data_frame_is_asked_for_its_array():
    class Frame:
        def to_numpy(self):
            return np.ones((2, 3))

    assert to_tensor(Frame()).shape == (2, 3)


@pytest.mark.parametrize("bad", ["text", ["a", "b"], np.array([object()]), np.array(["2024"])])
def test_anything_but_numbers_is_an_error(bad):
    with pytest.raises(DataError, match="must be numbers"):
        to_tensor(bad)
