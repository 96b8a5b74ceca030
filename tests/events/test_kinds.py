"""What the writer records beside scalars, compared with the classes of the tensorboard package."""

import io
import math
import subprocess
import sys
import warnings
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from callboard._core.errors import DataError, UnsupportedError
from callboard.events import EventWriter, Node
from callboard.events.arrays import host_array
from callboard.events.audio import audio_value, encode_wav
from callboard.events.graphs import graph_def
from callboard.events.hparams import session_end_value, session_start_value
from callboard.events.layouts import layout_value
from callboard.events.pictures import image_png
from callboard.events.pr_curves import pr_curve, pr_curve_value
from callboard.events.projector import write_embedding

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google.protobuf import text_format
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.audio.metadata import Encoding
    from tensorboard.plugins.audio.metadata import create_summary_metadata as audio_metadata
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.custom_scalar.metadata import create_summary_metadata as layout_meta
    from tensorboard.plugins.hparams.metadata import create_summary_metadata as hparams_metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.pr_curve.metadata import create_summary_metadata as curve_metadata
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
    from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FLOATS = st.floats(allow_nan=False)


def value(encoded):
    (entry,) = Summary.FromString(encoded).value
    return entry


def png(image, dataformats=None):
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    return np.asarray(Image.open(io.BytesIO(image_png(image, dataformats).content)))


@given(arrays.arrays("f8", st.integers(1, 50), elements=st.floats(0, 1)), st.data())
def test_a_pr_curve_counts_what_reaches_each_threshold(predictions, data):
    size = len(predictions)
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    thresholds = data.draw(st.integers(2, 30))
    entry = value(pr_curve_value("curve", pr_curve(labels, predictions, thresholds=thresholds)))
    assert entry.metadata == curve_metadata("", "", thresholds)
    for index, column in enumerate(make_ndarray(entry.tensor).T):
        chosen = np.floor(predictions * (thresholds - 1)) >= index
        counts = [(chosen & labels).sum(), (chosen & ~labels).sum()]
        counts += [(~chosen & ~labels).sum(), (~chosen & labels).sum()]
        assert column[:4].tolist() == counts
        assert column[4] == pytest.approx(counts[0] / max(1, counts[0] + counts[1]))
        assert column[5] == pytest.approx(counts[0] / max(1, labels.sum()))


def test_a_pr_curve_may_be_weighted():
    curve = pr_curve([1, 0], [0.9, 0.9], thresholds=2, weights=[3, 1])
    assert curve[4].tolist() == [0.75, 0]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([1], [0.5, 0.5], "as many labels as predictions"),
        ([], [], "at least one"),
        ([1, 0], [2.0, -1.0], "between -1 and 2"),
        ([1], [math.nan], "probabilities"),
    ],
)
def test_a_pr_curve_of_what_is_none_is_an_error(labels, predictions, message):
    with pytest.raises(DataError, match=message):
        pr_curve(labels, predictions)


@given(st.dictionaries(NAMES, st.one_of(st.booleans(), FLOATS, NAMES), max_size=8), FLOATS, NAMES)
def test_hyperparameters_are_those_of_tensorboard(hparams, start, group):
    ours = value(session_start_value(hparams, start, group))
    (theirs,) = hparams_pb(hparams, trial_id=group, start_time_secs=start).value
    assert (ours.tag, ours.tensor) == (theirs.tag, theirs.tensor)
    contents = (entry.metadata.plugin_data.content for entry in (ours, theirs))
    mine, expected = map(HParamsPluginData.FromString, contents)
    assert mine == expected


def test_hyperparameters_may_be_numbers_of_numpy():
    ours = session_start_value({"rate": np.float32(0.5), "layers": np.int64(3)}, 1.0)
    assert ours == session_start_value({"rate": 0.5, "layers": 3}, 1.0)


def test_a_hyperparameter_that_is_none_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"'sizes' must be .* got list \[1, 2\]; convert .* str"):
        session_start_value({"sizes": [1, 2]}, 0.0)


@pytest.mark.parametrize("failed", [True, False])
def test_the_end_of_a_session_is_that_of_tensorboard(failed):
    status = "STATUS_FAILURE" if failed else "STATUS_SUCCESS"
    end = SessionEndInfo(status=status, end_time_secs=2.5)
    expected = hparams_metadata(HParamsPluginData(session_end_info=end))
    assert value(session_end_value(2.5, failed=failed)).metadata == expected


def test_a_layout_is_that_of_tensorboard():
    chart = layout_pb2.Chart(
        title="loss", multiline=layout_pb2.MultilineChartContent(tag=["a", "b"])
    )
    theirs = layout_pb2.Layout(category=[layout_pb2.Category(title="errors", chart=[chart])])
    ours = value(layout_value({"errors": {"loss": ["a", "b"]}}))
    assert layout_pb2.Layout.FromString(ours.tensor.string_val[0]) == theirs
    assert ours.metadata == layout_meta()
    assert ours.tag == "custom_scalars__config__"


@pytest.mark.parametrize("layout", [{"loss": ["a"]}, {"errors": {"loss": "a"}}, ["a"], 3])
def test_a_layout_that_is_none_is_an_error(layout):
    with pytest.raises(DataError, match=r"{category: {chart: \[tags\]}}"):
        layout_value(layout)


def test_a_sound_is_that_of_tensorboard():
    wav = encode_wav([0.0, 0.5], 8000)
    ours = value(audio_value("beep", wav))
    assert ours.metadata == audio_metadata(None, None, Encoding.Value("WAV"))
    assert ours.tensor == make_tensor_proto(np.array([[wav, b""]], object))


@given(
    arrays.arrays(
        "f8", arrays.array_shapes(min_dims=1, max_dims=2, max_side=20), elements=st.floats(-2, 2)
    )
)
def test_a_sound_is_what_the_wave_module_reads(samples):
    with wave.open(io.BytesIO(encode_wav(samples, 22_050.0))) as file:
        assert (file.getframerate(), file.getsampwidth()) == (22_050, 2)
        assert file.getnchannels() == (1 if samples.ndim == 1 else samples.shape[1])
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(samples.shape)
    np.testing.assert_allclose(levels / 32767, samples.clip(-1, 1), atol=2e-5)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(np.zeros((2, 3, 4)), 8000), (["a"], 8000), ([0.0], 0), ([0.0], "8k"), ([[0.0] * 65], 8000)],
)
def test_a_sound_that_is_none_is_an_error(samples, rate):
    with pytest.raises(DataError, match=r"sound|sample_rate"):
        encode_wav(samples, rate)


@given(arrays.arrays("u1", arrays.array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_pixels_come_back_as_they_were(pixels):
    if pixels.shape[2] not in (1, 3, 4):
        return
    expected = pixels.squeeze(2) if pixels.shape[2] == 1 else pixels
    np.testing.assert_array_equal(png(pixels, "HWC"), expected)
    swapped = pixels.transpose(2, 0, 1)
    assert image_png(swapped, "CHW") == image_png(pixels, "HWC")


def test_floats_are_scaled_and_cut_off():
    image = np.array([[0.0, 0.5, 1.0, 2.0, -1.0, math.nan]])
    assert png(image).tolist() == [[0, 128, 255, 255, 0, 0]]
    assert png(np.array([[True, False]])).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((3, 3, 3)), {}, "not clear which axis"),
        (np.zeros((9, 9, 9)), {}, "not clear which axis"),
        (np.zeros(9), {}, "2 or 3 axes"),
        (np.zeros((0, 9)), {}, "some pixels"),
        (np.zeros((9, 9)), {"dataformats": "HWC"}, "does not fit"),
        (np.zeros((9, 9, 9)), {"dataformats": "HWC"}, "does not fit"),
        (np.zeros((9, 9)), {"dataformats": "WHAT"}, "must be 'HWC'"),
        (np.full((9, 9), 256), {}, "from 0 to 255"),
        (np.full((9, 9), "a"), {}, "has numbers"),
        (b"GIF89a", {}, "PNG"),
    ],
)
def test_an_image_that_is_none_is_an_error(open_writer, image, options, message):
    with pytest.raises(DataError, match=message):
        open_writer().add_image("image", image, 1, **options)


def test_images_of_one_tag_have_one_size(open_writer):
    with pytest.raises(DataError, match="have one size; got 2 x 1, 3 x 1"):
        open_writer().add_images("images", [np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(DataError, match="must begin with N"):
        open_writer().add_images("images", np.zeros((2, 3, 4)), dataformats="HWC")


def test_a_figure_is_closed_unless_it_is_to_stay(open_writer, events):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    writer = open_writer()
    for close in (False, True):
        if not pyplot.fignum_exists(7):
            figure = pyplot.figure(num=7, figsize=(2, 1), dpi=50)
        writer.add_figure("figure", figure, 1, close=close)
        assert pyplot.fignum_exists(7) is not close
    writer.add_figure("figure", figure, 2, dpi=100)
    writer.flush()
    sizes = [event.summary.value[0].tensor.string_val[:2] for event in events(writer.path)[2:]]
    assert sizes == [[b"100", b"50"], [b"100", b"50"], [b"200", b"100"]]
    with pytest.raises(DataError, match="matplotlib figure is expected, got int 3"):
        writer.add_figure("figure", 3, 1)


NODES = st.lists(
    st.builds(
        Node,
        NAMES,
        NAMES,
        st.tuples(NAMES),
        st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(0, 9))),
        st.sampled_from(["float32", "bool", "unheard of", ""]),
        st.dictionaries(NAMES, NAMES, max_size=2),
    ),
    unique_by=lambda node: node.name,
    max_size=8,
)


@given(NODES)
def test_a_graph_is_what_tensorboard_reads(nodes):
    graph = GraphDef.FromString(graph_def(nodes))
    assert [(n.name, n.op) for n in graph.node] == [(n.name, n.op) for n in nodes]
    names = {node.name for node in nodes}
    for ours, theirs in zip(nodes, graph.node, strict=True):
        assert list(theirs.input) == [name for name in ours.inputs if name in names]
        if ours.shape is not None:
            (shape,) = theirs.attr["_output_shapes"].list.shape
            assert tuple(axis.size for axis in shape.dim) == ours.shape
        assert (theirs.attr["dtype"].type == 1) is (ours.dtype == "float32")
        for name, text in ours.attributes.items():
            if name not in ("_output_shapes", "dtype"):
                assert theirs.attr[name].s.decode() == text


def test_nodes_of_one_name_are_an_error():
    with pytest.raises(DataError, match="names of their own"):
        graph_def([Node("a", "x"), Node("a", "y")])


def test_a_graph_may_be_made_by_hand(open_writer, events):
    writer = open_writer()
    writer.add_graph([Node("x", "Input"), Node("y", "double", ("x",))])
    writer.flush()
    graph = GraphDef.FromString(events(writer.path)[-1].graph_def)
    assert [node.name for node in graph.node] == ["x", "y"]
    with pytest.raises(UnsupportedError, match="none of the known frameworks"):
        writer.add_graph(object(), 1)


def config(folder):
    text = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, ProjectorConfig()).embeddings


@given(arrays.arrays("f4", st.tuples(st.integers(1, 9), st.integers(1, 4))), NAMES)
@settings(max_examples=40)
def test_an_embedding_comes_back_exactly(tmp_path_factory, vectors, name):
    folder = tmp_path_factory.mktemp("embedding")
    write_embedding(folder, name, vectors, [f"label {n}" for n in range(len(vectors))])
    (entry,) = config(folder)
    assert (entry.tensor_name, tuple(entry.tensor_shape)) == (name, vectors.shape)
    lines = (folder / entry.tensor_path).read_text().splitlines()
    read = np.array([[float(cell) for cell in line.split("\t")] for line in lines], "f4")
    np.testing.assert_array_equal(read, vectors)
    assert len((folder / entry.metadata_path).read_text().splitlines()) == len(vectors)


def test_embeddings_of_one_folder_have_an_entry_each(tmp_path):
    with EventWriter(tmp_path) as writer:
        for tag in ("a", 'b "quoted"', "a/b", "a_b", "a"):
            writer.add_embedding(tag, np.eye(3))
    entries = config(tmp_path)
    assert [entry.tensor_name for entry in entries] == ['b "quoted"', "a/b", "a_b", "a"]
    assert len({entry.tensor_path for entry in entries}) == 4


def test_metadata_may_be_a_file_rows_or_labels(tmp_path):
    (tmp_path / "own.tsv").write_text("name\tkind\nx\t1\ny\t2\n")
    rows = [["name", "kind"], ["x", 1], ["y", 2]]
    for metadata in (str(tmp_path / "own.tsv"), tmp_path / "own.tsv", rows):
        with EventWriter(tmp_path / "run") as writer:
            writer.add_embedding("points", np.eye(2), metadata=metadata)
        (entry,) = config(tmp_path / "run")
        written = (tmp_path / "run" / entry.metadata_path).read_text()
        assert written == "name\tkind\nx\t1\ny\t2\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metadata": ["a"]}, "has 2 points, and its metadata 1 rows"),
        ({"metadata": [["a", "b"], ["c", "d"]]}, "after a row with the columns' names"),
        ({"metadata": [["a", "b"], ["c"]]}, "different numbers of columns"),
        ({"images": np.zeros((3, 2, 2))}, "images of an embedding have shape"),
        ({"images": np.zeros((2, 9000, 9000, 1), "u1")}, "browsers refuse"),
    ],
)
def test_an_embedding_that_does_not_fit_is_an_error(tmp_path, options, message):
    with pytest.raises(DataError, match=message), EventWriter(tmp_path) as writer:
        writer.add_embedding("points", np.eye(2), **options)
    with pytest.raises(DataError, match="shape"), EventWriter(tmp_path) as writer:
        writer.add_embedding("points", np.zeros(3))


def test_hyperparameters_end_with_the_writer(tmp_path, events):
    for failed in (False, True):
        writer = EventWriter(tmp_path / str(failed))
        try:
            with writer:
                writer.add_hparams({"rate": 0.5}, {"loss": 0.25}, group="first")
                if failed:
                    raise KeyError("stop")  # noqa: TRY301 - what is tested
        except KeyError:
            pass
        *_, scalar, end = (event.summary.value[0] for event in events(writer.path)[2:])
        assert (scalar.tag, scalar.simple_value) == ("loss", 0.25)
        content = end.metadata.plugin_data.content
        assert HParamsPluginData.FromString(content).session_end_info.status == 1 + failed


def test_scalars_in_the_style_of_pytorch_are_an_error_that_says_what_to_do(open_writer):
    with pytest.raises(DataError, match="'loss/train'"):
        open_writer().add_scalars("loss", {"train": 1.0})


def test_arrays_of_a_framework_come_from_where_they_are():
    torch = pytest.importorskip("torch")
    pytest.importorskip("callboard.torch")
    assert host_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert host_array(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
    with pytest.raises(TypeError):
        host_array(type("Odd", (), {"__array__": lambda self: int("a", "b")})())


def test_a_million_scalars_are_written_and_read(tmp_path, events):
    with EventWriter(tmp_path) as writer:
        for step in range(1_000_000):
            writer.add_scalar("loss", 0.5, step)
    size = writer.path.stat().st_size
    assert size == writer.offset
    from callboard.events import read_records  # noqa: PLC0415

    steps = sum(1 for _ in read_records(writer.path)) - 2
    assert steps == 1_000_000


def test_two_processes_write_into_one_folder_at_once(tmp_path, events):
    program = (
        "import sys; from callboard.events import EventWriter\n"
        "with EventWriter(sys.argv[1], clock=lambda: 1_700_000_000.0) as writer:\n"
        "    for step in range(100): writer.add_scalar(sys.argv[2], step, step)\n"
        "    print('written', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, name], **pipes) for name in ("a", "b")]
    for process in processes:
        assert process.stdout.readline() == "written\n"
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    files = list(tmp_path.iterdir())
    assert len(files) == 2
    tags = {event.summary.value[0].tag for path in files for event in events(path)[2:]}
    assert tags == {"a", "b"}
