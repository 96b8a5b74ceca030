"""``callboard checkpoints``: list, verify, prune and export what was saved."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from callboard._core.errors import (
    ConfigurationError,
    DamagedCheckpointError,
    NoCheckpointError,
    UnknownNameError,
)
from callboard.checkpoint import Checkpoint, CheckpointStore, best, every, last
from callboard.checkpoint.keep import Rule
from callboard.checkpoint.safetensors import write_safetensors
from callboard.cli.arguments import positive, require

__all__ = ["add_to"]

_MANIFEST = "manifest.json"
_FORMATS = (".safetensors", ".pt", ".pth")
_EXAMPLES = """\
examples:
  callboard checkpoints list runs/a/ckpt
  callboard checkpoints verify runs/a
  callboard checkpoints prune runs/a/ckpt --last 3 --best 2:val_loss --dry-run
  callboard checkpoints export runs/a/ckpt --which best -o best.safetensors
"""


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "checkpoints",
        help="list, verify, prune and export checkpoints",
        description="Look after folders of checkpoints, as ModelCheckpoint and BackupAndRestore "
        "write them. DIR is one, or a folder above several.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="show what is there", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as JSON, one object a checkpoint")
    listing.set_defaults(command=_list)

    verifying = actions.add_parser("verify", help="read and check every byte", allow_abbrev=False)
    verifying.add_argument("--quiet", action="store_true", help="name the damaged ones only")
    verifying.set_defaults(command=_verify)

    pruning = actions.add_parser("prune", help="remove what no rule keeps", allow_abbrev=False)
    pruning.add_argument("--last", type=positive, metavar="N", help="keep the newest N")
    pruning.add_argument(
        "--best", type=_best, metavar="N:METRIC[:max]", help="keep the best N by a metric"
    )
    pruning.add_argument("--every-epochs", type=positive, metavar="N", help="keep one of every N")
    pruning.add_argument("--every-steps", type=positive, metavar="N", help="keep one of every N")
    pruning.add_argument("--every-seconds", type=positive, metavar="N", help="keep one of every N")
    pruning.add_argument(
        "--damaged", action="store_true", help="remove also those set aside as damaged"
    )
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    pruning.set_defaults(command=_prune)

    exporting = actions.add_parser("export", help="make a plain file of one", allow_abbrev=False)
    exporting.add_argument(
        "-o", "--output", type=Path, required=True, help=f"file to write: {', '.join(_FORMATS)}"
    )
    exporting.add_argument(
        "--which", default="", help="last, best or a name (default: best if known, else last)"
    )
    exporting.add_argument("--group", default="weights", help="which arrays (default: weights)")
    exporting.add_argument("--force", action="store_true", help="replace a file that is there")
    exporting.set_defaults(command=_export)

    for each in (listing, verifying, pruning, exporting):
        each.add_argument("folder", type=Path, metavar="DIR", help="folder of checkpoints")


def _list(arguments: argparse.Namespace) -> None:
    stores = list(_stores(arguments.folder))
    if arguments.json:
        for store in stores:
            for _, facts in _there(store):
                print(json.dumps(facts))
        return
    width = None if sys.stdout.isatty() else 200
    console = Console(highlight=False, width=width)
    for store in stores:
        table = Table(title=str(store.directory), title_justify="left", box=None)
        for name in ("checkpoint", "step", "epoch", "saved", "size", "", "metrics"):
            table.add_column(name, justify="right" if name in ("step", "epoch", "size") else "left")
        for checkpoint, facts in _there(store):
            table.add_row(*_row(checkpoint, facts))
        console.print(table)
        for other in _others(store):
            console.print(f"  {other}", markup=False)
        files = (path for path in store.directory.rglob("*") if path.is_file())
        total = sum({(s.st_dev, s.st_ino): s.st_size for s in map(os.lstat, files)}.values())
        count = len(store.checkpoints())
        console.print(f"  {count} checkpoints, {_bytes(total)} on the disk\n", markup=False)


def _there(store: CheckpointStore) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
    """Yield the checkpoints with what there is to say; a run that goes on may remove some."""
    for checkpoint in store.checkpoints():
        with contextlib.suppress(FileNotFoundError):
            yield checkpoint, _facts(store, checkpoint)


def _row(checkpoint: Checkpoint, facts: Mapping[str, Any]) -> list[str]:
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in checkpoint.metrics.items())
    return [
        checkpoint.name,
        str(checkpoint.step),
        str(checkpoint.epoch),
        facts["saved"],
        _bytes(facts["bytes"]),
        " ".join(facts["is"]),
        metrics,
    ]


def _facts(store: CheckpointStore, checkpoint: Checkpoint) -> dict[str, Any]:
    saved = dt.datetime.fromtimestamp(checkpoint.time_s).astimezone()
    pointers = [name for name in ("best", "last") if store.pointed_to(name) == checkpoint.name]
    return {
        "checkpoint": checkpoint.name,
        "folder": str(store.directory),
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "saved": saved.isoformat(" ", "seconds"),
        "bytes": _size(store.path(checkpoint)),
        "is": pointers,
        "metrics": checkpoint.metrics,
    }


def _others(store: CheckpointStore) -> list[str]:
    """Return a line for each folder that is no checkpoint any more, or cannot be read as one."""
    known = {checkpoint.name for checkpoint in store.checkpoints()}
    lines = []
    for path in sorted(store.directory.iterdir()):
        if path.name.startswith("damaged-"):
            lines.append(f"{path.name} was set aside as damaged")
        elif path.name.startswith("step-") and path.is_dir() and path.name not in known:
            lines.append(f"{path.name} cannot be read; 'callboard checkpoints verify' says why")
    return lines


def _verify(arguments: argparse.Namespace) -> None:
    began, damaged, whole, size = time.monotonic(), 0, 0, 0
    for store, name in _named(arguments.folder):
        path = store.path(name)
        try:
            problems, length = store.verify(name), _size(path)
        except (FileNotFoundError, NoCheckpointError):
            if path.exists():
                raise
            continue  # removed by a run that goes on
        if problems:
            damaged += 1
            for problem in problems:
                print(f"{path}: damaged: {problem}")
        else:
            whole += 1
            size += length
            if not arguments.quiet:
                print(f"{path}: whole")
    seconds = time.monotonic() - began
    if not arguments.quiet:
        print(f"{whole} whole, {damaged} damaged; {_bytes(size)} verified in {seconds:.1f} s")
    if damaged:
        raise DamagedCheckpointError(f"{damaged} of {whole + damaged} checkpoints are damaged")


def _prune(arguments: argparse.Namespace) -> None:
    rules = _rules(arguments)
    if not rules and not arguments.damaged:
        raise ConfigurationError(
            "prune needs a rule that says what to keep: --last, --best, --every-epochs, "
            "--every-steps or --every-seconds; or --damaged"
        )
    for store in _stores(arguments.folder):
        with store:
            gone = store.prune(rules, dry=arguments.dry_run) if rules else []
            aside = store.remove_damaged(dry=arguments.dry_run) if arguments.damaged else []
        verb = "would remove" if arguments.dry_run else "removed"
        for checkpoint in gone:
            print(f"{verb} {store.path(checkpoint)}")
        for path in aside:
            print(f"{verb} {path}")
        left = {c.name for c in store.checkpoints()} - {c.name for c in gone}
        print(f"{store.directory}: {len(left)} checkpoints kept")


def _rules(arguments: argparse.Namespace) -> list[Rule]:
    rules: list[Rule] = []
    if arguments.last:
        rules.append(last(arguments.last))
    if arguments.best:
        rules.append(best(*arguments.best))
    if arguments.every_epochs:
        rules.append(every(epochs=arguments.every_epochs))
    if arguments.every_steps:
        rules.append(every(steps=arguments.every_steps))
    if arguments.every_seconds:
        rules.append(every(seconds=arguments.every_seconds))
    return rules


def _best(text: str) -> tuple[int, str, str]:
    count, _, rest = text.partition(":")
    metric, _, mode = rest.partition(":")
    if not metric or mode not in ("", "min", "max"):
        raise argparse.ArgumentTypeError(
            f"must be a number and a metric, such as 2:val_loss or 1:my_score:max; got {text!r}"
        )
    return positive(count), metric, mode or "auto"


def _export(arguments: argparse.Namespace) -> None:
    output: Path = arguments.output
    if output.suffix not in _FORMATS:
        raise UnknownNameError("file suffix", output.suffix or output.name, _FORMATS)
    if output.exists() and not arguments.force:
        raise ConfigurationError(f"{str(output)!r} is there already; --force replaces it")
    if output.suffix != ".safetensors":
        require("torch")
    store, name = _chosen(arguments.folder, arguments.which)
    groups = [arguments.group, *(["frozen"] if arguments.group == "weights" else [])]
    tree = store.load(name, only=groups)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for group in groups:
        arrays |= _flat(tree.get(group, {}))
    if not arrays:
        raise NoCheckpointError(f"{store.path(name)} has no arrays of {arguments.group!r}")
    if output.suffix == ".safetensors":
        write_safetensors(output, arrays)
    else:
        from callboard.torch.arrays import to_tensor
        from callboard.torch.files import Saved, write

        write(output, Saved({path: to_tensor(array) for path, array in arrays.items()}, None))
    print(f"{len(arrays)} arrays of {store.path(name)} written to {output}")


def _flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of nested state by their names, keys joined by dots."""
    if isinstance(tree, np.ndarray):
        return {prefix: tree}
    pairs = tree.items() if isinstance(tree, dict) else ()
    found: dict[str, np.ndarray[Any, Any]] = {}
    for key, value in pairs:
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _chosen(folder: Path, which: str) -> tuple[CheckpointStore, str]:
    if (folder / _MANIFEST).exists():
        return CheckpointStore(folder.parent), folder.name
    stores = list(_stores(folder))
    if len(stores) > 1:
        raise ConfigurationError(
            f"{str(folder)!r} has several folders of checkpoints; name one: "
            f"{', '.join(str(store.directory) for store in stores)}"
        )
    store = stores[0]
    if which in ("", "best"):
        name = store.pointed_to("best")
        if name is not None:
            return store, name
        if which:
            raise NoCheckpointError(f"no checkpoint in {str(folder)!r} is marked as the best")
    saved = {checkpoint.name: checkpoint for checkpoint in store.checkpoints()}
    if which in ("", "last") and saved:
        return store, next(reversed(saved))
    if which not in saved:
        raise UnknownNameError("checkpoint", which, saved)
    return store, which


def _named(folder: Path) -> Iterator[tuple[CheckpointStore, str]]:
    """Yield every checkpoint of a folder, unreadable ones included, or the one that it is."""
    if (folder / _MANIFEST).exists() and folder.name.startswith("step-"):
        yield CheckpointStore(folder.parent), folder.name
        return
    for store in _stores(folder):
        for path in sorted(store.directory.iterdir()):
            if path.name.startswith("step-") and path.is_dir():
                yield store, path.name


def _stores(folder: Path) -> Sequence[CheckpointStore]:
    """Return the stores that a folder is or has below it."""
    if not folder.is_dir():
        raise NoCheckpointError(f"{str(folder)!r} is no folder")
    if (folder / _MANIFEST).exists():
        folder = folder.parent
    found = {path.parent.parent for path in folder.rglob(f"step-*/{_MANIFEST}")}
    if not found:
        raise NoCheckpointError(
            f"there are no checkpoints in {str(folder)!r} or below; ModelCheckpoint writes them if "
            "its path has no suffix, BackupAndRestore while a run is not over"
        )
    return [CheckpointStore(path) for path in sorted(found)]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.iterdir())


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
