"""What TensorBoard shows of a Keras model."""

import json

import numpy as np
import pytest

from callboard import UnsupportedError
from callboard._core.inspection import inspection_of
from callboard._core.trainable import trainable_of
from callboard.callbacks import TensorBoard
from callboard.callbacks.weight_image import weight_image

keras = pytest.importorskip("keras")
pytest.importorskip("callboard.keras")


def test_layers_embeddings_and_summary_of_a_keras_model():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(4, 2, name="words"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(1, name="out"),
        ]
    )
    seen = inspection_of(trainable_of(model, None))
    assert {"words", "flat", "out"} <= set(seen.layers())
    (vectors,) = seen.embeddings().values()
    np.testing.assert_array_equal(vectors, np.asarray(model.layers[0].get_weights()[0]))
    assert "words" in seen.summary()
    graph = seen.graph(None)
    assert graph.architecture == model.to_json()
    assert [(node.op, node.inputs) for node in graph.nodes] == [
        ("Embedding", ()),
        ("Flatten", ("words",)),
        ("Dense", ("flat",)),
    ]


def test_kernels_of_a_keras_convolution_are_those_of_its_outputs():
    kernel = np.zeros((5, 4, 3, 2), "f4")  # height, width, inputs, outputs
    # 3 inputs of kernels of 4 x 5 across, 2 outputs down, with lines between.
    assert weight_image(kernel, outputs_first=False)[1:] == (3 * 5 - 1, 2 * 6 - 1)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.only = keras.layers.Dense(2)

    def call(self, x):
        return self.only(x)


def test_the_page_of_graphs_reads_the_layers(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415 - after Keras
    from tensorboard.plugins.graph import keras_util  # noqa: PLC0415 - as above

    inputs = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(3, name="a")(inputs)
    outputs = keras.layers.Dense(2, name="c")(keras.layers.Add(name="b")([hidden, hidden]))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    model.fit(*data, epochs=2, verbose=0, callbacks=[TensorBoard(tmp_path)])
    limits = {"tensors": 0}
    events = EventAccumulator(str(tmp_path / "train"), size_guidance=limits).Reload()
    (event,) = events.Tensors("keras")
    assert event.step == 0
    assert events.SummaryMetadata("keras").plugin_data.plugin_name == "graph_keras_model"
    graph = keras_util.keras_model_to_graph_def(json.loads(event.tensor_proto.string_val[0]))
    connected = {
        node.name.split("/")[-1]: [n.split("/")[-1] for n in node.input] for node in graph.node
    }
    assert connected == {"x": [], "a": ["x"], "b": ["a", "a"], "c": ["b"]}
    shown = {node.name: (node.op, list(node.input)) for node in events.Graph().node}
    assert shown["b"] == ("Add", ["a"])
    assert shown["c"] == ("Dense", ["b"])


def test_what_has_no_graph_is_in_the_journal(data, tmp_path):
    model = Subclassed()
    model.compile("sgd", "mse")
    tensorboard = TensorBoard(tmp_path)
    model.fit(*data, epochs=2, verbose=0, callbacks=[tensorboard])
    (decision,) = tensorboard.run.journal
    assert decision.action == "skipped"
    assert "how the layers of a Subclassed are connected is not known" in decision.cause
    with pytest.raises(UnsupportedError, match="cannot write the model as JSON"):
        inspection_of(trainable_of(unwritable(), None)).graph(None)


def unwritable():
    class Odd(keras.layers.Layer):
        def __init__(self, made_with):
            super().__init__()

        def call(self, x):
            return x

    return keras.Sequential([keras.Input((4,)), Odd(object())])


def test_batches_are_profiled_by_the_backend(model, data, tmp_path):
    tensorboard = TensorBoard(tmp_path, profile_batch=(2, 3))
    model.fit(*data, batch_size=12, epochs=2, verbose=0, callbacks=[tensorboard])
    (told,) = (d.cause for d in tensorboard.run.journal if d.action == "profiled")
    assert told.startswith("batches 2 to 3 are profiled in ")
    if keras.backend.backend() == "torch":
        (trace,) = (tmp_path / "train").glob("*.pt.trace.json")
        assert json.loads(trace.read_text())["traceEvents"]
        return
    (profile,) = (tmp_path / "train" / "plugins" / "profile" / "batches-2-to-3").glob("*.xplane.pb")
    assert profile.stat().st_size > 1000
    assert "on the page Profile" in told
