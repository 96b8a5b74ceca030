"""Keras's ``compile`` and ``fit`` on JAX."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from callboard import (
    ConfigurationError,
    ConfigurationWarning,
    DataError,
    RunStateError,
    UnknownNameError,
)
from callboard.callbacks import (
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from callboard.jax import Model, losses

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("f4")
Y = (X.sum(1) > 0).astype("i8")


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(self.norm(self.first(x))))


def equinox():
    first, last = jax.random.split(jax.random.key(0))
    layers = [eqx.nn.Linear(4, 8, key=first), eqx.nn.Dropout(0.5), eqx.nn.Linear(8, 2, key=last)]
    return eqx.nn.Sequential(layers)


def logits(params, x, key=None, training=False):
    if training:
        x = x * jax.random.bernoulli(key, 0.9, x.shape)
    return x @ params["w"] + params["b"]


def made(kind="function", **options):
    model = {
        "function": lambda: Model(logits, {"w": jnp.zeros((4, 2)), "b": jnp.zeros(2)}),
        "linen": lambda: Model(Linen()),
        "nnx": lambda: Model(Nnx(nnx.Rngs(0))),
        "equinox": lambda: Model(equinox()),
    }[kind]()
    loss = options.pop("loss", None) or losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(options.pop("optimizer", "adam"), loss, metrics=["accuracy"], **options)
    return model


@pytest.mark.parametrize("kind", ["function", "linen", "nnx", "equinox"])
def test_every_kind_of_model_is_trained_saved_and_loaded(kind, tmp_path):
    model = made(kind, optimizer=optax.inject_hyperparams(optax.adam)(0.05))
    saver = ModelCheckpoint(tmp_path / "last.h5")
    history = model.fit(
        X, Y, validation_data=(X, Y), epochs=3, batch_size=8, callbacks=[saver], verbose=0
    ).history
    assert sorted(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["val_loss"][-1] < history["val_loss"][0]
    outputs = model.predict(X[:5], verbose=0)
    assert outputs.shape == (5, 2)
    fresh = made(kind, optimizer=optax.inject_hyperparams(optax.adam)(0.05))
    fresh.build(X)
    fresh.load(tmp_path / "last.h5")
    np.testing.assert_array_equal(fresh.predict(X[:5], verbose=0), outputs)
    assert fresh.optimizer.iterations == model.optimizer.iterations == 15
    loss, accuracy = fresh.evaluate(X, Y, batch_size=8, verbose=0)
    assert (loss, accuracy) == (history["val_loss"][-1], history["val_accuracy"][-1])


def test_the_module_has_the_weights_when_fit_is_over():
    module = Nnx(nnx.Rngs(0))
    before = np.asarray(module.last.kernel[...])
    model = Model(module)
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    assert not np.array_equal(module.last.kernel[...], before)
    np.testing.assert_array_equal(module.last.kernel[...], model.trainable.weights()["last.kernel"])
    model.fit(X, Y, verbose=0)  # what the module holds is its own: nothing of it is given away
    assert model.module is module


def test_arrays_of_the_user_are_not_given_away():
    params = {"w": jnp.zeros((4, 2)), "b": jnp.zeros(2)}
    model = Model(logits, params)
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    assert params["w"].tolist() == [[0.0, 0.0]] * 4


def test_a_step_is_given_the_state_and_logs_are_sums_on_the_device_that_stay():
    model, kept = made(), []
    listen = LambdaCallback(on_train_batch_end=lambda _, logs: kept.append(logs))
    model.build(X)
    before = model.state
    model.fit(X, Y, batch_size=8, callbacks=[listen], verbose=0)
    assert all(array.is_deleted() for array in jax.tree.leaves((before.params, before.opt_state)))
    sums = [logs.unread["loss"].total for logs in kept]
    assert all(isinstance(total, jax.Array) for total in sums)
    assert all(np.isfinite(logs["loss"]) for logs in kept)  # none of them was given away
    assert kept[-1]["loss"] == model.history.history["loss"][0]


def compilations(caplog):
    return [r.message for r in caplog.records if r.message.startswith("Compiling jit(step")]


def test_nothing_is_compiled_anew_when_a_callback_sets_the_rate_or_fit_is_called_again(caplog):
    model = made()
    halve = LearningRateScheduler(lambda _, rate: rate / 2)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        model.fit(X, Y, epochs=3, batch_size=8, callbacks=[halve], verbose=0)
        assert len(compilations(caplog)) == 1
        model.optimizer.lr = 0.1
        model.fit(X, Y, batch_size=8, verbose=0)
    assert len(compilations(caplog)) == 1
    assert model.optimizer.learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize("rate_setter", [LearningRateScheduler(lambda _: 0.5), ReduceLROnPlateau()])
def test_a_rate_that_a_schedule_sets_is_left_to_it(rate_setter):
    schedule = optax.cosine_decay_schedule(0.1, 100)
    model = made(optimizer=optax.inject_hyperparams(optax.adam)(schedule))
    model.build(X)
    with pytest.raises(ConfigurationError, match=r"sets the learning rate, and a schedule in the"):
        model.fit(X, Y, verbose=0, callbacks=[rate_setter], validation_data=(X, Y))
    assert model.optimizer.iterations == 0
    model.fit(X, Y, verbose=0)
    assert model.optimizer.learning_rate == pytest.approx(float(schedule(1)))


def test_several_steps_in_one_execution_are_the_same_steps():
    hooks = []
    listen = LambdaCallback(on_train_batch_end=lambda batch, _: hooks.append(batch))
    one, many = made(), made(steps_per_execution=2)
    history = one.fit(X, Y, epochs=2, batch_size=8, verbose=0).history
    together = many.fit(X, Y, epochs=2, batch_size=8, callbacks=[listen], verbose=0).history
    assert hooks == [1, 3, 4, 1, 3, 4]
    np.testing.assert_allclose(history["loss"], together["loss"], rtol=1e-6)
    for ours, theirs in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 4])
def test_an_update_with_nan_is_not_applied(steps):
    x = X.copy()
    x[20] = np.nan
    model = made(steps_per_execution=steps)
    with pytest.raises(ArithmeticError, match=r"invalid loss: nan; the update was not applied"):
        model.fit(x, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[TerminateOnNaN(True)])
    assert model.optimizer.iterations == 2  # those before
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_infinite_gradients_are_rejected_where_asked_for():
    def root(y_true, y_pred):
        return jnp.sqrt(jnp.abs(y_pred[:, 0] * 0 + y_true * 0))

    model = made(loss=root)
    guard = TerminateOnNaN(raise_error=True, gradients=True)
    with pytest.raises(ArithmeticError, match="invalid gradient"):
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[guard])
    assert model.optimizer.iterations == 0


def test_early_stopping_puts_the_best_weights_back():
    model = made(optimizer="sgd")
    kept = {}
    losses_of = iter([0.3, 0.2, 0.4, 0.5])

    def play(epoch, logs):
        logs["score"] = next(losses_of)
        if epoch == 1:
            kept.update(model.trainable.weights())

    model.fit(
        X,
        Y,
        epochs=4,
        verbose=0,
        callbacks=[
            LambdaCallback(on_epoch_end=play),
            EarlyStopping("score", mode="min", patience=2, restore_best_weights=True),
        ],
    )
    np.testing.assert_array_equal(model.trainable.weights()["w"], kept["w"])


def test_histograms_of_weights_activations_and_gradients(tmp_path):
    model = made("nnx", steps_per_execution=2)
    board = TensorBoard(tmp_path, histogram_freq=1, gradients=True)
    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[board])
    (file,) = (tmp_path / "train").iterdir()
    written = file.read_bytes()
    for tag in ("norm.mean", "first.kernel", "first/activations", "first.kernel/gradients"):
        assert f"{tag}/histogram".encode() in written
    plain = made()
    with pytest.warns(RuntimeWarning, match="a function has no layers"):
        plain.fit(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path / "b", histogram_freq=1)])


def test_weights_of_classes_and_samples():
    weights = np.where(Y == 1, 3.0, 1.0).astype("f4")
    by_class, by_sample, by_both = made(), made(), made()
    a = by_class.fit(X, Y, batch_size=8, class_weight={1: 3.0}, verbose=0).history["loss"]
    b = by_sample.fit(X, Y, batch_size=8, sample_weight=weights, verbose=0).history["loss"]
    np.testing.assert_allclose(a, b, rtol=1e-6)
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
    by_both.fit(batches, class_weight={0: 0.0, 1: 0.0}, verbose=0)
    assert by_both.history.history["loss"] == [0.0]


def test_data_of_all_kinds():
    model = made(steps_per_execution=2)
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]
    assert model.fit(batches, epochs=2, verbose=0).epoch == [0, 1]

    def endless():
        while True:
            yield from batches

    history = model.fit(endless(), steps_per_epoch=3, epochs=2, validation_split=0.0, verbose=0)
    assert history.epoch == [0, 1]
    split = model.fit(X, Y, validation_split=0.25, validation_freq=2, epochs=2, verbose=0).history
    assert np.isnan(split["val_loss"]).tolist() == [True, False]
    with pytest.raises(DataError, match="the same number of samples"):
        model.fit(X, Y[:-1], verbose=0)
    with pytest.raises(ConfigurationError, match="not both"):
        model.fit(X, Y, validation_split=0.5, validation_data=(X, Y), verbose=0)


def test_a_dict_of_inputs_goes_into_a_module_that_takes_a_key():
    class Noisy(eqx.Module):
        layer: eqx.nn.Linear
        dropout: eqx.nn.Dropout

        def __call__(self, x, key=None):
            return self.dropout(self.layer(x["a"] - x["b"]), key=key)

    model = Model(Noisy(eqx.nn.Linear(4, 2, key=jax.random.key(0)), eqx.nn.Dropout(0.5)))
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.fit({"a": X, "b": -X}, Y, verbose=0).history["loss"]).all()


def test_several_outputs_have_a_loss_each():
    def twice(params, x):
        return {"a": x @ params["w"], "b": x @ params["w"] * 2}

    model = Model(twice, {"w": jnp.ones((4, 1))})
    model.compile("sgd", {"a": "mse", "b": "mae"}, {"b": 0.5}, metrics={"a": ["mae"]})
    target = X.sum(1, keepdims=True)
    history = model.fit(X, {"a": target, "b": target}, verbose=0).history
    assert sorted(history) == ["a_loss", "a_mae", "b_loss", "loss"]
    total = history["a_loss"][0] + 0.5 * history["b_loss"][0]
    assert history["loss"][0] == pytest.approx(total)


def linear(**options):
    model = Model(lambda p, x: x @ p["w"], {"w": jnp.zeros((4, 1))})
    model.compile(options.pop("optimizer", "sgd"), "mse", **options)
    return model


def test_gradients_are_accumulated():
    whole, parts = linear(), linear(gradient_accumulation_steps=2)
    for model, size in ((whole, 20), (parts, 10)):
        model.fit(X, Y, batch_size=size, shuffle=False, verbose=0)
    np.testing.assert_allclose(*(m.get_weights()[0] for m in (whole, parts)), rtol=1e-5)
    parts.optimizer.lr = 0.5
    assert parts.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    "options", [{"clipnorm": 0.1}, {"global_clipnorm": 0.1}, {"clipvalue": 0.05}]
)
def test_gradients_are_clipped(options):
    model = linear(optimizer=optax.sgd(1.0), **options)
    model.train_on_batch(X, Y * 100)
    (weight,) = model.get_weights()
    if "clipvalue" in options:
        assert np.abs(weight).max() == pytest.approx(0.05)
    else:
        assert np.linalg.norm(weight) == pytest.approx(0.1)


def test_single_batches_and_eager_steps():
    model = made(run_eagerly=True)
    assert set(model.train_on_batch(X[:8], Y[:8], return_dict=True)) == {"loss", "accuracy"}
    loss, _ = model.test_on_batch(X[:8], Y[:8])
    assert np.isfinite(loss)
    assert model.predict_on_batch(X[:3]).shape == (3, 2)
    assert model(X[:3]).shape == (3, 2)
    told = []
    model.summary(told.append)
    assert told[0].endswith("Total: 10 (0.0 KB)")


def test_data_to_look_at_that_ends_early_is_warned_of():
    model = made()
    with pytest.warns(ConfigurationWarning, match="after 2 batches, and steps=5; the res"):
        model.evaluate(iter([(X[:4], Y[:4])] * 2), steps=5, verbose=0)
    with pytest.warns(ConfigurationWarning, match="after 2 batches, and validation_steps=5"):
        model.fit(X, Y, validation_data=[(X[:4], Y[:4])] * 2, validation_steps=5, verbose=0)


@pytest.mark.parametrize("steps", [1, 2])
def test_class_numbers_that_are_none_are_said_at_the_first_batch(steps):
    model = made(steps_per_execution=steps)
    with pytest.raises(DataError, match=r"go from 1 to 2, and the outputs have 2 classes, 0 to 1;"):
        model.fit(X, Y + 1, verbose=0)
    with pytest.raises(DataError, match=r"go from -1 to 1"):
        model.evaluate(X, np.where(Y == 0, -1, 1), verbose=0)
    void = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    history = made(loss=void).fit(X, np.where(Y == 0, -1, 1), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    values = losses.sparse_categorical_crossentropy(jnp.array([0, -1, 2]), jnp.ones((3, 2)))
    assert np.isnan(values).tolist() == [False, True, True]


def test_mistakes_are_said_before_training():
    with pytest.raises(ConfigurationError, match=r"takes probabilities, and the outputs lie"):
        made("nnx", loss="sparse_categorical_crossentropy").fit(X, Y, verbose=0)
    with pytest.raises(RunStateError, match="not compiled"):
        Model(logits, {"w": jnp.zeros((4, 2)), "b": jnp.zeros(2)}).fit(X, Y)
    with pytest.raises(RunStateError, match=r"model.build\(x\)"):
        Model(Linen()).get_weights()
    with pytest.raises(ConfigurationError, match="without parameters"):
        Model(logits)
    with pytest.raises(ConfigurationError, match="call Nnx to make one"):
        Model(Nnx)
    with pytest.raises(ConfigurationError, match="holds its parameters itself"):
        Model(equinox(), {})
    with pytest.raises(UnknownNameError, match="Did you mean 'adam'"):
        made(optimizer="adan")
    with pytest.raises(ConfigurationError, match=r"optax.adam\(0.001\)"):
        made(optimizer=3)
    with pytest.raises(ConfigurationError, match="steps_per_execution"):
        made(steps_per_execution=0)
    with pytest.raises(DataError, match="there are no targets"):
        made().fit(X, verbose=0)
