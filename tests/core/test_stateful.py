"""Objects of the user's whose state belongs to the run."""

import random

import numpy as np
import pytest
import torch

from callboard import ConfigurationError, DataError, Run
from callboard._core import frameworks
from callboard._core.randomness import random_states, restore_random_states
from callboard._core.stateful import check_stateful, restore_state, state_of
from callboard.callbacks import BackupAndRestore
from callboard.checkpoint.tree import join, split

GENERATORS = {
    "numpy": (np.random.default_rng, lambda g: g.random()),
    "philox": (lambda seed: np.random.Generator(np.random.Philox(seed)), lambda g: g.random()),
    "python": (random.Random, lambda g: g.gauss(0, 1)),
    "numpy, legacy": (np.random.RandomState, lambda g: g.normal()),
    "torch": (
        lambda seed: torch.Generator().manual_seed(seed),
        lambda g: torch.rand((), generator=g).item(),
    ),
}


def through_a_file(tree):
    text, arrays = split(tree, frameworks.source_of)
    held = {}
    for name, leaf in arrays.items():
        held[name] = np.empty(leaf.shape, leaf.dtype)
        leaf.copy_to(held[name]) if hasattr(leaf, "copy_to") else np.copyto(held[name], leaf)
    return join(text, held, frameworks.revived)


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_go_on_where_they_were(kind):
    make, draw = GENERATORS[kind]
    generator = make(1)
    check_stateful("g", generator)
    draw(generator)
    state = through_a_file(state_of(generator))
    expected = [draw(generator) for _ in range(3)]
    fresh = make(2)
    restore_state(fresh, state)
    assert [draw(fresh) for _ in range(3)] == expected


def test_objects_with_a_state_dict_go_by_it():
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    state = through_a_file(state_of(scheduler))
    restore_state(scheduler, state)
    assert scheduler.state_dict().keys() == state.keys()
    assert scheduler.milestones == {1: 1, 3: 1}  # whole numbers as keys


def test_what_has_no_state_is_an_error_at_once():
    with pytest.raises(ConfigurationError, match=r"stateful\['clock'\] is a function"):
        Run(stateful={"clock": lambda: 0})


def test_all_global_generators_go_on_where_they_were():
    def draw():
        return (
            random.random(),
            random.gauss(0, 1),
            np.random.random(),  # noqa: NPY002 - the global one is meant
            np.random.normal(),  # noqa: NPY002 - the global one is meant
            torch.rand(()).item(),
        )

    draw()
    states = through_a_file(random_states())
    expected = draw()
    draw()
    restore_random_states(states)
    assert draw() == expected


def test_other_objects_than_before_are_an_error_and_nothing_is_lost(tmp_path):
    def train(until, **stateful):
        backup = BackupAndRestore(tmp_path / "b", save_freq=1)
        with Run(epochs=1, callbacks=[backup], stateful=stateful, verbose=0) as run:
            for _ in run.epochs():
                for batch in run.train([1, 2, 3]):
                    if batch == until:
                        raise KeyboardInterrupt
                    run.log(loss=batch)

    with pytest.raises(KeyboardInterrupt):
        train(2, numbers=np.random.default_rng(0))
    with pytest.raises(DataError, match=r"had stateful=\['numbers'\], and this one has nothing"):
        train(0)
    train(0, numbers=np.random.default_rng(0))
