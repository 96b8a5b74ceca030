import gc
import itertools
import math

import pytest

from callboard import Callback, Run, RunStateError
from callboard._core.hosted import HostedRun
from callboard.callbacks import LambdaCallback

LOOP = ["on_train_batch_begin", "on_train_batch_end", "on_epoch_begin", "on_epoch_end"]
LOOP += ["on_test_begin", "on_test_batch_end", "on_test_end", "on_train_end"]


def logging_run(recorder, hooks=LOOP, **options):
    seen = recorder(hooks)
    return Run(callbacks=[seen], verbose=0, **{"epochs": 1, **options}), seen


# ---- leaving loops -------------------------------------------------------------------------------


def test_an_epoch_loop_left_by_break_ends_its_epoch_and_the_training_when_the_block_ends(recorder):
    run, seen = logging_run(recorder, ["on_epoch_end", "on_train_end"], epochs=5)
    with run:
        for epoch in run.epochs():
            for _ in run.train([1]):
                run.log(loss=float(epoch))
            if epoch == 1:
                break
        assert seen.lines == ["on_epoch_end 0 loss"]
    assert seen.lines == ["on_epoch_end 0 loss", "on_epoch_end 1 loss", "on_train_end loss"]
    assert run.stop_reason == "the loop was left"
    assert run.history.history == {"loss": [0.0, 1.0]}


def test_a_second_loop_over_the_epochs_ends_the_epoch_that_the_first_left_by_break(recorder):
    run, seen = logging_run(recorder, ["on_epoch_begin", "on_epoch_end"], epochs=3)
    with run:
        for _ in run.epochs():
            break
        assert list(run.epochs()) == [1, 2]
    assert [line.split()[:2] for line in seen.lines] == [
        [hook, str(epoch)] for epoch in range(3) for hook in ("on_epoch_begin", "on_epoch_end")
    ]


def test_a_batch_left_by_break_counts_if_it_has_logged(recorder):
    run, seen = logging_run(recorder)
    with run:
        for _ in run.epochs():
            for x in run.train([10, 20, 30]):
                run.log(loss=float(x))
                if x == 20:
                    break
            for _ in run.validate([1]):
                run.log(loss=0.5)
    assert seen.lines == [
        "on_epoch_begin 0",
        "on_train_batch_begin 0",
        "on_train_batch_end 0 loss",
        "on_train_batch_begin 1",
        "on_train_batch_end 1 loss",
        "on_test_begin",
        "on_test_batch_end 0 loss",
        "on_test_end loss",
        "on_epoch_end 0 loss val_loss",
        "on_train_end loss val_loss",
    ]
    assert (run.progress.batch, run.progress.step) == (2, 2)
    assert dict(run.logs) == {"loss": 15.0, "val_loss": 0.5}


def test_a_batch_left_by_break_does_not_count_if_it_has_not_logged(recorder):
    run, seen = logging_run(recorder, ["on_train_batch_end", "on_epoch_end"])
    with run:
        for _ in run.epochs():
            for x in run.train([10, 20, 30]):
                if x == 20:
                    break
                run.log(loss=float(x))
    assert seen.lines == ["on_train_batch_end 0 loss", "on_epoch_end 0 loss"]
    assert run.progress.step == 1


def test_leaving_the_first_batch_without_a_log_is_an_epoch_without_batches_and_no_error(recorder):
    run, seen = logging_run(recorder, ["on_train_batch_end", "on_epoch_end"])
    with run:
        for _ in run.epochs():
            for _ in run.train([10, 20]):
                break
    assert seen.lines == ["on_epoch_end 0"]


def test_a_batch_that_runs_to_its_end_counts_without_a_log(recorder):
    run, seen = logging_run(recorder, ["on_train_batch_end"])
    with run:
        for _ in run.epochs():
            for _ in run.train([[1, 2, 3], [4, 5, 6]]):
                pass
    assert seen.lines == ["on_train_batch_end 0", "on_train_batch_end 1"]
    assert (run.progress.step, run.progress.samples) == (2, 6)


def test_a_validation_left_by_break_is_a_validation_of_what_it_has_seen(recorder):
    run, seen = logging_run(recorder, ["on_test_end", "on_epoch_end"])
    with run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
            for value in run.validate([3.0, 5.0, 100.0]):
                run.log(loss=value)
                if value == 5.0:
                    break
    assert seen.lines == ["on_test_end loss", "on_epoch_end 0 loss val_loss"]
    assert run.logs["val_loss"] == 4.0


# ---- wrapped loops -------------------------------------------------------------------------------


def bar(items):
    """Wrap like tqdm: an object that has the items and a length."""

    class Bar:
        def __iter__(self):
            yield from items

    return Bar()


@pytest.mark.parametrize("wrap", [iter, bar, lambda items: (item for item in items)])
def test_epochs_and_batches_may_be_wrapped(recorder, wrap):
    run, seen = logging_run(recorder, epochs=2)
    with run:
        for epoch in wrap(run.epochs()):
            for index, x in enumerate(wrap(run.train([1.0, 2.0]))):
                assert x == index + 1
                run.log(loss=x)
            for x in wrap(run.validate([4.0])):
                run.log(loss=x)
            assert epoch == run.progress.epoch
    one_epoch = (
        "on_epoch_begin {0}|on_train_batch_begin 0|on_train_batch_end 0 loss|"
        "on_train_batch_begin 1|on_train_batch_end 1 loss|on_test_begin|on_test_batch_end 0 loss|"
        "on_test_end loss|on_epoch_end {0} loss val_loss"
    )
    expected = [line.format(e) for e in (0, 1) for line in one_epoch.split("|")]
    assert seen.lines == [*expected, "on_train_end loss val_loss"]


def test_islice_over_the_batches_ends_the_pass_behind_the_last_one_that_logged(recorder):
    run, seen = logging_run(recorder, epochs=2)
    with run:
        for _ in run.epochs():
            for _ in itertools.islice(run.train(itertools.count()), 2):
                run.log(loss=1.0)
            for _ in itertools.islice(run.validate(itertools.count()), 1):
                run.log(loss=1.0)
    assert run.progress.step == 4
    begin = seen.lines.index("on_test_begin")
    assert seen.lines[begin - 1] == "on_train_batch_end 1 loss"
    assert run.history.history == {"loss": [1.0, 1.0], "val_loss": [1.0, 1.0]}


def test_islice_over_the_epochs_ends_the_last_one(recorder):
    run, seen = logging_run(recorder, ["on_epoch_end", "on_train_end"], epochs=10)
    with run:
        for _ in itertools.islice(run.epochs(), 2):
            for _ in run.train([1]):
                run.log(loss=1.0)
    assert seen.lines == ["on_epoch_end 0 loss", "on_epoch_end 1 loss", "on_train_end loss"]


def test_an_epoch_in_a_generator_of_the_user_that_is_left_ends_with_the_run(recorder):
    run, seen = logging_run(recorder, ["on_epoch_end", "on_train_end"], epochs=3)

    def losses():
        for _ in run.epochs():
            for x in run.train([1.0, 2.0]):
                run.log(loss=x)
                yield x

    with run:
        assert next(losses()) == 1.0
        gc.collect()
    assert seen.lines == ["on_epoch_end 0 loss", "on_train_end loss"]


# ---- passes in passes ----------------------------------------------------------------------------


def test_a_validation_may_interrupt_a_training_epoch(recorder):
    run, seen = logging_run(recorder)
    with run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0, 3.0]):
                run.log(loss=x)
                if x == 2.0:
                    for _ in run.validate([1]):
                        run.log(loss=9.0)
                    run.log(seen_after=1.0)
    assert seen.lines == [
        "on_epoch_begin 0",
        "on_train_batch_begin 0",
        "on_train_batch_end 0 loss",
        "on_train_batch_begin 1",
        "on_test_begin",
        "on_test_batch_end 0 loss",
        "on_test_end loss",
        "on_train_batch_end 1 loss seen_after",
        "on_train_batch_begin 2",
        "on_train_batch_end 2 loss seen_after",
        "on_epoch_end 0 loss seen_after val_loss",
        "on_train_end loss seen_after val_loss",
    ]
    assert dict(run.logs) == {"loss": 2.0, "seen_after": 1.0, "val_loss": 9.0}
    assert run.progress.step == 3


def test_a_validation_inside_that_is_left_by_break_leaves_the_training_as_it_was(recorder):
    run, seen = logging_run(recorder)
    with run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0]):
                for _ in run.validate([1, 2]):
                    run.log(loss=9.0)
                    break
                run.log(loss=x)
    assert seen.lines == [
        "on_epoch_begin 0",
        "on_train_batch_begin 0",
        "on_test_begin",
        "on_test_batch_end 0 loss",
        "on_test_end loss",
        "on_train_batch_end 0 loss",
        "on_train_batch_begin 1",
        "on_test_begin",
        "on_test_batch_end 0 loss",
        "on_test_end loss",
        "on_train_batch_end 1 loss",
        "on_epoch_end 0 loss val_loss",
        "on_train_end loss val_loss",
    ]
    assert dict(run.logs) == {"loss": 1.5, "val_loss": 9.0}


def test_a_validation_inside_that_is_left_ends_before_the_batch_that_it_interrupted(recorder):
    run, seen = logging_run(recorder, ["on_test_end", "on_train_batch_end"])
    with run:
        for _ in run.epochs():
            for _ in run.train([1.0]):
                for _ in run.validate([1, 2]):
                    break
    assert seen.lines == ["on_test_end", "on_train_batch_end 0"]


def test_an_iterator_that_is_kept_does_not_hold_up_the_epoch(recorder):
    run, seen = logging_run(recorder, ["on_train_batch_end", "on_epoch_end"])
    with run:
        for _ in run.epochs():
            kept = run.train([1, 2, 3])
            for _ in kept:
                run.log(loss=1.0)
                break
    assert seen.lines == ["on_train_batch_end 0 loss", "on_epoch_end 0 loss"]
    kept.close()


def test_several_passes_in_one_epoch_count_and_average_together(recorder):
    run, seen = logging_run(recorder, ["on_train_batch_end", "on_epoch_end"])
    with run:
        for _ in run.epochs():
            for x in run.train([1.0, 2.0]):
                run.log(loss=x)
            for x in run.train([6.0]):
                run.log(loss=x)
    assert seen.lines == [
        *(f"on_train_batch_end {i} loss" for i in range(3)),
        "on_epoch_end 0 loss",
    ]
    assert dict(run.logs) == {"loss": 3.0}
    assert run.progress.batch == 3


def test_two_validations_in_one_epoch_are_each_a_validation_and_the_last_one_counts(recorder):
    run, seen = logging_run(recorder, ["on_test_end"])
    with run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
            for value in (5.0, 7.0):
                for _ in run.validate([1]):
                    run.log(loss=value)
    assert seen.lines == ["on_test_end loss"] * 2
    assert run.logs["val_loss"] == 7.0


def test_two_training_loops_that_take_turns_are_an_error():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            turns = zip(run.train([1, 2]), run.train([3, 4]), strict=True)
            assert next(turns) == (1, 3)
            with pytest.raises(RunStateError, match="may not take turns"):
                next(turns)


class Wakes(Callback):
    """Hears of the end of a batch when it has asked to."""

    wakes_at_s = 0.0

    def __init__(self):
        self.heard = []

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(batch)
        self.wakes_at_s = math.inf if batch == 1 else 0.0


def test_a_callback_that_sleeps_does_not_hear_of_batches_until_it_wakes():
    sleeps = Wakes()
    with Run(verbose=0, callbacks=[sleeps]) as run:
        for _ in run.epochs():
            for i in run.train(range(6)):
                if i == 4:
                    sleeps.wakes_at_s = 0.0
    assert sleeps.heard == [0, 1, 4, 5]


def test_it_hears_of_every_batch_if_another_one_does_too():
    sleeps = Wakes()
    others = LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    with Run(verbose=0, callbacks=[sleeps, others]) as run:
        for _ in run.epochs():
            list(run.train(range(4)))
    assert sleeps.heard == [0, 1, 2, 3]


def test_a_host_leaves_out_a_callback_that_sleeps_too():
    sleeps, asked = Wakes(), []
    run = HostedRun(verbose=0, callbacks=[sleeps])
    run.begin()
    run.begin_epoch(0)
    for _ in range(4):
        run.end_batch(lambda: asked.append(1) or {"loss": 0.5})
    run.end_epoch({})
    run.end()
    assert sleeps.heard == [0, 1]
    assert len(asked) == 2


def test_lengths_are_known_where_the_data_has_one():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            list(run.train(range(3)))
            list(run.validate(range(2)))
            list(run.validate(iter([1])))
    assert (run.steps, run.validation_steps) == (3, 2)
    for purpose, walk in (("test", Run.validate), ("predict", Run.predict)):
        with Run(verbose=0, purpose=purpose) as run:
            list(walk(run, range(5)))
        assert run.steps == 5
