import ast
import subprocess
import sys
from pathlib import Path

import pytest

import callboard
from callboard import callbacks


def reexported(door):
    """Return the names that type checkers see in a package: all that it imports "as" themselves."""
    tree = ast.parse(Path(door.__file__).read_text())
    imported = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {name.asname for node in imported for name in node.names if name.asname == name.name}


@pytest.mark.parametrize("door", [callboard, callbacks], ids=["callboard", "callbacks"])
def test_what_a_package_exports_is_what_type_checkers_see(door):
    assert reexported(door) | {"callbacks", "__version__"} == {
        *door.__all__,
        "callbacks",
        "__version__",
    }


@pytest.mark.parametrize("door", ["callboard", "callboard.callbacks"])
def test_names_that_are_imported_on_use_are_shown_before(door):
    script = f"import {door} as door; assert {{*door.__all__}} <= {{*dir(door)}}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("door", ["callboard", "callboard.callbacks"])
def test_all_names_can_be_had_by_a_star(door):
    script = (
        f"import {door}; from {door} import *; {{*{door}.__all__}} <= {{*globals()}} or exit(1)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_name_that_a_package_does_not_have_is_an_error_like_any_other():
    assert not hasattr(callbacks, "EarlyStoping")
    with pytest.raises(
        AttributeError, match=r"'callboard.callbacks' has no attribute 'EarlyStoping'"
    ):
        callbacks.EarlyStoping  # noqa: B018 - to look it up is what fails
    with pytest.raises(ImportError, match="EarlyStoping"):
        from callboard.callbacks import EarlyStoping  # noqa: F401, PLC0415 - as above


def test_exports_are_sorted_and_there():
    for door in (callboard, callbacks):
        assert sorted(door.__all__) == door.__all__
        assert all(hasattr(door, name) for name in door.__all__)
    assert callboard.callbacks is callbacks


HEAVY = ["IPython", "h5py", "jax", "keras", "matplotlib", "rich", "safetensors", "tensorboard"]
HEAVY += ["tensorflow", "torch"]


def loaded_by(script):
    """Return which of the heavy modules a script has loaded in a process of its own."""
    told = f"{script}\nimport sys\nprint(sorted(sys.modules.keys() & set({HEAVY})))"
    return subprocess.check_output([sys.executable, "-c", told], text=True, timeout=60)


def test_importing_loads_no_framework_and_nothing_heavy():
    assert loaded_by("import callboard, callboard.testing") == "[]\n"


def test_importing_loads_what_every_run_needs_and_no_callback_before_it_is_used():
    told = (
        "import sys, callboard\n"
        "layers = {name.split('.')[1] for name in sys.modules if name.startswith('callboard.')}\n"
        "callboard.callbacks.EarlyStopping\n"
        "used = {n.split('.')[2] for n in sys.modules if n.startswith('callboard.callbacks.')}\n"
        "print(sorted(layers), 'early_stopping' in used, 'tensorboard' in used)\n"
    )
    printed = subprocess.check_output([sys.executable, "-c", told], text=True, timeout=60)
    assert printed == "['_core', 'callbacks'] True False\n"


def test_a_run_without_a_live_display_loads_nothing_heavy_either():
    script = (
        "import callboard\n"
        "from callboard.callbacks import EarlyStopping\n"
        "with callboard.Run(epochs=2, callbacks=[EarlyStopping('loss')], verbose=2) as run:\n"
        "    for _ in run.epochs():\n"
        "        for _ in run.train([1]):\n"
        "            run.log(loss=1.0)\n"
    )
    assert loaded_by(script).endswith("\n[]\n")
