"""Every dashboard of the real server, asked over HTTP for what callback and writer have written."""

import gc
import io
import json
import warnings
import wave

import numpy as np
import pytest
from tensorboard_server import LOADERS, serving

from callboard import callbacks
from callboard._core.signals import SimulatedKill
from callboard.events import EventWriter
from callboard.testing import ScriptedRun

torch = pytest.importorskip("torch")
pyplot = pytest.importorskip("matplotlib.pyplot")
Image = pytest.importorskip("PIL.Image")
Model = pytest.importorskip("callboard.torch").Model

WORDS = [f"word {n}" for n in range(10)]


class Net(torch.nn.Module):
    """An embedding, a convolution and a dense layer."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(10, 8)
        self.conv = torch.nn.Conv1d(8, 4, 3)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.conv(self.words(x).transpose(1, 2)).mean(2))


def train(folder, learning_rate):
    """Train with everything switched on."""
    generator = torch.Generator().manual_seed(0)
    model = Model(Net())
    model.compile("sgd", "mse", metrics=["mae"])
    model.optimizer.learning_rate = learning_rate
    x = torch.randint(0, 10, (16, 6), generator=generator)
    y = torch.randn(16, 2, generator=generator)
    tensorboard = callbacks.TensorBoard(
        folder,
        histogram_freq=1,
        write_images=True,
        write_steps_per_second=True,
        update_freq=2,
        profile_batch=(2, 3),
        embeddings_freq=1,
        embeddings_metadata={"words": WORDS},
        gradients=True,
        hparams={"learning_rate": learning_rate, "optimizer": "sgd", "augmented": True},
        text=True,
        custom_scalars=True,
    )
    data = {"batch_size": 4, "epochs": 3, "validation_data": (x, y), "verbose": 0}
    return model.fit(x, y, **data, callbacks=[tensorboard]).history


KERAS = {
    "class_name": "Sequential",
    "config": {
        "name": "layered",
        "layers": [
            {"class_name": "Dense", "config": {"name": name, "dtype": "float32"}}
            for name in ("hidden", "last")
        ],
    },
}


def write_by_hand(folder):
    """Write what the callback does not."""
    with EventWriter(folder) as writer:
        writer.add_audio("beep", np.sin(np.arange(800) / 5), 3, sample_rate=8000)
        writer.add_pr_curve("curve", [1, 0, 1, 1], [0.9, 0.8, 0.3, 0.2], 4, thresholds=3)
        figure, axes = pyplot.subplots(figsize=(3, 2), dpi=50)
        axes.plot([1, 2, 3])
        writer.add_figure("figure", figure, 1)
        writer.add_image("pixels", torch.full((3, 4, 5), 0.5), 1)
        writer.add_images("batch", np.zeros((4, 8, 6), "u1"), 2, dataformats="NHW")
        writer.add_graph(Net(), torch.zeros(2, 6, dtype=torch.int64))
        writer.add_keras_model(json.dumps(KERAS))
        rows = [["name", "kind"], *([f"n{n}", "k"] for n in range(9))]
        images = np.zeros((9, 8, 8, 3), "u1")
        writer.add_embedding("points/ü", np.eye(9, 3), metadata=rows, images=images)
        writer.add_embedding("more", np.eye(4))
        writer.add_custom_scalars({"mine": {"losses": ["epoch_loss$", "evaluation_loss"]}})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two trainings and a run by hand; the trainings' histories."""
    logdir = tmp_path_factory.mktemp("dashboards") / "logs"
    histories = {name: train(logdir / name, rate) for name, rate in (("a", 0.1), ("b", 0.2))}
    write_by_hand(logdir / "by hand")
    return logdir, histories


@pytest.fixture(scope="module", params=LOADERS, ids=["fast", "slow"])
def server(request, written):
    with serving(written[0], request.param) as server:
        server.until(lambda: server.get("plugin/audio/tags"))
        server.until(lambda: len(server.scalars("b/validation", "epoch_loss")) == 3)
        yield server


def test_scalars(server, written):
    history = written[1]["a"]
    losses = [pytest.approx(value) for value in history["loss"]]
    assert server.scalars("a/train", "epoch_loss") == list(enumerate(losses))
    validation = [pytest.approx(value) for value in history["val_loss"]]
    assert server.scalars("a/validation", "epoch_loss") == list(enumerate(validation))
    steps = [step for step, _ in server.scalars("a/train", "batch_loss")]
    assert steps == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("plugin", ["histograms", "distributions"])
def test_histograms_and_distributions(server, plugin):
    tags = set(server.get(f"plugin/{plugin}/tags")["a/train"])
    weights = ["words.weight", "conv.weight", "conv.bias", "out.weight", "out.bias"]
    assert tags == {
        *(f"{name}/histogram" for name in weights),
        *(f"{name}/gradients/histogram" for name in weights),
        *(f"{layer}/activations/histogram" for layer in ("words", "conv", "out")),
    }
    found = server.get(f"plugin/{plugin}/{plugin}", run="a/train", tag="conv.weight/histogram")
    assert [row[1] for row in found] == [0, 1, 2]
    if plugin == "histograms":
        assert sum(count for *_, count in found[0][2]) == 4 * 8 * 3


def test_images(server):
    tags = server.get("plugin/images/tags")
    assert "conv.weight/image" in tags["a/train"]
    assert tags["by hand"]["batch"]["samples"] == 4

    def picture(tag, run="by hand", sample=0):
        (shown,) = server.get("plugin/images/images", run=run, tag=tag, sample=sample)[-1:]
        content = server.read(f"plugin/images/individualImage?{shown['query']}&x=")
        return Image.open(io.BytesIO(content))

    assert picture("figure").size == (150, 100)
    assert picture("batch", sample=3).size == (6, 8)
    assert picture("pixels").convert("RGB").getpixel((4, 3)) == (128, 128, 128)
    # 4 outputs and 8 inputs of kernels with 3 numbers: 4 cells of 8 rows, with lines between.
    assert picture("conv.weight/image", "a/train").size == (4 * 4 - 1, 8)


def test_audio(server):
    (sound,) = server.get("plugin/audio/audio", run="by hand", tag="beep", sample=0)
    content = server.read(f"plugin/audio/individualAudio?{sound['query']}&x=")
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8000, 800, 1)
        samples = np.frombuffer(file.readframes(800), "<i2")
    np.testing.assert_allclose(samples / 32767, np.sin(np.arange(800) / 5), atol=1e-4)


def test_texts(server):
    assert set(server.get("plugin/text/tags")["a/train"]) == {"configuration", "model", "journal"}

    def text(tag):
        return server.get("plugin/text/text", run="a/train", tag=tag)[-1]["text"]

    assert "TensorBoard" in text("configuration")
    assert "Embedding" in text("model")
    assert "batches 2 to 3 are profiled" in text("journal")


def test_pr_curves(server):
    (curve,) = server.get("plugin/pr_curves/pr_curves", run="by hand", tag="curve")["by hand"]
    # TensorBoard leaves out thresholds that no prediction reaches.
    assert (curve["step"], curve["thresholds"]) == (4, [0, 0.5])
    assert curve["precision"] == [0.75, 0.5]
    assert curve["recall"] == pytest.approx([1, 1 / 3])


def sessions(server):
    """Return the types of all hyperparameters, and of each ended run their values and metrics."""
    experiment = server.post("plugin/hparams/experiment", experimentName="")
    groups = server.post(
        "plugin/hparams/session_groups",
        experimentName="",
        allowedStatuses=["STATUS_SUCCESS"],
        colParams=[{"metric": info["name"]} for info in experiment["metricInfos"]],
        startIndex=0,
        sliceSize=10,
    )["sessionGroups"]
    types = {info["name"]: info["type"] for info in experiment["hparamInfos"]}
    found = {}
    for group in groups:
        values = {(m["name"]["group"], m["name"]["tag"]): m["value"] for m in group["metricValues"]}
        found[group["name"]] = (group["hparams"], values)
    return types, found


def test_hyperparameters(server, written):
    types, found = sessions(server)
    assert types == {
        "learning_rate": "DATA_TYPE_FLOAT64",
        "optimizer": "DATA_TYPE_STRING",
        "augmented": "DATA_TYPE_BOOL",
    }
    rates = {name: hparams["learning_rate"] for name, (hparams, _) in found.items()}
    assert rates == {"a": 0.1, "b": 0.2}
    for name, (_, values) in found.items():
        last = pytest.approx(written[1][name]["val_loss"][-1])
        assert values["validation", "epoch_loss"] == last


def test_custom_scalars(server):
    layout = server.get("plugin/custom_scalars/layout")
    charts = {
        (category["title"], chart["title"]): chart["multiline"]["tag"]
        for category in layout["category"]
        for chart in category["chart"]
    }
    assert charts["training and validation", "loss"] == ["epoch_loss$"]
    assert charts["mine", "losses"] == ["epoch_loss$", "evaluation_loss"]
    for run in ("a/train", "a/validation"):
        found = server.get("plugin/custom_scalars/scalars", run=run, tag="epoch_loss$")
        assert list(found["tag_to_events"]) == ["epoch_loss"]


@pytest.mark.parametrize("run", ["a/train", "by hand"])
def test_graphs(server, run):
    assert server.get("plugin/graphs/info")[run]["run_graph"]
    graph = server.read("plugin/graphs/graph", run=run, conceptual="false").decode()
    for name in ("Net/Embedding[words]/embedding", "Net/Conv1d[conv]/conv1d", "Net/mean"):
        assert f'name: "{name}"' in graph
    assert 'input: "Net/Linear[out]/weight"' in graph


def test_the_layers_of_a_keras_model(server):
    tags = server.get("plugin/graphs/info")["by hand"]["tags"]
    assert tags["keras"]["conceptual_graph"]
    graph = server.read("plugin/graphs/graph", run="by hand", tag="keras", conceptual="true")
    for name in ("layered/hidden", "layered/last"):
        assert f'name: "{name}"' in graph.decode()
    assert 'input: "layered/hidden"' in graph.decode()


def test_the_projector(server):
    assert sorted(server.get("plugin/projector/runs")) == ["a/train", "b/train", "by hand"]
    (words,) = server.get("plugin/projector/info", run="a/train")["embeddings"]
    assert (words["tensorName"], words["tensorShape"]) == ("words", [10, 8])
    labels = server.read("plugin/projector/metadata", run="a/train", name="words")
    assert labels.decode().split("\n") == [*WORDS, ""] or labels.decode().split("\n") == WORDS
    named = server.get("plugin/projector/info", run="by hand")["embeddings"]
    assert [info["tensorName"] for info in named] == ["points/ü", "more"]
    points = server.read("plugin/projector/tensor", run="by hand", name="points/ü")
    np.testing.assert_array_equal(np.frombuffer(points, "f4").reshape(9, 3), np.eye(9, 3))
    sprite = server.read("plugin/projector/sprite_image", run="by hand", name="points/ü")
    assert Image.open(io.BytesIO(sprite)).size == (24, 24)


def play(folder, kill=None):
    """Train with a backup after every second batch; end like a kill."""

    def end(batch, logs):
        if script.run.progress.step == kill:
            raise SimulatedKill

    script = ScriptedRun({"loss": [0.9, 0.5, 0.4], "val_loss": [0.8, 0.7, 0.6]}, batches=4)
    script.play(
        callbacks.TensorBoard(
            folder / "logs" / "run", update_freq=1, hparams={"rate": 0.5}, text=True
        ),
        callbacks.BackupAndRestore(f"{folder}-backup", save_freq=2, delete_checkpoint=False),
        callbacks.LambdaCallback(on_train_batch_end=end),
    )


def killed(folder, step):
    with pytest.raises(SimulatedKill) as ended:
        play(folder, step)
    with warnings.catch_warnings():  # a process that is killed does not close its files
        warnings.simplefilter("ignore", ResourceWarning)
        del ended
        gc.collect()


@pytest.mark.parametrize("load_fast", LOADERS)
def test_a_run_that_was_killed_is_shown_without_a_seam(tmp_path, load_fast):
    logdir = tmp_path / "logs"
    for name, kills in {"resumed": [7], "resumed twice": [5, 11]}.items():
        for kill in kills:
            killed(logdir / name, kill)
        play(logdir / name)
    with serving(logdir, load_fast) as server:
        server.until(lambda: len(sessions(server)[1]) == 2)
        for name, (hparams, values) in sessions(server)[1].items():
            server.until(lambda run=name: len(server.scalars(f"{run}/train", "batch_loss")) == 12)
            steps = [step for step, _ in server.scalars(f"{name}/train", "batch_loss")]
            assert steps == list(range(1, 13))
            for tag in ("epoch_loss", "epoch_learning_rate"):
                assert [step for step, _ in server.scalars(f"{name}/train", tag)] == [0, 1, 2]
            assert hparams == {"rate": 0.5}
            assert values["validation", "epoch_loss"] == pytest.approx(0.6)
