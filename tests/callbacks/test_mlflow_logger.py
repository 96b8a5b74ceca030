import math
import shutil
import socket
import warnings

import pytest
from tracked_training import by_name, expected, train

from callboard import ConfigurationError
from callboard.callbacks import MLflowLogger, ModelCheckpoint
from callboard.testing import ScriptedRun, _killed

mlflow = pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # SQLAlchemy, of MLflow's use
    pytest.mark.usefixtures("tracking"),
]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = mlflow.MlflowClient(f"sqlite:///{path}")
        client.create_experiment("digits", artifact_location=str(path.parent / "artifacts"))
    return path


@pytest.fixture
def uri(empty_database, tmp_path):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def curves(uri, run_id):
    client = mlflow.MlflowClient(uri)
    names = client.get_run(run_id).data.metrics
    points = {name: client.get_metric_history(run_id, name) for name in names}
    return {name: [(p.step, p.value) for p in history] for name, history in points.items()}


def test_what_is_logged_is_what_mlflow_has(uri, tmp_path):
    logger = MLflowLogger(
        uri,
        "digits",
        "first",
        tags={"team": "a"},
        params={"data": {"n": 3}},
        update_freq="batch",
    )
    train(logger, tmp_path / "run")
    run = mlflow.MlflowClient(uri).get_run(logger.run_id)
    assert curves(uri, logger.run_id) == expected(tmp_path / "whole")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.tags["team"] == "a"
    assert run.data.params["epochs"] == "3"
    assert run.data.params["data.n"] == "3"
    assert run.data.params["ModelCheckpoint.save_best_only"] == "True"


def test_a_run_that_is_killed_goes_on_as_the_same_run_with_every_point_once(uri, tmp_path):
    def training(folder):
        train(MLflowLogger(uri, "digits", update_freq="batch"), folder)

    assert _killed(training, tmp_path / "run", 7)
    client = mlflow.MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    (before,) = client.search_runs([experiment.experiment_id])
    assert before.info.status == "RUNNING"
    training(tmp_path / "run")
    (after,) = client.search_runs([experiment.experiment_id])
    assert after.info.run_id == before.info.run_id
    assert after.info.status == "FINISHED"
    assert curves(uri, after.info.run_id) == expected(tmp_path / "whole")


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_the_status_tells_of_errors_and_interruptions(uri, tmp_path, error, status):
    logger = MLflowLogger(uri, "digits")
    with pytest.raises(type(error)):
        train(logger, tmp_path / "run", error=error)
    assert mlflow.MlflowClient(uri).get_run(logger.run_id).info.status == status


def test_an_object_that_is_used_again_makes_a_second_run_and_an_experiment_if_needed(uri):
    logger = MLflowLogger(uri, "new one")
    ids = []
    for _ in range(2):
        ScriptedRun({"loss": [0.5, 0.25]}).play(logger)
        ids.append(logger.run_id)
    assert ids[0] != ids[1]
    for run_id in ids:
        assert curves(uri, run_id)["loss"] == [(1, 0.5), (2, 0.25)]


def test_nan_and_infinities_as_the_database_has_them(uri):
    logger = MLflowLogger(uri, "digits")
    ScriptedRun({"loss": [math.nan, math.inf, -math.inf, 1.0]}).play(logger)
    values = [value for _, value in curves(uri, logger.run_id)["loss"]]
    assert math.isnan(values[0])
    assert values[1:] == [1.7976931348623157e308, -1.7976931348623157e308, 1.0]


def test_names_that_mlflow_does_not_allow_are_changed(uri):
    logger = MLflowLogger(uri, "digits", params={"a@b": 1})
    ScriptedRun({"top@5": [0.5]}).play(logger)
    assert curves(uri, logger.run_id)["top_5"] == [(1, 0.5)]
    assert mlflow.MlflowClient(uri).get_run(logger.run_id).data.params["a_b"] == "1"


def test_checkpoints_are_uploaded(uri, tmp_path):
    logger = MLflowLogger(uri, "digits", log_checkpoints=True)
    (tmp_path / "best.pt").write_bytes(b"weights")
    file = ModelCheckpoint(tmp_path / "best.pt", save_best_only=True)
    folder = ModelCheckpoint(tmp_path / "folder", save_top_k=1)
    ScriptedRun({"val_loss": [0.5, 0.2, 0.4], "loss": [1.0] * 3}).play(file, folder, logger)
    client = mlflow.MlflowClient(uri)
    assert [a.path for a in client.list_artifacts(logger.run_id)] == ["best.pt", "step-00000002"]
    assert "step-00000002/manifest.json" in [
        a.path for a in client.list_artifacts(logger.run_id, "step-00000002")
    ]


def test_a_server_that_is_away_is_an_error_at_the_start_and_a_warning_if_not_required():
    with socket.socket() as closed:  # bound and not listening: nobody answers here
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="required=False"):
            ScriptedRun([0.5]).play(MLflowLogger(address))
        with pytest.warns(RuntimeWarning, match="nothing is logged"):
            ScriptedRun([0.5]).play(MLflowLogger(address, required=False))


def test_a_server_that_goes_away_does_not_stop_the_training(uri):
    logger = MLflowLogger(uri, "digits")
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))

    class Unplug(ModelCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
            logger._client = mlflow.MlflowClient(address)

    with pytest.warns(RuntimeWarning, match="will be sent again later") as warned:
        run = ScriptedRun({"loss": [0.5, 0.4, 0.3]}).play(Unplug("x.pt"), logger)
    closed.close()
    assert len(warned) == 1
    assert len(run.history["loss"]) == 3


def test_a_run_of_the_users_own_is_logged_into(uri):
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    logger = MLflowLogger(uri, run_id=run_id)
    ScriptedRun({"loss": [0.5]}).play(logger)
    assert logger.run_id == run_id
    assert by_name([("loss", *p) for p in curves(uri, run_id)["loss"]]) == {"loss": [(1, 0.5)]}
