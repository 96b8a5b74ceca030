"""What the real tensorboard package reads of what the callback writes."""

import warnings

import numpy as np
import pytest

from callboard import callbacks
from callboard._core.errors import ConfigurationError, UnknownArgumentError, UnsupportedError
from callboard._core.run import Run
from callboard.callbacks.tensorboard import _as_floats
from callboard.testing import ScriptedModel, ScriptedRun

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


class Layered(ScriptedModel):
    """A scripted model with weights and layers to look at."""

    def __init__(self):
        super().__init__()
        self.looked_at = []

    def weights(self, into=None):
        stand_in = np.array([0x3F80, 0x4000], "<u2").view([("bfloat16", "<u2")])
        return {"dense.weight": np.ones((3, 4), "f4"), "half": stand_in, "count": np.array(3)}

    def activations(self, inputs):
        self.looked_at.append(inputs)
        return {"relu": np.linspace(0, 1, 20, dtype="f4")}


def play(folder, run=None, **options):
    run = run or ScriptedRun(METRICS, batches=4)
    return run.play(callbacks.TensorBoard(folder, **options))


def test_epochs_go_to_keras_folders_and_tags(tmp_path):
    play(tmp_path)
    train, _ = read(tmp_path / "train")
    validation, _ = read(tmp_path / "validation")
    assert train == {"epoch_loss": [(0, 0.9), (1, 0.5), (2, 0.4)]}
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


def test_the_learning_rate_of_the_epoch_is_written(tmp_path):
    run = ScriptedRun(METRICS, learning_rate=1.0)
    halve = callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2)
    run.play(halve, callbacks.TensorBoard(tmp_path))
    train, _ = read(tmp_path / "train")
    assert train["epoch_learning_rate"] == [(0, 0.5), (1, 0.25), (2, 0.125)]


@pytest.mark.parametrize(("frequency", "epochs"), [(1, [0, 1, 2]), (2, [0, 2])])
def test_histograms_of_weights_and_activations(tmp_path, frequency, epochs):
    run = ScriptedRun(METRICS)
    run.model = model = Layered()
    play(tmp_path, run, histogram_freq=frequency)
    _, histograms = read(tmp_path / "train")
    assert histograms == {
        "dense.weight/histogram": epochs,
        "half/histogram": epochs,
        "relu/activations/histogram": epochs,
    }
    assert model.looked_at[0] == 0, "the first batch of the validation"


def test_bfloat16_weights_are_counted_as_the_numbers_they_are(tmp_path):
    stand_in = np.array([0x3F80, 0xC000], "<u2").view([("bfloat16", "<u2")])
    assert _as_floats(stand_in).tolist() == [1.0, -2.0]


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
    assert set(read(tmp_path / "train")[0]) == {"epoch_loss"}


def test_the_same_object_writes_a_second_run_to_new_files(tmp_path):
    tensorboard = callbacks.TensorBoard(tmp_path, update_freq=2)
    for _ in range(2):
        ScriptedRun({"loss": [0.5]}, batches=4).play(tensorboard)
    assert len(list((tmp_path / "train").iterdir())) == 2


def test_state_goes_on_in_a_fresh_object(tmp_path):
    first = callbacks.TensorBoard(tmp_path / "a", update_freq=3)
    ScriptedRun({"loss": [0.5]}, batches=3).play(first)
    second = callbacks.TensorBoard(tmp_path / "b", update_freq=3)
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict() == {"every": {"passed": 1}}
    only_epochs = callbacks.TensorBoard(tmp_path / "c")
    only_epochs.load_state_dict(only_epochs.state_dict())


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
    ],
)
def test_a_frequency_that_is_none_is_an_error_at_construction(options):
    with pytest.raises(ConfigurationError, match="_freq must be"):
        callbacks.TensorBoard("logs", **options)


def test_an_argument_that_does_not_exist_is_named():
    with pytest.raises(UnknownArgumentError, match="histogram_freq"):
        callbacks.TensorBoard(histogram_frequency=1)


def test_a_file_in_place_of_the_folder_is_an_error_before_the_first_batch(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(NotADirectoryError):
        play(tmp_path / "logs")


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
        *(f"{name}/histogram" for name in net.state_dict() if "num_batches" not in name),
        *(f"{layer}/activations/histogram" for layer in ("0", "1", "2")),
    }
    assert net.training
