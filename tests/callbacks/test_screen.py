import io
import logging
import os
import sys
import threading

import pytest

from callboard.callbacks.screen import PrintsAbove, Screen


def rows(text):
    """Return a layout that is the same for every width."""
    return lambda columns: text


@pytest.fixture
def logger():
    """A logger whose messages go to the standard error of when it was made."""
    logger = logging.getLogger("callboard.test_screen")
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def test_rows_are_drawn_over_and_the_final_ones_stay(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    for text in ("first\nlonger second row", "short", "a\nb\nc"):
        screen.draw("me", rows(text))
        assert shown.lines == text.split("\n")
        assert shown.cursor == (0, 0, False)
    screen.release("me", rows("done"))
    assert shown.lines == ["done"]
    assert shown.cursor == (0, 1, False)


def test_what_is_printed_goes_above_as_it_is(terminal):
    shown = terminal(30)
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("one", 1)
    print("[bold]no markup[/bold]")
    print("two\nthree", flush=True)
    print("x" * 40)
    assert shown.lines == [
        *["one 1", "[bold]no markup[/bold]", "two", "three"],
        *["x" * 30, "x" * 10, "row"],
    ]
    screen.release("me")
    assert shown.lines[-1] == "x" * 10


def test_a_line_that_is_printed_piece_by_piece_stays_one_line(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("loading", end="", flush=True)
    assert shown.lines == ["loading", "row"]
    print("...", end="")
    screen.draw("me", rows("new row"))
    assert shown.lines == ["loading...", "new row"]
    print(" done")
    assert shown.lines == ["loading... done", "new row"]
    print("and", end=" ")
    screen.release("me", rows("final"))
    assert shown.lines == ["loading... done", "and", "final"]


def test_a_line_that_is_not_ended_can_be_gone_on_with_after_the_rows(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("and", end=" ")
    screen.release("me")
    print("on")
    assert shown.lines == ["and on"]


def test_a_bar_of_the_program_is_shown_above_as_it_moves(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    for percent in (10, 50):
        print(f"\r\x1b[32m{percent}%\x1b[0m", end="", flush=True)
        assert shown.lines == [f"{percent}%", "row"]
    print("\r100%")
    assert shown.lines == ["100%", "row"]


def test_standard_error_goes_above_too(terminal):
    shown = terminal(errors_too=True)
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("oh", file=sys.stderr)
    assert shown.lines == ["oh", "row"]


def test_handlers_of_logging_that_were_made_before_go_above_and_are_put_back(terminal, logger):
    shown = terminal(errors_too=True)
    errors = sys.stderr
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    logger.error("it happened")
    assert shown.lines == ["it happened", "row"]
    screen.release("me", rows("final"))
    assert handler.stream is errors
    assert (sys.stdout, sys.stderr) == (shown, errors)


def test_a_stream_that_was_kept_writes_through_when_all_is_over(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    kept = sys.stdout
    assert isinstance(kept, PrintsAbove)
    screen.release("me", rows("final"))
    print("later", file=kept, flush=True)
    kept.close()
    assert shown.lines == ["final", "later"]


def test_standard_error_that_goes_to_a_file_is_left_alone(terminal, monkeypatch):
    terminal()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("oh", file=sys.stderr)
    assert sys.stderr.getvalue() == "oh\n"
    screen.release("me")


def test_a_stream_that_the_program_has_put_there_meanwhile_is_left_there(terminal, monkeypatch):
    terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    screen.release("me")
    assert sys.stdout is mine


def test_it_stands_for_the_terminal(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    assert sys.stdout.isatty()
    assert sys.stdout.writable()
    assert (sys.stdout.encoding, sys.stdout.errors) == ("utf-8", "strict")
    assert sys.stdout.getvalue() == shown.getvalue()
    with pytest.raises(io.UnsupportedOperation):
        sys.stdout.fileno()
    with pytest.raises(UnicodeEncodeError):
        print("\udcff")
    assert shown.lines == ["row"]
    screen.release("me")


def test_characters_that_only_standard_error_takes_are_shown_as_it_does(terminal):
    shown = terminal(errors_too=True)
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    print("\udcff", file=sys.stderr)
    assert shown.lines == ["\\udcff", "row"]
    screen.release("me")


def test_several_draw_at_a_time(terminal):
    shown = terminal()
    outer = Screen.of(sys.stdout)
    outer.draw("outer", rows("outer row"))
    inner = Screen.of(sys.stdout)
    assert inner is outer
    inner.draw("inner", rows("inner row"))
    assert shown.lines == ["outer row", "inner row"]
    inner.print("note")
    inner.release("inner", rows("inner final"))
    assert shown.lines == ["note", "inner final", "outer row"]
    outer.release("outer", rows("outer final"))
    assert shown.lines == ["note", "inner final", "outer final"]
    outer.release("outer", rows("again"))
    assert shown.lines[-1] == "outer final"


def test_when_the_terminal_is_resized_nothing_is_left_and_nothing_lost(terminal):
    shown = terminal(60)
    screen = Screen(sys.stdout)
    print("before")
    for columns in (60, 20, 35, 100, 10, 80):
        screen.draw("me", lambda width: "\n".join(["r" * width] * 3))
        terminal(columns)
        print(f"at {columns}")
    screen.release("me", rows("final"))
    printed = [f"at {columns}" for columns in (60, 20, 35, 100, 10, 80)]
    assert shown.lines == ["before", *printed, "final"]


def test_the_last_column_is_not_written_to(terminal):
    terminal(20)
    assert Screen(sys.stdout).size == (19, 24)


def test_more_rows_than_there_are_on_the_terminal_are_not_drawn(terminal):
    shown = terminal(20, rows=4)
    screen = Screen(sys.stdout)
    for text in ("1\n2\n3\n4\n5\n6", "a\nb\nc\nd\ne\nf"):
        screen.draw("me", rows(text))
    assert shown.lines == ["a", "b", "c"]
    screen.release("me", rows("final"))
    assert shown.lines == ["final"]


def test_at_the_bottom_of_the_terminal_lines_are_scrolled_off_whole(terminal):
    shown = terminal(40, rows=5)
    screen = Screen(sys.stdout)
    for number in range(12):
        screen.draw("me", rows(f"{number}\nsecond row"))
        print("line", number)
    screen.release("me", rows("final"))
    assert shown.lines == [*(f"line {number}" for number in range(12)), "final"]


def test_threads_may_print(terminal):
    shown = terminal(rows=300)
    screen = Screen(sys.stdout)

    def talk(name):
        for number in range(20):
            print(f"{name} {number}\n", end="")

    screen.draw("me", rows("row"))
    threads = [threading.Thread(target=talk, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for number in range(20):
        screen.draw("me", rows(f"row {number}"))
    for thread in threads:
        thread.join()
    screen.release("me", rows("final"))
    assert sorted(shown.lines[:-1]) == sorted(f"{n} {i}" for n in "abc" for i in range(20))
    assert shown.lines[-1] == "final"


def test_another_process_that_has_the_stream_too_does_not_draw(terminal, monkeypatch):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("row"))
    before, here = len(shown.getvalue()), os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    print("from a worker", flush=True)
    assert "row" not in shown.getvalue()[before:]
    assert shown.lines == ["from a worker"]
    monkeypatch.setattr(os, "getpid", lambda: here)
    screen.draw("me", rows("row"))
    assert shown.lines == ["from a worker", "row"]
    screen.release("me")


def test_at_the_end_of_the_program_what_is_drawn_stays_where_it_is(terminal):
    shown = terminal()
    screen = Screen(sys.stdout)
    screen.draw("me", rows("a\nb"))
    screen._give_up()
    assert shown.lines == ["a", "b"]
    assert shown.cursor == (0, 2, False)
