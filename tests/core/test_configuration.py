import types

from callboard import Run
from callboard._core.configuration import Configuration
from callboard.callbacks import EarlyStopping
from callboard.testing import ScriptedModel


class Described(ScriptedModel):
    """A model with more to tell than its weights."""

    def __init__(self, description, summary=""):
        super().__init__(0.5)
        self.looked = 0
        self.inspection = types.SimpleNamespace(
            description=lambda: self.look() or description(), summary=lambda: summary
        )

    def look(self):
        self.looked += 1


def configuration(model, **options):
    with Run(trainable=model, epochs=7, verbose=0, **options) as run:
        return Configuration(run)


def test_model_comes_first_then_the_run_then_the_callbacks():
    model = Described(lambda: {"model": "Net", "parameters": 3}, "one layer")
    found = configuration(model, callbacks=[EarlyStopping("loss", patience=3)]).as_dict()
    assert found == {
        "model": "Net",
        "parameters": 3,
        "summary": "one layer",
        "learning rate": 0.5,
        "epochs": 7,
        "EarlyStopping": {"monitor": "loss", "patience": 3},
    }
    assert next(iter(found)) == "model"


def test_model_is_looked_at_when_somebody_asks_and_once():
    model = Described(dict)
    found = configuration(model)
    assert model.looked == 0
    found.as_dict()
    found.as_dict()
    assert model.looked == 1


def test_model_that_cannot_be_described_is_no_error():
    def fails():
        raise ValueError("no")

    assert configuration(Described(fails)).as_dict()["model"] == "not described: ValueError: no"


def test_table_of_very_many_layers_is_shortened():
    table = "\n".join(map(str, range(1000)))
    lines = configuration(Described(lambda: {"model": "Deep"}, table)).as_dict()["summary"].split()
    assert (lines[0], lines[189], lines[-1]) == ("0", "189", "999")
    assert "800 lines are left out" in " ".join(lines)


def test_any_model_tells_how_many_numbers_it_has():
    assert configuration(ScriptedModel()).as_dict()["parameters"] == 1


def test_run_without_a_model_has_its_arguments():
    assert configuration(None) is not None
    assert configuration(None, initial_epoch=2).as_dict() == {"epochs": 7, "initial epoch": 2}
