from types import SimpleNamespace

import numpy as np
import pytest

from callboard._core.samples import sample_count


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (np.zeros((32, 784)), 32),
        ((np.zeros((8, 2)), np.zeros(8)), 8),
        ([np.zeros((8, 2)), np.zeros(8)], 8),
        ({"x": np.zeros((4, 1)), "y": np.zeros(4)}, 4),
        (({"image": [np.zeros((5, 1))]}, 3), 5),
        ([1.0, 2.0, 3.0], 3),
        ((1, 2), 2),
        (np.zeros(()), 1),
        (SimpleNamespace(shape=(6, 6)), 6),
        (7, 1),
        (None, 1),
        ("text", 1),
        ([], 1),
        ({}, 1),
        (np.zeros((0, 3)), 0),
    ],
)
def test_the_samples_of_a_batch_are_the_length_of_its_first_array(batch, count):
    assert sample_count(batch) == count
