"""Modules that compute in float64 or in half precision."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callboard import Run, callbacks
from callboard.torch import Model
from callboard.torch.metrics import resolve_metric

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)
LABELS = (X.sum(1) > 0).long()
DTYPES = [torch.float64, torch.bfloat16, torch.float16]


def net(dtype, *, outputs=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).to(dtype)


def compiled(module, **options):
    model = Model(module)
    model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X.double().numpy(), Y.double().numpy()),
        (X.half().numpy(), Y.half().numpy()),
        (X.tolist(), Y.tolist()),
        ([(X[:30].double().numpy(), Y[:30].double().numpy()), (X[30:].tolist(), Y[30:].numpy())],),
    ],
    ids=["tensors", "float32", "float64", "float16", "lists", "batches"],
)
def test_floats_of_any_type_train_evaluate_and_predict(dtype, data):
    model = compiled(net(dtype), metrics=["mae"])
    history = model.fit(*data, epochs=4, batch_size=20, verbose=0, validation_data=(X, Y)).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_mae"][-1] < history["val_mae"][0]
    assert {p.dtype for p in model.module.parameters()} == {dtype}
    loss, mae = model.evaluate(*data, batch_size=20, verbose=0)
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-2)
    assert mae == pytest.approx(history["val_mae"][-1], rel=1e-2)
    wide = np.float64 if dtype is torch.float64 else np.float32
    assert model.predict(data[0], batch_size=20, verbose=0).dtype == wide


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_batches_are_taken_as_well(dtype):
    model = compiled(net(dtype))
    x, y = X.double().numpy(), Y.double().numpy()
    before = model.test_on_batch(x, y)
    for _ in range(5):
        model.train_on_batch(x, y)
    assert model.test_on_batch(x, y) < before
    assert model.predict_on_batch(x).shape == (60, 1)


def test_float64_is_computed_in_float64_throughout():
    model = compiled(net(torch.float64), metrics=["mae"], optimizer="adam")
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    error = model(X.double()) - Y.double()
    assert logs["loss"] == pytest.approx(error.square().mean().item(), rel=1e-14)
    assert logs["mae"] == pytest.approx(error.abs().mean().item(), rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_numbers_stay_whole(dtype):
    module = nn.Sequential(*net(dtype, outputs=2), nn.Softmax(-1))
    model = compiled(
        module,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        optimizer=torch.optim.SGD(module.parameters(), 0.5),
    )
    model.fit(X, LABELS, epochs=30, verbose=0, class_weight={0: 1.0, 1: 2.0})
    assert model.evaluate(X, LABELS, verbose=0)[1] > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_words_stay_whole(dtype):
    module = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(6, 1)).to(dtype)
    model = compiled(module)
    model.fit(np.array([[1, 2], [8, 0]]), np.array([[1.0], [0.0]]), verbose=0)
    assert model.predict(np.array([[1, 2]]), verbose=0).shape == (1, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        nn.SmoothL1Loss(),
        lambda y_true, y_pred: nn.functional.mse_loss(y_pred, y_true, reduction="none"),
        lambda y_true, y_pred: torch.lerp(y_true, y_pred, 0.5).square(),  # wants equal types
    ],
    ids=["module", "smooth", "function", "strict function"],
)
@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, 60)], ids=["", "weighted"])
def test_losses_of_other_makes_get_targets_of_the_outputs_type(dtype, loss, weight):
    model = compiled(net(dtype), loss=loss)
    model.fit(X.double().numpy(), Y.double().numpy(), sample_weight=weight, verbose=0)
    assert np.isfinite(model.predict(X, verbose=0)).all()


def test_a_loader_of_ones_own_yields_what_it_yields():
    seen = []

    class Noting(nn.Linear):
        def forward(self, x):
            seen.append(x.dtype)
            return super().forward(x.to(self.weight.dtype))

    loader = DataLoader(TensorDataset(X.double(), Y.double()), batch_size=20)
    model = compiled(Noting(4, 1), metrics=["mae"])
    model.fit(loader, verbose=0, validation_data=loader)
    model.predict(loader, verbose=0)
    assert set(seen) == {torch.float64}


@pytest.mark.parametrize("layer", [nn.Linear(4, 1), nn.Sequential(nn.Conv1d(1, 1, 4))])
def test_a_loader_of_another_type_than_the_module_is_explained(layer):
    x = X.double() if isinstance(layer, nn.Linear) else X.double().unsqueeze(1)
    model = compiled(layer)
    loader = DataLoader(TensorDataset(x, Y), batch_size=20)
    for act in (model.fit, model.evaluate, model.predict):
        with pytest.raises(RuntimeError) as caught:
            act(loader, verbose=0)
        notes = " ".join(caught.value.__notes__)
        assert "the data yields torch.float64" in notes
        assert "the module's parameters are torch.float32" in notes


def test_of_several_types_the_first_parameters_counts():
    module = nn.Sequential(nn.Linear(4, 8).double(), nn.Tanh(), nn.Linear(8, 1).double())
    assert Model(module).dtype is torch.float64
    module.insert(0, nn.Embedding(3, 4).bfloat16())
    assert Model(module).dtype is torch.bfloat16
    assert Model(nn.Flatten()).dtype is torch.float32
    assert Model(nn.LazyLinear(3, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_a_type_that_layers_cannot_compute_in_does_not_count():
    module = nn.Linear(4, 1)
    module.register_parameter("_", None)
    stored = nn.Module()
    stored.packed = nn.Parameter(torch.zeros(2).to(torch.float8_e4m3fn), requires_grad=False)
    assert Model(nn.Sequential(stored, module)).dtype is torch.float32


def test_a_module_that_changes_its_type_is_fed_with_the_new_one():
    model = compiled(net(torch.float32))
    model.fit(X, Y, verbose=0)
    model.module.double()
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert model.predict(X, verbose=0).dtype == np.float64


ALL_METRICS = [
    "mse", "mae", "mape", "msle", "root_mean_squared_error", "cosine_similarity", "r2_score",
    "binary_accuracy", "auc", "precision", "recall", "hinge", "poisson", "kl_divergence",
]  # fmt: skip


@pytest.mark.parametrize("name", ALL_METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_metrics_of_half_precision_add_up_in_float32(name, dtype):
    pred = torch.rand(3000, 1, generator=torch.Generator().manual_seed(0)).to(dtype)
    true = (torch.rand(3000, 1, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    half, wide = resolve_metric(name), resolve_metric(name)
    for p, t in zip(pred.split(10), true.split(10), strict=True):
        half.update_state(t, p)
        wide.update_state(t, p.float())
    assert float(half.result()) == pytest.approx(float(wide.result()), rel=1e-5)


def test_a_metric_function_of_half_precision_adds_up_in_float32():
    def off(y_true, y_pred):
        return (y_true - y_pred).abs().mean()

    model = compiled(net(torch.bfloat16), metrics=[off], loss=off)
    logs = model.evaluate(X, Y, batch_size=1, verbose=0, return_dict=True)
    expected = (model(X.bfloat16()).float() - Y).abs().mean().item()
    assert logs["off"] == pytest.approx(expected, rel=1e-2)
    assert logs["loss"] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_callbacks_see_a_module_of_the_type(dtype, tmp_path):
    model = compiled(net(dtype), optimizer="adam", metrics=["mae"])
    history = model.fit(
        X,
        Y,
        epochs=3,
        verbose=0,
        validation_split=0.2,
        callbacks=[
            callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1, gradients=True),
            callbacks.EarlyStopping(patience=9, restore_best_weights=True),
            callbacks.ModelCheckpoint(tmp_path / "best.safetensors", save_best_only=True),
            callbacks.TerminateOnNaN(),
            callbacks.SwapEMAWeights(momentum=0.5, swap_on_epoch=True),
        ],
    ).history
    assert len(history["val_loss"]) == 3
    assert {p.dtype for p in model.module.parameters()} == {dtype}
    other = compiled(net(dtype))
    other.load_weights(tmp_path / "best.safetensors")
    assert {p.dtype for p in other.module.parameters()} == {dtype}


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".safetensors", ".pt"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_has_the_weights_bit_for_bit(dtype, suffix, tmp_path):
    model = compiled(net(dtype), optimizer="adam")
    model.fit(X, Y, verbose=0)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    other = compiled(net(dtype), optimizer="adam")
    other.load(path)
    for name, value in model.module.state_dict().items():
        loaded = other.module.state_dict()[name]
        assert loaded.dtype is dtype
        assert torch.equal(loaded, value)
    if suffix in (".h5", ".pt"):
        model.fit(X, Y, shuffle=False, verbose=0)
        other.fit(X, Y, shuffle=False, verbose=0)
        for mine, its in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, its)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_interrupted_training_goes_on_bit_for_bit(dtype, tmp_path):
    class Cut(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.run.progress.step == 4:
                raise KeyboardInterrupt

    def train(*more, folder):
        model = compiled(net(dtype), optimizer="adam", metrics=["mae"])
        backup = callbacks.BackupAndRestore(folder, save_freq=1)
        torch.manual_seed(5)
        return model, lambda: model.fit(
            X, Y, epochs=3, batch_size=20, verbose=0, callbacks=[backup, *more]
        )

    whole, go = train(folder=tmp_path / "whole")
    expected = go().history
    _, go = train(Cut(), folder=tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        go()
    model, go = train(folder=tmp_path / "cut")
    assert go().history == expected
    for mine, its in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("dtype", [torch.float32, *DTYPES])
def test_what_looks_at_layers_gives_them_inputs_of_their_type(dtype, tmp_path):
    model = compiled(net(dtype))
    lines = []
    model.summary(lines.append, inputs=X.double().numpy())
    assert "(60, 8)" in lines[0]
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    with Run(model.module, optimizer, callbacks=[board], verbose=0) as run:
        for _ in run.epochs():
            for x, y in run.train([(X, Y)]):  # the loop casts by itself
                loss = (model.module(x.to(dtype)) - y).square().mean()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
    assert list((tmp_path / "train").iterdir())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_train_step_of_ones_own_gets_inputs_of_the_modules_type(dtype):
    seen = []

    class Own(Model):
        def train_step(self, batch):
            seen.append((batch.x.dtype, batch.y.dtype))
            self.optimizer.zero_grad()
            loss = (self.forward(batch.x) - batch.y).square().mean()
            loss.backward()
            self.optimizer.step()
            return {"loss": loss}

    model = Own(net(dtype))
    model.compile("sgd")
    model.fit(X.numpy(), Y.numpy(), verbose=0)
    assert set(seen) == {(dtype, torch.promote_types(dtype, torch.float32))}
