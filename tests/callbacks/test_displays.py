import io
import os
import re
import subprocess
import sys
import types

import pyte
import pytest

from callboard import Run
from callboard.callbacks import LambdaCallback, progbar_logger
from callboard.callbacks.displays import (
    LinesDisplay,
    NotebookDisplay,
    TerminalDisplay,
    suitable_display,
)
from callboard.callbacks.notebook_display import in_notebook
from callboard.callbacks.progress_line import ProgressLine

TIMES = re.compile(r"\d+s - \d+(us|ms|s)/step")

SCRIPT = """
import sys, time
from callboard import Run
with Run(epochs=2, verbose={verbose}) as run:
    for epoch in run.epochs():
        for i in run.train({data}):
            run.log(**{{{name!r}: 0.5, "accuracy": 0.25}})
            time.sleep({pause})
            {body}
        for i in run.validate(range(2)):
            run.log(loss=1.5)
"""


def script(verbose=1, data="range(3)", body="pass", pause=0, name="loss"):
    return SCRIPT.format(verbose=verbose, data=data, body=body, pause=pause, name=name)


def piped(source, **environment):
    """Run a script whose output goes into a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def timeless(text):
    return TIMES.sub("T", text)


@pytest.fixture
def clock(monkeypatch):
    """Time that a test moves."""
    now = [100.0]
    fake = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(progbar_logger, "time", fake)
    monkeypatch.setattr("callboard._core.passes.perf_counter", fake.perf_counter)
    return now


# ---- into a pipe ---------------------------------------------------------------------------------

LINE = "Epoch {}/2 - 3/3 - T - accuracy: 0.2500 - loss: 0.5000 - val_loss: 1.5000"


@pytest.mark.parametrize("verbose", [1, 2])
def test_into_a_pipe_it_is_one_plain_line_an_epoch(verbose):
    out = piped(script(verbose, body='print("mine", i)'))
    assert not set(out) & set(b"\x1b\r\b")
    mine = ["mine 0", "mine 1", "mine 2"]
    assert timeless(out.decode()).splitlines() == [*mine, LINE.format(1), *mine, LINE.format(2)]


def test_verbose_0_says_nothing():
    assert piped(script(0)) == b""


def test_a_length_that_is_not_known_is_shown_as_what_was_done():
    out = piped(script(2, data="iter([1, 2])")[: -len("\n")].replace("epochs=2", "epochs=1"))
    assert timeless(out.decode()).startswith("Epoch 1/1 - 2/2 - T")


@pytest.mark.parametrize("name", ["präzision", "损失"])
def test_names_that_the_encoding_of_the_output_lacks_do_not_end_training(name):
    out = piped(script(2, name=name), PYTHONIOENCODING="ascii")
    assert out.count(b"\n") == 2
    assert b"accuracy: 0.2500" in out


def test_a_message_that_the_encoding_lacks_does_not_end_training():
    source = "from callboard import Run\nwith Run(verbose=0) as run: run.print('损失 saved')"
    assert piped(source, PYTHONIOENCODING="ascii").endswith(b" saved\n")


# ---- on a terminal -------------------------------------------------------------------------------


def on_terminal(source, columns=100, **environment):
    """Run a script on a terminal; return its final screen as lines, and all that was sent."""
    pexpect = pytest.importorskip("pexpect")
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", **environment}
    environment.pop("COLUMNS")
    child = pexpect.spawn(
        sys.executable, ["-c", source], dimensions=(40, columns), env=environment, timeout=60
    )
    sent = child.read()
    child.close()
    assert child.exitstatus == 0, sent.decode()
    screen = pyte.Screen(columns, 40)
    pyte.ByteStream(screen).feed(sent)
    return [line.rstrip() for line in screen.display if line.strip()], sent


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")
class TestTerminal:
    def test_the_final_screen_has_title_and_final_line_of_every_epoch(self):
        screen, sent = on_terminal(script(pause=0.12))
        final = "3/3 - T - accuracy: 0.2500 - loss: 0.5000 - val_loss: 1.5000"
        assert [timeless(line) for line in screen] == ["Epoch 1/2", final, "Epoch 2/2", final]
        assert "━".encode() in sent

    def test_what_the_loop_prints_stays_above_the_line(self):
        screen, _ = on_terminal(script(body='print("mine", epoch, i)', pause=0.06))
        lines = [timeless(line) for line in screen]
        mine = [line for line in lines if line.startswith("mine")]
        assert mine == [f"mine {epoch} {i}" for epoch in range(2) for i in range(3)]
        assert lines[0] == "Epoch 1/2"
        assert lines[4].startswith("3/3")
        assert lines[5] == "Epoch 2/2"
        assert lines[9].startswith("3/3")
        assert len(lines) == 10

    def test_on_a_narrow_terminal_nothing_is_left_of_the_lines_drawn_before(self):
        screen, _ = on_terminal(script(pause=0.12), columns=40)
        joined = timeless(" ".join(screen))
        assert joined.count("Epoch") == 2
        assert joined.count("3/3") == 2
        assert joined.count("val_loss: 1.5000") == 2
        assert "━" not in joined
        assert all(len(line) <= 40 for line in screen)

    def test_a_dumb_terminal_gets_plain_lines(self):
        _, sent = on_terminal(script(), TERM="dumb")
        assert b"\x1b" not in sent
        assert timeless(sent.decode()).splitlines() == [LINE.format(1), LINE.format(2)]

    def test_without_unicode_the_bar_and_names_are_of_other_characters(self):
        screen, sent = on_terminal(script(pause=0.12, name="präz"), PYTHONIOENCODING="ascii")
        assert not any(byte > 127 for byte in sent)
        assert b"=" in sent
        assert [line for line in screen if "accuracy: 0.2500" in line]

    def test_verbose_2_is_plain_lines_on_a_terminal_too(self):
        _, sent = on_terminal(script(2))
        assert b"\x1b" not in sent

    def test_a_length_that_is_not_known(self):
        screen, sent = on_terminal(script(data="iter([1, 2, 3])", pause=0.12))
        assert b"/unknown" in sent
        assert timeless(screen[1]).startswith("3/3 - T")

    def test_brackets_in_names_are_shown_and_not_read_as_markup(self):
        screen, _ = on_terminal(script(name="[bold]loss[/bold]"))
        assert "[bold]loss[/bold]: 0.5000" in screen[1]


# ---- on a stream that says it is a terminal ------------------------------------------------------


class Terminal(io.StringIO):
    """A terminal's stream that keeps what was sent to it."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def to_terminal(monkeypatch):
    """Make the output a terminal; called in the test, as pytest sets the output before it."""

    def to_terminal(term="xterm-256color"):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr(sys, "stdout", Terminal())
        return sys.stdout

    return to_terminal


def test_a_run_on_a_terminal_draws_over_its_line_and_leaves_the_final_one(to_terminal, clock):
    terminal = to_terminal()
    with Run(verbose=1, epochs=2) as run:
        for _ in run.epochs():
            for _ in run.train(range(2)):
                run.log(loss=0.5)
                clock[0] += 1
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    screen.set_mode(pyte.modes.LNM)
    stream.feed(terminal.getvalue())
    lines = [timeless(line.strip()) for line in screen.display if line.strip()]
    final = "2/2 - T - loss: 0.5000"
    assert lines == ["Epoch 1/2", final, "Epoch 2/2", final]
    assert "━" in terminal.getvalue()


def test_a_terminal_that_is_closed_twice_or_not_begun_is_left_as_it_is(to_terminal):
    terminal = to_terminal()
    display = suitable_display(1)
    assert isinstance(display, TerminalDisplay)
    display.draw(ProgressLine(1, 2))
    display.end(ProgressLine(2, 2))
    display.close()
    assert terminal.getvalue() == ""
    display.begin("")
    display.close()
    display.close()
    assert terminal.getvalue() == ""
    assert sys.stdout is terminal


def test_a_dumb_terminal_is_none(to_terminal):
    to_terminal("dumb")
    assert isinstance(suitable_display(1), LinesDisplay)


# ---- displays ------------------------------------------------------------------------------------


def test_lines_show_a_title_only_if_there_is_one(capsys):
    lines = LinesDisplay()
    line = ProgressLine(2, 2)
    for title, expected in (("Epoch 1/1", "Epoch 1/1 - 2/2"), ("", "2/2")):
        lines.begin(title)
        lines.end(line)
        assert capsys.readouterr().out.startswith(f"{expected} - 0s")
    lines.close()


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook's cell shows: its outputs, each the text it was last updated to."""
    outputs = []

    class Handle:
        def __init__(self, data):
            outputs.append(data["text/plain"])
            self.index = len(outputs) - 1

        def update(self, data, *, raw):
            assert raw
            outputs[self.index] = data["text/plain"]

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        return Handle(data)

    shell = type("ZMQInteractiveShell", (), {})()
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    module.display = types.ModuleType("IPython.display")
    module.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return outputs


def test_in_a_notebook_every_epoch_is_one_output_that_is_updated(notebook, clock):
    seen = []
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(notebook[-1]))
    with Run(verbose=1, epochs=2, callbacks=[look]) as run:
        for _ in run.epochs():
            for _ in run.train(range(2)):
                run.log(loss=0.5)
                clock[0] += 1
    assert [timeless(text) for text in notebook] == [
        "Epoch 1/2 - 2/2 - 2s - 1s/step - loss: 0.5000".replace("2s - 1s/step", "T"),
        "Epoch 2/2 - 2/2 - T - loss: 0.5000",
    ]
    assert seen[0] == "Epoch 1/2 - "
    assert seen[1].startswith("Epoch 1/2 - 1/2 ━━━━━━━━━━")


def test_a_notebook_that_is_closed_in_the_middle_keeps_what_it_shows(notebook):
    shown = NotebookDisplay()
    shown.begin("Epoch 1/1")
    shown.close()
    shown.draw(ProgressLine(1, 2))
    shown.end(ProgressLine(2, 2))
    assert notebook == ["Epoch 1/1 - "]


def test_verbose_2_in_a_notebook_is_plain_lines(notebook):
    assert isinstance(suitable_display(1), NotebookDisplay)
    assert isinstance(suitable_display(2), LinesDisplay)


def test_ipython_on_a_terminal_is_no_notebook(notebook, monkeypatch):
    sys.modules["IPython"].get_ipython = lambda: None
    assert not in_notebook()
