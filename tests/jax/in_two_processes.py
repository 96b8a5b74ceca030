"""What ``test_processes`` runs in each of two processes that train one state.

Arguments: the coordinator's port, the number of this process, a folder for both.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from callboard import Run, UnsupportedError
from callboard.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from callboard.jax import Model

PATIENCE = 2
TX = optax.inject_hyperparams(optax.sgd)(0.125)


@partial(jax.jit, donate_argnums=0)
def step(state, x, y):
    params, opt_state = state
    loss, grads = jax.value_and_grad(lambda w: jnp.mean((x @ w - y) ** 2))(params)
    updates, opt_state = TX.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


def assert_refused(make):
    try:
        make()
    except UnsupportedError as error:
        assert "Run(state=...)" in str(error)  # noqa: PT017 - not in pytest
    else:
        raise AssertionError("it was taken")


def assert_models_are_refused(parts, whole):
    def apply_fn(params, x):
        return x @ params

    assert_refused(lambda: Model(apply_fn, jnp.zeros((4, 1)), data_sharding=parts))
    assert_refused(lambda: Model(apply_fn, jax.device_put(jnp.zeros((4, 1)), whole)))


def trained(rank, folder, parts, whole):
    rng = np.random.default_rng(rank)  # of each process its own samples
    x = rng.normal(size=(8, 4)).astype("f4")
    batch = [
        jax.make_array_from_process_local_data(parts, array)
        for array in (x, x.sum(1, keepdims=True))
    ]
    params = jnp.zeros((4, 1))
    # Of the validation each process knows its part: to one alone the third epoch is the best.
    scores = ([4.0, 2.0, 3.0, 3.0, 3.0, 3.0], [2.0, 2.0, 0.0, 5.0, 5.0, 5.0])[rank]
    listed = [
        EarlyStopping("val_score", mode="min", patience=PATIENCE, restore_best_weights=True),
        ReduceLROnPlateau("val_score", mode="min", patience=1, factor=0.5),
        ModelCheckpoint(folder / "best.h5", "val_score", mode="min", save_best_only=True),
        CSVLogger(folder / "log.csv"),
    ]
    state = jax.device_put((params, TX.init(params)), whole)
    with Run(state=state, epochs=len(scores), callbacks=listed, verbose=0) as run:
        for epoch in run.epochs():
            for _ in run.train(range(3)):
                run.state, loss = step(run.state, *batch)
                run.log(loss=loss)
            for _ in run.validate(range(1)):
                run.log(score=scores[epoch])
    return run


def main():
    port, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)
    mesh = jax.make_mesh((2,), ("data",))
    parts = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    assert_models_are_refused(parts, whole)
    run = trained(rank, folder, parts, whole)
    history = {name: values for name, values in run.history.history.items() if name != "loss"}
    weights = run.trainable.weights()["0"].ravel().tolist()
    sys.stdout.write(f"{run.progress.epoch} {history} {weights}\n")


if __name__ == "__main__":
    main()
