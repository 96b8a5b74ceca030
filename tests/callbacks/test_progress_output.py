"""Progress as a user sees it: programs whose output goes to a pipe, a file or a real terminal."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid

import pyte
import pytest

TIMES = re.compile(r"\d+s - \d+(us|ms|s)/step")

SCRIPT = """
import logging, sys, time, warnings
logging.basicConfig(level="INFO")
from callboard import Run
{before}
with Run(epochs=2, verbose={verbose}) as run:
    for epoch in run.epochs():
        for i in run.train(range(3)):
            run.log(**{{{name!r}: 0.5, "accuracy": 0.25}})
            {body}
        for i in run.validate(range(2)):
            run.log(loss=1.5)
"""

LINE = "Epoch {}/2 - 3/3 - T - accuracy: 0.2500 - loss: 0.5000 - val_loss: 1.5000"
FINAL = "3/3 - T - accuracy: 0.2500 - loss: 0.5000 - val_loss: 1.5000"


def script(verbose=1, body="pass", name="loss", before=""):
    return SCRIPT.format(verbose=verbose, body=body, name=name, before=before)


def environment(**more):
    names = ("CI", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONUTF8")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **more}


def piped(source, **more):
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        env=environment(**more),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def timeless(text):
    return TIMES.sub("T", text)


# ---- into a pipe ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [1, 2])
def test_into_a_pipe_it_is_one_plain_line_an_epoch(verbose):
    out = piped(script(verbose, body='print("mine", i)'), SLURM_JOB_ID="7")
    assert not set(out) & set(b"\x1b\r\b")
    mine = ["mine 0", "mine 1", "mine 2"]
    assert timeless(out.decode()).splitlines() == [*mine, LINE.format(1), *mine, LINE.format(2)]


def test_verbose_0_says_nothing():
    assert piped(script(0)) == b""


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252"])
@pytest.mark.parametrize("name", ["präzision", "损失"])
def test_names_that_the_encoding_of_the_output_lacks_do_not_end_training(name, encoding):
    out = piped(script(2, name=name), PYTHONIOENCODING=encoding).decode(encoding)
    assert out.count("\n") == 2
    assert "accuracy: 0.2500" in out
    assert f"{name.encode(encoding, 'backslashreplace').decode(encoding)}: 0.5000" in out


def test_a_message_that_the_encoding_lacks_does_not_end_training():
    source = "from callboard import Run\nwith Run(verbose=0) as run: run.print('损失 saved')"
    assert piped(source, PYTHONIOENCODING="ascii").endswith(b" saved\n")


# ---- on a terminal -------------------------------------------------------------------------------

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")

# The program goes on when a line is sent to it, so that nothing depends on how fast it is.
WAIT = "sys.stdin.readline()"


class Program:
    """A program on a terminal of some size."""

    def __init__(self, source, columns=100, rows=40, **more):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.sent = b""
        self.child = pexpect.spawn(
            sys.executable,
            ["-c", source],
            dimensions=(rows, columns),
            env=environment(**more),
            timeout=60,
            echo=False,
        )

    def until(self, text):
        """Read until a text is on the screen."""
        deadline = time.monotonic() + 60
        while text not in "\n".join(self.lines):
            assert time.monotonic() < deadline, (text, self.lines)
            self._take(self.child.read_nonblocking(65536, timeout=60))

    def resize(self, columns):
        self.child.setwinsize(40, columns)
        self.screen.resize(40, columns)

    def go_on(self):
        self.child.sendline("")

    def end(self, status=0):
        """Read to the end of the program; return its screen."""
        self._take(self.child.read())
        self.child.close()
        if status is not None:
            assert self.child.exitstatus == status, self.sent.decode()
        return [timeless(line) for line in self.lines]

    def _take(self, sent):
        self.sent += sent
        self.stream.feed(sent)

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.mark.parametrize("columns", [20, 50, 100])
def test_the_final_screen_has_title_and_final_line_of_every_epoch(columns):
    program = Program(script(body="time.sleep(0.11)"), columns)
    lines = program.end()
    assert " - ".join(" ".join(lines).split()).count("Epoch") == 2
    if columns == 100:
        assert lines == ["Epoch 1/2", FINAL, "Epoch 2/2", FINAL]
    assert "".join(lines).count("val_loss: 1.5000") == 2
    assert "━" not in "".join(lines)
    assert "━".encode() in program.sent


def test_prints_warnings_and_logging_are_whole_lines_above_the_bar():
    body = (
        "print('mine', i); warnings.warn('beware'); logging.info('an info'); time.sleep(0.06); "
        "print('piece', end=' ', flush=True); print('by piece')"
    )
    lines = Program(script(body=body, before="warnings.simplefilter('always')")).end()
    lines = [line for line in lines if "warnings.warn" not in line]
    said = ["UserWarning: beware", "INFO:root:an info", "piece by piece"]
    epoch = [f"mine {i}\n" + "\n".join(said) for i in range(3)]
    for number in (1, 2):
        epoch_lines = "\n".join([f"Epoch {number}/2", *epoch, FINAL])
        shown = "\n".join(re.sub(r"<string>:\d+: ", "", line) for line in lines)
        assert epoch_lines in shown


def test_a_terminal_that_is_resized_keeps_every_line_and_none_twice():
    program = Program(script(body=f"print('batch', epoch, i, flush=True); {WAIT}"), 100)
    sizes = [(60, 0, 0), (25, 0, 1), (80, 0, 2), (40, 1, 0), (100, 1, 1), (100, 1, 2)]
    for columns, epoch, batch in sizes:
        program.until(f"batch {epoch} {batch}")
        program.resize(columns)
        program.go_on()
    batches = [[f"batch {epoch} {i}" for i in range(3)] for epoch in range(2)]
    lines = program.end()
    assert lines[:4] == ["Epoch 1/2", *batches[0]]
    assert lines[-5:] == ["Epoch 2/2", *batches[1], FINAL]
    assert "".join(lines).count("3/3") == 2
    assert "━" not in "".join(lines)


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_dumb_terminal_and_ci_get_plain_lines(more):
    program = Program(script(), **more)
    assert program.end() == [LINE.format(1), LINE.format(2)]
    assert b"\x1b" not in program.sent


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_without_unicode_the_bar_and_names_are_of_other_characters(encoding):
    program = Program(script(name="损失", body="time.sleep(0.11)"), PYTHONIOENCODING=encoding)
    lines = program.end()
    assert not any(byte > 127 for byte in program.sent)
    assert b" ======..............  " in program.sent
    assert "\\u635f\\u5931: 0.5000" in lines[1]


def test_ctrl_c_leaves_the_line_and_a_cursor_that_is_seen():
    program = Program(script(body=f"i == 1 and print('now', flush=True) or i and {WAIT}"))
    program.until("now")
    program.child.sendintr()
    lines = program.end(status=None)
    assert lines[0] == "Epoch 1/2"
    assert lines[2].startswith(" 1/3 ━━━━━━")
    assert lines[3].startswith("Traceback")
    assert lines[-1] == "KeyboardInterrupt"
    assert b"\x1b[?25l" not in program.sent


def test_a_process_that_is_killed_leaves_the_terminal_usable():
    program = Program(script(body=f"i == 1 and print('now', flush=True) or i and {WAIT}"))
    program.until("now")
    program.child.kill(signal.SIGKILL)
    program.end(status=None)
    assert b"\x1b[?25l" not in program.sent
    assert not program.screen.cursor.hidden


def test_a_program_that_has_left_its_terminal_trains_on(tmp_path):
    go, done = tmp_path / "go", tmp_path / "done"
    body = (
        "print('now', flush=True) if (epoch, i) == (0, 1) else None\n            "
        f"while (epoch, i) == (0, 1) and not os.path.exists({str(go)!r}): time.sleep(0.01)"
    )
    before = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    program = Program(f"{script(body=body, before=before)}\nopen({str(done)!r}, 'w').close()")
    program.until("now")
    os.close(program.child.child_fd)  # as when a connection breaks: now writing is an error
    go.touch()
    deadline = time.monotonic() + 60
    while not done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.waitpid(program.child.pid, 0)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs a terminal that breaks lines anew")
def test_where_the_terminal_breaks_lines_anew_nothing_is_left_of_the_bar(tmp_path):
    server = f"callboard-{uuid.uuid4().hex}"
    go = [tmp_path / "0", tmp_path / "1"]
    wait = f"p = {str(tmp_path)!r}\n            while i < 2 and not __import__('os').path.exists("
    body = wait + "f'{p}/{i}'): time.sleep(0.01)"
    source = tmp_path / "program.py"
    names = "a_long_name_of_a_metric_that_fills_the_line"
    source.write_text(script(body=f"print('batch', i); {body}", name=names).replace("=2,", "=1,"))

    def tmux(*arguments):
        command = ["tmux", "-L", server, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True, env=environment()
        )

    def until(text):
        deadline = time.monotonic() + 60
        while text not in (shown := tmux("capture-pane", "-p", "-S", "-90").stdout):
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    shell = f"{sys.executable} {source}; echo over; cat"
    tmux("-f", os.devnull, "new-session", "-d", "-x", "100", "-y", "30", shell)
    try:
        for batch, columns in ((0, "40"), (1, "90")):
            until(f"batch {batch}")
            tmux("resize-window", "-x", columns)
            go[batch].touch()
        lines = until("over")
    finally:
        tmux("kill-server")
    assert lines[:4] == ["Epoch 1/1", "batch 0", "batch 1", "batch 2"]
    assert timeless(lines[4]).startswith("3/3 - T")
    assert f"{names}: 0.5000" in " ".join(lines[4:-1])
    assert "━" not in "".join(lines)
