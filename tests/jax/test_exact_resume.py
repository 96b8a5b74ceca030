"""A training on JAX that is killed and started again ends, to the last bit, as if it had not."""

import numpy as np
import pytest
from flax import linen, nnx

from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from callboard.jax import Model, losses
from callboard.testing import assert_exact_resume

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("f4")
Y = (X.sum(1) > 0).astype("i8")


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


def generator():
    numbers = np.random.default_rng(5)  # of its own: the same again when it is begun anew
    while True:
        rows = numbers.integers(0, len(X), 8)
        yield X[rows], Y[rows]


def training(make, *, data="arrays", save_freq=1, **options):
    def train(folder):
        model = make()
        model.compile(
            "adam",
            losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy", "AUC"] if data == "AUC" else ["accuracy"],
            **options,
        )
        if data == "generator":
            model.build(X)
        given = {"x": generator(), "steps_per_epoch": 5}
        history = model.fit(
            **(given if data == "generator" else {"x": X, "y": Y, "batch_size": 8}),
            validation_data=(X, Y),
            epochs=3,
            verbose=0,
            callbacks=[
                BackupAndRestore(folder / "backup", save_freq=save_freq),
                CSVLogger(folder / "log.csv"),
                EarlyStopping("val_loss", patience=2, restore_best_weights=True),
                ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
                ModelCheckpoint(folder / "ckpt", save_top_k=2),
            ],
        )
        saved = {name: dict(part) for name, part in model.trainable.state_dict().items()}
        return {
            **saved,
            "key": np.asarray(model.state.key),
            "history": history.history,
            "csv": (folder / "log.csv").read_bytes(),
        }

    return train


def nnx_model():
    return Model(Nnx(nnx.Rngs(0)))


def linen_model():
    return Model(Linen(), seed=3)


@pytest.mark.parametrize("kill", [6, "epoch end", "validation"])
def test_dropout_and_batch_normalization_go_on(kill, tmp_path):
    assert_exact_resume(training(nnx_model), kills=[kill], directory=tmp_path)


def test_accumulated_gradients_and_random_keys_of_the_model_go_on(tmp_path):
    train = training(linen_model, gradient_accumulation_steps=2)
    assert_exact_resume(train, kills=[8], directory=tmp_path)


def test_executions_of_several_steps_go_on(tmp_path):
    train = training(nnx_model, steps_per_execution=2, save_freq=2)
    assert_exact_resume(train, kills=[4], directory=tmp_path)


@pytest.mark.filterwarnings("ignore:.*gone through again")
def test_a_generator_goes_on(tmp_path):
    train = training(linen_model, data="generator")
    assert_exact_resume(train, kills=[7], directory=tmp_path)
