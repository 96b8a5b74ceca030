from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from callboard import ConfigurationError, ConfigurationWarning, DataError, RunStateError
from callboard._core.errors import UnknownNameError
from callboard.callbacks import LambdaCallback
from callboard.torch import Model

GOLDEN = Path(__file__).parent.parent / "golden"

X = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])


def compiled(module=None, loss="mse", **options):
    torch.manual_seed(0)
    model = Model(module or nn.Linear(4, 1))
    if module is None:
        nn.init.zeros_(model.module.weight)
        nn.init.zeros_(model.module.bias)
    model.compile("sgd", loss, **options)
    return model


def fitted(*data, shuffle=False, **options):
    model = compiled()
    model.fit(*data, **{"batch_size": 5, "shuffle": shuffle, "verbose": 0, **options})
    return model


REFERENCE = fitted(X, Y).module.weight.detach().clone()


class Pairs(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return X[index], Y[index]


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


class Frame:
    """What a data frame of pandas or polars offers."""

    def __init__(self, tensor):
        self.shape = tuple(tensor.shape)
        self._array = tensor.numpy().astype(np.float64)

    def __array__(self, dtype=None, copy=None):
        return self._array

    def to_numpy(self):
        return self._array


class Anew:
    """An iterable that can be begun anew."""

    def __iter__(self):
        return zip(X.split(5), Y.split(5), strict=True)


FORMS = {
    "tensors": lambda: (X, Y),
    "float64 arrays": lambda: (X.double().numpy(), Y.double().numpy()),
    "lists of numbers": lambda: (X.tolist(), Y.tolist()),
    "data frames": lambda: (Frame(X), Frame(Y)),
    "flat targets": lambda: (X, Y.flatten()),
    "a dataset": lambda: (Pairs(),),
    "a tensor dataset": lambda: (TensorDataset(X, Y),),
    "a stream": lambda: (Stream(),),
    "a loader": lambda: (DataLoader(Pairs(), batch_size=5),),
    "a list of batches": lambda: (list(zip(X.split(5), Y.split(5), strict=True)),),
    "batches of arrays": lambda: ([(x.numpy(), y.double().numpy()) for x, y in Anew()],),
    "batches in lists": lambda: ([(x.tolist(), y.tolist()) for x, y in Anew()],),
    "an iterable": lambda: (Anew(),),
    "a generator": lambda: (([x, y] for x, y in Anew()),),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_trains_alike(form):
    model = fitted(*FORMS[form]())
    torch.testing.assert_close(model.module.weight.detach(), REFERENCE, rtol=1e-5, atol=1e-6)
    assert not model.stop_training


@pytest.mark.parametrize("form", [form for form in FORMS if form != "a generator"])
def test_every_form_of_data_validates_and_predicts_alike(form):
    model = fitted(X, Y)
    loss = model.evaluate(*FORMS[form](), batch_size=5, verbose=0)
    assert loss == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)
    data = FORMS[form]()
    validated = fitted(X, Y, validation_data=data[0] if len(data) == 1 else data)
    assert validated.history.history["val_loss"] == [pytest.approx(loss, rel=1e-5)]
    np.testing.assert_allclose(
        model.predict(data[0], verbose=0), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_images_of_bytes_and_ints_train_as_floats_of_the_same_values():
    bytes_ = np.random.default_rng(0).integers(0, 9, (20, 4)).astype(np.uint8)
    expected = fitted(torch.tensor(bytes_, dtype=torch.float32), Y)
    assert torch.equal(fitted(bytes_, Y).module.weight, expected.module.weight)


def test_numbers_of_words_stay_whole_for_an_embedding():
    model = compiled(nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(6, 1)))
    model.fit(np.array([[1, 2], [8, 0]]), np.array([[1.0], [0.0]]), verbose=0)
    assert model.predict(np.array([[1, 2]]), verbose=0).shape == (1, 1)


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, a, b):
        return (a + b) * self.weight


class Named(Sum):
    def forward(self, inputs):
        return super().forward(inputs["a"], inputs["b"])


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (Sum(), (X, -X)),
        (Sum(), [X, -X]),
        (Named(), {"a": X, "b": -X}),
        (Sum(), (X.numpy(), (-X).numpy())),
    ],
    ids=["tuple", "list", "dict", "arrays"],
)
def test_several_inputs_are_arguments_or_a_dict(module, x):
    model = compiled(module)
    history = model.fit(x, X, batch_size=8, verbose=0).history
    assert history["loss"] == [pytest.approx(X.square().mean().item(), rel=1e-5)]
    assert not model.predict(x, verbose=0).any()
    assert not model(x if isinstance(x, dict) else (X, -X)).any()


class Two(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return {"a": a, "b": b} if self.kind is dict else self.kind([a, b])


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_several_outputs_have_their_losses_weights_and_metrics(kind):
    def nest(a, b):
        return {"a": a, "b": b} if kind is dict else [a, b]

    model = compiled(
        Two(kind),
        nest("mse", "mae"),
        loss_weights=nest(1.0, 2.0),
        metrics=nest(["mae"], ["mse"]),
    )
    targets = nest(Y, torch.zeros(20, 2))
    history = model.fit(
        X, targets, epochs=2, verbose=0, validation_data=(X, targets), sample_weight=torch.ones(20)
    ).history
    first, second = ("a", "b") if kind is dict else ("output_1", "output_2")
    names = ["loss", f"{first}_loss", f"{second}_loss", f"{first}_mae", f"{second}_mse"]
    assert set(history) == {*names, *(f"val_{name}" for name in names)}
    for total, one, two in zip(
        history["loss"], history[f"{first}_loss"], history[f"{second}_loss"], strict=True
    ):
        assert total == pytest.approx(one + 2 * two, rel=1e-5)
    results = model.evaluate(X, targets, verbose=0, return_dict=True)
    assert model.evaluate(X, targets, verbose=0) == [results[name] for name in names]
    outputs = model.predict(X, batch_size=8, verbose=0)
    assert type(outputs) is kind
    parts = list(outputs.values()) if kind is dict else list(outputs)
    assert [part.shape for part in parts] == [(20, 1), (20, 2)]


def test_the_same_seed_gives_the_same_fit_bit_for_bit():
    def shuffled(seed, **options):
        model = compiled(
            nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).requires_grad_()
        )
        for parameter in model.module.parameters():
            nn.init.constant_(parameter, 0.1)
        torch.manual_seed(seed)
        model.fit(X, Y, epochs=3, batch_size=4, verbose=0, **options)
        return model.get_weights(), model.history.history

    weights, history = shuffled(5)
    again, history_again = shuffled(5)
    other, _ = shuffled(6)
    assert all(map(np.array_equal, weights, again))
    assert history == history_again
    assert not all(map(np.array_equal, weights, other))


def seen_batches(*data, **options):
    """Return the first column of every batch that a fit trains on."""
    seen = []

    class Watching(Model):
        def train_step(self, batch):
            seen.append(batch.x[:, 0].tolist())
            return {"loss": 0.0}

    model = Watching(nn.Linear(1, 1))
    model.compile("sgd", "mse")
    model.fit(*data, **{"verbose": 0, **options})
    return seen


RISING = torch.arange(10.0).reshape(-1, 1)


def test_the_order_is_kept_without_shuffle_and_differs_from_epoch_to_epoch_with_it():
    assert (
        seen_batches(RISING, RISING, shuffle=False, batch_size=10, epochs=2)
        == [RISING.flatten().tolist()] * 2
    )
    torch.manual_seed(0)
    first, second = seen_batches(RISING, RISING, batch_size=10, epochs=2)
    assert sorted(first) == sorted(second) == RISING.flatten().tolist()
    assert first != second


def test_the_order_of_an_epoch_does_not_depend_on_the_epochs_before_it():
    torch.manual_seed(0)
    whole = seen_batches(RISING, RISING, batch_size=10, epochs=3)
    torch.manual_seed(0)
    assert seen_batches(RISING, RISING, batch_size=10, epochs=3, initial_epoch=2) == whole[2:]


def test_validation_takes_the_last_samples_before_any_shuffle():
    seen = []
    model = compiled(nn.Linear(1, 1))
    model.module.register_forward_pre_hook(
        lambda module, args: seen.append((module.training, args[0].flatten().tolist()))
    )
    model.fit(RISING, RISING, validation_split=0.3, verbose=0, batch_size=10)
    (training, trained), (validating, validated) = seen
    assert training
    assert sorted(trained) == list(range(7))
    assert not validating
    assert validated == [7.0, 8.0, 9.0]


def test_a_split_takes_weights_and_targets_along():
    history = fitted(X, Y, sample_weight=np.r_[np.ones(15), np.zeros(5)], validation_split=0.25)
    assert history.history.history["val_loss"] == [0.0]


def test_validation_data_may_have_weights():
    model = fitted(X, Y, validation_data=(X, Y, torch.zeros(20)))
    assert model.history.history["val_loss"] == [0.0]


def validations(**options):
    """Return in which epochs (from 0) a fit of six validated, and on how many batches."""
    epochs, batches = [], []
    watch = LambdaCallback(
        on_epoch_end=lambda epoch, logs: "val_loss" in logs and epochs.append(epoch),
        on_test_batch_end=lambda batch, logs: batches.append(batch),
    )
    fitted(X, Y, **{"validation_data": (X, Y), "epochs": 6, "callbacks": [watch], **options})
    return epochs, len(batches) // max(len(epochs), 1)


@pytest.mark.parametrize(
    ("frequency", "epochs"),
    [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3]), ([1, 4, 9], [0, 3])],
)
def test_validation_takes_place_every_so_many_epochs_or_after_those_listed(frequency, epochs):
    assert validations(validation_freq=frequency)[0] == epochs


def test_the_batches_of_a_validation_can_be_set_apart():
    assert validations()[1] == 4
    assert validations(validation_batch_size=20)[1] == 1
    assert validations(validation_steps=3)[1] == 3
    assert validations(validation_data=DataLoader(Pairs(), batch_size=2))[1] == 10


def test_a_generator_to_validate_on_goes_on_where_the_last_validation_ended():
    endless = ((X[:2] * 0, torch.full((2, 1), float(i))) for i in range(100))
    model = compiled()
    model.optimizer.learning_rate = 0.0
    history = model.fit(X, Y, epochs=2, validation_data=endless, validation_steps=2, verbose=0)
    assert history.history["val_loss"] == [(0 + 1) / 2, (4 + 9) / 2]


def test_steps_per_epoch_go_on_where_the_last_epoch_ended():
    seen = seen_batches(RISING, RISING, shuffle=False, batch_size=4, epochs=2, steps_per_epoch=2)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]


def test_a_generator_is_taken_by_steps():
    endless = ((RISING[:1] + i, RISING[:1]) for i in range(100))
    seen = seen_batches(endless, epochs=2, steps_per_epoch=3)
    assert seen == [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]


def test_a_generator_that_ends_early_is_an_error():
    with pytest.raises(DataError, match=r"ended after 1 batches of epoch 2.*steps_per_epoch=3"):
        fitted((pair for pair in list(Anew())), epochs=2, steps_per_epoch=3)
    with pytest.raises(DataError, match="ended after 0 batches of epoch 2"):
        fitted((pair for pair in list(Anew())), epochs=2)


@pytest.mark.parametrize("data", [Anew, lambda: iter(Anew())], ids=["anew", "once"])
def test_data_to_look_at_that_ends_early_is_warned_of(data):
    model = compiled()
    with pytest.warns(
        ConfigurationWarning, match="after 4 batches, and steps=5; the result is of 4"
    ):
        model.evaluate(data(), steps=5, verbose=0)
    with pytest.warns(ConfigurationWarning, match="after 4 batches, and steps=5"):
        assert len(model.predict(data(), steps=5, verbose=0)) == 20
    with pytest.warns(ConfigurationWarning, match="after 4 batches, and validation_steps=5"):
        model.fit(X, Y, validation_data=data(), validation_steps=5, verbose=0)
    assert model.evaluate(data(), steps=4, verbose=0) >= 0


def test_epochs_count_from_the_initial_one():
    model = fitted(X, Y, epochs=5, initial_epoch=3)
    assert model.history.epoch == [3, 4]
    assert len(model.history.history["loss"]) == 2
    assert fitted(X, Y, epochs=2, initial_epoch=2).history.history == {}


@pytest.mark.parametrize(
    ("act", "trace"),
    [
        (
            lambda model, c: model.fit(
                X[:10], Y[:10], 5, 2, 0, c, validation_data=(X[:5], Y[:5]), shuffle=False
            ),
            "keras_fit",
        ),
        (lambda model, c: model.evaluate(X[:10], Y[:10], 5, 0, callbacks=c), "keras_evaluate"),
        (lambda model, c: model.predict(X[:10], 5, 0, callbacks=c), "keras_predict"),
    ],
    ids=["fit", "evaluate", "predict"],
)
def test_the_hooks_are_called_in_the_order_of_keras(recorder, act, trace):
    seen = recorder()
    act(compiled(), [seen])
    lines = (GOLDEN / f"{trace}.txt").read_text().splitlines()
    if trace == "keras_predict":  # the golden trace is of a loop that reports no outputs
        lines = [f"{line} outputs" if "batch_end" in line else line for line in lines]
    assert seen.lines == [*lines, "close"]


@pytest.mark.parametrize(
    ("data", "options", "steps"),
    [
        ((X, Y), {}, 4),
        ((X, Y), {"steps_per_epoch": 3}, 3),
        ((DataLoader(Pairs(), batch_size=8),), {}, 3),
        ((Anew(),), {}, None),
        ((Stream(),), {"steps_per_epoch": 2}, 2),
    ],
    ids=["arrays", "steps", "loader", "iterable", "stream"],
)
def test_callbacks_learn_the_steps_where_they_are_known(data, options, steps):
    watch = LambdaCallback()
    fitted(*data, callbacks=[watch], epochs=2, **options)
    assert watch.params == {"verbose": 0, "epochs": 2, "steps": steps}


def test_hooks_get_running_means_and_the_epoch_sorted_names():
    running, ends = [], []
    watch = LambdaCallback(
        on_train_batch_end=lambda batch, logs: running.append(logs["loss"]),
        on_epoch_end=lambda epoch, logs: ends.append(dict(logs)),
    )
    model = compiled(metrics=["mse", "mae"])
    model.optimizer.learning_rate = 0.0
    model.fit(
        X,
        Y,
        batch_size=5,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
        validation_data=(X, Y),
    )
    for number, loss in enumerate(running, 1):
        assert loss == pytest.approx(Y[: 5 * number].square().mean().item(), rel=1e-5)
    assert list(ends[0]) == ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse"]
    assert ends[0]["val_mse"] == pytest.approx(ends[0]["mse"], rel=1e-6)


def test_progress_is_shown_unless_silenced(capsys):
    model = compiled()
    model.fit(X, Y, batch_size=5, epochs=2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert " - loss: " in lines[0]
    model.evaluate(X, Y, verbose=2)
    model.predict(X, verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    model.fit(X, Y, verbose=0)
    assert capsys.readouterr().out == ""


def test_the_model_keeps_the_latest_history():
    model = compiled()
    first = model.fit(X, Y, verbose=0)
    assert model.history is first
    assert model.fit(X, Y, verbose=0) is model.history is not first


def test_denormals_are_flushed_while_fitting_and_only_then():
    def flushes():
        return (torch.tensor([torch.finfo(torch.float32).tiny]) / 2).item() == 0

    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    seen = []
    watch = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(flushes()))
    model = compiled()
    model.fit(X, Y, batch_size=20, verbose=0, callbacks=[watch])
    assert not flushes()
    model.compile("sgd", "mse", flush_denormals=False)
    model.fit(X, Y, batch_size=20, verbose=0, callbacks=[watch])
    assert seen == [True, False]

    def fail(batch, logs):
        seen.append(flushes())
        raise ZeroDivisionError

    model.compile("sgd", "mse")
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=fail)])
    assert seen[-1]
    assert not flushes()


def test_modes_and_gradients_are_left_as_a_training_leaves_them():
    model = compiled(nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5)))
    model.module.eval()
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert not model.module.training
    model.fit(X, Y, verbose=0, validation_data=(X, Y))
    assert model.module.training
    assert not any(p.grad.is_inference() for p in model.module.parameters())


BAD = {
    "lengths": ({"x": X, "y": Y[:3]}, DataError, "x: 20, y: 3"),
    "nothing": ({"x": None}, DataError, "x is None"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, DataError, "x has no samples"),
    "no targets": ({"x": X}, DataError, "there are no targets"),
    "texts": ({"x": np.array([["a"]]), "y": Y[:1]}, DataError, "must be numbers"),
    "batch size": ({"x": X, "y": Y, "batch_size": 0}, ConfigurationError, "batch_size must be"),
    "validation batch size": (
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_batch_size": 0},
        ConfigurationError,
        "validation_batch_size must be",
    ),
    "validation steps": (
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_steps": 0},
        ConfigurationError,
        "validation_steps must be",
    ),
    "validation twice": (
        {"x": X, "y": Y, "validation_data": (X, Y), "validation_split": 0.5},
        ConfigurationError,
        "not both",
    ),
    "validation of four": (
        {"x": X, "y": Y, "validation_data": (X, Y, Y, Y)},
        ConfigurationError,
        "got 4 values",
    ),
    "validation frequency": (
        {"x": X, "y": Y, "validation_freq": 0},
        ConfigurationError,
        "validation_freq must be",
    ),
    "validation frequency of words": (
        {"x": X, "y": Y, "validation_freq": ["1"]},
        ConfigurationError,
        "validation_freq must be",
    ),
    "split": ({"x": X, "y": Y, "validation_split": 2.0}, ConfigurationError, "between 0 and 1"),
    "split of a loader": ({"x": Anew(), "validation_split": 0.5}, DataError, "needs arrays"),
    "epochs": ({"x": X, "y": Y, "epochs": -1}, ConfigurationError, "epochs must be"),
    "verbose": ({"x": X, "y": Y, "verbose": 3}, ConfigurationError, "verbose must be"),
    "steps": ({"x": X, "y": Y, "steps_per_epoch": 0}, ConfigurationError, "steps_per_epoch"),
    "class weight": ({"x": X, "y": Y, "class_weight": {-1: 1}}, ConfigurationError, "class_weight"),
    "sample weights": ({"x": X, "y": Y, "sample_weight": Y[:3]}, DataError, "sample_weight: 3"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_told_and_nothing_is_trained(mistake):
    arguments, error, told = BAD[mistake]
    model = compiled()
    with pytest.raises(error, match=told):
        model.fit(**{"verbose": 0, **arguments})
    assert not model.module.weight.any()


def test_targets_of_another_shape_are_an_error():
    with pytest.raises(DataError, match=r"y_true has shape \(5, 3\) and y_pred \(5, 1\)"):
        fitted(X, torch.zeros(20, 3))


@pytest.mark.parametrize("act", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_a_model_that_is_not_compiled_is_told_so(act):
    with pytest.raises(RunStateError, match=r"not compiled; call model\.compile"):
        getattr(Model(nn.Linear(4, 1)), act)(X, Y)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"optimizer": "adm"}, "unknown optimizer 'adm'. Did you mean 'adam'"),
        ({"loss": "msee"}, "unknown loss 'msee'. Did you mean 'mse'"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'. Did you mean 'accuracy'"),
        ({"mixed_precision": "fp16"}, "unknown mixed_precision 'fp16'"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(options, told):
    with pytest.raises(UnknownNameError, match=told):
        Model(nn.Linear(4, 1)).compile(**{"optimizer": "sgd", "loss": "mse", **options})


def test_without_a_loss_there_is_nothing_to_train():
    model = Model(nn.Linear(4, 1))
    model.compile("sgd")
    with pytest.raises(ConfigurationError, match="there is no loss"):
        model.fit(X, Y, verbose=0)
