import pytest

from callboard._core.messages import Messages


def test_lines_come_out_at_once_or_when_those_held_do(capsys):
    messages = Messages(silent=False)
    messages.add("now")
    assert capsys.readouterr().out == "now\n"
    with messages.held():
        messages.add("later")
        assert capsys.readouterr().out == ""
    assert capsys.readouterr().out == "later\n"


def test_lines_that_are_held_come_out_also_after_an_error(capsys):
    messages = Messages(silent=False)

    def fail():
        with messages.held():
            messages.add("before it")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    messages.add("after it")
    assert capsys.readouterr().out == "before it\nafter it\n"


def test_another_process_than_the_first_prints_nothing(capsys):
    messages = Messages(silent=True)
    messages.add("now")
    with messages.held():
        messages.add("later")
    assert capsys.readouterr().out == ""
