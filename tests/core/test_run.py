import gc
import itertools
import math

import pytest

from callboard import Callback, DataError, Logs, Run, RunStateError
from callboard.callbacks import LambdaCallback

NO_CALLS = ["on_train_batch_begin", "on_train_batch_end", "on_epoch_begin", "on_epoch_end"]
LOOP = [*NO_CALLS, "on_test_begin", "on_test_batch_end", "on_test_end", "on_train_end"]


def logging_run(recorder, hooks=LOOP, **options):
    seen = recorder(hooks)
    return Run(callbacks=[seen], verbose=0, **{"epochs": 1, **options}), seen


def train(run, data):
    with run:
        for _ in run.epochs():
            for x in run.train(data):
                run.log(loss=x)


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


# ---- data ----------------------------------------------------------------------------------------


def test_a_generator_that_is_used_up_in_the_second_epoch_is_an_error_that_says_so():
    batches = (x for x in [1.0, 2.0])
    run = Run(epochs=3, verbose=0)
    with pytest.raises(DataError, match="no batch in epoch 2; a generator can be iterated once"):
        train(run, batches)
    assert run.history.history == {"loss": [1.5]}


def test_data_with_no_batch_is_an_error():
    with pytest.raises(DataError, match="no batch in epoch 1"):
        train(Run(verbose=0), [])


def test_the_length_of_the_data_becomes_the_steps_of_an_epoch():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            assert list(run.train("abc")) == ["a", "b", "c"]
    assert run.steps == 3


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_data_whose_length_is_not_known_has_no_steps(error):
    class Loader:
        """As a torch DataLoader of an iterable dataset: it has ``__len__``, which raises."""

        def __len__(self):
            raise error("no len()")

        def __iter__(self):
            return iter("ab")

    with Run(verbose=0) as run:
        for _ in run.epochs():
            assert list(run.train(Loader())) == ["a", "b"]
    assert run.steps is None


def test_an_error_of_the_data_reaches_the_caller_as_it_is(recorder):
    def broken():
        yield 1.0
        raise OSError("disk is gone")

    run, seen = logging_run(recorder, ["on_exception", "close", "on_epoch_end"])
    with pytest.raises(OSError, match="disk is gone"):
        train(run, broken())
    assert seen.lines == ["on_exception OSError", "close"]


# ---- use at the wrong time -----------------------------------------------------------------------


def test_methods_of_the_loop_outside_of_the_block_are_errors():
    run = Run(verbose=0)
    with pytest.raises(RunStateError, match=r"run\.epochs"):
        next(run.epochs())
    with pytest.raises(RunStateError, match=r"inside `for epoch in run\.epochs"):
        run.train([1])
    with pytest.raises(RunStateError, match=r"run.validate\(\) belongs inside `with Run"):
        run.validate([1])
    with pytest.raises(RunStateError, match=r"run\.predict"):
        run.predict([1])
    with pytest.raises(RunStateError, match=r"run.log\(...\) belongs inside the loop"):
        run.log(loss=1.0)
    with pytest.raises(RunStateError, match=r"run.report\(...\) belongs inside the loop"):
        run.report(dict, steps=1, samples=1)


def test_methods_of_the_loop_after_the_block_are_errors_also_when_an_error_left_it():
    run = Run(verbose=0)
    with pytest.raises(ZeroDivisionError):
        train(run, (1 // x for x in [0]))
    for use in (
        lambda: next(run.epochs()),
        lambda: run.train([1]),
        lambda: run.validate([1]),
        lambda: run.log(loss=1.0),
    ):
        with pytest.raises(RunStateError):
            use()


def test_training_outside_of_an_epoch_is_an_error():
    with Run(verbose=0) as run, pytest.raises(RunStateError, match=r"for epoch in run\.epochs"):
        run.train([1])


def test_logging_between_two_passes_is_an_error():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
            with pytest.raises(RunStateError, match=r"run\.log"):
                run.log(loss=1.0)


def test_a_run_is_for_one_run():
    run = Run(verbose=0)
    with run:
        pass
    with pytest.raises(RunStateError, match="make a new one"), run:
        pass


# ---- epochs and progress -------------------------------------------------------------------------


def test_initial_epoch_is_where_the_epochs_begin(recorder):
    run, seen = logging_run(recorder, ["on_epoch_begin"], epochs=5, initial_epoch=3)
    assert run.progress.epoch == 3
    with run:
        assert list(run.epochs()) == [3, 4]
    assert seen.lines == ["on_epoch_begin 3", "on_epoch_begin 4"]


@pytest.mark.parametrize("options", [{"epochs": 0}, {"epochs": 2, "initial_epoch": 2}])
def test_without_epochs_only_the_training_begins_and_ends(recorder, options):
    seen = recorder()
    with Run(callbacks=[seen], verbose=0, **options) as run:
        assert list(run.epochs()) == []
    assert seen.lines == ["on_train_begin", "on_train_end", "close"]
    assert run.stop_reason == ""


def test_progress_counts_epochs_batches_steps_and_samples():
    at = []
    with Run(epochs=2, verbose=0) as run:
        for _ in run.epochs():
            for x in run.train([[1, 2], [3]]):
                run.log(loss=1.0)
                assert x
                at.append((run.progress.epoch, run.progress.batch, run.progress.step))
            for _ in run.validate([[1, 2, 3, 4]]):
                run.log(loss=1.0)
    assert at == [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)]
    end = run.progress
    assert (end.epoch, end.batch, end.step, end.samples) == (1, 2, 4, 6)
    assert repr(run) == "Run(epoch 1 of 2, step 4)"


def test_the_first_batch_of_each_kind_is_kept_to_look_at():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            list(run.train("ab"))
            list(run.validate("cd"))
    assert run.samples == {"train": "a", "test": "c"}


def test_validated_says_whether_the_epoch_had_a_validation():
    said = []
    told = LambdaCallback(on_epoch_end=lambda epoch, logs: said.append(run.validated))
    with Run(epochs=3, callbacks=[told], verbose=0) as run:
        for epoch in run.epochs():
            list(run.train([1]))
            if epoch == 1:
                list(run.validate([1]))
    assert said == [False, True, False]


# ---- reports -------------------------------------------------------------------------------------


def test_a_report_of_several_steps_is_one_batch_hook_that_counts_them_all():
    heard = []
    logs = Logs({"loss": 0.5})
    told = LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append((batch, dict(logs))))
    with Run(callbacks=[told], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(2)):
                run.report(lambda: logs, steps=4, samples=32)
    assert heard == [(3, {"loss": 0.5}), (7, {"loss": 0.5})]
    assert (run.progress.step, run.progress.samples) == (8, 64)
    assert dict(run.logs) == {"loss": 0.5}


def test_a_report_is_called_only_when_somebody_wants_the_metrics():
    calls = []

    def logs():
        calls.append(1)
        return Logs({"loss": math.nan})

    with Run(callbacks=[Callback()], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(100)):
                run.report(logs, steps=1, samples=1)
            assert calls == [1]  # the end of the epoch
