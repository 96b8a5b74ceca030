import pytest

from callboard.callbacks.point_queue import Point, PointQueue


def point(step, **values):
    return Point(step, 0, True, values or {"loss": 1.0})


class Service:
    def __init__(self):
        self.steps, self.error, self.asked = [], None, 0

    def __call__(self, point):
        self.asked += 1
        if self.error:
            raise self.error
        self.steps.append(point.step)


def test_after_a_failure_the_service_is_asked_again_after_pauses_that_grow():
    now = 0.0
    points, service = PointQueue(clock=lambda: now), Service()
    service.error = ConnectionError()
    asked_at = []
    for second in range(1000):
        now = float(second)
        points.add(point(second))
        before = service.asked
        try:
            points.send(service)
        except ConnectionError:
            asked_at.append(second)
        assert service.asked - before <= 1
    assert asked_at == [0, 15, 45, 105, 225, 465, 945]
    service.error = None
    points.send(service, at_once=True)
    assert service.steps == list(range(1000))
    assert not len(points)


def test_points_come_in_order_and_once():
    points, service = PointQueue(), Service()
    points.add(point(1))
    points.send(service)
    service.error = OSError()
    points.add(point(2))
    with pytest.raises(OSError):  # noqa: PT011 - the one above
        points.send(service)
    service.error = None
    points.add(point(3))
    points.send(service, at_once=True)
    assert service.steps == [1, 2, 3]


def test_of_what_goes_on_only_missing_values_are_sent():
    first = PointQueue(kept=3)
    for step in range(1, 6):
        first.add(point(step, a=float(step), b=0.0))
        first.send(lambda point: None)
    second, sent = PointQueue(), []
    second.load_state_dict(first.state_dict())
    second.leave_out({"a": 4, "b": 3}.get)
    second.send(lambda point: sent.append((point.step, dict(point.values))))
    assert sent == [(4, {"b": 0.0}), (5, {"a": 5.0, "b": 0.0})]


def test_of_very_many_that_wait_the_oldest_are_dropped(monkeypatch):
    monkeypatch.setattr("callboard.callbacks.point_queue._MOST_WAITING", 3)
    points, service = PointQueue(), Service()
    for step in range(5):
        points.add(point(step))
    points.send(service)
    assert service.steps == [2, 3, 4]
    assert points.dropped == 2
