import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from PIL import Image

from callboard.callbacks.weight_image import weight_image


def pixels(weight):
    """Return the pixels that another program reads."""
    picture = weight_image(np.asarray(weight, "f4"))
    with Image.open(io.BytesIO(picture.content)) as image:
        assert (image.mode, image.size) == ("L", (picture.width, picture.height))
        return np.asarray(image)


def test_zero_is_middle_gray_and_the_largest_magnitude_white_or_almost_black():
    assert pixels([0, 4, -4, 2, -2]).tolist() == [[128, 255, 1, 192, 64]]


def test_numbers_that_are_none_do_not_change_the_scale():
    assert pixels([2, np.nan, np.inf, -np.inf]).tolist() == [[255, 0, 255, 1]]


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_weights_without_a_scale_have_a_picture_too(value):
    level = {0: 128, np.inf: 255}.get(value, 0)
    assert pixels([value, value]).tolist() == [[level, level]]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((7,), (1, 7)),
        ((7, 3), (3, 7)),
        ((3, 7), (3, 7)),
        ((1, 5, 9), (5, 9)),  # positions
        ((64, 32, 1, 1), (32, 64)),  # a convolution of single pixels is a matrix
        ((8, 1, 3, 3), (3, 8 * 4 - 1)),  # one input: not taken for a smaller convolution
        ((8, 3, 5, 5), (3 * 6 - 1, 8 * 6 - 1)),
        ((8, 3, 1, 5), (3 * 2 - 1, 8 * 6 - 1)),
        ((2, 5, 4, 3), (2 * 5 - 1, 5 * 4 - 1)),
        ((6, 4, 3), (4, 6 * 4 - 1)),  # over one axis: a kernel of inputs by length
        ((2, 3, 4, 5, 6), (2 * 6 - 1, 3 * 4 * 7 - 1)),  # over three: its slices side by side
    ],
)
def test_shapes(shape, size):
    assert pixels(np.ones(shape)).shape == size


def test_each_kernel_is_a_cell_of_the_table():
    weight = np.arange(1, 2 * 3 * 2 * 2 + 1).reshape(2, 3, 2, 2)
    found = pixels(weight)
    levels = np.rint(weight / weight.max() * 127 + 128)
    for row in range(2):
        for column in range(3):
            cell = found[row * 3 : row * 3 + 2, column * 3 : column * 3 + 2]
            assert cell.tolist() == levels[row, column].tolist()
    assert not found[2].any()
    assert not found[:, [2, 5]].any()


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=5, max_side=4)))
def test_every_weight_has_a_picture_or_is_a_single_number(weight):
    assert (weight_image(weight) is None) == (weight.size < 2)


@pytest.mark.parametrize(
    ("dtype", "largest"), [("f2", 1.0), ("f2", 65504), ("f4", 1e-30), ("f4", 3e38), ("f8", 1e300)]
)
def test_type_and_size_of_the_numbers_make_no_difference(dtype, largest):
    weight = (np.array([[1, -1], [0, 0.5]]) * largest).astype(dtype)
    assert weight_image(weight) == weight_image(np.array([[2.0, -2], [0, 1]]))


@pytest.mark.parametrize("weight", [np.zeros(()), np.zeros((3, 0)), np.zeros((1, 1))])
def test_less_than_two_numbers_have_none(weight):
    assert weight_image(weight) is None
