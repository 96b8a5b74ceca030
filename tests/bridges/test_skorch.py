"""What is particular to skorch."""

import pickle

import numpy as np
import pytest
import skorch
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.helper import predefined_split

from callboard import Callback, ConfigurationError, callbacks
from callboard.bridges.skorch import Callbacks

pytestmark = pytest.mark.xdist_group("loop skorch")

LOSSES = [0.5, 0.4, 0.6, 0.3, 0.7, 0.8]
X = np.ones((4, 1), np.float32)


class Net(skorch.NeuralNet):
    """Its loss is LOSSES, epoch by epoch."""

    def get_loss(self, y_pred, y_true, X=None, training=False):  # noqa: N803 - the host's
        return y_pred.sum() * 0 + LOSSES[len(self.history) - 1]


def net(*used, epochs=6, kind=Net, **options):
    return kind(
        torch.nn.Linear, module__in_features=1, module__out_features=1, max_epochs=epochs,
        criterion=torch.nn.MSELoss, batch_size=2, lr=0.5, verbose=0, callbacks=list(used),
        train_split=predefined_split(skorch.dataset.Dataset(X[:2], X[:2])), **options,
    )  # fmt: skip


def stopping():
    return callbacks.EarlyStopping(patience=2, restore_best_weights=True)


@pytest.mark.parametrize("order", ["before", "after"])
def test_callbacks_go_on_from_a_pickle_that_skorch_saves(tmp_path, order):
    expected = Callbacks([stopping(), callbacks.CSVLogger(tmp_path / "straight.csv")])
    net(expected).fit(X, X)
    begun = Callbacks([stopping(), callbacks.CSVLogger(tmp_path / "resumed.csv")])
    saving = skorch.callbacks.Checkpoint(
        f_pickle="net.pkl", dirname=tmp_path, monitor=None, load_best=False, f_params=None,
        f_optimizer=None, f_criterion=None, f_history=None,
    )  # fmt: skip
    used = [saving, begun] if order == "before" else [begun, saving]
    net(*used, epochs=3).fit(X, X)
    resumed = pickle.loads((tmp_path / "net.pkl").read_bytes())
    resumed.set_params(max_epochs=3)
    resumed.partial_fit(X, X)
    actual = next(c for c in resumed.callbacks if isinstance(c, Callbacks))
    assert actual.history.history == expected.history.history
    before, after = expected.callbacks[0], actual.callbacks[0]
    assert (after.best, after.best_epoch) == (before.best, before.best_epoch)
    assert (after.wait, after.stopped_epoch) == (before.wait, before.stopped_epoch)
    logs = [(tmp_path / f"{name}.csv").read_text() for name in ("straight", "resumed")]
    assert logs[0] == logs[1]


def test_a_trained_net_is_pickled():
    used = Callbacks([stopping(), callbacks.TerminateOnNaN(), callbacks.ProgbarLogger()])
    trained = net(used, epochs=2).fit(X, X)
    loaded = pickle.loads(pickle.dumps(trained))
    assert np.array_equal(loaded.predict(X), trained.predict(X))
    assert loaded.fit(X, X).callbacks[0].history.epoch == [0, 1]


def test_epochs_go_on_counting_from_what_load_init_state_loads(tmp_path):
    saving = skorch.callbacks.Checkpoint(dirname=tmp_path, monitor=None, load_best=False)
    net(saving, epochs=2).fit(X, X)
    used = Callbacks([])
    net(skorch.callbacks.LoadInitState(saving), used, epochs=2).fit(X, X)
    assert used.history.epoch == [2, 3]
    assert used.history.history["loss"] == pytest.approx(LOSSES[2:4])


def test_other_callbacks_see_the_epoch_that_training_stops_in():
    class Watch(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **given):
            seen.append(len(net.history))

    seen = []
    used = Callbacks([callbacks.EarlyStopping(patience=1)])
    trained = net(used, Watch()).fit(X, X)
    assert seen == [1, 2, 3]
    assert len(trained.history) == 3
    assert used.history.epoch == [0, 1, 2]


def test_batches_that_nobody_listens_to_are_counted_all_the_same():
    class Listener(Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    quiet, listening = Callbacks([]), Callbacks([Listener()])
    for used in (quiet, listening):
        net(used, epochs=3).fit(X, X)
    assert quiet.run.progress == listening.run.progress
    assert (quiet.run.progress.step, quiet.run.progress.samples) == (6, 12)


def test_a_net_is_cloned_with_its_callbacks():
    stop = callbacks.EarlyStopping(patience=1)
    used = Callbacks([stop])
    copy = clone(net(used)).fit(X, X)
    assert copy.callbacks[0].history.epoch == [0, 1, 2]
    assert stop.best is None


def test_a_grid_search_trains_with_copies():
    used = Callbacks([callbacks.EarlyStopping(patience=1)])
    regressor = net(used, kind=skorch.NeuralNetRegressor)
    search = GridSearchCV(regressor, {"lr": [0.1, 0.2]}, cv=2, scoring="r2", error_score="raise")
    targets = np.linspace(0, 1, 4, dtype=np.float32).reshape(4, 1)
    search.fit(X, targets)
    assert len(search.cv_results_["params"]) == 2
    assert search.best_estimator_.callbacks[0].history.epoch
    with pytest.raises(Exception, match="no training has begun"):
        _ = used.run


def test_names_of_skorch_can_be_read_too():
    class Reader(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.read = logs["valid_loss"], logs["train_loss"], sorted(logs)

    reader = Reader()
    net(Callbacks([reader]), epochs=1).fit(X, X)
    assert reader.read == (0.5, 0.5, ["loss", "val_loss"])


def test_an_error_in_the_middle_is_heard_of_in_a_with_block(recorder):
    class Broken(Net):
        def get_loss(self, *arguments, **options):
            raise ArithmeticError("mine")

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    with pytest.raises(ArithmeticError, match="mine"), Callbacks([heard]) as used:
        net(used, kind=Broken).fit(X, X)
    assert heard.lines == ["on_exception ArithmeticError", "close"]


def test_ctrl_c_is_an_end(recorder):
    class Interrupted(Net):
        def get_loss(self, *arguments, **options):
            raise KeyboardInterrupt

    heard = recorder(only=["on_train_end", "on_exception", "close"])
    net(Callbacks([heard]), kind=Interrupted).fit(X, X)
    assert heard.lines[-1] == "close"


def test_a_schedule_of_skorch_is_seen_and_a_second_controller_is_an_error():
    schedule = skorch.callbacks.LRScheduler("StepLR", step_size=1)
    used = Callbacks([callbacks.LearningRateScheduler(lambda epoch: 0.1)])
    with pytest.raises(ConfigurationError, match="skorch's LRScheduler"):
        net(schedule, used).fit(X, X)


def test_callbacks_are_searched_over():
    used = ("ours", Callbacks([callbacks.EarlyStopping(patience=1)]))
    searched = [[callbacks.EarlyStopping(patience=patience)] for patience in (1, 9)]
    search = GridSearchCV(
        net(used), {"callbacks__ours__callbacks": searched},
        cv=2, scoring=lambda net, *_: len(net.history), error_score="raise", refit=False,
    )  # fmt: skip
    search.fit(X, X)
    assert search.cv_results_["mean_test_score"].tolist() == [3, 6]


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_a_net_that_goes_on_goes_on_counting_epochs(again):
    used = Callbacks([])
    trained = net(used, epochs=2, warm_start=True).fit(X, X)
    getattr(trained, again)(X, X)
    assert used.history.epoch == [2, 3]
    assert used.history.history["loss"] == pytest.approx(LOSSES[2:4])


def test_scores_that_are_computed_before_ours_are_metrics():
    def score(net, *_):
        return float(len(net.history))

    scoring = [
        skorch.callbacks.EpochScoring(score, name="valid_f1", lower_is_better=False),
        skorch.callbacks.EpochScoring(score, name="mine", on_train=True),
    ]
    used = Callbacks([callbacks.EarlyStopping("val_f1", patience=1)])
    net(*scoring, used, epochs=2).fit(X, X)
    assert set(used.history.history) == {"loss", "val_loss", "val_f1", "mine"}
    assert used.history.history["val_f1"] == [1.0, 2.0]


def test_something_else_than_callbacks_is_an_error():
    with pytest.raises(ConfigurationError, match="no callback"):
        Callbacks([object()])


class StopAtStep(Callback):
    """Asks for the end after a step."""

    def on_train_batch_end(self, batch, logs=None):
        if self.run.progress.step == 3:
            self.run.stop("enough")


class Interrupt(skorch.callbacks.Callback):
    """Ends the training as skorch's own callbacks do."""

    def __init__(self, hook):
        self.hook = hook

    def on_epoch_end(self, net, **given):
        if self.hook == "on_epoch_end" and len(net.history) == 2:
            raise KeyboardInterrupt

    def on_batch_end(self, net, training=None, **given):
        if self.hook == "on_batch_end" and training and len(net.history) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_batch_end"])
def test_an_end_by_a_callback_that_comes_before_leaves_the_metrics_of_the_epoch(hook):
    used = Callbacks([])
    net(Interrupt(hook), used).fit(X, X)
    assert used.history.epoch == [0, 1]
    assert used.history.history["loss"] == pytest.approx(LOSSES[:2])
    validated = used.history.history["val_loss"][1]
    assert np.isnan(validated) if hook == "on_batch_end" else validated == pytest.approx(0.4)


def test_an_epoch_that_is_left_in_its_middle_has_the_loss_so_far():
    used = Callbacks([StopAtStep()])
    net(used).fit(X, X)
    assert used.history.history["loss"] == pytest.approx(LOSSES[:2])


def test_an_epoch_at_whose_beginning_the_end_is_asked_for_does_not_take_place(stop_at_epoch):
    used = Callbacks([stop_at_epoch(1)])
    trained = net(used).fit(X, X)
    assert used.history.epoch == [0]
    assert len(trained.history) == 1
    assert used.run.progress.step == 2


def test_a_plateau_of_torch_is_a_second_controller_of_the_rate():
    plateau = skorch.callbacks.LRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau)
    used = Callbacks([callbacks.LearningRateScheduler(lambda epoch: 0.1)])
    with pytest.raises(ConfigurationError, match="skorch's LRScheduler"):
        net(plateau, used).fit(X, X)
