import math

import pytest

from callboard import Callback, DataError, Logs, Run, RunStateError
from callboard.callbacks import LambdaCallback


def logging_run(recorder, hooks, **options):
    seen = recorder(hooks)
    return Run(callbacks=[seen], verbose=0, **{"epochs": 1, **options}), seen


def train(run, data):
    with run:
        for _ in run.epochs():
            for x in run.train(data):
                run.log(loss=x)


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
