import signal
import subprocess
import sys

import pytest
from hypothesis import settings

from callboard import Callback
from callboard._core.callback import HOOKS

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("callboard", deadline=None)
settings.load_profile("callboard")

# A shell has its jobs in the background ignore Ctrl-C, and so would the programs of the tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Recorder(Callback):
    """Writes down every hook it hears, as a line: name, epoch or batch, names in the logs."""

    def __init__(self, only=(), lines=None, name=""):
        self.lines = [] if lines is None else lines
        for hook in only or HOOKS:
            if hook not in {"on_batch_begin", "on_batch_end"}:
                setattr(self, hook, self.recording(hook, name))

    def recording(self, hook, name):
        def record(*arguments):
            shown = [name, hook] if name else [hook]
            for argument in arguments:
                if isinstance(argument, BaseException):
                    shown.append(type(argument).__name__)
                elif isinstance(argument, int):
                    shown.append(str(argument))
                else:
                    shown.extend(argument)
            self.lines.append(" ".join(shown))

        return record


@pytest.fixture
def recorder():
    """The class of a callback that writes down what it hears."""
    return Recorder


@pytest.fixture
def full_disk(tmp_path):
    """Run a script in a process that can write no file beyond 20 kB; return the error it met."""

    def run(script):
        head = (
            "import pathlib, resource, sys\n"
            f"folder = pathlib.Path({str(tmp_path)!r})\n"
            "def hook(kind, error, trace): print(kind.__name__, getattr(error, 'errno', error))\n"
            "sys.excepthook = hook\n"
        )
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        done = subprocess.run(
            [sys.executable, "-c", head + limit + script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip() or done.stderr

    if sys.platform == "win32":
        pytest.skip("Windows has no limit on the size of files")
    return run
