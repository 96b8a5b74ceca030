import subprocess
import sys

import pytest

import callboard
from callboard import callbacks


@pytest.mark.parametrize("door", [callboard, callbacks], ids=["callboard", "callbacks"])
def test_what_a_package_exports_is_what_it_has(door):
    has = {name for name in vars(door) if not name.startswith("_")}
    submodules = {name for name in has if f"{door.__name__}.{name}" in sys.modules}
    assert has - submodules | {"callbacks", "__version__"} == {
        *door.__all__,
        "callbacks",
        "__version__",
    }


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
