import sys
from pathlib import Path

import pytest

# The training of the tests of trackers, which processes that are killed run as well.
sys.path.insert(0, str(Path(__file__).parent))

TELEMETRY_OFF = {
    "AIM_UI_TELEMETRY_ENABLED": "0",
    "COMET_ERROR_TRACKING_ENABLE": "false",
    "COMET_INTERNAL_REPORTING": "false",
    "COMET_LOGGING_CONSOLE": "ERROR",
    "COMET_LOG_ENV_DETAILS": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    """An environment in which the packages of trackers stay within a folder."""
    for name, value in TELEMETRY_OFF.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
