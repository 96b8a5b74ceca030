"""What the callback shows of a model: graph, profile, embeddings, chosen layers, texts."""

import json
import warnings

import numpy as np
import pytest

from callboard import callbacks
from callboard._core.errors import ConfigurationError, DataError, UnknownNameError, UnsupportedError
from callboard._core.run import Run
from callboard.events import read_records
from callboard.testing import ScriptedRun

torch = pytest.importorskip("torch")
Model = pytest.importorskip("callboard.torch").Model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef


class Words(torch.nn.Module):
    """Two embeddings and a dense layer."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(4, 3)
        self.kinds = torch.nn.Embedding(2, 3)
        self.out = torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.words(x) + self.kinds(x % 2)).mean(1)


def messages(folder):
    return [
        Event.FromString(record)
        for path in sorted(folder.glob("events.*"))
        for record in read_records(path)
    ]


def graphs(folder):
    return [GraphDef.FromString(e.graph_def) for e in messages(folder) if e.graph_def]


def tags(folder):
    return {(v.tag, e.step) for e in messages(folder) for v in e.summary.value}


def fit(folder, module=None, epochs=2, model=None, initial_epoch=0, **options):
    if model is None:
        model = Model(module or Words())
        model.compile("sgd", "mse")
    x, y = torch.randint(0, 4, (8, 5)), torch.randn(8, 1)
    tensorboard = callbacks.TensorBoard(folder, **options)
    model.fit(
        x,
        y,
        batch_size=2,
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[tensorboard],
    )
    return model


def journal(model):
    return [(d.action, d.cause) for d in model.history.journal] if model else []


def test_the_graph_is_written_once_and_by_default(tmp_path):
    fit(tmp_path)
    (graph,) = graphs(tmp_path / "train")
    nodes = {node.name: node for node in graph.node}
    assert list(nodes["Words/Linear[out]/linear"].input) == [
        "Words/add",
        "Words/Linear[out]/weight",
        "Words/Linear[out]/bias",
    ]
    assert list(nodes["output"].input) == ["Words/mean"]
    fit(tmp_path / "without", write_graph=False)
    assert graphs(tmp_path / "without" / "train") == []


def test_a_graph_leaves_no_trace_in_the_training(tmp_path):
    results = []
    for write_graph in (True, False):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global one is meant
        module = torch.nn.Sequential(
            torch.nn.Embedding(4, 3),
            torch.nn.Flatten(),
            torch.nn.BatchNorm1d(15),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(15, 1),
        )
        model = fit(tmp_path / str(write_graph), module, write_graph=write_graph)
        state = {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}
        results.append((state, torch.get_rng_state().numpy().tobytes(), model.history.history))
    assert results[0] == results[1]
    assert not torch.nn.modules.module._has_any_global_hook()  # torch.compile would warn of one


def test_a_model_that_cannot_be_run_on_a_batch_trains_without_a_graph(tmp_path):
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with Run(net, optimizer, callbacks=[callbacks.TensorBoard(tmp_path)], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([{"x": torch.ones(3, 2)}]):
                run.log(loss=net(batch["x"]).mean())
    assert graphs(tmp_path / "train") == []
    (decision,) = run.journal
    assert decision.action == "skipped"
    assert "the graph is not written" in decision.cause


@pytest.mark.parametrize(
    ("given", "first", "last"), [(3, 3, 3), ((2, 5), 2, 5), ("2,5", 2, 5), ("3", 3, 3), (7, 7, 7)]
)
def test_a_profile_is_a_trace_for_chrome_and_its_place_is_told(tmp_path, given, first, last, capfd):
    fit(tmp_path, profile_batch=given)
    path = tmp_path / "train" / f"batches-{first}-to-{last}.pt.trace.json"
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert "aten::addmm" in names
    shown = f"batches {first} to {last} are profiled in {path}; open it at https://ui.perfetto.dev"
    assert shown in capfd.readouterr().out


def test_a_profile_that_the_end_cuts_off_is_written(tmp_path, capfd):
    fit(tmp_path, profile_batch=(6, 100))
    assert (tmp_path / "train" / "batches-6-to-8.pt.trace.json").exists()
    assert "batches 6 to 8" in capfd.readouterr().out
    fit(tmp_path / "late", profile_batch=(60, 100))
    assert not list((tmp_path / "late" / "train").glob("*.json"))


def test_a_profile_that_cannot_be_written_keeps_nobody_from_training(tmp_path):
    (tmp_path / "train" / "batches-2-to-2.pt.trace.json").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="profiles are not written: the profiler cannot end"):
        fit(tmp_path, profile_batch=2)
    assert {tag for tag, _ in tags(tmp_path / "train")} >= {"epoch_loss"}


@pytest.mark.parametrize("given", [-1, True, 1.5, "a", "1,a", (0, 2), (5, 2), (1, 2, 3), "", None])
def test_a_batch_to_profile_that_is_none_is_an_error(given):
    with pytest.raises(ConfigurationError, match="profile_batch must be 0"):
        callbacks.TensorBoard(profile_batch=given)


def test_a_profile_needs_a_framework(tmp_path):
    with pytest.raises(UnsupportedError, match="profile_batch needs a framework"):
        ScriptedRun([0.5]).play(callbacks.TensorBoard(tmp_path, profile_batch=1))


def test_embeddings_are_written_with_what_they_stand_for(tmp_path):
    labels = tmp_path / "labels.tsv"
    labels.write_text("a\nb\nc\nd\n")
    metadata = {"words": str(labels), "kinds": ["even", "odd"]}
    model = fit(tmp_path / "tb", embeddings_freq=2, embeddings_metadata=metadata, epochs=3)
    folder = tmp_path / "tb" / "train"
    vectors = np.loadtxt(folder / "embedding-words.tsv", dtype="f4", delimiter="\t")
    np.testing.assert_array_equal(vectors, model.module.words.weight.detach().numpy())
    assert (folder / "embedding-words.labels.tsv").read_text() == "a\nb\nc\nd\n"
    assert (folder / "embedding-kinds.labels.tsv").read_text() == "even\nodd\n"
    assert metadata == {"words": str(labels), "kinds": ["even", "odd"]}


def test_metadata_is_also_looked_for_in_the_folder(tmp_path):
    (tmp_path / "tb").mkdir()
    (tmp_path / "tb" / "metadata.tsv").write_text("a\nb\nc\nd\n")
    fit(tmp_path / "tb", embeddings_freq=1, embeddings_metadata={"words": "metadata.tsv"})
    assert (tmp_path / "tb" / "train" / "embedding-words.labels.tsv").exists()
    assert not (tmp_path / "tb" / "train" / "embedding-kinds.labels.tsv").exists()


@pytest.mark.parametrize(
    ("metadata", "kind", "message"),
    [
        ({"word": ["a"] * 4}, UnknownNameError, "Did you mean 'words'"),
        ({"words": ["a"] * 3}, ConfigurationError, "has 3 rows, and the layer 4 vectors"),
        (["a"] * 4, ConfigurationError, "'kinds' has 4 rows, and the layer 2"),
        ("absent.tsv", FileNotFoundError, "neither there nor in log_dir"),
        ([["a", "b"], ["c"]], DataError, "different numbers of columns"),
    ],
)
def test_metadata_that_does_not_fit_is_an_error_before_training(tmp_path, metadata, kind, message):
    with pytest.raises(kind, match=message):
        fit(tmp_path / "tb", embeddings_freq=1, embeddings_metadata=metadata)
    assert not (tmp_path / "tb").exists()


def test_embeddings_need_a_model_with_some(tmp_path):
    with pytest.raises(ConfigurationError, match="no embedding layers"):
        ScriptedRun([0.5]).play(callbacks.TensorBoard(tmp_path, embeddings_freq=1))
    with pytest.raises(ConfigurationError, match="embeddings_freq, which is 0"):
        callbacks.TensorBoard(embeddings_metadata={"words": ["a"]})


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("out", {"out.weight", "out.bias", "out/activations"}),
        (["*.bias"], {"out.bias"}),
        (["w*", "kinds.weight"], {"words.weight", "words/activations", "kinds.weight"}),
    ],
)
def test_layers_are_chosen_by_name_or_pattern(tmp_path, layers, expected):
    fit(tmp_path, histogram_freq=1, write_images=True, layers=layers, epochs=1)
    found = {tag for tag, _ in tags(tmp_path / "train") if tag.endswith("/histogram")}
    assert found == {f"{name}/histogram" for name in expected}
    images = {tag for tag, _ in tags(tmp_path / "train") if tag.endswith("/image")}
    assert images <= {f"{name}/image" for name in expected}


def test_a_layer_that_is_none_is_an_error_before_training(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no layer\. Did you mean 'words'"):
        fit(tmp_path, histogram_freq=1, layers=["word"])
    for layers in (3, [], [3]):
        with pytest.raises(ConfigurationError, match="layers must be names or patterns"):
            callbacks.TensorBoard(layers=layers)


def test_steps_go_on_in_a_second_fit(tmp_path):
    model = fit(tmp_path, update_freq=2)
    fit(tmp_path, update_freq=2, model=model, epochs=3, initial_epoch=2)
    steps = sorted(step for tag, step in tags(tmp_path / "train") if tag == "batch_loss")
    assert steps == [2, 4, 6, 8, 10, 12]
    epochs = sorted(step for tag, step in tags(tmp_path / "train") if tag == "epoch_loss")
    assert epochs == [0, 1, 2]


def test_texts_say_how_the_run_went(tmp_path):
    script = ScriptedRun({"loss": [0.5, 0.6, 0.7]})
    options = {"text": True, "hparams": {"rate": 0.1}}
    stopping = callbacks.EarlyStopping("loss", patience=1)
    script.play(callbacks.TensorBoard(tmp_path, **options), stopping)
    texts = {
        value.tag: value.tensor.string_val[0].decode()
        for event in messages(tmp_path / "train")
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "text"
    }
    assert "| EarlyStopping | " in texts["configuration"]
    assert "monitor='loss'" in texts["configuration"]
    assert "weight  scalar        1" in texts["model"]
    assert "| EarlyStopping | stopped | loss did not improve" in texts["journal"]


def test_a_run_that_fails_says_so_to_who_compares_runs(tmp_path):
    class Fail(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        ScriptedRun([0.5]).play(callbacks.TensorBoard(tmp_path, hparams={"rate": 0.1}), Fail())
    start, end = (event.summary.value[0] for event in messages(tmp_path)[2:])
    assert start.tag == "_hparams_/session_start_info"
    assert b"\x08\x02" in end.metadata.plugin_data.content
    with pytest.raises(DataError, match="'sizes' must be a number"):
        callbacks.TensorBoard(hparams={"sizes": [1]})


def test_a_layout_may_be_ones_own(tmp_path):
    layout = {"mine": {"losses": ["epoch_loss$"]}}
    play = ScriptedRun({"loss": [0.5], "val_loss": [0.4]}).play
    play(callbacks.TensorBoard(tmp_path / "own", custom_scalars=layout))
    play(callbacks.TensorBoard(tmp_path / "given", custom_scalars=True))
    for name, title in (("own", b"mine"), ("given", b"training and validation")):
        (content,) = (
            value.tensor.string_val[0]
            for event in messages(tmp_path / name / "train")
            for value in event.summary.value
            if value.tag == "custom_scalars__config__"
        )
        assert title in content
        assert content.count(b"epoch_loss$") == 1
    with pytest.raises(DataError, match="a layout is"):
        callbacks.TensorBoard(custom_scalars={"losses": ["epoch_loss"]})
