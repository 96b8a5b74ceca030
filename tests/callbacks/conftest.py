import io
import sys
from pathlib import Path

import pyte
import pytest

from callboard.callbacks.screen import PrintsAbove

# The training of the tests of trackers, which processes that are killed run as well.
sys.path.insert(0, str(Path(__file__).parent))

TELEMETRY_OFF = {
    "AIM_UI_TELEMETRY_ENABLED": "0",
    "COMET_ERROR_TRACKING_ENABLE": "false",
    "COMET_INTERNAL_REPORTING": "false",
    "COMET_LOGGING_CONSOLE": "ERROR",
    "COMET_LOG_ENV_DETAILS": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}


class Terminal(io.StringIO):
    """A terminal of which the screen can be looked at, and all that was sent to it."""

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, columns, rows):
        super().__init__()
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self._screen)

    def isatty(self):
        return True

    def write(self, text):
        text.encode(self.encoding, self.errors)
        self._stream.feed(text)
        return super().write(text)

    @property
    def lines(self):
        """The lines that are not empty, those that were scrolled off included."""
        above = ["".join(row[x].data for x in sorted(row)) for row in self._screen.history.top]
        return [line.rstrip() for line in (*above, *self._screen.display) if line.strip()]

    @property
    def cursor(self):
        """Column and row of the cursor, and whether it is hidden."""
        cursor = self._screen.cursor
        return cursor.x, cursor.y, cursor.hidden


@pytest.fixture
def terminal(monkeypatch):
    """Make the program's output a terminal; called in the test, as pytest sets the output before.

    Called again with another size, it resizes the terminal.
    """
    made = []

    def terminal(columns=80, rows=24, *, errors_too=False):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(rows))
        if made:
            made[0]._screen.resize(rows, columns)
            return made[0]
        monkeypatch.setenv("TERM", "xterm-256color")
        for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        made.append(Terminal(columns, rows))
        monkeypatch.setattr(sys, "stdout", made[0])
        if errors_too:
            errors = Terminal(columns, rows)
            errors.errors = "backslashreplace"
            monkeypatch.setattr(sys, "stderr", errors)
        return made[0]

    yield terminal
    if isinstance(sys.stdout, PrintsAbove):  # a test has left something drawn
        sys.stdout.screen._give_up()


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    """An environment in which the packages of trackers stay within a folder."""
    for name, value in TELEMETRY_OFF.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
