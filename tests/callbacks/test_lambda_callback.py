import pytest

from callboard import UnknownArgumentError
from callboard._core.callback import HOOKS
from callboard.callbacks import LambdaCallback
from callboard.testing import ScriptedRun


def test_functions_are_called_at_the_hooks_they_are_named_after():
    heard = []
    other_ends = ("on_exception", "on_interrupt")
    names = [name for name in HOOKS if "predict" not in name and name not in other_ends]
    functions = {name: lambda *given, name=name: heard.append(name) for name in names}
    ScriptedRun({"loss": [1.0], "val_loss": [1.0]}).play(LambdaCallback(**functions))
    assert set(heard) == set(names) - {"on_batch_begin", "on_batch_end"}


def test_the_first_six_may_be_positional_as_in_keras():
    heard = []
    both = LambdaCallback(
        lambda e, logs: heard.append("begin"), lambda e, logs: heard.append("end")
    )
    ScriptedRun([1.0]).play(both)
    assert heard == ["begin", "end"]


def test_none_is_no_function():
    ScriptedRun([1.0]).play(LambdaCallback(on_epoch_end=None, on_test_begin=None))


@pytest.mark.parametrize("name", ["on_epoch_ended", "epoch_end", "anything"])
def test_a_name_that_is_no_hook_is_an_error(name):
    with pytest.raises(UnknownArgumentError, match=f"LambdaCallback has no hook '{name}'"):
        LambdaCallback(**{name: print})
