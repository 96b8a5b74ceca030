"""What TensorBoard itself shows: its two loaders, and the reader of programs from before 2019."""

import subprocess
import time
import warnings

import numpy as np
import pytest

from callboard.events.png import encode_png

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import grpc
    import tensorboard_data_server
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.data.grpc_provider import GrpcDataProvider, make_stub
    from tensorboard.data.provider import RunTagFilter

PNG = encode_png(np.zeros((48, 640), np.uint8)).content
KEEP_ALL = {"scalars": 0, "histograms": 0, "text": 0, "images": 0}
ASKED = {"experiment_id": "", "downsample": 10_000}


def python_loader(logdir):
    multiplexer = EventMultiplexer(tensor_size_guidance=KEEP_ALL)
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    yield MultiplexerDataProvider(multiplexer, str(logdir))


def rust_loader(logdir):
    binary = tensorboard_data_server.server_binary()
    if binary is None:
        pytest.skip("TensorBoard has no data server for this platform")
    port = logdir / "port"
    samples = ",".join(f"{plugin}=all" for plugin in KEEP_ALL)
    command = [binary, f"--logdir={logdir}", f"--port-file={port}", "--die-after-stdin"]
    command += ["--port=0", "--reload=once", f"--samples-per-plugin={samples}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL):
        wait_until(lambda: port.exists() and port.read_text().endswith("\n"))
        with grpc.insecure_channel(f"localhost:{int(port.read_text())}") as channel:
            provider = GrpcDataProvider("", make_stub(channel))
            wait_until(lambda: finished(provider))
            yield provider


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(provider):
    """Tell whether the loader has read the scalar that ends every test's files."""
    runs = provider.list_scalars(RequestContext(), experiment_id="", plugin_name="scalars")
    return bool(runs) and all("end" in tags for tags in runs.values())


@pytest.fixture(params=[python_loader, rust_loader], ids=["python", "rust"])
def load(request, tmp_path):
    """Return what TensorBoard's pages get from a directory of runs."""
    loaders = []

    def load(logdir=tmp_path):
        loaders.append(request.param(logdir))
        return next(loaders[-1])

    yield load
    for loader in loaders:
        next(loader, None)


def read(provider, run="run"):
    """Return every scalar as (step, value), by tag."""
    scalars = provider.read_scalars(RequestContext(), plugin_name="scalars", **ASKED)
    return {
        tag: [(point.step, point.value) for point in points]
        for tag, points in scalars[run].items()
        if tag != "end"
    }


def test_scalars_are_shown_as_scalars(open_writer, load):
    writer = open_writer()
    for step in range(5):
        writer.add_scalar("train/loss", step / 2, step, wall_time=100 + step)
        writer.add_scalars({"Genauigkeit ü/準確率": 0.25, "nan": float("nan")}, step)
    writer.add_scalar("end", 0, 5)
    writer.close()
    provider = load()
    shown = read(provider)
    assert shown["train/loss"] == [(step, step / 2) for step in range(5)]
    assert shown["Genauigkeit ü/準確率"] == [(step, 0.25) for step in range(5)]
    assert np.isnan([value for _, value in shown["nan"]]).all()
    points = provider.read_scalars(
        RequestContext(),
        plugin_name="scalars",
        run_tag_filter=RunTagFilter(tags=["train/loss"]),
        **ASKED,
    )
    assert [point.wall_time for point in points["run"]["train/loss"]] == [100 + n for n in range(5)]


def test_histograms_are_shown_with_their_buckets(open_writer, load):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    writer = open_writer()
    writer.add_histogram("weights", values, 3)
    writer.add_histogram("weights", np.zeros(0), 4)
    writer.add_scalar("end", 0, 5)
    writer.close()
    tensors = load().read_tensors(RequestContext(), plugin_name="histograms", **ASKED)
    first, empty = tensors["run"]["weights"]
    assert (first.step, empty.step) == (3, 4)
    assert first.numpy.shape == (30, 3)
    assert first.numpy[:, 2].sum() == 1000
    assert (first.numpy[0, 0], first.numpy[-1, 1]) == (values.min(), values.max())
    assert not empty.numpy.any()


def test_texts_are_shown(open_writer, load):
    writer = open_writer()
    writer.add_text("note", "**bold** ü", 3)
    writer.add_scalar("end", 0, 5)
    writer.close()
    tensors = load().read_tensors(RequestContext(), plugin_name="text", **ASKED)
    (note,) = tensors["run"]["note"]
    assert note.numpy.item().decode() == "**bold** ü"


def test_images_are_shown(open_writer, load):
    writer = open_writer()
    writer.add_images("samples", [PNG + b"1", PNG + b"2"], 3)
    writer.add_scalar("end", 0, 5)
    writer.close()
    provider = load()
    sequences = provider.read_blob_sequences(RequestContext(), plugin_name="images", **ASKED)
    (samples,) = sequences["run"]["samples"]
    blobs = [provider.read_blob(RequestContext(), blob_key=b.blob_key) for b in samples.values]
    assert blobs == [b"640", b"48", PNG + b"1", PNG + b"2"]


def test_a_resumed_run_shows_each_step_once(open_writer, load, tmp_path):
    first = open_writer(flush_secs=0)
    for step in range(101):
        first.add_scalars({"loss": 1, "accuracy": 1}, step)
        if step % 20 == 0:
            first.add_scalar("val_loss", 1, step)
    first.close()
    with first.path.open("r+b") as file:  # the process was killed within a record
        file.truncate(first.offset - 5)
    second = open_writer(start_step=80)
    for step in range(80, 150):
        second.add_scalars({"loss": 2, "accuracy": 2}, step)
        if step % 20 == 0:
            second.add_scalar("val_loss", 2, step)
    second.close()
    third = open_writer(start_step=120)
    for step in range(120, 160):
        third.add_scalars({"loss": 3, "accuracy": 3}, step)
        if step % 20 == 0:
            third.add_scalar("val_loss", 3, step)
    third.add_scalar("end", 0, 160)
    third.close()
    expected = [(step, 1 if step < 80 else 2 if step < 120 else 3) for step in range(160)]
    shown = read(load())
    assert shown["loss"] == shown["accuracy"] == expected
    assert shown["val_loss"] == [point for point in expected if point[0] % 20 == 0]


def test_a_resumed_run_is_shown_after_the_clock_went_back(open_writer, load, clock):
    for start_step in (0, 5):
        writer = open_writer(start_step=start_step)
        for step in range(start_step, 10):
            writer.add_scalar("loss", start_step, step)
        writer.add_scalar("end", 0, 10)
        writer.close()
        clock.now -= 100_000
    assert read(load()) == {"loss": [(step, 0 if step < 5 else 5) for step in range(10)]}


def test_runs_are_the_directories_that_were_written_to(open_writer, load, tmp_path):
    for name in ("train", "validation", "empty"):
        writer = open_writer(tmp_path / "logs" / name)
        if name != "empty":
            writer.add_scalars({"loss": len(name), "end": 0}, 1)
        writer.close()
    provider = load(tmp_path / "logs")
    runs = {run.run_name for run in provider.list_runs(RequestContext(), experiment_id="")}
    assert runs == {"train", "validation"}
    assert read(provider, "train") == {"loss": [(1, 5)]}
    assert read(provider, "validation") == {"loss": [(1, 10)]}


def test_readers_that_know_only_simple_values_find_the_scalars(open_writer):
    writer = open_writer()
    for step in range(3):
        writer.add_scalars({"loss": step / 2, "accuracy": 1}, step)
    writer.close()
    accumulator = EventAccumulator(str(writer.path.parent))
    accumulator.Reload()
    assert accumulator.Tags()["scalars"] == ["loss", "accuracy"]
    assert [(p.step, p.value) for p in accumulator.Scalars("loss")] == [(0, 0), (1, 0.5), (2, 1)]
