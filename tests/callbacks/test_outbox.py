import pytest

from callboard.callbacks.outbox import Outbox, Point


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
    outbox, service = Outbox(clock=lambda: now), Service()
    service.error = ConnectionError()
    asked_at = []
    for second in range(1000):
        now = float(second)
        outbox.add(point(second))
        before = service.asked
        try:
            outbox.send(service)
        except ConnectionError:
            asked_at.append(second)
        assert service.asked - before <= 1
    assert asked_at == [0, 15, 45, 105, 225, 465, 945]
    service.error = None
    outbox.send(service, at_once=True)
    assert service.steps == list(range(1000))
    assert not len(outbox)


def test_points_come_in_order_and_once():
    outbox, service = Outbox(), Service()
    outbox.add(point(1))
    outbox.send(service)
    service.error = OSError()
    outbox.add(point(2))
    with pytest.raises(OSError):  # noqa: PT011 - the one above
        outbox.send(service)
    service.error = None
    outbox.add(point(3))
    outbox.send(service, at_once=True)
    assert service.steps == [1, 2, 3]


def test_of_what_goes_on_only_missing_values_are_sent():
    first = Outbox(kept=3)
    for step in range(1, 6):
        first.add(point(step, a=float(step), b=0.0))
        first.send(lambda point: None)
    second, sent = Outbox(), []
    second.load_state_dict(first.state_dict())
    second.leave_out({"a": 4, "b": 3}.get)
    second.send(lambda point: sent.append((point.step, dict(point.values))))
    assert sent == [(4, {"b": 0.0}), (5, {"a": 5.0, "b": 0.0})]


def test_of_very_many_that_wait_the_oldest_are_dropped(monkeypatch):
    monkeypatch.setattr("callboard.callbacks.outbox._MOST_WAITING", 3)
    outbox, service = Outbox(), Service()
    for step in range(5):
        outbox.add(point(step))
    outbox.send(service)
    assert service.steps == [2, 3, 4]
    assert outbox.dropped == 2
