"""What ``test_data_parallel`` runs in a process that sees eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.sharding import NamedSharding, PartitionSpec

from callboard import ConfigurationError, UnsupportedError
from callboard._core.checks import ConfigurationWarning
from callboard.callbacks import (
    BackupAndRestore,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    TensorBoard,
    TerminateOnNaN,
)
from callboard.jax import Model, losses

RNG = np.random.default_rng(0)
X = RNG.normal(size=(44, 4)).astype("f4")  # the last batch is a short one
Y = (X.sum(1) > 0).astype("i8")
# Examples in docstrings are looked for in this file too, by processes that see one device.
MESH = jax.make_mesh((min(8, jax.device_count()),), ("data",))
SHARED = NamedSharding(MESH, PartitionSpec("data"))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(self.norm(self.first(x))))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


def made(kind="nnx", sharding=SHARED, **options):
    model = {
        "nnx": lambda: Model(Nnx(nnx.Rngs(0)), data_sharding=sharding),
        "linen": lambda: Model(Linen(), seed=3, data_sharding=sharding),
        "function": lambda: Model(
            lambda p, x: x @ p["w"], {"w": jnp.zeros((4, 2))}, data_sharding=sharding
        ),
    }[kind]()
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(options.pop("optimizer", "adam"), loss, metrics=["accuracy"], **options)
    return model


def fitted(model, **options):
    options = {"validation_data": (X, Y), "epochs": 2, "batch_size": 16, "verbose": 0} | options
    return model.fit(X, Y, **options).history


def assert_alike(one, many):
    assert one.keys() == many.keys()
    for name, values in one.items():
        np.testing.assert_allclose(many[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("kind", "steps"), [("nnx", 1), ("linen", 2)])
def test_eight_devices_train_as_one_does(kind, steps):
    # Not by Adam, which makes much of the rounding errors where a gradient is zero.
    options = {"optimizer": optax.sgd(0.1), "steps_per_execution": steps}
    one, many = (made(kind, sharding, **options) for sharding in (None, SHARED))
    assert_alike(fitted(one), fitted(many))
    for ours, theirs in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        many.evaluate(X, Y, batch_size=16, verbose=0),
        one.evaluate(X, Y, batch_size=16, verbose=0),
        rtol=1e-4,
    )
    outputs = many.predict(X, batch_size=16, verbose=0)
    np.testing.assert_allclose(
        outputs, one.predict(X, batch_size=16, verbose=0), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(many.predict_on_batch(X[:3]), outputs[:3], rtol=1e-3, atol=1e-5)


def test_each_device_has_its_part_of_a_batch_and_the_whole_state():
    seen = []

    def apply_fn(params, x):
        jax.debug.inspect_array_sharding(x, callback=seen.append)
        return x @ params["w"]

    model = Model(apply_fn, {"w": jnp.zeros((4, 2))}, data_sharding=SHARED)
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X[:32], Y[:32], batch_size=16, verbose=0)
    assert {sharding.shard_shape((16, 4)) for sharding in seen} == {(2, 4)}
    for leaf in jax.tree.leaves(model.state):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.sharding.device_set) == 8


def test_nothing_is_compiled_anew(caplog):
    model = made(sharding=SHARED)
    halve = LearningRateScheduler(lambda _, rate: rate / 2)

    def compilations(name):
        return sum(r.message.startswith(f"Compiling jit({name}") for r in caplog.records)

    with jax.log_compiles(), caplog.at_level("WARNING"):
        fitted(model, epochs=3, callbacks=[halve])
        assert compilations("step") == 2  # one of them for the short batch
        assert compilations("_added") == 2
        model.optimizer.lr = 0.1
        fitted(model)
    assert compilations("step") == 2
    assert compilations("_added") == 2


def test_metrics_with_state_of_their_own_are_those_of_all_samples():
    found = []
    for sharding in (None, SHARED):
        model = Model(
            lambda p, x: jax.nn.sigmoid(x @ p["w"]),
            {"w": jnp.ones((4, 1))},
            data_sharding=sharding,
        )
        model.compile("adam", "binary_crossentropy", metrics=["AUC"], weighted_metrics=["mae"])
        found.append(fitted(model, class_weight={1: 3.0}))
    assert_alike(*found)


def test_loaders_generators_and_single_batches():
    batches = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 44, 16)]
    one, many = (made("function", sharding) for sharding in (None, SHARED))
    for model in (one, many):
        model.fit(batches, epochs=2, verbose=0)
        model.fit(iter(batches), steps_per_epoch=2, verbose=0)
        model.train_on_batch(X[:5], Y[:5])
        model.train_on_batch(X[:8], Y[:8])
    np.testing.assert_allclose(many.get_weights()[0], one.get_weights()[0], rtol=1e-4)
    np.testing.assert_allclose(
        many.test_on_batch(X[:8], Y[:8]), one.test_on_batch(X[:8], Y[:8]), rtol=1e-4
    )
    uneven = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10)]
    with pytest.warns(
        ConfigurationWarning, match=r"a batch of 10 samples .* multiple of 8 samples"
    ):
        many.fit(uneven, verbose=0)


def test_callbacks_work_on_it(tmp_path):
    model = made()
    history = fitted(
        model,
        epochs=3,
        callbacks=[
            ModelCheckpoint(tmp_path / "best.h5", save_best_only=True),
            EarlyStopping(patience=1, restore_best_weights=True, start_from_epoch=0),
            TensorBoard(tmp_path / "logs", histogram_freq=1, gradients=True),
            TerminateOnNaN(),
        ],
    )
    assert len(history["loss"]) == 3
    fresh = made()
    fresh.load(tmp_path / "best.h5")
    loss, _ = fresh.evaluate(X, Y, batch_size=16, verbose=0)
    assert loss == pytest.approx(min(history["val_loss"]), rel=1e-5)
    x = X.copy()
    x[40] = np.nan
    guarded = made("function")
    guarded.fit(x, Y, batch_size=16, shuffle=False, verbose=0, callbacks=[TerminateOnNaN()])
    assert guarded.optimizer.iterations == 2
    assert np.isfinite(guarded.get_weights()[0]).all()


def test_sharded_parameters_stay_sharded_and_are_saved_and_restored(tmp_path):
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))

    def made_of(sharding):
        w = np.linspace(-1, 1, 8, dtype="f4").reshape(4, 2)
        w = jnp.asarray(w) if sharding is None else jax.device_put(w, columns)
        model = Model(lambda p, x: x @ p["w"], {"w": w}, data_sharding=sharding)
        loss = losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optax.inject_hyperparams(optax.adam)(0.05), loss)
        return model

    shared = NamedSharding(mesh, PartitionSpec("data"))
    one, many = made_of(None), made_of(shared)
    assert_alike(fitted(one), fitted(many))
    moments = many.state.opt_state.inner_state[0].mu
    for leaf in (many.state.params["w"], moments["w"]):
        assert leaf.sharding.shard_shape((4, 2)) == (4, 1)
    for epochs in (1, 2):
        backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        gone_on = made_of(shared)
        fitted(gone_on, epochs=epochs, callbacks=[backup])
    assert gone_on.state.params["w"].sharding.shard_shape((4, 2)) == (4, 1)
    np.testing.assert_array_equal(gone_on.get_weights()[0], many.get_weights()[0])


def test_mistakes_are_said():
    with pytest.raises(ConfigurationError, match=r"batch_size=30 .* 8 shards .* such as 32"):
        fitted(made(), batch_size=30)
    with pytest.raises(ConfigurationError, match=r"batch_size=12 .* multiple of 8, such as 16"):
        made("function").predict(X, batch_size=12)
    with pytest.raises(ConfigurationError, match=r"must be a jax.sharding.NamedSharding"):
        made(sharding=MESH)
    for spec in (PartitionSpec(), PartitionSpec(None, "data"), PartitionSpec(None)):
        with pytest.raises(ConfigurationError, match=r"the first axis of a batch"):
            made(sharding=NamedSharding(MESH, spec))
    other = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    w = jax.device_put(np.zeros((4, 2), "f4"), NamedSharding(other, PartitionSpec("data")))
    with pytest.raises(ConfigurationError, match=r"lies on 4 devices .* names 8; make both of one"):
        Model(lambda p, x: x @ p["w"], {"w": w}, data_sharding=SHARED)


def test_devices_of_other_processes_are_an_error(monkeypatch):
    monkeypatch.setattr(NamedSharding, "is_fully_addressable", property(lambda _: False))
    with pytest.raises(
        UnsupportedError, match=r"Run\(state=...\), or take the devices of jax.local"
    ):
        made()
