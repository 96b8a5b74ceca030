import signal

import pytest

from callboard import Callback, HookError, Run, callbacks
from callboard._core.callback import HOOKS
from callboard.callbacks import EarlyStopping, LambdaCallback
from callboard.testing import ScriptedRun

ENDS = ["on_epoch_end", "on_train_end", "on_exception", "close"]


def play(*callbacks, epochs=3, batches=2, **options):
    run = Run(epochs=epochs, callbacks=callbacks, verbose=0, **options)
    with run:
        for _ in run.epochs():
            for _ in run.train(range(batches)):
                run.log(loss=1.0)
            for _ in run.validate(range(2)):
                run.log(loss=1.0)
    return run


def leave_second_epoch_by(error, *callbacks):
    with Run(callbacks=callbacks, verbose=0, epochs=3) as run:
        for epoch in run.epochs():
            for _ in run.train([1]):
                run.log(loss=1.0)
                if epoch == 1:
                    raise error


class Raiser(Callback):
    def __init__(self, **errors):
        for hook, error in errors.items():
            setattr(self, hook, self.raising(error))

    @staticmethod
    def raising(error):
        def hurt(*_arguments):
            raise error

        return hurt


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook",
    [hook for hook in HOOKS if "test" in hook or "train" in hook or "epoch" in hook],
)
def test_an_error_in_a_hook_reaches_the_caller_and_everybody_hears_of_it(recorder, hook):
    error = ZeroDivisionError("boom")
    seen = recorder(["on_exception", "close"])
    with pytest.raises(ZeroDivisionError) as caught:
        play(seen, Raiser(**{hook: error}))
    assert caught.value is error
    assert error.__notes__ == [f"raised in Raiser.{hook}"]
    assert seen.lines == ["on_exception ZeroDivisionError", "close"]


def test_an_error_in_the_loop_ends_no_epoch_and_no_training(recorder):
    seen = recorder(ENDS)
    with pytest.raises(ValueError, match="mine"):
        leave_second_epoch_by(ValueError("mine"), seen)
    assert seen.lines == ["on_epoch_end 0 loss", "on_exception ValueError", "close"]


def test_on_exception_gets_the_error_itself():
    heard = []
    error = ValueError("x")
    told = LambdaCallback(on_exception=heard.append)
    with pytest.raises(ValueError, match="x"), Run(callbacks=[told], verbose=0):
        raise error
    assert heard == [error]


def test_an_error_in_close_reaches_the_caller_of_a_run_that_went_well(recorder):
    seen = recorder(["on_train_end", "close"])
    with pytest.raises(OSError, match="disk full") as caught:
        play(seen, Raiser(close=OSError("disk full")))
    assert caught.value.__notes__ == ["raised in Raiser.close"]
    assert seen.lines == ["on_train_end loss val_loss", "close"]


def test_errors_in_on_exception_and_close_are_notes_to_the_first(recorder):
    seen = recorder(["on_exception", "close"])
    first = ValueError("first")
    late = Raiser(on_exception=KeyError("second"), close=OSError("third"))
    with pytest.raises(ValueError, match="first") as caught:
        play(seen, Raiser(on_epoch_end=first), late)
    assert caught.value is first
    assert first.__notes__ == [
        "raised in Raiser.on_epoch_end",
        "then KeyError('second') was raised",
        "raised in Raiser.on_exception",
        "then OSError('third') was raised",
        "raised in Raiser.close",
    ]
    assert seen.lines == ["on_exception ValueError", "close"]


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
def test_stop_iteration_in_a_hook_is_an_error_and_not_the_end_of_an_epoch(hook):
    with pytest.raises(HookError, match=f"Raiser.{hook} raised StopIteration"):
        play(Raiser(**{hook: StopIteration()}))


@pytest.mark.parametrize("hook", ["on_train_end", "close"])
def test_stop_iteration_at_the_end_of_a_run_is_an_error(hook):
    with pytest.raises(HookError, match=f"Raiser.{hook} raised StopIteration"):
        play(Raiser(**{hook: StopIteration()}))


@pytest.mark.parametrize("hook", ["on_exception", "close"])
def test_stop_iteration_in_a_hook_that_hears_of_an_error_is_a_note_to_it(hook):
    first = ValueError("first")
    with pytest.raises(ValueError, match="first"):
        leave_second_epoch_by(first, Raiser(**{hook: StopIteration()}))
    assert first.__notes__ == [
        f"then HookError('Raiser.{hook} raised StopIteration, which a hook must not do') was raised"
    ]


def test_a_callback_may_raise_the_error_that_it_is_told_of():
    class Again(Callback):
        def on_exception(self, error):
            raise error

    first = ValueError("first")
    with pytest.raises(ValueError, match="first") as caught:
        leave_second_epoch_by(first, Again())
    assert caught.value is first
    assert first.__notes__ == ["raised in Again.on_exception"]


@pytest.mark.parametrize("hook", ["on_exception", "close"])
def test_ctrl_c_while_a_failed_run_closes_ends_the_program(hook, recorder):
    seen = recorder(["close"])
    first = ValueError("first")
    with pytest.raises(KeyboardInterrupt) as caught:
        leave_second_epoch_by(first, seen, Raiser(**{hook: KeyboardInterrupt()}))
    assert caught.value.__context__ is first
    assert seen.lines == ["close"]


class Stubborn(Callback):
    def set_run(self, run):
        super().set_run(run)
        self.epochs = run.epoch_count  # there is no run at the end


@pytest.mark.parametrize(
    ("error", "leave"),
    [
        (AttributeError("epoch_count"), lambda _, *callbacks: play(*callbacks)),
        (ValueError("first"), leave_second_epoch_by),
    ],
)
def test_an_error_in_forgetting_the_run_keeps_nobody_from_it(error, leave):
    handler = signal.getsignal(signal.SIGTERM)
    after = EarlyStopping("loss", patience=9)
    with pytest.raises(type(error), match=str(error)) as caught:
        leave(error, Stubborn(), after)
    assert "raised in Stubborn.set_run" in caught.value.__notes__
    assert signal.getsignal(signal.SIGTERM) is handler
    play(after, epochs=1)
    assert after.wait == 0  # it forgot the run before


def test_stop_iteration_in_the_loop_of_a_user_stays_theirs():
    with pytest.raises(StopIteration):
        leave_second_epoch_by(StopIteration())


def test_an_error_in_set_model_or_check_closes_the_callbacks_too(recorder):
    class Unfit(Callback):
        def check(self):
            raise ValueError("unfit")

    seen = recorder()
    with pytest.raises(ValueError, match="unfit") as caught:
        play(seen, Unfit())
    assert seen.lines == ["on_exception ValueError", "close"]
    assert caught.value.__notes__ == ["raised in Unfit.check"]


def test_ctrl_c_stays_keyboard_interrupt_and_everybody_hears_of_it(recorder):
    seen = recorder(ENDS)
    with pytest.raises(KeyboardInterrupt):
        leave_second_epoch_by(KeyboardInterrupt(), seen)
    assert seen.lines == ["on_epoch_end 0 loss", "on_exception KeyboardInterrupt", "close"]
    assert seen.run.history.history == {"loss": [1.0]}


def test_the_callbacks_may_be_used_again_after_a_failure():
    history = Callback()
    with pytest.raises(ValueError, match="x"):
        play(history, Raiser(on_epoch_end=ValueError("x")))
    assert play(history).progress.epoch == 2


# ---- stops ---------------------------------------------------------------------------------------


class Stops(Callback):
    """Stops the run the first time that a hook is called."""

    def __init__(self, hook):
        setattr(self, hook, lambda *_arguments: self.run.stop(f"by {hook}"))


@pytest.mark.parametrize(
    ("hook", "epochs", "steps"),
    [
        ("on_train_begin", 0, 0),
        ("on_epoch_begin", 0, 0),
        ("on_train_batch_begin", 1, 1),
        ("on_train_batch_end", 1, 1),
        ("on_test_begin", 1, 2),
        ("on_test_batch_begin", 1, 2),
        ("on_test_batch_end", 1, 2),
        ("on_test_end", 1, 2),
        ("on_epoch_end", 1, 2),
        ("on_train_end", 3, 6),
    ],
)
def test_a_stop_takes_effect_at_the_next_boundary(recorder, hook, epochs, steps):
    seen = recorder(["on_epoch_end", "on_train_end", "on_exception", "on_test_batch_end"])
    run = play(seen, Stops(hook))
    assert run.progress.step == steps
    assert sum(line.startswith("on_epoch_end") for line in seen.lines) == epochs
    # A validation that was begun, or follows the batch of the stop, is done in full.
    assert sum(line.startswith("on_test_batch_end") for line in seen.lines) == 2 * epochs
    assert seen.lines[-1].startswith("on_train_end")
    assert run.stop_reason == f"by {hook}"


def test_a_stop_in_on_epoch_begin_cancels_the_epoch_and_keeps_the_logs_of_the_one_before():
    ends = []

    class StopsLater(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.run.stop("enough")

        def on_train_end(self, logs=None):
            ends.append(dict(logs))

    run = play(StopsLater())
    assert run.history.epoch == [0]
    assert ends == [{"loss": 1.0, "val_loss": 1.0}]
    assert run.next_epoch == 1


def test_the_first_reason_is_kept():
    with Run(verbose=0) as run:
        run.stop("a")
        run.stop("b")
    assert run.stop_reason == "a"


def test_stop_training_of_the_model_stops_as_in_keras():
    class Keras(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    run = play(Keras())
    assert run.progress.step == 1
    assert run.stop_reason == "a callback set model.stop_training"
    assert run.stopping


def test_stop_training_is_taken_back_when_a_run_begins():
    class Model(ScriptedRun):
        pass

    script = Model([1.0, 1.0, 1.0])
    script.model.model.stop_training = True
    assert script.play().run.history.epoch == [0, 1, 2]


# ---- messages ------------------------------------------------------------------------------------


def test_messages_at_the_end_of_an_epoch_come_below_its_line_and_others_at_once(capsys):
    class Says(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.run.print("begins")

        def on_epoch_end(self, epoch, logs=None):
            self.run.print("ends")

    ScriptedRun([1.0], monitor="loss", verbose=2).play(Says())
    begins, line, ends = capsys.readouterr().out.splitlines()
    assert (begins, ends) == ("begins", "ends")
    assert line.startswith("Epoch 1/1 - 1/1")


def test_messages_are_printed_also_when_a_later_callback_raises(capsys):
    class Says(Callback):
        order = -1

        def on_epoch_end(self, epoch, logs=None):
            self.run.print("said before")

    with pytest.raises(ValueError, match="x"):
        play(Says(), Raiser(on_epoch_end=ValueError("x")))
    assert capsys.readouterr().out == "said before\n"


def test_decisions_are_in_the_journal_with_epoch_and_step(capsys):
    class Decides(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.run.decide(self, "noted", f"because {epoch}", say="" if epoch else "loud")

    run = play(Decides(), epochs=2)
    assert [(d.callback, d.action, d.epoch, d.step, d.cause) for d in run.journal] == [
        ("Decides", "noted", 0, 2, "because 0"),
        ("Decides", "noted", 1, 4, "because 1"),
    ]
    assert capsys.readouterr().out == "loud\n"


def test_another_process_than_the_first_decides_and_writes_nothing(tmp_path, capsys):
    played = ScriptedRun([0.9, 0.7, 0.8, 0.8], verbose=2)
    played.model.rank = 1
    checkpoint = callbacks.ModelCheckpoint("best.pt", save_best_only=True, verbose=1)
    stopping = callbacks.EarlyStopping(patience=2, verbose=1)
    played.play(checkpoint, stopping, callbacks.CSVLogger(tmp_path / "log.csv"))
    assert played.stopped_epoch == 3
    assert (checkpoint.best, played.saved) == (0.7, [])
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
