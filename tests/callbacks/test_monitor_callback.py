import pytest

from callboard import (
    Callback,
    ConfigurationWarning,
    DataError,
    MetricNotFoundError,
    UnknownNameError,
)
from callboard.callbacks import EarlyStopping, ModelCheckpoint, MonitorCallback, ReduceLROnPlateau
from callboard.testing import ScriptedRun


class Cheer(MonitorCallback):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.improvements = []

    def on_epoch_end(self, epoch, logs=None):
        if self.improved(logs):
            self.improvements.append(epoch)


def test_a_subclass_asks_whether_the_metric_improved():
    cheer = Cheer("val_loss", min_delta=0.5)
    ScriptedRun([3, 2.75, 2, None, 1]).play(cheer)
    assert cheer.improvements == [0, 2, 4]
    assert cheer.best == 1


def test_a_baseline_is_the_best_to_begin_with_in_every_run():
    cheer = Cheer("val_loss", baseline=2.0)
    for _ in range(2):
        cheer.improvements.clear()
        ScriptedRun([3, 1]).play(cheer)
        assert cheer.improvements == [1]


def test_the_direction_comes_from_the_name_unless_it_is_given():
    for monitor, mode, expected in (
        ("val_accuracy", "auto", [0, 2]),
        ("val_accuracy", "min", [0, 1]),
        ("val_loss", "max", [0, 2]),
    ):
        cheer = Cheer(monitor, mode)
        ScriptedRun([2, 1, 3], monitor=monitor).play(cheer)
        assert cheer.improvements == expected


def test_logs_of_none_are_a_missing_metric():
    cheer = Cheer("val_loss")
    with pytest.warns(UserWarning, match="there was no validation"):
        ScriptedRun({"loss": [1.0]}).play(cheer)
    assert cheer.monitored(None) is None


def test_a_text_is_no_metric_to_watch():
    cheer = Cheer("val_loss")
    ScriptedRun([1]).play(cheer)
    with pytest.raises(DataError, match="Cheer monitors 'val_loss', which is 'low'"):
        cheer.improved({"val_loss": "low"})


def test_an_unknown_mode_is_an_error():
    with pytest.raises(UnknownNameError):
        Cheer(mode="lowest")


@pytest.mark.parametrize("other", [{"monitor": "loss"}, {"mode": "max"}])
@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau, ModelCheckpoint])
def test_the_best_value_of_another_metric_is_not_gone_on_with(kind, other, tmp_path):
    first = (tmp_path / "m.pt",) if kind is ModelCheckpoint else ()
    before, now = kind(*first), kind(*first, **other)
    ScriptedRun([0.5, 0.6], learning_rate=0.1).play(before)
    with pytest.warns(ConfigurationWarning, match=r"monitored 'val_loss' \(min\).* begins anew"):
        now.load_state_dict(before.state_dict())
    assert now.best is None
    assert getattr(now, "wait", 0) == 0


def test_the_direction_that_was_found_is_the_one_of_auto():
    before, now = EarlyStopping("val_accuracy"), EarlyStopping("val_accuracy")
    ScriptedRun({"val_accuracy": [0.5, 0.4]}).play(before)
    now.load_state_dict(before.state_dict())
    assert (now.best, now.wait) == (0.5, 1)


class NowAndThen(Callback):
    order = -10

    def on_epoch_end(self, epoch, logs=None):
        logs["f1"] = epoch / 10 if epoch % 2 else None


def test_a_metric_that_a_callback_says_it_adds_may_come_later():
    class Promising(NowAndThen):
        adds = ("f1",)

    stopping = EarlyStopping("f1", mode="max", patience=9)
    ScriptedRun([1] * 4).play(Promising(), stopping)
    assert (stopping.best, stopping.wait) == (0.3, 0)
    with pytest.raises(MetricNotFoundError, match=r"Logged: val_loss\. .*`adds = \('f1',\)`"):
        ScriptedRun([1] * 4).play(NowAndThen(), EarlyStopping("f1", mode="max"))
