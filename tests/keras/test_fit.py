import grain
import keras
import numpy as np
import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from callboard import ConfigurationError, Run
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
)
from callboard.keras import Callbacks, fit
from callboard.keras.data import ArrayBatches, LoaderBatches, resumable
from callboard.keras.trainable import KerasTrainable
from callboard.testing import assert_exact_resume

BACKEND = keras.backend.backend()
# Compiling takes most of the time; where it does, fewer moments are tried.
KILLS = [2, 8, "epoch end", "validation"] if BACKEND == "torch" else [8]


def exact_model():
    """One with everything that has a state: statistics, seeds, moments, sums of metrics."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


def outcome(model, history, **more):
    state = KerasTrainable(model).state_dict()
    arrays = {part: list(named.values()) for part, named in state.items()}
    return {"state": arrays, "history": history.history, **more}


def test_a_fit_that_is_killed_ends_as_if_it_had_not_been(data, tmp_path):
    def train(folder):
        model = exact_model()
        stopping = EarlyStopping(patience=2, restore_best_weights=True)
        callbacks = [
            BackupAndRestore(folder / "backup", save_freq=1),
            stopping,
            ReduceLROnPlateau("loss", patience=2),
            CSVLogger(folder / "log.csv"),
        ]
        history = fit(model, *data, 8, 3, verbose=0, callbacks=callbacks, validation_split=0.25)
        rows = (folder / "log.csv").read_text()
        return outcome(model, history, rows=rows, wait=stopping.wait)

    assert_exact_resume(train, kills=KILLS, directory=tmp_path)


class Shuffled(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return self.x[index * 8 : index * 8 + 8], self.y[index * 8 : index * 8 + 8]


class Loader:
    """A loader with a state of its own, and an order that cannot be had without it."""

    def __init__(self, x, y):
        self.x, self.y = x, y
        self.generator = np.random.default_rng(3)
        self.order, self.place = [], 0
        self.resumes = False

    def __len__(self):
        return 6

    def __iter__(self):
        if not self.resumes:
            self.order, self.place = self.generator.permutation(6).tolist(), 0
        self.resumes = False
        while self.place < 6:
            self.place += 1
            chosen = slice(self.order[self.place - 1] * 8, self.order[self.place - 1] * 8 + 8)
            yield self.x[chosen], self.y[chosen]

    def state_dict(self):
        state = self.generator.bit_generator.state
        return {"order": list(self.order), "place": self.place, "generator": state}

    def load_state_dict(self, state):
        self.order, self.place = list(state["order"]), state["place"]
        self.generator.bit_generator.state = state["generator"]
        self.resumes = True


@pytest.mark.parametrize("kind", [Shuffled, Loader])
def test_loaders_go_on_in_the_middle_of_an_epoch(kind, data, tmp_path):
    def train(folder):
        model = exact_model()
        loader = kind(*data)
        stateful = {} if kind is Shuffled else {"order": loader}
        history = fit(
            model,
            loader,
            epochs=2,
            verbose=0,
            callbacks=[BackupAndRestore(folder / "backup", save_freq=1)],
            stateful=stateful,
        )
        return outcome(model, history)

    assert_exact_resume(train, kills=[8], directory=tmp_path)


class Rows:
    """Samples by index, as loaders of torch and Grain take them."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def torchdata_loader(rows):
    torch.manual_seed(5)
    return StatefulDataLoader(rows, batch_size=8, shuffle=True)


def grain_dataset(rows):
    return grain.MapDataset.source(rows).shuffle(seed=1).batch(8)


def grain_loader(rows):
    sampler = grain.samplers.IndexSampler(len(rows), shuffle=True, seed=3, num_epochs=1)
    batch = [grain.transforms.Batch(8)]
    return grain.DataLoader(data_source=rows, sampler=sampler, operations=batch)


@pytest.mark.filterwarnings("ignore:.*shuffle=True:UserWarning")
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")  # torchdata and a newer torch
@pytest.mark.parametrize("make", [torchdata_loader, grain_dataset, grain_loader])
def test_real_loaders_go_on_too(make, data, tmp_path):
    def train(folder):
        model = exact_model()
        callbacks = [BackupAndRestore(folder / "backup", save_freq=1)]
        history = fit(model, make(Rows(*data)), epochs=2, verbose=0, callbacks=callbacks)
        return outcome(model, history)

    assert_exact_resume(train, kills=[2, 8], directory=tmp_path)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="tf.data's order cannot be had again")
def test_arrays_in_kerass_own_fit_go_on_too(data, tmp_path):
    def train(folder):
        model = exact_model()
        with Callbacks([BackupAndRestore(folder / "backup", save_freq=1)]) as group:
            model.fit(*data, epochs=2, batch_size=8, verbose=0, callbacks=[group])
        return outcome(model, group.history)

    assert_exact_resume(train, kills=[8], directory=tmp_path)


def test_a_directory_is_enough(data, tmp_path):
    def fail(epoch, logs):
        raise RuntimeError("interrupted")

    dying = LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch == 1 and fail(epoch, logs))
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(exact_model(), *data, epochs=3, verbose=0, callbacks=[dying], directory=tmp_path)
    history = fit(exact_model(), *data, epochs=3, verbose=0, directory=tmp_path)
    assert history.epoch == [0, 1, 2]


def test_the_end_of_the_time_pauses_the_run(data, tmp_path):
    def train(epochs, **options):
        seen = []
        note = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
        options |= {"callbacks": [note], "directory": tmp_path, "verbose": 0}
        return fit(exact_model(), *data, 8, epochs, **options), seen

    history, before = train(50, max_time=1e-3)
    assert history.epoch == []
    history, after = train(1)
    assert history.epoch == [0]
    assert before + after == list(range(6))


def test_a_run_that_has_ended_stays_ended(data, tmp_path):
    def train():
        backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        model = exact_model()
        return model, fit(model, *data, epochs=2, verbose=0, callbacks=[backup])

    first, _ = train()
    second, history = train()
    assert history.epoch == [0, 1]
    assert second.optimizer.iterations == first.optimizer.iterations


def test_the_order_of_arrays_is_another_in_every_epoch_and_the_same_for_a_seed(data):
    def order(epoch, seed):
        keras.utils.set_random_seed(seed)
        batches = ArrayBatches((np.arange(10),), 4, shuffle=True)
        batches.begin(Run(verbose=0), epoch)
        return np.concatenate([batches[i][0] for i in range(len(batches))]).tolist()

    assert sorted(order(0, 1)) == list(range(10))
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(1, 1)
    assert order(0, 1) != order(0, 2)


def test_without_shuffling_the_order_is_kept():
    batches = ArrayBatches((np.arange(5), {"a": np.arange(5)}), 2, shuffle=False)
    assert len(batches) == 3
    assert batches[2][0].tolist() == [4]
    assert batches[1][1]["a"].tolist() == [2, 3]


def test_what_can_be_gone_on_with_is_recognised(data):
    x, y = data
    options = {"batch_size": None, "shuffle": True}
    assert isinstance(resumable(x, y, None, **options), ArrayBatches)
    assert isinstance(resumable({"a": x}, [y, y], None, **options), ArrayBatches)
    tensor = keras.ops.convert_to_tensor(x)
    assert isinstance(resumable(tensor, y, None, **options), ArrayBatches)
    assert isinstance(resumable(Loader(x, y), None, None, **options), LoaderBatches)
    assert resumable(Shuffled(x, y), None, None, **options) is None
    assert resumable(iter([x]), None, None, **options) is None


def test_weights_of_samples_and_classes_are_used(data):
    x, y = data
    nothing = np.zeros(len(x), "float32")
    history = fit(exact_model(), x, y, verbose=0, sample_weight=nothing)
    assert history.history["loss"] == [0.0]
    classes = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    classes.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.arange(len(x)) % 2
    history = fit(classes, x, labels, verbose=0, class_weight={0: 0.0, 1: 0.0})
    assert history.history["loss"] == [0.0]


def test_validation_split_takes_what_keras_takes(data):
    x, y = data
    ours = fit(exact_model(), x, y, verbose=0, validation_split=0.3, shuffle=False)
    theirs = exact_model().fit(x, y, verbose=0, validation_split=0.3, shuffle=False)
    assert ours.history["val_loss"] == pytest.approx(theirs.history["val_loss"])
    assert ours.history["loss"] == pytest.approx(theirs.history["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 1.5}, "between 0 and 1"),
        ({"validation_split": 0.999}, "leaves none"),
        ({"validation_split": 0.5, "validation_data": ()}, "both given"),
    ],
    ids=["share", "none left", "both"],
)
def test_impossible_splits_are_refused(data, options, message):
    with pytest.raises(ConfigurationError, match=message):
        fit(exact_model(), *data, **options)
    with pytest.raises(ConfigurationError, match="needs arrays"):
        fit(exact_model(), iter([]), validation_split=0.5)


def test_an_initial_epoch_is_begun_with(data):
    history = fit(exact_model(), *data, epochs=4, initial_epoch=2, verbose=0)
    assert history.epoch == [2, 3]


def test_steps_per_epoch_leaves_the_data_to_keras(data):
    history = fit(exact_model(), *data, 8, 2, verbose=0, steps_per_epoch=3)
    assert history.epoch == [0, 1]
