import copy
import sys

import pytest

from callboard import Run, UnsupportedError
from callboard._core.trainable import NoModel, trainable_of


def test_an_optimizer_without_a_model_is_an_error():
    with pytest.raises(UnsupportedError, match="needs the model too"):
        Run(optimizer=object())


def test_a_model_of_an_unknown_kind_is_an_error_that_names_it():
    with pytest.raises(
        UnsupportedError, match=r"got a list, which is of none .* \(keras, jax, torch\)"
    ):
        Run(model=[1, 2])


def test_a_framework_that_is_not_imported_is_not_asked(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(UnsupportedError, match="got a object"):
        trainable_of(object(), None)
    assert "torch" not in sys.modules


def test_without_a_model_what_needs_one_says_what_it_needs():
    nothing = NoModel()
    with pytest.raises(UnsupportedError, match=r"needs the model \(set weights\)"):
        nothing.set_weights({})
    with pytest.raises(UnsupportedError, match=r"needs the model \(gradients\)"):
        nothing.guard(gradients=True)
    nothing.guard(gradients=False)
    nothing.unguard()
    assert nothing.rejected == nothing.rate_controller == ""


def test_standing_for_no_model_does_not_break_copying():
    assert copy.deepcopy(NoModel()).synchronous
