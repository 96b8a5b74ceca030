"""Kill a process at every call that changes files, in every act of a store; recover each time.

Started with the shim in LD_PRELOAD. This process has loaded everything; each trial is a fork of it.
"""

import ctypes
import os
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callboard import NoCheckpointError
from callboard.checkpoint import CheckpointStore, best, last

MODES = {"before": 0, "after": 1, "half": 2}
SHIM = ctypes.CDLL(None)
FROZEN = np.arange(1000.0)
LARGE, SMALL = 300_000, 300  # of more than a megabyte: past the cache, digests in a thread
KEEP = [last(1)]


class Lines:
    """Whole lines to a pipe; the shim counts them, so a kill may come before and after each."""

    def __init__(self, sender):
        self.sender = sender

    def say(self, step):
        os.write(self.sender, b"%d\n" % step)


def tree_of(step, size):
    return {"weights": {"w": np.full(size, step, "f4")}, "frozen": {"f": FROZEN}, "step": step}


def is_right(tree, step, size):
    expected = tree_of(step, size)
    return (
        tree["step"] == step
        and np.array_equal(tree["weights"]["w"], expected["weights"]["w"])
        and np.array_equal(tree["frozen"]["f"], FROZEN)
    )


# ---- what is done, and cut off -------------------------------------------------------------------


def saves(folder, size, lines, *, keep=KEEP):
    """Save steps 2 and 3: an unchanged file is linked, and what was before goes."""
    with CheckpointStore(folder, keep=keep) as store:
        if store.last is not None:
            store.load()  # verified, so that what has not changed is linked
        for step in (2, 3):
            store.save(tree_of(step, size), step=step, metrics={"loss": 1 / step})
            lines.say(step)


def saves_with_the_best(folder, size, lines):
    saves(folder, size, lines, keep=[last(1), best(1, "loss")])


def saves_the_same_step(folder, size, lines):
    with CheckpointStore(folder, keep=KEEP) as store:
        store.save(tree_of(1, size), step=1)
        lines.say(1)


def sets_aside(folder, size, lines):
    """Find the newest one damaged, and go on from the one before."""
    with CheckpointStore(folder, keep=KEEP) as store, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # says that it was set aside
        assert store.load()["step"] == 1
        store.save(tree_of(2, size), step=2)
        lines.say(2)


def clears(folder, size, lines):
    CheckpointStore(folder, keep=KEEP).clear()
    lines.say(0)


class Act(NamedTuple):
    """A thing to do, the steps that are there before, and those that may be found after it."""

    do: object
    size: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    # After a call is before the next one, for the files.
    modes: tuple[str, ...] = ("before", "half")


ACTS = {
    "save": Act(saves, LARGE, (1,), (1, 2, 3), tuple(MODES)),
    "first save": Act(saves, SMALL, (), (0, 2, 3)),
    "save with the best": Act(saves_with_the_best, SMALL, (1,), (1, 2, 3)),
    "same step": Act(saves_the_same_step, SMALL, (1,), (1,)),
    "set aside": Act(sets_aside, SMALL, (1, 9), (1, 2)),
    "clear": Act(clears, SMALL, (1, 2, 3), (3, 0)),
}


def made(folder, act):
    """Make the folder as it is before the act."""
    with CheckpointStore(folder) as store:
        for step in act.before:
            saved = store.save(tree_of(step, act.size), step=step)
            if step == 9:
                (store.path(saved) / "state.json").write_bytes(b"damaged")


# ---- a trial -------------------------------------------------------------------------------------


def trial(do, call, mode):
    """Kill ``do`` at a call; return whether it was killed, and the last step it reported."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            SHIM.kill_at(call, MODES[mode])
            do(Lines(sender))
            status = 0
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run here
            traceback.print_exc()
        finally:
            SHIM.kill_at(0, 0)
            os._exit(status)
    os.close(sender)
    with os.fdopen(receiver) as file:
        reported = [int(line) for line in file]
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, "it was not killed, and failed"
    return killed, reported[-1] if reported else None


def recovered(folder, act, reported=None, *, twice=False):
    """Assert that the folder is all right, and that it can be gone on with."""
    with CheckpointStore(folder, keep=KEEP) as store, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = newest(store, act.size)
        assert found in act.after or (twice and found >= 10), f"found step {found}"
        if reported is not None and act.do is not clears:
            assert found >= reported, f"step {reported} was reported and is lost"
        assert not told or 9 in act.before, told[0]
        for each in store.checkpoints():
            assert not store.verify(each) or each.step == 9
        store.save(tree_of(found + 10, act.size), step=found + 10)
        assert newest(store, act.size) == found + 10
    left = {path.name for path in folder.iterdir()} - {"best.json", "damaged-step-00000009"}
    assert left == {".lock", "last.json", f"step-{found + 10:08d}"}, left


def newest(store, size):
    """Return the step of the newest checkpoint, whole and as it was saved; 0 if there is none."""
    try:
        checkpoint, tree = store.load_newest()
    except NoCheckpointError:
        return 0
    assert is_right(tree, checkpoint.step, size), "what loads is not what was saved"
    return checkpoint.step


def every_call(top, name, act, mode):
    """Try every call as the last; return how many there are."""
    template = top / name
    template.mkdir()
    if act.before:
        made(template, act)
    folder, call, killed = top / "trial", 0, True

    def done(lines):
        act.do(folder, act.size, lines)

    def gone_on(lines):
        recovered(folder, act)

    while killed:
        call += 1
        shutil.copytree(template, folder)
        killed, reported = trial(done, call, mode)
        twice = killed and call % 3 == 0
        try:
            if twice:  # killed once more while it starts again, somewhere
                trial(gone_on, 1 + call * 7 % 30, mode)
            recovered(folder, act, reported, twice=twice)
        except BaseException as error:
            error.add_note(f"{name}: killed {mode} call {call}, step {reported} reported")
            raise
        shutil.rmtree(folder)
    shutil.rmtree(template)
    return call - 1


def main():
    top = Path(sys.argv[1])
    top.mkdir()
    names = sys.argv[2:] or ACTS
    for name in names:
        for mode in ACTS[name].modes:
            calls = every_call(top, name, ACTS[name], mode)
            print(f"{name}/{mode}: {calls} calls", flush=True)


if __name__ == "__main__":
    main()
