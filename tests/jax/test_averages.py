"""SwapEMAWeights on JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from callboard import Callback, DataError, Run, UnsupportedError
from callboard.callbacks import BackupAndRestore, SwapEMAWeights, TerminateOnNaN
from callboard.jax import Model
from callboard.testing import assert_exact_resume

X = np.linspace(-1, 1, 24, dtype="f4").reshape(12, 2)
Y = X.sum(1, keepdims=True)
MOMENTUM = 0.75


def made(optimizer=None, dtype="f4", **options):
    model = Model(lambda p, x: x @ p["w"], {"w": jnp.ones((2, 1), dtype)})
    optimizer = optimizer or optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, x=X, epochs=2, **options):
    options = {"validation_data": (X, Y), "shuffle": False, "batch_size": 4, "verbose": 0} | options
    return model.fit(x, Y, epochs=epochs, callbacks=callbacks, **options).history


class Watch(Callback):
    """Notes the weights after every execution."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.run.trainable.weights()["w"])


def averaged(weights, momentum=MOMENTUM):
    average = weights[0]
    for weight in weights[1:]:
        average = momentum * average + (1 - momentum) * weight
    return average


def test_the_averages_of_the_updates_validate_and_are_left():
    model, watch = made(), Watch()
    history = fit(model, watch, SwapEMAWeights(momentum=MOMENTUM))
    expected = averaged(watch.seen)
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-6)
    assert history["val_loss"][-1] == pytest.approx(float(np.mean((X @ expected - Y) ** 2)))
    alone = made()
    plain = Watch()
    fit(alone, plain)
    np.testing.assert_array_equal(plain.seen[-1], watch.seen[-1])  # training does not notice
    again = SwapEMAWeights(momentum=MOMENTUM)
    fit(model, again, initial_epoch=2, epochs=3)  # what was left is trained on


def test_the_averages_are_in_the_model_from_the_end_of_an_epoch_if_asked_for():
    seen = []

    class Look(Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.run.trainable.weights()["w"])

    watch = Watch()
    fit(made(), watch, Look(), SwapEMAWeights(True, momentum=MOMENTUM), epochs=1)
    np.testing.assert_allclose(seen[0], averaged(watch.seen), rtol=1e-6)


def test_updates_are_counted_and_not_batches():
    together, watch = made(steps_per_execution=2), Watch()
    fit(together, watch, SwapEMAWeights(momentum=MOMENTUM), x=X[:12])
    first, second, third, fourth = watch.seen  # after batches 2, 3; 5, 6
    expected = first
    for weight, updates in ((second, 1), (third, 2), (fourth, 1)):
        left = MOMENTUM**updates
        expected = left * expected + (1 - left) * weight
    np.testing.assert_allclose(together.get_weights()[0], expected, rtol=1e-6)
    gathered, watch = made(gradient_accumulation_steps=3), Watch()
    fit(gathered, watch, SwapEMAWeights(momentum=MOMENTUM))
    updated = [watch.seen[2], watch.seen[5]]
    np.testing.assert_allclose(gathered.get_weights()[0], averaged(updated), rtol=1e-6)


def test_a_rejected_update_is_not_averaged():
    x = X.copy()
    x[8:] = np.nan
    model, watch = made(), Watch()
    fit(model, watch, TerminateOnNaN(), SwapEMAWeights(momentum=MOMENTUM), x=x)
    np.testing.assert_allclose(model.get_weights()[0], averaged(watch.seen[:2]), rtol=1e-6)


def test_half_precision_is_averaged_in_float32():
    model = made(dtype="bfloat16")
    swap = SwapEMAWeights(momentum=0.999)
    fit(model, swap)
    assert swap._averages.state_dict()["averages"]["w"].dtype == jnp.float32
    assert model.state.params["w"].dtype == jnp.bfloat16


def test_the_models_own_weights_are_back_after_an_error():
    class Fail(Callback):
        def on_test_end(self, logs=None):
            raise OSError("disk")

    model, watch = made(), Watch()
    with pytest.raises(OSError, match="disk"):
        fit(model, watch, Fail(), SwapEMAWeights(momentum=MOMENTUM))
    np.testing.assert_array_equal(model.get_weights()[0], watch.seen[-1])


@pytest.mark.parametrize(("swap_on_epoch", "kill"), [(False, 5), (True, "validation")])
def test_a_run_that_is_killed_goes_on_exactly(tmp_path, swap_on_epoch, kill):
    def train(folder):
        model = made("adam")
        swap = SwapEMAWeights(swap_on_epoch, momentum=MOMENTUM)
        history = fit(model, BackupAndRestore(folder / "backup", save_freq=1), swap)
        return {"weights": model.get_weights(), "history": history}

    assert_exact_resume(train, kills=[kill], directory=tmp_path)


def test_averages_of_another_model_are_refused():
    averages = made().trainable.averages(MOMENTUM)
    saved = averages.state_dict()
    with pytest.raises(DataError, match="of another model"):
        averages.load_state_dict({**saved, "averages": {"v": saved["averages"]["w"]}})


def test_what_cannot_be_averaged_is_an_error_before_the_first_batch():
    watch = Watch()
    with pytest.raises(UnsupportedError, match=r"SwapEMAWeights\(momentum=0.99\)"):
        fit(made(), watch, SwapEMAWeights())
    with pytest.raises(UnsupportedError, match=r"keeps none; make it by optax.inject_hyperparams"):
        fit(made(optax.sgd(0.1)), watch, SwapEMAWeights(momentum=MOMENTUM))
    with (
        pytest.raises(UnsupportedError, match=r"optax.incremental_update .* callboard.jax.Model"),
        Run(state={"w": jnp.ones(2)}, callbacks=[SwapEMAWeights(momentum=0.9)], verbose=0),
    ):
        watch.on_train_batch_end(0)
    assert not watch.seen


def test_nothing_is_given_away_that_the_averages_hold():
    model = made("adam")
    swap = SwapEMAWeights(True, momentum=MOMENTUM)
    fit(model, swap, epochs=3)
    held = jax.tree.leaves(swap._averages.state_dict())
    fit(model, epochs=1)
    assert not any(array.is_deleted() for array in held)
