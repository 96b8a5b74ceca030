"""Kill the demo's training at random moments, start it again until it is done, and compare.

``make soak`` does this 200 times; the tests do it 20 times. Everything has to be identical to the
training that was not interrupted: weights, optimizer, history, CSV files, TensorBoard's scalars.
"""

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import (
    SCALARS,
    TENSORS,
    EventAccumulator,
)
from tensorboard.util.tensor_util import make_ndarray

from callboard import ConfigurationWarning, callbacks
from callboard.demo import training
from callboard.demo.digits import load_digits

EPOCHS, IMAGES, VALIDATION = 4, 960, 320


def train(folder):
    """Train with every callback there is; leave what came of it in ``result.json``."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConfigurationWarning)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one is what user code draws from
    torch.manual_seed(0)
    digits = load_digits()
    names = ("best_model.pt", "log.csv", "journal.jsonl", "events", "curves.png")
    paths = training.Paths(*(folder / name for name in names))
    model = training.compiled_model()
    history = model.fit(
        digits.x_train[:IMAGES],
        digits.y_train[:IMAGES],
        validation_data=(digits.x_test[:VALIDATION], digits.y_test[:VALIDATION]),
        epochs=EPOCHS,
        verbose=0,
        callbacks=[
            *training.tutorial_callbacks(paths, 0),
            callbacks.TensorBoard(folder / "batches", update_freq=4),
            callbacks.CSVLogger(folder / "semicolons.csv", ";"),
            callbacks.ModelCheckpoint(folder / "checkpoints", save_top_k=2, keep_last=1),
            callbacks.BackupAndRestore(folder / "backup", save_freq=7),
        ],
    )
    state = {
        "weights": _digest(model.module.state_dict()),
        "optimizer": _digest(model.optimizer.wrapped.state_dict()),
        "history": history.history,
    }
    (folder / "result.json").write_text(json.dumps(state))


def _digest(tree):
    digest = hashlib.sha256()

    def add(node):
        if isinstance(node, torch.Tensor):
            digest.update(node.numpy().tobytes())
        elif isinstance(node, dict):
            for key, value in node.items():
                digest.update(str(key).encode())
                add(value)
        elif isinstance(node, list | tuple):
            for value in node:
                add(value)
        else:
            digest.update(repr(node).encode())

    add(tree)
    return digest.hexdigest()


def outcome(folder):
    """Return all that has to be identical."""
    curves = {}
    for part in sorted(path.parent for path in folder.rglob("events.out.*")):
        read = EventAccumulator(str(part), size_guidance={SCALARS: 0, TENSORS: 0})
        read.Reload()
        tags = read.Tags()
        for tag in tags["tensors"]:
            values = [(e.step, make_ndarray(e.tensor_proto).tobytes()) for e in read.Tensors(tag)]
            if not tag.endswith("histogram"):
                curves[f"{part.relative_to(folder)}/{tag}"] = values
        for tag in tags["scalars"]:
            values = [(e.step, e.value) for e in read.Scalars(tag)]
            curves[f"{part.relative_to(folder)}/{tag}"] = values
    return {
        **json.loads((folder / "result.json").read_text()),
        "log.csv": (folder / "log.csv").read_bytes(),
        "semicolons.csv": (folder / "semicolons.csv").read_bytes(),
        "backups": (folder / "backup").exists(),
        "curves": curves,
    }


def start(folder):
    """Start the training in a process of its own; this one has loaded all that takes long."""
    pid = os.fork()
    if pid:
        return pid
    try:
        train(folder)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process has to end here
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def killed(folder, after):
    """Start the training and kill it after some seconds; say whether it was still running."""
    pid = start(folder)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the training failed in {folder}")
    return os.WIFSIGNALED(status)


def finish(folder):
    """Start the training and wait for its end; return the seconds."""
    begin = time.monotonic()
    _, status = os.waitpid(start(folder), 0)
    if status:
        raise SystemExit(f"the training failed in {folder}")
    return time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every restart
    moments = random.Random(options.seed)
    different, interrupted = [], 0
    with tempfile.TemporaryDirectory() as top:
        whole = Path(top, "whole")
        whole.mkdir()
        life = finish(whole)
        expected = outcome(whole)
        for trial in range(options.trials):
            folder = Path(top, f"trial-{trial}")
            folder.mkdir()
            # Once in its life, and in every third trial once more after it was started again.
            for _ in range(1 + (trial % 3 == 0)):
                interrupted += killed(folder, moments.uniform(0.0, life))
            finish(folder)
            actual = outcome(folder)
            wrong = [name for name in expected if actual[name] != expected[name]]
            if wrong:
                different.append((trial, wrong))
                print(f"trial {trial}: other {', '.join(wrong)}", flush=True)
    print(
        f"{options.trials - len(different)} of {options.trials} identical; killed {interrupted} "
        f"times in a training of {life:.1f} s"
    )
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
