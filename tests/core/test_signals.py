import signal
import subprocess
import sys
import threading

import pytest

from callboard import Callback, Run
from callboard._core.signals import TerminationRequest
from callboard.callbacks import LambdaCallback

TERM = signal.SIGTERM


@pytest.fixture(autouse=True)
def _handler_is_put_back():
    before = signal.getsignal(TERM)
    yield
    after = signal.getsignal(TERM)
    signal.signal(TERM, before)
    assert after is before


def in_a_process(script):
    """Run a script that defines ``play(*callbacks)`` for it; return its exit status and output."""
    head = (
        "import os, signal, sys\n"
        "from callboard import Callback, Run\n"
        "TERM = signal.SIGTERM\n"
        "class Says(Callback):\n"
        "    def on_exception(self, e): print('on_exception', type(e).__name__, flush=True)\n"
        "    def on_train_end(self, logs=None): print('on_train_end', flush=True)\n"
        "    def close(self): print('close', flush=True)\n"
        "def play(body, *callbacks, epochs=3):\n"
        "    with Run(epochs=epochs, callbacks=[Says(), *callbacks], verbose=0) as run:\n"
        "        for epoch in run.epochs():\n"
        "            for batch in run.train(range(3)):\n"
        "                run.log(loss=1.0)\n"
        "                body(epoch, batch)\n"
        "                print('batch', epoch, batch, flush=True)\n"
    )
    command = [sys.executable, "-c", head + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr


def test_sigterm_ends_the_run_in_order_with_the_status_of_a_terminated_process():
    status, said, _ = in_a_process(
        "play(lambda e, b: os.kill(os.getpid(), TERM) if (e, b) == (1, 0) else None)"
    )
    assert said == [
        *(f"batch 0 {b}" for b in range(3)),
        "batch 1 0",
        "on_exception SystemExit",
        "close",
    ]
    assert status == 143


def test_a_second_sigterm_acts_at_once_as_without_us():
    status, said, _ = in_a_process("play(lambda e, b: [os.kill(os.getpid(), TERM) for _ in 'ab'])")
    assert said == []
    assert status == -TERM


def test_a_sigterm_that_comes_when_training_has_ended_is_not_lost():
    status, said, _ = in_a_process(
        "class Late(Callback):\n"
        "    def close(self): os.kill(os.getpid(), TERM); print('late', flush=True)\n"
        "play(lambda e, b: None, Late(), epochs=0)\n"
        "print('after', flush=True)\n"
    )
    assert said == ["on_train_end", "late", "close"]
    assert status == -TERM


def test_a_process_that_ignores_sigterm_goes_on_to_do_so():
    status, said, _ = in_a_process(
        "signal.signal(TERM, signal.SIG_IGN)\n"
        "play(lambda e, b: os.kill(os.getpid(), TERM), epochs=1)\n"
        "print(signal.getsignal(TERM) is signal.SIG_IGN)"
    )
    assert said == ["batch 0 0", "batch 0 1", "batch 0 2", "on_train_end", "close", "True"]
    assert status == 0


def test_ctrl_c_of_a_real_signal_is_keyboard_interrupt():
    status, said, errors = in_a_process(
        "play(lambda e, b: os.kill(os.getpid(), signal.SIGINT) if b == 1 else None)"
    )
    assert said == ["batch 0 0", "on_exception KeyboardInterrupt", "close"]
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize("at", ["on_test_batch_end", "on_epoch_end", "on_train_end"])
def test_a_request_is_answered_wherever_it_comes(at, recorder):
    request = LambdaCallback(**{at: lambda *_arguments: signal.raise_signal(TERM)})
    seen = recorder(["on_exception", "close"])
    with pytest.raises(SystemExit) as caught:
        train(Run(callbacks=[request, seen], verbose=0))
    assert caught.value.code == 143
    assert seen.lines == ["on_exception SystemExit", "close"]


def train(run):
    with run:
        for _ in run.epochs():
            list(run.train([1]))
            list(run.validate([1]))


def test_a_request_in_an_epoch_loop_that_is_left_by_break_is_answered():
    with pytest.raises(SystemExit):
        leave_with_request()


def leave_with_request():
    with Run(verbose=0) as run:
        for _ in run.epochs():
            signal.raise_signal(TERM)
            break


def test_handlers_are_ours_during_the_run_only():
    before = signal.getsignal(TERM)
    run = Run(verbose=0)
    assert signal.getsignal(TERM) is before
    with run:
        assert signal.getsignal(TERM) is not before
    assert signal.getsignal(TERM) is before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(TERM)
    with pytest.raises(ZeroDivisionError), Run(verbose=0):
        _ = 1 / 0
    assert signal.getsignal(TERM) is before


def test_handlers_are_put_back_after_an_error_at_the_beginning():
    class Fails(Callback):
        def on_train_begin(self, logs=None):
            raise ValueError("x")

    before = signal.getsignal(TERM)
    with pytest.raises(ValueError, match="x"), Run(callbacks=[Fails()], verbose=0):
        pytest.fail("the run began")
    assert signal.getsignal(TERM) is before


def test_a_handler_of_the_program_gets_the_signal_that_came_too_late():
    heard = []
    before = signal.signal(TERM, lambda number, frame: heard.append(number))
    try:
        with TerminationRequest() as request:
            signal.raise_signal(TERM)
            assert request.pending
            assert heard == []
        assert heard == [TERM]
    finally:
        signal.signal(TERM, before)


def test_a_second_request_goes_to_the_handler_that_was_there_before():
    heard = []
    before = signal.signal(TERM, lambda number, frame: heard.append(number))
    try:
        with TerminationRequest() as request:
            signal.raise_signal(TERM)
            signal.raise_signal(TERM)
            assert heard == [TERM]
            with pytest.raises(SystemExit):
                request.answer()
        assert heard == [TERM]
    finally:
        signal.signal(TERM, before)


def test_a_handler_that_ignores_stays():
    before = signal.signal(TERM, signal.SIG_IGN)
    try:
        with TerminationRequest() as request:
            signal.raise_signal(TERM)
            assert not request.pending
            assert signal.getsignal(TERM) is signal.SIG_IGN
    finally:
        signal.signal(TERM, before)


def test_importing_changes_no_handler():
    script = (
        "import signal\n"
        "before = {n: signal.getsignal(n) for n in signal.valid_signals()}\n"
        "import callboard\n"
        "assert {n: signal.getsignal(n) for n in signal.valid_signals()} == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_run_in_another_thread_leaves_signals_alone():
    outcome = []

    def body():
        run = Run(epochs=2, verbose=0)
        train(run)
        outcome.append(run.history.epoch)

    before = signal.getsignal(TERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join(30)
    assert outcome == [[0, 1]]
    assert signal.getsignal(TERM) is before
