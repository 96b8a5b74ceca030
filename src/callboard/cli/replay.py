"""``callboard replay``: what callbacks would have decided on a recorded run."""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import ConfigurationError, MetricNotFoundError, UnknownNameError
from callboard._core.monitor import short
from callboard.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from callboard.callbacks.checkpoint_folder import Retention
from callboard.recorded import Recording, read_recording
from callboard.replaying import Replay, replay

__all__ = ["add_to"]

_DESCRIPTION = """\
Say what EarlyStopping, ReduceLROnPlateau and ModelCheckpoint would have done on a recorded run.
Nothing is trained or written. The metrics are those of the record: they do not answer to a
learning rate that would have been lower.
"""
_EXAMPLES = """\
The callbacks take their arguments as NAME=VALUE, all of them optional.

examples:
  callboard replay log.csv                                        EarlyStopping as it is by default
  callboard replay log.csv --early-stopping patience=3 monitor=val_loss
  callboard replay runs/a --reduce-lr factor=0.5 patience=2 --early-stopping patience=6
  callboard replay log.csv --checkpoint save_best_only=true --every-epoch
  callboard replay runs/a/backup --checkpoint save_top_k=3        which would be kept
  callboard replay log.csv --patience 1:20                        compare patiences
"""
_QUIET = ("skipped",)
_ADVICE = "Pass another, as in: --early-stopping monitor=loss"
_UNASKED = ("filepath", "verbose")


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "replay",
        help="try callbacks on a recorded run",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("log", type=Path, metavar="RUN", help="a log, or the folder of a run")
    for option, kind in (
        ("--early-stopping", EarlyStopping),
        ("--reduce-lr", ReduceLROnPlateau),
        ("--checkpoint", ModelCheckpoint),
    ):
        name = kind.__name__
        parser.add_argument(
            option, nargs="*", metavar="NAME=VALUE", help=f"ask {name}, with these arguments"
        )
    parser.add_argument(
        "--patience",
        type=_patiences,
        metavar="FROM:TO",
        help="try EarlyStopping with each of these patiences and show a table",
    )
    parser.add_argument("--every-epoch", action="store_true", help="show every epoch")
    parser.set_defaults(command=_run)


def _patiences(text: str) -> list[int]:
    first, _, last = text.partition(":")
    try:
        found = list(range(int(first), int(last or first) + 1))
    except ValueError:
        found = []
    if not found or found[0] < 0:
        raise argparse.ArgumentTypeError(
            f"must be one patience or a range such as 1:20, the smaller one first; got {text!r}"
        )
    return found


def _run(arguments: argparse.Namespace) -> None:
    recording = read_recording(arguments.log)
    stopping = arguments.early_stopping
    others: list[Any] = []
    if arguments.reduce_lr is not None:
        others.append(ReduceLROnPlateau(**_options(ReduceLROnPlateau, arguments.reduce_lr)))
    if arguments.checkpoint is not None:
        asked = _options(ModelCheckpoint, arguments.checkpoint)
        path = "checkpoints" if set(asked) & set(Retention._fields) else "model.pt"
        others.append(ModelCheckpoint(path, **asked))
    options = _options(EarlyStopping, stopping or [])
    if arguments.patience is not None:
        if "patience" in options:
            raise ConfigurationError(
                "give the patience once: either --patience FROM:TO or --early-stopping patience=N"
            )
        _show_sweep(recording, options, others, arguments.patience)
        return
    callbacks = [EarlyStopping(**options)] if stopping is not None or not others else []
    result = _replayed(recording, [*callbacks, *others])
    if arguments.every_epoch:
        _show_epochs(recording, result)
    else:
        told = [each for each in result.journal if each.action not in _QUIET]
        for each in told:
            print(f"epoch {each.epoch + 1}: {each.callback} {each.action}: {each.cause}")
        if not told:
            print("The callbacks would have done nothing.")
    print(_summary(result))
    if result.kept:
        epochs = ", ".join(str(epoch + 1) for _, epoch in result.kept)
        print(f"Checkpoints at the end: of epoch {epochs}.")


def _options(kind: type, given: Sequence[str]) -> dict[str, Any]:
    """Return a callback's arguments from NAME=VALUE."""
    parameters = inspect.signature(kind).parameters
    allowed = {name: each.default for name, each in parameters.items() if name not in _UNASKED}
    found: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigurationError(
                f"{kind.__name__} takes its arguments as NAME=VALUE, such as monitor=val_loss; "
                f"got {item!r}"
            )
        if name not in allowed:
            raise UnknownNameError(f"argument of {kind.__name__}", name, allowed)
        found[name] = _value(name, text, allowed[name])
    return found


def _value(name: str, text: str, default: Any) -> Any:
    """Return an argument's value, of the type of its default."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigurationError(f"{name} must be true or false; got {text!r}")
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if isinstance(default, str):
        return text
    raise ConfigurationError(f"{name} must be a number; got {text!r}")


def _replayed(recording: Recording, callbacks: Sequence[Any]) -> Replay:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfigurationWarning)
        try:
            result = replay(recording.history, callbacks, epochs=recording.epochs)
        except MetricNotFoundError as error:
            raise ConfigurationError(f"{error} {_ADVICE}") from error
    for each in dict.fromkeys(str(warning.message) for warning in caught):
        sys.stderr.write(f"note: {each}\n")
    return result


def _summary(result: Replay) -> str:
    done = f"{len(result.epochs)} of {result.recorded} epochs would have taken place"
    if not result.monitor:
        return f"{done}."
    if result.best_recorded is None:
        return f"{done}; no epoch of the record has a finite {result.monitor}."
    if result.best is None:
        later = f"{short(result.best_recorded)} came later"
        return f"{done}; none of them has a finite {result.monitor} ({later})."
    best = f"their best {result.monitor} is {short(result.best)}"
    if result.loss_given_up > 0:
        lost = f"{short(result.best_recorded)} came later, so {result.loss_given_up:.3g} given up"
        return f"{done}; {best} ({lost})."
    return f"{done}; {best}, as in the whole record."


def _show_epochs(recording: Recording, result: Replay) -> None:
    monitor = result.monitor or next(iter(recording.history))
    rows = [["epoch", monitor, "learning rate", "decisions"]]
    for at, (epoch, rate) in enumerate(zip(result.epochs, result.learning_rates, strict=True)):
        said = [f"{d.callback} {d.action}" for d in result.journal if d.epoch == epoch]
        value = recording.history[monitor][at]
        rows.append([str(epoch + 1), short(value), f"{rate:g}", ", ".join(said)])
    _print_table(rows)


def _show_sweep(
    recording: Recording, options: dict[str, Any], others: list[Any], patiences: Sequence[int]
) -> None:
    rows = [["patience", "last epoch", "epochs saved", "best", "given up"]]
    free: list[tuple[int, int]] = []
    monitor, is_finite = "", False
    for patience in patiences:
        result = _replayed(recording, [EarlyStopping(**options, patience=patience), *others])
        monitor, is_finite = result.monitor, result.best_recorded is not None
        if result.loss_given_up == 0:
            free.append((patience, result.epochs_saved))
        rows.append(
            [
                str(patience),
                str(result.epochs[-1] + 1),
                str(result.epochs_saved),
                short(result.best),
                f"{result.loss_given_up:.3g}",
            ]
        )
    rows[0][3] = f"best {monitor}"
    _print_table(rows)
    if not is_finite:
        print(f"No epoch of the record has a finite {monitor}.")
    elif free:
        patience, saved = free[0]
        print(f"The smallest patience that gives nothing up: {patience} ({saved} epochs saved).")
    else:
        print("Each of these gives something up.")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = rows[0][-1] == "decisions"
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        if words:
            cells[-1] = row[-1]
        print("  ".join(cells).rstrip())
