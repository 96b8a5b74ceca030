"""Reading behind the one who fills memory."""

import threading

import pytest

from callboard.checkpoint.filling import AbandonedError, Filling


def in_a_thread(action):
    """Start an action that waits; return a function that waits for it and gives its outcome."""
    outcome = []

    def act():
        try:
            action()
        except AbandonedError as error:
            outcome.append(str(error))
        else:
            outcome.append("there")

    thread = threading.Thread(target=act)
    thread.start()

    def joined():
        thread.join(30)
        return outcome

    joined.alive = thread.is_alive
    return joined


def test_who_waits_goes_on_as_soon_as_its_part_is_there():
    filling = Filling(100)
    early, late = (in_a_thread(lambda end=end: filling.wait_for(end)) for end in (30, 100))
    filling.advance(29)
    assert early.alive()
    filling.advance(40)
    assert early() == ["there"]
    assert late.alive()
    filling.advance(100)
    assert late() == ["there"]


def test_all_who_wait_are_told_that_no_more_will_come():
    filling = Filling(100)
    filling.advance(10)
    waiting = [in_a_thread(lambda end=end: filling.wait_for(end)) for end in (30, 100)]
    filling.abandon()
    assert [joined() for joined in waiting] == [["filled up to byte 10 of 100"]] * 2
    filling.wait_for(10)  # what is there stays there
    with pytest.raises(AbandonedError):
        filling.wait_for(11)
