"""The simulated disk, for the tests of this folder."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _module():
    name = "simulated_disk"
    if name not in sys.modules:
        path = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def simulated():
    """The module with the simulated disk; tests are no packages that could import it."""
    return _module()
