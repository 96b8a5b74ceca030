"""A run in words: its configuration, its model and its journal, as Markdown."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from callboard._core import frameworks
from callboard._core.callback import Callback
from callboard._core.inspection import inspection_of

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["configuration_text", "journal_text", "model_text", "program_text"]

_LINES = 2000


def configuration_text(run: Run) -> str:
    """Return what the run was started with: program, versions, epochs, callbacks."""
    rows = [
        ("program", " ".join(sys.argv) or "interactive"),
        ("Python", platform.python_version()),
        ("NumPy", np.__version__),
    ]
    for name, _ in frameworks.loaded():
        rows.append((name, str(getattr(sys.modules[name], "__version__", ""))))
    rows += [
        ("epochs", f"{run.initial_epoch} to {run.epoch_count}"),
        ("steps per epoch", str(run.steps or "unknown")),
        ("model", type(getattr(run.model, "module", run.model)).__name__),
    ]
    rows += [(type(callback).__name__, _options(callback)) for callback in run.callbacks]
    return _table(("what", "value"), rows)


def model_text(run: Run) -> str:
    """Return the model's layers as a table."""
    return indented(inspection_of(run.trainable).summary())


def program_text(program: str) -> str:
    """Return the text of a program; of a long one its beginning, as pages have to show it."""
    lines = program.splitlines()
    if len(lines) > _LINES:
        lines[_LINES:] = [f"... {len(lines) - _LINES:,} lines are left out"]
    return indented("\n".join(lines))


def indented(text: str) -> str:
    """Return a text that is shown as it is, in letters of one width."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def journal_text(run: Run) -> str:
    """Return the decisions of the callbacks by now."""
    rows = [(str(d.epoch + 1), str(d.step), d.callback, d.action, d.cause) for d in run.journal]
    return _table(("epoch", "step", "callback", "action", "cause"), rows)


def _options(callback: Callback) -> str:
    """Return the plain ones of a callback's public attributes."""
    plain = (bool, int, float, str, type(None))
    public: Mapping[str, Any] = {n: v for n, v in vars(callback).items() if n[0] != "_"}
    shown = {n: v for n, v in public.items() if isinstance(v, plain) and n != "model"}
    return ", ".join(f"{name}={value!r}" for name, value in shown.items()) or "-"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
