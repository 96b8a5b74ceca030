"""OrbaxCheckpoint, read back with Orbax itself and with ours."""

import json
import os
import sys

import numpy as np
import pytest

from callboard import Callback, ConfigurationError, DataError, NoCheckpointError, UnsupportedError
from callboard.callbacks import BackupAndRestore, EarlyStopping, OrbaxCheckpoint
from callboard.testing import ScriptedRun

pytest.importorskip("orbax.checkpoint")
torch = pytest.importorskip("torch")
from orbax.checkpoint import v1 as ocp  # noqa: E402 - only where it is
from orbax.checkpoint._src.serialization import type_handlers  # noqa: E402 - only where it is

from callboard import Run  # noqa: E402 - only where torch is
from callboard.torch import Model  # noqa: E402 - only where torch is

os.environ.setdefault("KERAS_BACKEND", "torch")
# Orbax uses what its own dependencies have replaced.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:orbax", "ignore:.*Use `load`")

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = X.sum(1, keepdim=True)


def made():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    model = Model(net)
    model.compile(torch.optim.Adam(net.parameters(), lr=0.05), "mse")
    return model


def fit(model, *callbacks, epochs=3, **options):
    data = {"shuffle": False, "batch_size": 4, "verbose": 0}
    return model.fit(
        X.to(next(model.module.parameters()).dtype),
        Y,
        epochs=epochs,
        callbacks=callbacks,
        **data | options,
    )


def steps(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_what_was_saved_trains_on_as_the_model_itself_would(tmp_path):
    whole, first, second = made(), made(), made()
    fit(whole, epochs=4)
    fit(first, OrbaxCheckpoint(tmp_path), epochs=2)
    assert OrbaxCheckpoint.load(tmp_path, second) == 1
    fit(second, epochs=2)
    for expected, weight in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("on_background", [True, False])
def test_orbax_alone_reads_it(tmp_path, on_background):
    model = made()
    fit(model, OrbaxCheckpoint(tmp_path, save_on_background=on_background, max_to_keep=None))
    assert steps(tmp_path) == [0, 1, 2]
    tree = ocp.load_checkpointables(tmp_path / "2")["pytree"]
    weights = model.module.state_dict()
    assert tree["weights"].keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(tree["weights"][name], weight.numpy())
    assert tree["optimizer"]["state"]["0"]["exp_avg"].shape == (3, 2)


def test_weights_alone(tmp_path):
    model, other = made(), made()
    fit(model, OrbaxCheckpoint(tmp_path, save_weights_only=True))
    assert ocp.load_checkpointables(tmp_path / "2")["pytree"].keys() == {"weights"}
    assert OrbaxCheckpoint.load(tmp_path, other) == 2
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))
    assert other.optimizer.iterations == 0


def test_weights_of_a_full_checkpoint(tmp_path):
    model, other = made(), torch.nn.Sequential(*made().module)
    fit(model, OrbaxCheckpoint(tmp_path))
    with pytest.raises(DataError, match="optimizer"):
        OrbaxCheckpoint.load(tmp_path, other)
    OrbaxCheckpoint.load(tmp_path, other, weights_only=True)
    assert torch.equal(other[0].weight, model.module[0].weight)


def test_half_precision_and_empty_weights(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1, dtype=torch.bfloat16)
            self.register_buffer("nothing", torch.empty(0, 3))

        def forward(self, x):
            return self.layer(x.bfloat16()).float()

    def model():
        net = Model(Net())
        net.compile(torch.optim.SGD(net.parameters(), lr=0.1), "mse")
        return net

    saved, other = model(), model()
    fit(saved, OrbaxCheckpoint(tmp_path), epochs=1)
    OrbaxCheckpoint.load(tmp_path, other)
    assert torch.equal(other.module.layer.weight, saved.module.layer.weight)
    assert other.module.layer.weight.dtype == torch.bfloat16
    assert str(
        ocp.load_checkpointables(tmp_path / "0")["pytree"]["weights"]["layer.weight"].dtype
    ) == ("bfloat16")


def test_the_best_alone_is_saved_also_at_batches(tmp_path):
    class Losses(Callback):
        order = -10
        values = iter([0.5, 0.3, 0.4, 0.2, 0.6, 0.1])

        def on_train_batch_end(self, batch, logs=None):
            logs["loss"] = next(self.values)

    saves = OrbaxCheckpoint(
        tmp_path, "loss", save_best_only=True, save_freq=1, max_to_keep=None, mode="min"
    )
    fit(made(), Losses(), saves, epochs=2)
    assert steps(tmp_path) == [1, 2, 4, 6]
    assert saves.best == 0.1


def test_starting_again_in_the_same_directory_goes_on_behind_what_is_there(tmp_path):
    fit(made(), OrbaxCheckpoint(tmp_path, max_to_keep=None))
    fit(made(), OrbaxCheckpoint(tmp_path, max_to_keep=None), epochs=2)
    assert steps(tmp_path) == [0, 1, 2, 3, 4]
    fit(made(), OrbaxCheckpoint(tmp_path, max_to_keep=2), initial_epoch=7, epochs=9)
    assert steps(tmp_path) == [7, 8]


def test_the_best_of_earlier_runs_has_to_be_beaten(tmp_path):
    first = OrbaxCheckpoint(tmp_path, "loss", save_best_only=True)
    fit(made(), first)
    second = OrbaxCheckpoint(tmp_path, "loss", save_best_only=True)
    fit(made(), second, epochs=2)
    assert second.best == first.best
    assert steps(tmp_path) == [2]


def test_an_interrupted_run_goes_on(tmp_path):
    class Fail(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def callbacks():
        return [
            BackupAndRestore(tmp_path / "backup"),
            OrbaxCheckpoint(tmp_path / "orbax", max_to_keep=None),
        ]

    with pytest.raises(KeyboardInterrupt):
        fit(made(), *callbacks(), Fail(), epochs=4)
    assert steps(tmp_path / "orbax") == [0, 1]
    fit(made(), *callbacks(), epochs=4)
    assert steps(tmp_path / "orbax") == [0, 1, 2, 3]


@pytest.mark.parametrize("on_background", [True, False])
def test_errors_of_the_disk_reach_the_caller(tmp_path, monkeypatch, on_background):
    async def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type_handlers.NumpyHandler, "serialize", full)
    with pytest.raises(OSError, match="No space left"):
        fit(made(), OrbaxCheckpoint(tmp_path, save_on_background=on_background))


def test_a_model_with_nan_is_not_saved(tmp_path):
    class Poison(Callback):
        order = -10

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.module[0].weight.data.fill_(float("nan"))

    fit(made(), Poison(), OrbaxCheckpoint(tmp_path, max_to_keep=None))
    assert steps(tmp_path) == [0]


def test_a_loop_of_ones_own(tmp_path):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters())
    with Run(net, optimizer, epochs=2, callbacks=[OrbaxCheckpoint(tmp_path)], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([0]):
                loss = ((net(X) - Y) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
    other = torch.nn.Linear(2, 1)
    second = torch.optim.Adam(other.parameters())
    assert OrbaxCheckpoint.load(tmp_path, other, second) == 1
    assert torch.equal(other.weight, net.weight)
    assert int(second.state[other.weight]["step"]) == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_model(tmp_path):
    keras = pytest.importorskip("keras")

    def model():
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        net.compile("adam", "mse")
        return net

    net, other = model(), model()
    x, y = X.numpy(), Y.numpy()
    net.fit(x, y, epochs=2, verbose=0, callbacks=[OrbaxCheckpoint(tmp_path)])
    assert OrbaxCheckpoint.load(tmp_path, other) == 1
    for expected, weight in zip(net.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert int(other.optimizer.iterations) == 2


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(NoCheckpointError, match="no folder"):
        OrbaxCheckpoint.load(tmp_path / "none", made())
    with pytest.raises(NoCheckpointError, match="there are: none"):
        OrbaxCheckpoint.load(tmp_path, made())
    fit(made(), OrbaxCheckpoint(tmp_path))
    with pytest.raises(NoCheckpointError, match="no checkpoint 7; there are: 2"):
        OrbaxCheckpoint.load(tmp_path, made(), step=7)


def test_without_orbax_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(UnsupportedError, match="pip install orbax-checkpoint"):
        OrbaxCheckpoint(tmp_path)


def test_a_run_without_a_model_is_an_error(tmp_path):
    with (
        pytest.raises(UnsupportedError, match="needs the model"),
        Run(callbacks=[OrbaxCheckpoint(tmp_path)], verbose=0),
    ):
        pytest.fail("the run began")


def test_what_else_is_in_the_state_is_strict_json_beside_the_arrays(tmp_path):
    fit(made(), OrbaxCheckpoint(tmp_path), EarlyStopping("loss"))
    beside = ocp.training.Checkpointer(tmp_path).metadata(2).custom_metadata
    state = json.loads(beside["state"])
    assert state["optimizer"]["param_groups"][0]["lr"] == 0.05


def test_metrics_that_are_no_numbers_do_not_hinder(tmp_path):
    saves = OrbaxCheckpoint(tmp_path)
    with pytest.raises(ConfigurationError, match="max_to_keep"):
        OrbaxCheckpoint(tmp_path, max_to_keep=0)
    ScriptedRun({"loss": [float("nan"), 1.0]}).play(saves)
    assert steps(tmp_path) == [1]
