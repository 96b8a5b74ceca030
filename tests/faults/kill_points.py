"""Kill a process at every call of one save and one removal that changes files; recover each time.

Started with the shim in LD_PRELOAD. This process has loaded everything; each trial is a fork of it.
"""

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from callboard.checkpoint import CheckpointStore, last

MODES = {"before": 0, "after": 1, "half": 2}
SHIM = ctypes.CDLL(None)
FROZEN = np.arange(1000.0)


def tree_of(step):
    # More than a megabyte: written past the cache, with a thread for the digests.
    return {"weights": {"w": np.full(300_000, step, "f4")}, "frozen": {"f": FROZEN}, "step": step}


def is_right(tree, step):
    expected = tree_of(step)
    return (
        tree["step"] == step
        and np.array_equal(tree["weights"]["w"], expected["weights"]["w"])
        and np.array_equal(tree["frozen"]["f"], FROZEN)
    )


def save(folder, step):
    with CheckpointStore(folder, keep=[last(1)]) as store:
        store.load()  # verified, so that what has not changed is linked
        store.save(tree_of(step), step=step)


def trial(folder, call, mode):
    """Kill a save at a call; return whether it was killed, and whether it had been reported."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if not pid:
        SHIM.kill_at(call, MODES[mode])
        save(folder, 2)
        left = SHIM.calls_left()
        SHIM.kill_at(0, 0)
        os.write(sender, b"saved")
        os._exit(0 if left else 1)
    os.close(sender)
    reported = os.read(receiver, 5) == b"saved"
    os.close(receiver)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, reported


def recovered(folder, *, reported):
    """Assert that the folder is all right, and that it can be gone on with."""
    with CheckpointStore(folder, keep=[last(1)]) as store:
        checkpoint, tree = store.load_newest()
        assert checkpoint.step == 2 or not reported, "a save was reported and is lost"
        assert is_right(tree, checkpoint.step), "what loads is not what was saved"
        for each in store.checkpoints():
            assert not store.verify(each)
        store.save(tree_of(3), step=3)
        assert is_right(store.load(), 3)
    left = sorted(path.name for path in folder.iterdir())
    assert left == [".lock", "last.json", "step-00000003"], left


def main():
    top = Path(sys.argv[1])
    with CheckpointStore(top / "template", keep=[last(1)]) as store:
        store.save(tree_of(1), step=1)
    for mode in MODES:
        call = 0
        while True:
            call += 1
            folder = top / f"{mode}-{call}"
            shutil.copytree(top / "template", folder)
            killed, reported = trial(folder, call, mode)
            recovered(folder, reported=reported)
            shutil.rmtree(folder)
            if not killed:
                break
        print(f"{mode}: {call - 1} calls", flush=True)


if __name__ == "__main__":
    main()
