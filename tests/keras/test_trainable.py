import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from callboard import ConfigurationError, DataError, Run, UnknownNameError, UnsupportedError
from callboard.callbacks import EarlyStopping
from callboard.keras import trainable
from callboard.keras.trainable import KerasTrainable


def test_weights_are_named_by_paths_and_come_back(model):
    seen = KerasTrainable(model)
    before = seen.weights()
    assert list(before) == [weight.path for weight in model.weights]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    seen.set_weights(before)
    for name, array in seen.weights().items():
        assert np.array_equal(array, before[name])


def test_weights_are_copied_into_arrays_of_an_earlier_call(model):
    seen = KerasTrainable(model)
    arrays = seen.weights()
    identities = [id(array) for array in arrays.values()]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    again = seen.weights(into=arrays)
    assert [id(array) for array in again.values()] == identities
    assert np.array_equal(arrays[model.weights[0].path], model.get_weights()[0])


def test_weights_of_another_model_change_nothing(model, make_model):
    seen = KerasTrainable(model)
    before = seen.weights()
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(2)])
    with pytest.raises(DataError, match="shape"):
        seen.set_weights(KerasTrainable(other).weights())
    assert all(np.array_equal(a, before[n]) for n, a in seen.weights().items())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(model, bad):
    seen = KerasTrainable(model)
    assert seen.nonfinite() == ""
    weights = model.get_weights()
    weights[2][0] = bad
    model.set_weights(weights)
    assert seen.nonfinite() == model.weights[2].path


def test_a_type_that_numpy_lacks_comes_back(model):
    half = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="bfloat16")])
    seen = KerasTrainable(half)
    before = seen.weights()
    kernel = before[half.weights[0].path]
    assert kernel.dtype.names == ("bfloat16",)
    half.set_weights([weight * 0 for weight in half.get_weights()])
    seen.set_weights(before)
    assert seen.weights()[half.weights[0].path].tobytes() == kernel.tobytes()


def test_the_learning_rate_is_read_and_set(model):
    seen = KerasTrainable(model)
    seen.learning_rate = 0.25
    assert seen.learning_rate == 0.25
    assert float(model.optimizer.learning_rate) == 0.25
    assert seen.rate_controller == ""


def test_the_rate_of_an_optimizer_that_scales_the_loss(make_model):
    inner = keras.optimizers.SGD(0.5)
    model = make_model(optimizer=keras.optimizers.LossScaleOptimizer(inner))
    seen = KerasTrainable(model)
    seen.learning_rate = 0.25
    assert float(inner.learning_rate) == 0.25


def test_rates_of_several_optimizers_keep_their_ratio(make_model):
    first, second = keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.1)
    mapping = keras.optimizers.OptimizerMap(first, {".*kernel": second})
    model = make_model(optimizer=keras.optimizers.MultiOptimizer(mapping))
    seen = KerasTrainable(model)
    before = seen.learning_rate
    seen.learning_rate = before / 2
    assert float(first.learning_rate) == pytest.approx(0.25)
    assert float(second.learning_rate) == pytest.approx(0.05)


def test_a_schedule_says_that_it_sets_the_rate(make_model):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    seen = KerasTrainable(make_model(optimizer=keras.optimizers.SGD(schedule)))
    assert seen.rate_controller == "SGD(learning_rate=ExponentialDecay(...))"
    assert seen.learning_rate == pytest.approx(0.5)
    with pytest.raises(ConfigurationError, match="ExponentialDecay"):
        seen.learning_rate = 0.1


def test_a_model_without_an_optimizer_says_so():
    bare = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(UnsupportedError, match="compile the model"):
        _ = KerasTrainable(bare).learning_rate
    assert KerasTrainable(bare).rate_controller == ""


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5", ".safetensors"])
def test_a_saved_model_is_read_by_keras(model, make_model, data, tmp_path, suffix):
    x, _ = data
    path = tmp_path / "deeper" / f"model{suffix}"
    KerasTrainable(model).save(path, weights_only=False)
    if suffix == ".weights.h5":
        loaded = make_model()
        loaded.set_weights([w * 0 for w in loaded.get_weights()])
        loaded.load_weights(path)
    elif suffix == ".safetensors":
        assert set(load_file(path)) == {weight.path for weight in model.weights}
        return
    else:
        loaded = keras.saving.load_model(path, compile=False)
    assert np.allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(b"before")

    def fail(target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model), "save", lambda self, target: fail(target))
    with pytest.raises(OSError, match="No space"):
        KerasTrainable(model).save(path, weights_only=False)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_paths_that_keras_cannot_write_are_named(model, tmp_path):
    seen = KerasTrainable(model)
    with pytest.raises(UnknownNameError, match=r"\.pt"):
        seen.check_path(tmp_path / "model.pt", weights_only=False)
    with pytest.raises(ConfigurationError, match=r"\.weights\.h5"):
        seen.check_path(tmp_path / "model.keras", weights_only=True)


def test_the_state_goes_into_a_model_of_other_names(data):
    def build():
        made = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(3),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(2),
            ]
        )
        made.layers[0].trainable = False
        made.compile("adam", "mse")
        return made

    first = build()
    first.fit(*data, verbose=0)
    state = KerasTrainable(first).state_dict()
    assert len(state["frozen"]) == 2
    second = build()
    assert second.weights[0].path != first.weights[0].path
    KerasTrainable(second).load_state_dict(state)
    loaded = KerasTrainable(second).state_dict()
    for part, arrays in state.items():
        for before, after in zip(arrays.values(), loaded[part].values(), strict=True):
            assert before.tobytes() == after.tobytes()


def test_the_state_of_another_optimizer_is_refused(model, make_model, data):
    model.fit(*data, verbose=0)
    other = make_model(optimizer="adam")
    with pytest.raises(DataError, match="optimizer"):
        KerasTrainable(other).load_state_dict(KerasTrainable(model).state_dict())
    bare = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    with pytest.raises(DataError, match="has an optimizer"):
        KerasTrainable(bare).load_state_dict(KerasTrainable(model).state_dict())


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.shared = keras.layers.Dense(4, name="shared")
        self.inner = keras.Sequential([keras.layers.Dense(3, name="inside")])

    def call(self, x):
        return self.inner(self.shared(self.shared(x)))


def test_activations_of_every_kind_of_model(model, data):
    x = data[0][:8]
    found = KerasTrainable(model).activations((x,))
    assert [a.shape for a in found.values()] == [(8, 3), (8, 2)]
    assert (found[next(iter(found))] >= 0).all()
    branch = keras.Input((4,))
    functional = keras.Model(branch, keras.layers.Add()([keras.layers.Dense(4)(branch), branch]))
    assert len(KerasTrainable(functional).activations(x)) == 2
    subclassed = Subclassed()
    names = list(KerasTrainable(subclassed).activations(x))
    assert [name.rsplit("/")[-1] for name in names] == ["shared", "shared_1", "inside"]
    assert "call" not in vars(subclassed.shared)  # nothing is left behind


def test_activations_leave_no_trace(data):
    drop = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    seen = KerasTrainable(drop)
    before = seen.state_dict()["weights"]
    seen.activations(data[0][:4])
    after = seen.state_dict()["weights"]
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_activations_need_a_batch(model):
    with pytest.raises(UnsupportedError, match="sample="):
        KerasTrainable(model).activations(None)


def test_gradients_cannot_be_guarded(model):
    seen = KerasTrainable(model)
    assert seen.guard(gradients=False) is False
    with pytest.raises(UnsupportedError, match="gradients"):
        seen.guard(gradients=True)
    assert seen.gradients() == {}


def test_a_loop_of_the_users_own(model, data):
    """Run(model=...) takes a Keras model that is trained by train_on_batch."""
    x, y = data
    stopping = EarlyStopping("loss", patience=1, min_delta=10, restore_best_weights=True)
    with Run(model=model, epochs=5, callbacks=[stopping], verbose=0) as run:
        for _ in run.epochs():
            for start in run.train(range(0, 48, 16)):
                batch = slice(start, start + 16)
                logs = model.train_on_batch(x[batch], y[batch], return_dict=True)
                run.log(logs, weight=16)
    assert run.stop_reason
    assert run.progress.epoch == 1


def test_other_objects_are_left_to_other_frameworks():
    assert trainable(object()) is None
