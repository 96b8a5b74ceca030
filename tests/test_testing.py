import math

import numpy as np
import pytest

from callboard.callbacks import Callback, ModelCheckpoint, ReduceLROnPlateau
from callboard.testing import ScriptedModel, ScriptedRun


def test_a_script_is_played_with_a_batch_and_a_validation_an_epoch(recorder):
    seen = recorder(["on_train_batch_end", "on_test_end", "on_epoch_end"])
    ScriptedRun({"loss": [1.0, 2.0], "val_loss": [None, 3.0]}, batches=2).play(seen)
    assert seen.lines == [
        "on_train_batch_end 0 loss",
        "on_train_batch_end 1 loss",
        "on_epoch_end 0 loss",
        "on_train_batch_end 0 loss",
        "on_train_batch_end 1 loss",
        "on_test_end loss",
        "on_epoch_end 1 loss val_loss",
    ]


def test_what_happened_is_told():
    played = ScriptedRun([3.0, 3.0], learning_rate=1.0)
    played.play(ModelCheckpoint("{epoch}"), ReduceLROnPlateau(factor=0.5, patience=1))
    assert played.learning_rate == 0.5
    assert played.saved == [("1", 0.0), ("2", 1.0)]
    assert played.history["val_loss"] == [3.0, 3.0]
    assert [d.action for d in played.journal] == ["saved", "saved", "reduced"]
    assert played.stopped_epoch is None


def test_a_model_has_one_weight_that_is_copied_and_restored():
    model = ScriptedModel()
    model.weight = 2.0
    kept = model.weights()
    model.weight = 5.0
    assert float(kept["weight"]) == 2.0
    assert model.weights(into=kept) is kept
    assert float(kept["weight"]) == 5.0
    model.set_weights({"weight": np.array(7.0)})
    assert model.weight == 7.0


def test_a_failure_can_be_played():
    model = ScriptedModel()
    assert model.nonfinite() == ""
    model.weight = math.nan
    assert model.nonfinite() == "weight"


def test_it_has_all_that_a_callback_may_ask_of_a_model():
    class Asks(Callback):
        def on_epoch_end(self, epoch, logs=None):
            trainable = self.run.trainable
            assert trainable.gradients() == {}
            assert trainable.activations(None) == {}
            trainable.guard(gradients=True)
            assert trainable.guarded
            trainable.unguard()
            self.asked = True

    asks = Asks()
    ScriptedRun([1.0]).play(asks)
    assert asks.asked


def test_before_it_is_played_there_is_nothing_to_tell():
    script = ScriptedRun([1.0])
    assert script.history == {}
    assert script.saved == []
    with pytest.raises(ValueError, match="max"):
        ScriptedRun({}).play()
