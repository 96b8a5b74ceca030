import math

import numpy as np
import pytest

from callboard import ConfigurationError, DataError
from callboard._core.errors import UnknownNameError
from callboard._core.objective_arguments import (
    EPSILON,
    check_average,
    check_class_ids,
    check_reduction,
    curve_thresholds,
    decision_thresholds,
    fraction,
    one_of,
    same_shape,
    spaced,
    weight_shape,
)


def test_a_misspelt_name_is_told_the_nearest():
    assert check_reduction(None) == "none"
    assert check_reduction("sum") == "sum"
    check_average(None)
    for check, given, meant in (
        (check_reduction, "summ", "sum"),
        (check_average, "makro", "macro"),
        (lambda name: one_of(name, "curve", ("ROC", "PR")), "RO", "ROC"),
    ):
        with pytest.raises(UnknownNameError, match=f"Did you mean '{meant}'"):
            check(given)


@pytest.mark.parametrize("given", [0, 1, 0.5, np.float32(0.5), np.int64(1)])
def test_a_fraction_is_a_number_from_0_to_1(given):
    assert fraction(given, "part") == given


@pytest.mark.parametrize("given", [-0.1, 1.1, math.nan, True, "0.5", None, [0.5]])
def test_what_is_no_fraction_is_named(given):
    with pytest.raises(ConfigurationError, match="part must be between 0 and 1; got"):
        fraction(given, "part")


def test_classes_that_do_not_exist_are_named():
    check_class_ids([0, 2], 3)
    with pytest.raises(ConfigurationError, match=r"from 0 to 2; got \[-1, 3\]"):
        check_class_ids([-1, 1, 3], 3)


def test_thresholds_of_decisions_are_one_or_several():
    assert decision_thresholds(None, 0.5) == [0.5]
    assert decision_thresholds(1, 0.5) == [1.0]
    assert decision_thresholds((0.1, 0.9), 0.5) == [0.1, 0.9]
    for given in ([], [0.5, 1.5], -1):
        with pytest.raises(ConfigurationError, match="thresholds must be between 0 and 1"):
            decision_thresholds(given, 0.5)


def test_a_curve_goes_beyond_all_probabilities():
    assert curve_thresholds(3, None) == [-EPSILON, 0.5, 1 + EPSILON]
    assert curve_thresholds(200, [0.7, 0.2]) == [-EPSILON, 0.2, 0.7, 1 + EPSILON]
    assert spaced(5, 0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    for number, given in ((1, None), (True, None), (2.0, None), (9, [2])):
        with pytest.raises(ConfigurationError):
            curve_thresholds(number, given)


def test_shapes_that_differ_are_told():
    same = np.zeros((2, 3)), np.ones((2, 3))
    assert same_shape(*same) == same
    with pytest.raises(DataError, match=r"y_true has shape \(2,\) and y_pred \(2, 3\)"):
        same_shape(np.zeros(2), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("weight", "values", "shape"),
    [
        ((4,), (4,), (4,)),
        ((4,), (4, 5, 6), (4, 1, 1)),
        ((4, 5), (4, 5, 6), (4, 5, 1)),
        ((4, 1), (4,), (4,)),
        ((), (4,), (1,)),
        ((), (), ()),
        ((1,), (4,), (1,)),
    ],
)
def test_weights_meet_values_sample_by_sample(weight, values, shape):
    assert weight_shape(weight, values) == shape


def test_weights_that_fit_no_samples_are_told():
    for weight, values in (((3,), (4,)), ((5,), (4, 5)), ((4, 5), (4,))):
        with pytest.raises(DataError, match="give one weight for each sample, shape"):
            weight_shape(weight, values)
    with pytest.raises(ConfigurationError, match="one value for each sample"):
        weight_shape((4,), ())
