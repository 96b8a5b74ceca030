"""Windows's consoles, as they answer, without Windows."""

import io
import sys
import types

import pytest

from callboard import Run
from callboard.callbacks import windows_console
from callboard.callbacks.displays import LinesDisplay, suitable_display
from callboard.callbacks.terminal_display import TerminalDisplay

SEQUENCES, PROCESSED = 0x4, 0x1


class Kernel32:
    """The two functions of Windows, for a console in some mode or what is no console (None)."""

    def __init__(self, mode, *, can):
        self.mode, self.can = mode, can

    def GetConsoleMode(self, handle, mode):  # noqa: N802 - Windows's name
        assert handle.value == 7
        if self.mode is not None:
            mode._obj.value = self.mode
        return self.mode is not None

    def SetConsoleMode(self, handle, mode):  # noqa: N802 - Windows's name
        assert handle.value == 7
        if self.can:
            self.mode = mode
        return self.can


@pytest.fixture
def console(monkeypatch):
    """Play Windows with a console; return it and what is done at the program's end."""

    def play(mode, *, can=True):
        kernel32, at_end = Kernel32(mode, can=can), []
        monkeypatch.setattr(windows_console, "ON_WINDOWS", True)
        monkeypatch.setattr(windows_console, "_kernel32", lambda: kernel32)
        msvcrt = types.SimpleNamespace(get_osfhandle=lambda number: 7)
        monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
        monkeypatch.setattr(
            windows_console, "atexit", types.SimpleNamespace(register=lambda *c: at_end.append(c))
        )
        return kernel32, at_end

    return play


def with_a_number(stream):
    stream.fileno = lambda: 1
    return stream


def test_a_console_that_can_is_asked_and_put_back_at_the_end(terminal, console):
    kernel32, at_end = console(PROCESSED)
    with_a_number(terminal())
    assert isinstance(suitable_display(1), TerminalDisplay)
    assert kernel32.mode == PROCESSED | SEQUENCES
    ((put_back, handle, mode),) = at_end
    put_back(handle, mode)
    assert kernel32.mode == PROCESSED


def test_a_console_that_does_already_is_left_alone(terminal, console):
    _, at_end = console(PROCESSED | SEQUENCES, can=False)
    with_a_number(terminal())
    assert isinstance(suitable_display(1), TerminalDisplay)
    assert at_end == []


@pytest.mark.parametrize("mode", [PROCESSED, None], ids=["old console", "no console"])
def test_what_cannot_gets_plain_lines(terminal, console, mode):
    _, at_end = console(mode, can=False)
    with_a_number(terminal())
    assert isinstance(suitable_display(1), LinesDisplay)
    assert at_end == []


def test_a_stream_without_a_number_gets_plain_lines(terminal, console):
    console(PROCESSED)
    stream = terminal()

    def fails():
        raise io.UnsupportedOperation("fileno")

    stream.fileno = fails
    assert isinstance(suitable_display(1), LinesDisplay)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp850", "cp1252"])
def test_an_old_console_sees_no_control_characters_in_any_code_page(terminal, console, encoding):
    console(PROCESSED, can=False)
    stream = with_a_number(terminal())
    stream.encoding = encoding
    with Run(epochs=2, verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                run.log({"präz 损失": 0.5})
    said = stream.getvalue()
    assert not {"\r", "\x1b", "━"} & set(said)
    name = "präz 损失".encode(encoding, "backslashreplace").decode(encoding)
    first, second = said.splitlines()
    assert first.startswith("Epoch 1/2 - 3/3 - 0s - ")
    assert second.endswith(f"{name}: 0.5000")


@pytest.mark.parametrize("encoding", ["cp437", "cp850", "cp1252"])
def test_a_new_console_with_an_old_code_page_has_a_bar_of_ascii(terminal, console, encoding):
    console(PROCESSED)
    stream = with_a_number(terminal())
    stream.encoding = encoding
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                run.log(loss=0.5)
    said = stream.getvalue()
    assert "====" in said
    assert said.isascii()


@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows")
def test_windows_answers():
    with open("NUL", "w") as nothing:  # noqa: PTH123 - a device
        assert not windows_console.takes_sequences(nothing)
