"""The table of docs/loops.md that says what a loop cannot do is true."""

import inspect
import re
from pathlib import Path

import pytest

from callboard import ConfigurationError, UnsupportedError, callbacks

PAGE = Path(__file__).parents[2] / "docs" / "loops.md"

ROWS = {
    "`Run`, `Model.fit`": ["run", "accelerate", "torch_model", "jax_model"],
    "Keras's own `fit`": ["keras"],
    "Lightning": ["lightning"],
    "Hugging Face": ["transformers"],
    "Ignite": ["ignite"],
    "skorch": ["skorch"],
    "XGBoost": ["xgboost"],
    "LightGBM": ["lightgbm"],
    "CatBoost": ["catboost"],
    "`partial_fit`": ["partial_fit"],
    "scikit-learn's protocol": ["sklearn"],
}


def table():
    """Return the table's rows: what it says by column, by the name of the loop."""
    text = PAGE.read_text(encoding="utf-8").split("## What a loop cannot do\n")[1]
    head, _, *lines = re.findall(r"^\|.*\|$", text.split("\n## ")[0], re.MULTILINE)
    columns = [cell.strip() for cell in head.split("|")[1:-1]]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


@pytest.fixture
def says(loop):
    """What the table says of a loop."""
    name = Path(loop.__file__).stem
    return table()[next(row for row, loops in ROWS.items() if name in loops)]


def test_all_loops_are_in_the_table():
    assert list(table()) == list(ROWS)
    loops = {path.stem for path in (Path(__file__).parent / "loops").glob("*.py")}
    assert {name for names in ROWS.values() for name in names} == loops


def test_a_no_and_a_yes_are_what_the_contracts_test(loop, says):
    assert says["batches"].startswith("no") == ("on_train_batch_end" in loop.LACKS)
    assert says["learning rate"].startswith("no") == (not loop.SETS_THE_RATE)
    assert says["best weights"].startswith("no") == (not loop.RESTORES)
    assert says["`ModelCheckpoint`"].startswith("no") == (not loop.SUFFIX)
    assert ("`BackupAndRestore`" in says["goes on by"]) == loop.RESUMES
    assert ("Ctrl-C is an end" in says["errors, Ctrl-C"]) == (not loop.HEARS_OF_CTRL_C)
    in_block = re.search(r"with (callbacks|group):", inspect.getsource(loop.train)) is not None
    assert ("in a `with` block" in says["errors, Ctrl-C"]) == in_block


def test_the_formats_are_those_that_are_written_and_others_are_errors(loop, says, script, tmp_path):
    named = set(re.findall(r"`(\.[a-z0-9.]+)`", says["`ModelCheckpoint`"]))
    others = {".txt", ".ubj", ".json", ".cbm"} - named
    if says["`ModelCheckpoint`"] == "all formats":
        named |= {".safetensors"}
    else:
        others |= {".pt", ".h5", ".safetensors"} - named
    for suffix in [*sorted(named), *([""] if named else [])]:
        path = tmp_path / f"model{suffix}"
        loop.train(loop.given([callbacks.ModelCheckpoint(path)]), script([0.5]))
        assert path.stat().st_size > 0
        assert not named or suffix or list(path.glob("step-*"))
    for suffix in sorted(others):
        checkpoint = callbacks.ModelCheckpoint(tmp_path / f"other{suffix}")
        with pytest.raises((ConfigurationError, UnsupportedError), match=r"Allowed: \.|be saved"):
            loop.train(loop.given([checkpoint]), script([0.5]))
        assert not (tmp_path / f"other{suffix}").exists()


@pytest.mark.parametrize("failure", [ValueError("broken data"), KeyboardInterrupt()], ids=repr)
def test_without_a_block_a_failure_is_not_heard_of_where_the_table_says_so(
    loop, says, recorder, script, failure, monkeypatch
):
    if "in a `with` block" not in says["errors, Ctrl-C"] or not loop.HEARS_OF_CTRL_C:
        pytest.skip("the loop hears of it by itself")
    heard = recorder(only=["on_train_end", "on_exception", "close"])
    bridge = loop.given([heard])
    monkeypatch.setattr(type(bridge), "__enter__", lambda self: self)
    monkeypatch.setattr(type(bridge), "__exit__", lambda *_: None)
    with pytest.raises(type(failure)):
        loop.train(bridge, script([0.5, 0.4, 0.3], failure=failure))
    assert heard.lines == []
