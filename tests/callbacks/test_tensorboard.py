"""What the real tensorboard package reads of what the callback writes."""

import errno
import gc
import types
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard import callbacks
from callboard._core.errors import (
    ConfigurationError,
    RunStateError,
    UnknownArgumentError,
    UnsupportedError,
)
from callboard._core.logs import Logs
from callboard._core.run import Run
from callboard._core.signals import SimulatedKill
from callboard.events import read_records
from callboard.testing import ScriptedModel, ScriptedRun

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.compat.proto.event_pb2 import Event

COUNTER = "2.num_batches_tracked"
METRICS = {"loss": [0.9, 0.5, 0.4], "val_loss": [0.8, None, 0.6]}


def read(folder):
    """Return the scalars and the histograms of a folder: for each tag its steps and values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accumulator = EventAccumulator(
            str(folder), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}
        )
        accumulator.Reload()
        scalars = {
            tag: [(e.step, pytest.approx(e.value)) for e in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]
        }
        tensors = {
            tag: [e.step for e in accumulator.Tensors(tag)] for tag in accumulator.Tags()["tensors"]
        }
    return scalars, tensors


def starts(folder):
    """Return the step from which on each file replaces what the earlier ones have."""
    files = sorted(folder.iterdir())
    return [Event.FromString(list(read_records(file))[1]).step for file in files]


def shown(folder):
    """Return the steps of each tag that TensorBoard's page has after files were replaced."""
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    accumulator = multiplexer.GetAccumulator(".")
    tags = accumulator.Tags()["tensors"]
    return {tag: [event.step for event in accumulator.Tensors(tag)] for tag in tags}


class Clock:
    """Time that stands still until a test moves it."""

    now = 0.0

    def __call__(self):
        return self.now


class Layered(ScriptedModel):
    """A scripted model with weights and layers to look at."""

    def __init__(self, gradients=()):
        super().__init__()
        self.looked_at = []
        self.grads = dict(gradients)

    def weights(self, into=None):
        stand_in = np.array([0x3F80, 0x4000], "<u2").view([("bfloat16", "<u2")])
        return {"dense.weight": np.ones((3, 4), "f4"), "half": stand_in, "count": np.array(3)}

    def activations(self, inputs):
        self.looked_at.append(inputs)
        return {"block.relu": np.linspace(0, 1, 20, dtype="f4")}

    def gradients(self):
        return self.grads


def play(folder, run=None, **options):
    run = run or ScriptedRun(METRICS, batches=4)
    return run.play(callbacks.TensorBoard(folder, **options))


def test_epochs_go_to_keras_folders_and_tags(tmp_path):
    play(tmp_path)
    train, _ = read(tmp_path / "train")
    validation, _ = read(tmp_path / "validation")
    assert train == {
        "epoch_loss": [(0, 0.9), (1, 0.5), (2, 0.4)],
        "epoch_learning_rate": [(0, 0.001), (1, 0.001), (2, 0.001)],
    }
    assert validation == {
        "epoch_loss": [(0, 0.8), (2, 0.6)],
        "evaluation_loss_vs_iterations": [(4, 0.8), (12, 0.6)],
    }


def test_a_run_without_validation_has_no_validation_folder(tmp_path):
    play(tmp_path, ScriptedRun({"loss": [0.5]}))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize(
    ("update_freq", "steps"),
    [("batch", list(range(1, 13))), (1, list(range(1, 13))), (3, [3, 6, 9, 12]), (5, [5, 10])],
)
def test_batches_are_written_by_update_freq_and_epochs_always(tmp_path, update_freq, steps):
    play(tmp_path, update_freq=update_freq)
    train, _ = read(tmp_path / "train")
    assert [step for step, _ in train["batch_loss"]] == steps
    assert [step for step, _ in train["epoch_loss"]] == [0, 1, 2]
    assert train["batch_loss"][0][1] == METRICS["loss"][(steps[0] - 1) // 4]


def test_without_batches_there_is_no_batch_hook(tmp_path):
    assert callbacks.CallbackList([callbacks.TensorBoard(tmp_path)]).idle("on_train_batch_end")
    due = callbacks.TensorBoard(tmp_path, update_freq=10)
    assert not callbacks.CallbackList([due]).idle("on_train_batch_end")


def test_steps_per_second_are_positive(tmp_path):
    play(tmp_path, write_steps_per_second=True, update_freq=2)
    train, _ = read(tmp_path / "train")
    assert [step for step, _ in train["epoch_steps_per_second"]] == [0, 1, 2]
    assert [step for step, _ in train["batch_steps_per_second"]] == [2, 4, 6, 8, 10, 12]
    assert all(value.expected > 0 for tag in train.values() for _, value in tag)


def test_speed_is_steps_over_time_and_begins_anew_every_epoch(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("callboard.callbacks.step_speed.time.perf_counter", clock)
    tensorboard = callbacks.TensorBoard(tmp_path, write_steps_per_second=True, update_freq=2)
    with Run(epochs=2, callbacks=[tensorboard], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                clock.now += 0.5
                run.log(loss=1.0)
            clock.now += 4.5 if run.progress.epoch == 0 else 10.5  # a validation, say
    train, _ = read(tmp_path / "train")
    assert train["batch_steps_per_second"] == [(2, 2.0), (4, 2.0), (6, 2.0)]
    assert train["epoch_steps_per_second"] == [(0, 0.5), (1, 0.25)]


def test_executions_of_several_batches_are_written_when_they_pass_a_step(tmp_path):
    with Run(callbacks=[callbacks.TensorBoard(tmp_path, update_freq=3)], verbose=0) as run:
        for _ in run.epochs():
            for steps in run.train([2, 2, 1, 1, 5]):
                run.report(lambda: Logs({"loss": 1.0}), steps=steps, samples=steps)
    train, _ = read(tmp_path / "train")
    assert [step for step, _ in train["batch_loss"]] == [4, 6, 11]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.integers(1, 7), epochs=st.integers(1, 4), update_freq=st.integers(1, 9))
def test_no_batch_that_is_due_and_no_epoch_is_lost(tmp_path, batches, epochs, update_freq):
    folder = tmp_path / f"{batches}-{epochs}-{update_freq}"
    play(folder, ScriptedRun({"loss": [0.5] * epochs}, batches=batches), update_freq=update_freq)
    found = shown(folder / "train")
    due = list(range(update_freq, batches * epochs + 1, update_freq))
    assert found.pop("batch_loss", []) == due
    assert found["epoch_loss"] == found["epoch_learning_rate"] == list(range(epochs))


def test_an_epoch_is_in_the_files_when_it_has_ended(tmp_path):
    seen = []

    class Look(callbacks.Callback):
        order = 11

        def on_epoch_end(self, epoch, logs=None):
            seen.append([read(tmp_path / p)[0]["epoch_loss"] for p in ("train", "validation")])

    script = ScriptedRun({"loss": [0.5], "val_loss": [0.25]})
    script.play(callbacks.TensorBoard(tmp_path), Look())
    assert seen == [[[(0, 0.5)], [(0, 0.25)]]]


def test_what_was_written_is_kept_when_the_training_fails(tmp_path):
    class Fail(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        ScriptedRun(METRICS, batches=4).play(callbacks.TensorBoard(tmp_path, update_freq=1), Fail())
    train, _ = read(tmp_path / "train")
    assert [step for step, _ in train["batch_loss"]] == [1, 2, 3, 4]


def test_every_file_is_closed_if_one_cannot_be_synced(tmp_path, monkeypatch):
    tensorboard = callbacks.TensorBoard(tmp_path)
    writers = tensorboard._files._writers

    def failing(writer):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("callboard.events.EventWriter.sync", failing)
    with pytest.raises(OSError, match="disk full"):
        ScriptedRun(METRICS).play(tensorboard)
    assert len(writers) == 2
    for writer in writers.values():
        with pytest.raises(RunStateError):
            writer.add_scalar("late", 1.0, 1)


def test_the_learning_rate_of_the_epoch_is_written(tmp_path):
    run = ScriptedRun(METRICS, learning_rate=1.0)
    halve = callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2)
    run.play(halve, callbacks.TensorBoard(tmp_path))
    train, _ = read(tmp_path / "train")
    assert train["epoch_learning_rate"] == [(0, 0.5), (1, 0.25), (2, 0.125)]


def test_a_rate_that_is_reduced_when_the_epoch_ends_is_the_next_one_s(tmp_path):
    run = ScriptedRun({"loss": [1.0, 1.0, 1.0]}, learning_rate=1.0)
    run.play(
        callbacks.TensorBoard(tmp_path),
        callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1),
    )
    train, _ = read(tmp_path / "train")
    assert train["epoch_learning_rate"] == [(0, 1.0), (1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(("frequency", "epochs"), [(1, [0, 1, 2]), (2, [0, 2])])
def test_histograms_of_weights_and_activations(tmp_path, frequency, epochs):
    run = ScriptedRun(METRICS)
    run.model = model = Layered()
    play(tmp_path, run, histogram_freq=frequency)
    _, histograms = read(tmp_path / "train")
    assert histograms == {
        "dense.weight/histogram": epochs,
        "half/histogram": epochs,
        "block.relu/activations/histogram": epochs,
    }
    assert len(model.looked_at) == len(epochs)


def test_activations_can_be_left_out_and_gradients_asked_for(tmp_path):
    run = ScriptedRun({"loss": [0.5]})
    run.model = model = Layered({"dense.weight": np.ones(3, "f4")})
    play(tmp_path, run, histogram_freq=1, activations=False, gradients=True)
    _, histograms = read(tmp_path / "train")
    assert set(histograms) == {
        "dense.weight/histogram",
        "half/histogram",
        "dense.weight/gradients/histogram",
    }
    assert model.looked_at == []


def test_gradients_that_are_not_there_are_a_warning_once(tmp_path):
    run = ScriptedRun(METRICS)
    run.model = Layered()
    with pytest.warns(RuntimeWarning, match="gradients are not written: no weight has") as caught:
        play(tmp_path, run, histogram_freq=1, gradients=True)
    assert len(caught) == 1
    assert [d.cause.split(" are ")[0] for d in run.journal if "gradients" in d.cause] == [
        "gradients"
    ]


def test_a_model_that_cannot_be_run_on_the_batch_goes_on_training(tmp_path):
    class Keyed(Layered):
        def activations(self, inputs):
            raise TypeError("must be Tensor, not dict")

    run = ScriptedRun(METRICS)
    run.model = Keyed()
    with pytest.warns(RuntimeWarning, match="not dict.*activations=False") as caught:
        play(tmp_path, run, histogram_freq=1)
    assert len(caught) == 1
    assert len(run.history["loss"]) == 3
    assert read(tmp_path / "train")[1]["dense.weight/histogram"] == [0, 1, 2]


def test_images_of_weights_are_written_with_their_size(tmp_path):
    run = ScriptedRun({"loss": [0.5] * 3})
    run.model = Layered()
    play(tmp_path, run, histogram_freq=2, write_images=True)
    accumulator = EventAccumulator(str(tmp_path / "train"))
    accumulator.Reload()
    events = accumulator.Tensors("dense.weight/image")
    assert [event.step for event in events] == [0, 2]
    width, height, png = events[0].tensor_proto.string_val
    assert (width, height, png[1:4]) == (b"4", b"3", b"PNG")


def test_activations_are_those_of_the_latest_validations_first_batch(tmp_path):
    model = Layered()
    tensorboard = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    with Run(trainable=model, epochs=3, callbacks=[tensorboard], verbose=0) as run:
        for epoch in run.epochs():
            for _ in run.train(["a", "b"]):
                run.log(loss=1.0)
            for _ in run.validate([f"validation {epoch}", "c"] if epoch < 2 else []):
                run.log(loss=1.0)
    assert model.looked_at == ["validation 0", "validation 1", "validation 1"]


def test_without_a_validation_activations_are_those_of_the_training_data(tmp_path):
    run = ScriptedRun({"loss": [0.5]}, batches=2)
    run.model = model = Layered()
    play(tmp_path, run, histogram_freq=1)
    assert model.looked_at == [0]


def test_an_evaluation_of_its_own_is_written(tmp_path):
    tensorboard = callbacks.TensorBoard(tmp_path)
    with Run(callbacks=[tensorboard], verbose=0, purpose="test") as run:
        for _ in run.validate([[1.0]]):
            run.log(loss=0.25)
    validation, _ = read(tmp_path / "validation")
    assert validation == {"evaluation_loss_vs_iterations": [(0, 0.25)]}


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    class Note(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["note"] = "text"

    ScriptedRun({"loss": [0.5]}).play(callbacks.TensorBoard(tmp_path), Note())
    assert set(read(tmp_path / "train")[0]) == {"epoch_loss", "epoch_learning_rate"}


def test_the_same_object_writes_a_second_run_to_new_files(tmp_path):
    tensorboard = callbacks.TensorBoard(tmp_path, update_freq=2)
    for _ in range(2):
        ScriptedRun({"loss": [0.5]}, batches=4).play(tensorboard)
    assert len(list((tmp_path / "train").iterdir())) == 2
    assert shown(tmp_path / "train")["batch_loss"] == [2, 4]


def test_a_run_from_the_beginning_replaces_what_is_in_the_folder(tmp_path):
    for _ in range(2):
        play(tmp_path, update_freq=2)
    assert starts(tmp_path / "train") == starts(tmp_path / "validation") == [0, 0]
    assert shown(tmp_path / "train")["epoch_loss"] == [0, 1, 2]
    assert shown(tmp_path / "train")["batch_loss"] == [2, 4, 6, 8, 10, 12]
    assert shown(tmp_path / "validation")["epoch_loss"] == [0, 2]


def test_a_run_that_begins_with_a_later_epoch_replaces_only_what_it_writes(tmp_path):
    play(tmp_path)
    later = ScriptedRun({"loss": [0.5] * 5}, initial_epoch=2)
    play(tmp_path, later)
    assert starts(tmp_path / "train") == [0, 2]
    assert shown(tmp_path / "train")["epoch_loss"] == [0, 1, 2, 3, 4]


def test_a_resumed_run_goes_on_with_the_steps(tmp_path):
    class Resume(callbacks.Callback):
        order = 100  # the steps may be known after the callback has begun

        def on_train_begin(self, logs=None):
            self.run.progress.step = 8

    play(tmp_path, update_freq=3)
    script = ScriptedRun({"loss": [0.5] * 3, "val_loss": [0.5] * 3}, batches=4, initial_epoch=2)
    script.play(Resume(), callbacks.TensorBoard(tmp_path, update_freq=3))
    assert starts(tmp_path / "train") == starts(tmp_path / "validation") == [0, 8]
    assert shown(tmp_path / "train")["batch_loss"] == [3, 6, 9, 12]
    assert shown(tmp_path / "validation")["evaluation_loss_vs_iterations"] == [4, 12]
    only_epochs = tmp_path / "only epochs"
    script.play(Resume(), callbacks.TensorBoard(only_epochs))
    assert (starts(only_epochs / "train"), starts(only_epochs / "validation")) == ([2], [8])


def test_an_evaluation_after_the_training_replaces_nothing(tmp_path):
    play(tmp_path)
    model = ScriptedModel()
    model.model.optimizer = types.SimpleNamespace(iterations=12)
    tensorboard = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    with Run(trainable=model, callbacks=[tensorboard], verbose=0, purpose="test") as run:
        for _ in run.validate([[1.0]]):
            run.log(loss=0.25, accuracy=0.5)
    found = shown(tmp_path / "validation")
    assert found["epoch_loss"] == [0, 2]
    assert found["evaluation_loss_vs_iterations"][0] == 4
    assert found["evaluation_accuracy_vs_iterations"] == [12]


def test_a_prediction_writes_nothing(tmp_path):
    tensorboard = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=1)
    with Run(callbacks=[tensorboard], verbose=0, purpose="predict") as run:
        list(run.predict([1, 2]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        {"histogram_freq": -1},
        {"histogram_freq": True},
        {"histogram_freq": 1.5},
        {"update_freq": 0},
        {"update_freq": "epochs"},
        {"update_freq": True},
        {"update_freq": 2.0},
        {"write_images": True},
        {"gradients": True},
    ],
)
def test_a_frequency_that_is_none_is_an_error_at_construction(options):
    with pytest.raises(ConfigurationError, match="_freq"):
        callbacks.TensorBoard("logs", **options)


def test_an_argument_that_does_not_exist_is_named():
    with pytest.raises(UnknownArgumentError, match="histogram_freq"):
        callbacks.TensorBoard(histogram_frequency=1)


def test_a_file_in_place_of_the_folder_is_an_error_before_the_first_batch(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(NotADirectoryError, match="nothing can be written below it") as caught:
        play(tmp_path / "logs")
    assert "raised in TensorBoard.check" in caught.value.__notes__


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_file_in_place_of_a_part_is_one_too(tmp_path, part):
    (tmp_path / part).write_text("")
    with pytest.raises(NotADirectoryError, match="nothing can be written below it"):
        play(tmp_path)


def test_a_folder_that_may_not_be_written_is_an_error_before_the_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="may not be written"):
        play(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_in_one_folder_are_an_error(tmp_path):
    both = [callbacks.TensorBoard(tmp_path), callbacks.TensorBoard(tmp_path)]
    with pytest.raises(ConfigurationError, match="both write"):
        ScriptedRun(METRICS).play(*both)


def test_histograms_need_a_model(tmp_path):
    with pytest.raises(UnsupportedError, match="weights"):
        Run(callbacks=[callbacks.TensorBoard(tmp_path, histogram_freq=1)], verbose=0).__enter__()


def test_a_torch_module_in_a_run_of_its_own(tmp_path):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(8, 4)
    tensorboard = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    with Run(net, optimizer, callbacks=[tensorboard], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([x]):
                loss = net(batch).square().mean()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
    scalars, histograms = read(tmp_path / "train")
    assert scalars["epoch_learning_rate"] == [(0, 0.1)]
    assert set(histograms) == {
        *(f"{name}/histogram" for name in net.state_dict() if name != COUNTER),
        *(f"{layer}/activations/histogram" for layer in ("0", "1", "2")),
    }
    assert net.training


@pytest.mark.parametrize("validated", [True, False])
def test_fit_of_a_torch_model(tmp_path, validated):
    torch = pytest.importorskip("torch")
    torch_model = pytest.importorskip("callboard.torch").Model
    model = torch_model(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = torch.randn(20, 4), torch.randn(20, 3)
    tensorboard = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2)
    validation_data = (x, y) if validated else None
    data = {"batch_size": 4, "validation_data": validation_data, "epochs": 2, "verbose": 0}
    history = model.fit(x, y, **data, callbacks=[tensorboard]).history
    scalars, histograms = read(tmp_path / "train")
    assert scalars["epoch_loss"] == list(enumerate(history["loss"]))
    assert [step for step, _ in scalars["batch_mae"]] == [2, 4, 6, 8, 10]
    assert histograms == {
        "0.weight/histogram": [0, 1],
        "0.bias/histogram": [0, 1],
        "0/activations/histogram": [0, 1],
        "1/activations/histogram": [0, 1],
    }
    if validated:
        model.evaluate(x, y, verbose=0, callbacks=[tensorboard])
        found = shown(tmp_path / "validation")
        assert found == {
            "epoch_loss": [0, 1],
            "epoch_mae": [0, 1],
            "evaluation_loss_vs_iterations": [5, 10],
            "evaluation_mae_vs_iterations": [5, 10],
        }


# ---- going on after an interruption --------------------------------------------------------------


def until(folder, step=None, **options):
    """Play three epochs of four batches with a backup after every batch; end like a kill."""

    def kill(batch, logs):
        if script.run.progress.step == step:
            raise SimulatedKill

    script = ScriptedRun({"loss": [0.9, 0.5, 0.4], "val_loss": [0.8, 0.7, 0.6]}, batches=4)
    tensorboard = callbacks.TensorBoard(folder / "tb", update_freq=1, **options)
    script.play(
        tensorboard,
        callbacks.BackupAndRestore(folder / "backup", save_freq=3, delete_checkpoint=False),
        callbacks.LambdaCallback(on_train_batch_end=kill),
    )
    return tensorboard


def killed(folder, step):
    with pytest.raises(SimulatedKill) as ended:
        until(folder, step)
    with warnings.catch_warnings():  # a process that is killed does not close its files
        warnings.simplefilter("ignore", ResourceWarning)
        del ended
        gc.collect()


@pytest.mark.parametrize("kills", [[5], [8], [8, 11], [4, 5, 12], [2, 2, 9]])
def test_curves_of_a_run_that_goes_on_have_no_seam(tmp_path, kills):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    until(tmp_path / "whole")
    for step in kills:
        killed(tmp_path / "killed", step)
    until(tmp_path / "killed")
    for part in ("train", "validation"):
        expected, found = (read(tmp_path / name / "tb" / part)[0] for name in ("whole", "killed"))
        assert expected == found
        assert shown(tmp_path / "killed" / "tb" / part) == shown(tmp_path / "whole" / "tb" / part)


def test_files_of_a_killed_run_have_every_step_once(tmp_path):
    for step in (5, 8, 11):
        killed(tmp_path, step)
    name = until(tmp_path)._files.name
    for part in ("train", "validation"):
        steps = []
        for path in sorted((tmp_path / "tb" / part).glob(f"*.{name}")):
            for record in read_records(path):
                event = Event.FromString(record)
                steps += [(value.tag, event.step) for value in event.summary.value]
        assert len(steps) == len(set(steps)) > 0


def test_files_of_others_in_the_folder_stay(tmp_path):
    (tmp_path / "tb" / "train").mkdir(parents=True)
    other = tmp_path / "tb" / "train" / "events.out.tfevents.0000000001.host.1.0"
    other.write_bytes(b"mine")
    killed(tmp_path, 8)
    until(tmp_path)
    assert other.read_bytes() == b"mine"
