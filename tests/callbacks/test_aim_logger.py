import contextlib
import math
import time
import warnings

import pytest
from tracked_training import expected, killed, train

from callboard import ConfigurationError
from callboard.callbacks import AimLogger, LambdaCallback
from callboard.testing import ScriptedRun

with warnings.catch_warnings():  # SQLAlchemy's, of Aim's use
    warnings.simplefilter("ignore")
    aim = pytest.importorskip("aim")
    from aim.sdk.errors import MissingRunError
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("tracking"),
]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """One repository for all tests, as it takes seconds to make."""
    return tmp_path_factory.mktemp("aim")


@contextlib.contextmanager
def opened(repo, run_id):
    """Open a run; not read-only, as that needs the index that ``aim up`` makes."""
    quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
    give_up_at = time.monotonic() + 60
    while True:
        try:
            run = aim.Run(run_id, repo=str(repo), **quiet)
            break
        except MissingRunError:  # Aim looks for new runs now and then only
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
    yield run
    run.close()


def hashes(repo):
    return {path.name for path in (repo / ".aim" / "meta" / "chunks").glob("*")}


def curves(repo, run_id):
    found = {}
    with opened(repo, run_id) as run:
        for metric in run.metrics():
            of_validation = metric.context.to_dict()["subset"] == "val"
            name = f"val_{metric.name}" if of_validation else metric.name
            steps, (values, *_) = metric.data.numpy()
            found[name] = sorted(zip(map(int, steps), map(float, values), strict=True))
    return found


def test_what_is_logged_is_what_the_repository_has(repo, tmp_path):
    tracker = AimLogger(repo, "digits", params={"n": 3}, update_freq="batch")
    train(tracker, tmp_path / "run")
    with opened(repo, tracker.run_id) as run:
        assert run["status"] == "finished"
        assert run["hparams"]["n"] == 3
        assert run["hparams"]["epochs"] == 3
        assert run.experiment == "digits"
    assert curves(repo, tracker.run_id) == expected(tmp_path / "whole")


def test_a_run_that_is_killed_goes_on_as_the_same_run_with_every_point_once(repo, tmp_path):
    before = hashes(repo)
    killed(f"AimLogger({str(repo)!r}, update_freq='batch')", tmp_path / "run")
    tracker = AimLogger(repo, update_freq="batch")
    train(tracker, tmp_path / "run")
    assert hashes(repo) - before == {tracker.run_id}
    assert curves(repo, tracker.run_id) == expected(tmp_path / "whole")
    with opened(repo, tracker.run_id) as run:
        assert run["status"] == "finished"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), "failed"), (KeyboardInterrupt(), "killed")]
)
def test_the_status_tells_of_errors_and_interruptions(repo, tmp_path, error, status):
    tracker = AimLogger(repo)
    with pytest.raises(type(error)):
        train(tracker, tmp_path / "run", error=error)
    with opened(repo, tracker.run_id) as run:
        assert run["status"] == status


def test_an_object_that_is_used_again_makes_a_second_run_and_nan_is_kept(repo):
    tracker = AimLogger(repo)
    ids = []
    for _ in range(2):
        ScriptedRun({"loss": [math.nan, math.inf, 0.25]}).play(tracker)
        ids.append(tracker.run_id)
    assert ids[0] != ids[1]
    for run_id in ids:
        values = [value for _, value in curves(repo, run_id)["loss"]]
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, 0.25]


def test_checkpoints_are_copied_to_their_place(repo, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")

    class Gives(LambdaCallback):
        def artifacts(self):
            return (tmp_path / "best.pt",)

    place = (tmp_path / "files").as_uri()
    tracker = AimLogger(repo, artifacts_uri=place, log_checkpoints=True)
    ScriptedRun({"loss": [0.5]}).play(Gives(), tracker)
    assert [p.read_bytes() for p in (tmp_path / "files").rglob("best.pt")] == [b"weights"]


def test_checkpoints_need_a_place():
    with pytest.raises(ConfigurationError, match="artifacts_uri='file:///"):
        AimLogger(log_checkpoints=True)
