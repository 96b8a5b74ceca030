"""Saves, removals, power cuts and damage in any order, beside a model of a few lines."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from simulated_disk import SimulatedDisk

from callboard import DamagedCheckpointError, NoCheckpointError
from callboard.checkpoint import CheckpointStore, best, last

HERE = Path("/runs/a")
FILES = ("weights.safetensors", "frozen.safetensors", "state.json")
ANY = st.integers(0, 10**6)
STEPS, LOSSES = st.integers(1, 6), st.integers(0, 3)


class Saved(NamedTuple):
    """What the model knows of a checkpoint; ``serial`` is its place in the order of saves."""

    serial: int
    step: int
    loss: int


def kept_by_the_rules(saved):
    """Return what a store with last(2) and best(1) keeps."""
    current = [one for one in saved if not any(one.step == o.step for o in saved if o > one)]
    return {*current[-2:], min(current, key=lambda one: (one.loss, one.serial))}


class StoreMachine(RuleBasedStateMachine):
    """Knows what has to be there, in ``there``, and what of it a bad disk has damaged."""

    def __init__(self):
        super().__init__()
        self.serial = 0
        self.frozen = 0
        self.trees = {}
        self.there = []
        self.damaged_inodes = set()

    @initialize(ordered=st.booleans())
    def start(self, ordered):
        self.begin(SimulatedDisk(ordered=ordered))

    # ---- what happens ----------------------------------------------------------------------------

    @rule(step=STEPS, loss=LOSSES)
    def save(self, step, loss):
        new = self.save_now(step, loss)
        self.there = sorted(kept_by_the_rules([*self.there, new]))
        names = self.disk.names(HERE)
        assert not [name for name in names if name.startswith((".tmp", ".trash"))]
        assert self.store.pointed_to("last") == self.store.last.name

    @rule(step=STEPS, loss=LOSSES, at=ANY, state=ANY)
    def power_cut_while_saving(self, step, loss, at, state):
        began, before = len(self.disk.operations), self.there
        new = self.save_now(step, loss)
        self.cut(began + at % (len(self.disk.operations) - began), state)
        found = self.found()
        if new in found:
            assert kept_by_the_rules([*before, new]) <= set(found) <= {*before, new}
        else:
            assert found == before
        self.there = found

    @rule()
    def train_other_layers(self):
        self.frozen += 1

    @rule()
    def load(self):
        expected = next((one for one in reversed(self.there) if not self.is_damaged(one)), None)
        before = self.disk.key()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            if expected is None:
                error = DamagedCheckpointError if self.there else NoCheckpointError
                with pytest.raises(error):
                    self.store.load()
                assert self.disk.key() == before
                return
            assert self.is_same(self.store.load(), expected)
        newer = [one for one in self.there if one > expected]
        assert len(told) == len(newer)
        self.there = [one for one in self.there if one <= expected]

    @precondition(lambda self: self.there and not self.is_damaged(self.there[-1]))
    @rule()
    def prune(self):
        removed = self.store.prune([last(1)])
        assert {c.metrics["serial"] for c in removed} == {one.serial for one in self.there[:-1]}
        self.there = self.there[-1:]

    @rule()
    def clear(self):
        self.store.clear()
        self.there = []

    @precondition(lambda self: self.there)
    @rule(at=ANY, state=ANY)
    def power_cut_while_clearing(self, at, state):
        began, before = len(self.disk.operations), self.there
        self.store.clear()
        self.cut(began + at % (len(self.disk.operations) - began), state)
        found = self.found()
        assert found == before[len(before) - len(found) :]  # the older ones went first
        self.there = found

    @rule(state=ANY)
    def power_cut(self, state):
        self.cut(len(self.disk.operations), state)

    @rule()
    def kill(self):
        self.begin(self.disk.killed())

    @rule()
    def reopen(self):
        self.store.close()
        self.begin(self.disk)

    @precondition(lambda self: self.there)
    @rule(which=ANY, file=st.sampled_from(FILES), at=ANY)
    def damage(self, which, file, at):
        one = self.there[which % len(self.there)]
        path = HERE / self.name(one) / file
        if self.disk.inode(path) not in self.damaged_inodes:  # twice would heal it
            self.disk.damage(path, at % self.disk.size(path))
            self.damaged_inodes.add(self.disk.inode(path))

    # ---- what has to be true ---------------------------------------------------------------------

    @invariant()
    def what_was_acknowledged_is_there(self):
        if self.serial:
            assert self.found() == self.there

    @invariant()
    def what_loads_was_saved_and_what_is_damaged_does_not_load(self):
        for one in self.there:
            name = self.name(one)
            problems = self.store.verify(name)
            if self.is_damaged(one):
                assert problems
                with pytest.raises(DamagedCheckpointError):
                    self.store.load(name)
            else:
                assert not problems
                assert self.is_same(self.store.load(name), one)

    # ---- by which means --------------------------------------------------------------------------

    def begin(self, disk):
        self.disk = disk
        rules = [last(2), best(1, "loss", "min")]
        self.store = CheckpointStore(HERE, keep=rules, disk=disk, clock=lambda: 0.0)

    def cut(self, at, state):
        states = list(self.disk.crash_states(at))
        self.begin(states[state % len(states)])

    def save_now(self, step, loss):
        self.serial += 1
        self.trees[self.serial] = {
            "weights": {"w": np.full(9, self.serial, "f4")},
            "frozen": {"f": np.full(9, self.frozen, "f8")},
            "serial": self.serial,
        }
        metrics = {"loss": float(loss), "serial": float(self.serial)}
        self.store.save(self.trees[self.serial], step=step, metrics=metrics)
        return Saved(self.serial, step, loss)

    def listed(self):
        """Return what another process sees, by the model's names."""
        return {
            Saved(int(c.metrics["serial"]), c.step, int(c.metrics["loss"])): c.name
            for c in CheckpointStore(HERE, disk=self.disk).checkpoints()
        }

    def found(self):
        return sorted(self.listed())

    def name(self, one):
        return self.listed()[one]

    def is_damaged(self, one):
        folder = HERE / self.name(one)
        return any(self.disk.inode(folder / file) in self.damaged_inodes for file in FILES)

    def is_same(self, tree, one):
        saved = self.trees[one.serial]
        return tree["serial"] == saved["serial"] and all(
            tree[group][key].tobytes() == array.tobytes()
            for group in ("weights", "frozen")
            for key, array in saved[group].items()
        )


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    derandomize=True, max_examples=40, stateful_step_count=20, deadline=None
)
