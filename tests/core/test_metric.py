import pytest

from callboard import DataError
from callboard._core.metric import Metric, single_numbers


class Total(Metric):
    direction = "max"

    def __init__(self):
        super().__init__()
        self.add_state("total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.accumulate(total=y_true + y_pred)

    def result(self):
        return self.total

    def state_dict(self):
        return {"total": self.total}


def test_a_metric_adds_up_forgets_and_goes_on():
    metric = Total()
    assert (metric.name, repr(metric)) == ("total", "<Total 'total'>")
    assert metric.directions() == {"total": "max"}
    assert [metric(1, 2), metric(3, 4)] == [3, 10]
    saved = metric.state_dict()
    metric.reset_state()
    assert metric.result() == 0
    metric.load_state_dict(saved)
    assert single_numbers(metric, float) == {"total": 10}
    with pytest.raises(DataError, match=r"has the parts \['total'\]; got \['count'\]"):
        metric.load_state_dict({"count": 1})


@pytest.mark.parametrize("given", ["much", [1.0], type("A", (), {"shape": (2,)})()])
def test_a_result_that_is_no_single_number_is_told(given):
    metric = Total()
    metric.total = given
    with pytest.raises(DataError, match=r"the result of the metric 'total' (is a|has shape)"):
        single_numbers(metric, float)
    metric.total = {"a": 1.0, "b": 2}
    assert single_numbers(metric, float) == {"a": 1.0, "b": 2}
