"""A run that is reported to behaves as one that is iterated over."""

import os
import signal

import pytest

from callboard import Callback, MetricNotFoundError, Run
from callboard._core.callback import HOOKS
from callboard._core.hosted import HostedRun
from callboard.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback
from callboard.testing import assert_exact_resume

LOSSES = [0.5, 0.4, 0.6, 0.7, 0.1]


class Recorder(Callback):
    """Notes every hook with its arguments."""

    def __init__(self):
        self.calls = []
        for hook in set(HOOKS) - {"on_batch_begin", "on_batch_end"}:
            setattr(self, hook, self._noting(hook))

    def state_dict(self):
        return {"heard": len(self.calls)}

    def _noting(self, hook):
        def note(*arguments):
            *index, logs = arguments or (None,)
            self.calls.append((hook, *index, dict(logs) if isinstance(logs, dict) else logs))

        return note


def iterated(callbacks, epochs=3):
    with Run(epochs=epochs, callbacks=callbacks, verbose=0) as run:
        for epoch in run.epochs():
            for _ in run.train([[0.0], [0.0]]):
                run.log(loss=LOSSES[epoch])
            for _ in run.validate([[0.0]]):
                run.log(loss=LOSSES[epoch] * 2)
    return run


def reported(callbacks, epochs=3, batches=2, **options):
    run = HostedRun(epochs=epochs, callbacks=callbacks, verbose=0, **options)
    run.begin()
    try:
        host(run, epochs, batches)
    except BaseException as error:
        run.fail(error)
        raise
    run.end()
    return run


def host(run, epochs, batches):
    for epoch in range(run.next_epoch, epochs):
        loss = LOSSES[epoch]
        run.begin_epoch(epoch)
        for _ in range(batches):
            run.begin_batch()
            if run.end_batch({"loss": loss}, samples=1):
                break
        run.begin_validation()
        run.begin_validation_batch(0)
        run.end_validation_batch(0, lambda loss=loss: {"loss": loss * 2})
        run.end_validation({"loss": loss * 2})
        if run.end_epoch({"loss": loss, "val_loss": loss * 2}):
            break


def test_hooks_are_those_of_a_run_that_is_iterated_over():
    expected, actual = Recorder(), Recorder()
    a, b = iterated([expected]), reported([actual])
    assert [call[:-1] for call in actual.calls] == [call[:-1] for call in expected.calls]
    assert b.history.history == a.history.history
    assert b.progress.state_dict() == a.progress.state_dict()


def test_a_callback_stops_it():
    run = reported([EarlyStopping("val_loss", patience=2)], epochs=5)
    assert run.progress.epoch == 3
    assert "did not improve" in run.stop_reason


def test_a_stop_in_a_batch_is_returned_at_once():
    stop = LambdaCallback(on_train_batch_end=lambda batch, logs: run.stop("enough"))
    run = HostedRun(callbacks=[stop], verbose=0)
    run.begin()
    run.begin_epoch(0)
    run.begin_batch()
    assert run.end_batch() is True
    run.end()
    assert run.progress.batch == 1


def test_logs_of_a_batch_are_not_asked_for_unless_a_callback_wants_them():
    asked = []
    run = HostedRun(verbose=0)
    run.begin()
    run.begin_epoch(0)
    run.end_batch(lambda: asked.append(1))
    run.end_epoch({})
    run.end()
    assert not asked


def test_several_steps_at_once_are_counted():
    run = HostedRun(verbose=0)
    run.begin()
    run.begin_epoch(0)
    run.end_batch(steps=3, samples=96)
    assert (run.progress.step, run.progress.samples) == (3, 96)
    run.fail(RuntimeError("over"))


def test_failing_tells_the_callbacks_and_closes_them():
    recorder = Recorder()
    run = HostedRun(callbacks=[recorder], verbose=0)
    run.begin()
    error = KeyboardInterrupt()
    run.fail(error)
    assert recorder.calls[-2:] == [("on_exception", error), ("close", None)]


def test_what_a_callback_adds_to_the_logs_of_an_epoch_is_seen():
    adds = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(extra=1.0))
    run = reported([adds], epochs=1)
    assert run.logs["extra"] == 1.0


def test_mistakes_are_found_at_the_beginning():
    run = HostedRun(
        callbacks=[EarlyStopping("val_los")], metrics={"loss": "min"}, validation=True, verbose=0
    )
    with pytest.raises(MetricNotFoundError, match="val_los"):
        run.begin()


def test_nothing_of_an_epoch_is_passed_on_when_the_time_is_over(tmp_path):
    recorder = Recorder()
    run = HostedRun(callbacks=[recorder], max_time=1e-6, directory=tmp_path, verbose=0)
    run.begin()
    run.begin_epoch(0)
    assert run.end_batch() is True
    assert run.paused
    heard = len(recorder.calls)
    run.begin_batch()
    assert run.end_batch() is True
    assert run.count(1) is True
    run.begin_validation()
    run.begin_validation_batch(0)
    run.end_validation_batch(0)
    run.end_validation({})
    assert run.end_epoch({}) is True
    assert len(recorder.calls) == heard
    run.end()
    assert run.progress.step == 1
    assert not run.history.epoch


def test_it_goes_on_with_the_epoch_it_was_interrupted_in(tmp_path):
    def train(folder):
        stopping = EarlyStopping("loss", patience=3)
        run = reported([BackupAndRestore(folder / "backup"), stopping], epochs=5)
        return run.history.history, run.progress.state_dict(), stopping.wait

    assert_exact_resume(train, kills=[3, 4, "epoch end", "validation"], directory=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("signals", [True, False])
def test_a_host_that_reports_no_errors_leaves_signals_alone(signals):
    before = signal.getsignal(signal.SIGTERM)
    run = HostedRun(verbose=0, signals=signals)
    run.begin()
    assert (signal.getsignal(signal.SIGTERM) is not before) == signals
    run.end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_epoch_that_does_not_take_place_leaves_nothing_behind(recorder):
    heard = recorder(only=["on_epoch_end", "on_train_end"])
    run = HostedRun(epochs=9, callbacks=[heard], verbose=0)
    run.begin()
    run.begin_epoch(0)
    run.end_epoch({"loss": 0.5})
    run.drop_epoch()  # none has begun
    run.begin_epoch(1)
    run.drop_epoch()
    run.end()
    assert heard.lines == ["on_epoch_end 0 loss", "on_train_end loss"]
    assert (run.history.epoch, run.progress.epoch, run.next_epoch) == ([0], 0, 1)
    assert run.stop_reason == ""
