"""Callbacks around loops on JAX that the user wrote."""

import subprocess
import sys
import textwrap
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from callboard import ConfigurationError, Run, RunStateError, UnsupportedError
from callboard.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from callboard.testing import assert_exact_resume

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4)).astype("f4")
Y = X.sum(1, keepdims=True)
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 32, 8)]
TX = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)


def initial(tx=TX):
    params = {"w": jnp.zeros((4, 1)), "b": jnp.zeros(1)}
    return {"params": params, "opt_state": tx.init(params), "key": jax.random.key(0)}


def loss_of(params, key, batch):
    x, y = batch
    noise = 0.01 * jax.random.normal(key, y.shape)
    return jnp.mean((x @ params["w"] + params["b"] - y + noise) ** 2)


@partial(jax.jit, donate_argnums=0)
def step(state, batch):
    key, used = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_of)(state["params"], used, batch)
    updates, opt_state = TX.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    return {"params": params, "opt_state": opt_state, "key": key}, loss


def loop(run):
    with run:
        for _ in run.epochs():
            for batch in run.train(BATCHES):
                run.state, loss = step(run.state, batch)
                run.log(loss=loss)
    return run


def test_callbacks_change_the_rate_and_nothing_is_compiled_anew():
    step.clear_cache()
    halve = LearningRateScheduler(lambda _, rate: rate / 2)
    run = loop(Run(state=initial(), epochs=4, verbose=0, callbacks=[halve]))
    assert run.learning_rate == pytest.approx(0.01 / 16)
    assert run.history.history["learning_rate"] == pytest.approx([0.01 / 2**i for i in range(1, 5)])
    assert step._cache_size() == 1
    assert run.model.optimizer.iterations == 16


def test_the_best_weights_come_back(tmp_path):
    kept = {}

    def spoil(epoch, _logs):
        if epoch == 2:
            kept["best"] = run.trainable.weights()
        if epoch == 4:
            run.state = {**run.state, "params": jax.tree.map(lambda w: w + 9, run.state["params"])}

    stop = EarlyStopping("loss", patience=1, restore_best_weights=True)
    losses = iter([0.5, 0.4, 0.3, 0.4, 0.5])
    run = Run(
        state=initial(),
        epochs=5,
        verbose=0,
        callbacks=[LambdaCallback(on_epoch_end=spoil), stop],
    )
    with run:
        for _ in run.epochs():
            loss = next(losses)
            for batch in run.train(BATCHES):
                run.state, _ = step(run.state, batch)
                run.log(loss=loss)
    assert run.progress.epoch == 3
    np.testing.assert_array_equal(run.state["params"]["w"], kept["best"]["w"])


def test_a_checkpoint_holds_the_weights_of_after_the_step(tmp_path):
    saver = ModelCheckpoint(tmp_path / "best.safetensors", monitor="loss", save_best_only=True)
    plateau = ReduceLROnPlateau("loss", patience=1)
    log = CSVLogger(tmp_path / "log.csv")
    run = loop(Run(state=initial(), epochs=2, verbose=0, callbacks=[saver, plateau, log]))
    fresh = Run(state=initial(), verbose=0).trainable
    fresh.load(tmp_path / "best.safetensors", weights_only=True)
    np.testing.assert_array_equal(fresh.state["params"]["w"], run.state["params"]["w"])
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_modules_of_nnx_are_trained_in_place(tmp_path):
    module = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu)
    optimizer = nnx.Optimizer(module, TX, wrt=nnx.Param)

    @nnx.jit
    def update(module, optimizer, batch):
        x, y = batch
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(module)
        optimizer.update(module, grads)
        return loss

    board = TensorBoard(tmp_path, histogram_freq=1)
    listed = [board, LearningRateScheduler(lambda _, rate: rate / 2)]
    with Run(module, optimizer, epochs=2, callbacks=listed, verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train(BATCHES):
                run.log(loss=update(module, optimizer, batch))
    assert run.history.history["loss"][1] < run.history.history["loss"][0]
    assert float(optimizer.opt_state.hyperparams["learning_rate"][...]) == pytest.approx(0.0025)
    (file,) = (tmp_path / "train").iterdir()
    written = file.read_bytes()
    assert b"layers.0.kernel/histogram" in written
    assert b"layers.0/activations/histogram" in written


def test_modules_of_equinox_are_states(tmp_path):
    model = eqx.nn.MLP(4, 1, 8, 1, key=jax.random.key(0))
    state = (model, TX.init(eqx.filter(model, eqx.is_array)))

    @eqx.filter_jit
    def update(state, batch):
        model, opt_state = state
        x, y = batch
        loss, grads = eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(x) - y) ** 2))(
            model
        )
        updates, opt_state = TX.update(grads, opt_state)
        return (eqx.apply_updates(model, updates), opt_state), loss

    stop = EarlyStopping("loss", restore_best_weights=True)
    with Run(state=state, epochs=2, callbacks=[stop], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train(BATCHES):
                run.state, loss = update(run.state, batch)
                run.log(loss=loss)
    assert run.history.history["loss"][1] < run.history.history["loss"][0]
    assert callable(run.state[0])


def test_nan_ends_the_run_and_is_found_in_the_logs():
    run = Run(state=initial(), epochs=2, callbacks=[TerminateOnNaN()], verbose=0)
    with run:
        for _ in run.epochs():
            for _ in run.train(BATCHES):
                run.log(loss=jnp.float32(jnp.nan))
    assert run.progress.epoch == 0
    assert "invalid loss" in run.stop_reason


@pytest.mark.parametrize("kill", [1, 6, "epoch end", "validation"])
def test_a_killed_run_goes_on_bit_for_bit(kill, tmp_path):
    def train(folder):
        listed = [ReduceLROnPlateau("loss", patience=1, factor=0.5), CSVLogger(folder / "log.csv")]
        listed.append(EarlyStopping("loss", patience=9, restore_best_weights=True))
        run = Run(state=initial(), epochs=3, callbacks=listed, directory=folder, verbose=0)
        with run:
            for _ in run.epochs():
                for batch in run.train(BATCHES):
                    run.state, loss = step(run.state, batch)
                    run.log(loss=loss)
                for batch in run.validate(BATCHES[:2]):
                    run.log(loss=loss_of(run.state["params"], jax.random.key(1), batch))
        saved = {name: dict(part) for name, part in run.trainable.state_dict().items()}
        return {**saved, "history": run.history.history, "csv": (folder / "log.csv").read_text()}

    assert_exact_resume(train, kills=[kill], directory=tmp_path)


def test_mistakes_are_said_before_the_first_epoch():
    with pytest.raises(UnsupportedError, match=r"inject_hyperparams"):
        loop(Run(state=initial(optax.adam(1e-3)), callbacks=[ReduceLROnPlateau("loss")]))
    with pytest.raises(ConfigurationError, match=r"no array in it"):
        Run(state={"name": "none"})
    with pytest.raises(ConfigurationError, match=r"not both"):
        Run(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), state=initial())
    with pytest.raises(ConfigurationError, match=r"Run\(state=\(params, opt_state\)\)"):
        Run(eqx.nn.Linear(1, 1, key=jax.random.key(0)))
    with pytest.raises(RunStateError, match=r"pass Run\(state=...\)"):
        _ = Run().state
    with pytest.raises(RunStateError, match=r"pass Run\(state=...\)"):
        Run().state = 1


SHARDED = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import NamedSharding, PartitionSpec
    from callboard.jax import state_trainable

    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def made(value):
        w = jax.device_put(np.full((16, 2), value, "f4"), sharding)
        return state_trainable({"params": {"w": w}, "key": jax.random.key(3)})

    trained = made(0.0)
    rows = np.arange(32, dtype="f4").reshape(16, 2)
    trained.set_weights({"w": rows})
    assert trained.state["params"]["w"].sharding == sharding
    trained.save(__import__("pathlib").Path("w.h5"), weights_only=False)
    fresh = made(1.0)
    fresh.load(__import__("pathlib").Path("w.h5"), weights_only=False)
    w = fresh.state["params"]["w"]
    assert w.sharding == sharding and len(w.addressable_shards) == 8
    np.testing.assert_array_equal(w, rows)

    from callboard import Run
    from callboard.callbacks import BackupAndRestore

    for epochs in (1, 2):  # the second one goes on
        state = {"params": {"w": jax.device_put(np.zeros((16, 2), "f4"), sharding)}}
        backup = BackupAndRestore("backup", delete_checkpoint=False)
        with Run(state=state, epochs=epochs, callbacks=[backup], verbose=0) as run:
            for epoch in run.epochs():
                for batch in run.train([1.0, 2.0]):
                    run.state = jax.jit(lambda s, b: jax.tree.map(lambda w: w + b, s))(
                        run.state, batch
                    )
                    run.log(loss=run.state["params"]["w"].mean())
    assert run.progress.epoch == 1 and np.asarray(run.state["params"]["w"])[0, 0] == 6.0
    assert run.state["params"]["w"].sharding.is_equivalent_to(sharding, 2)
    print("kept its shards")
"""


def test_sharded_arrays_are_saved_and_come_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHARDED)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "kept its shards\n"), done.stderr
