"""Writing TensorBoard event files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex, final

import numpy.typing as npt

from callboard._core.errors import DataError, UnsupportedError
from callboard._core.graph import Node
from callboard._core.inspection import inspection_of
from callboard._core.trainable import trainable_of
from callboard.events import summaries
from callboard.events.arrays import host_array
from callboard.events.audio import audio_value, encode_wav
from callboard.events.buckets import finite_buckets
from callboard.events.graphs import graph_def, keras_model_value
from callboard.events.hparams import session_start_value
from callboard.events.layouts import Layout, layout_value
from callboard.events.pictures import figure_png, image_png
from callboard.events.pr_curves import pr_curve, pr_curve_value
from callboard.events.projector import Metadata, write_embedding
from callboard.events.record_writer import RecordWriter

__all__ = ["EventWriter"]


@final
class EventWriter(RecordWriter):
    """Write scalars, images, histograms and whatever else TensorBoard shows.

    One directory is one run, and each writer adds a file of its own to it. To go on with an
    interrupted run, open a new writer on the same directory with ``start_step``: TensorBoard then
    drops what earlier files hold from that step on, so that no step is shown twice. The file is
    created with the first record, so a writer that is never written to leaves nothing behind.

    Records wait in memory until ``buffer_bytes`` of them have gathered, until a record comes
    more than ``flush_secs`` after the last flush, or until :meth:`flush`, :meth:`sync` or
    :meth:`close`. There is no thread in the background: what goes wrong with the file is raised
    where the writer is called. A call that raises OSError has added nothing; the records of the
    calls before it stay in memory, the file ends with a whole record, and the next call tries
    again. Several threads may share a writer; processes may not.

    The methods take arrays of NumPy or of any framework that the program uses. A ``tag`` is the
    name of what is recorded, and ``/`` in it makes groups; ``step`` is its place on the time axis,
    any integer of 64 bits; ``wall_time`` is in seconds since the epoch, by default the time of the
    call. All of them raise :class:`DataError` if an argument is not of its kind, OSError if the
    file cannot be written, and :class:`RunStateError` if the writer is closed.

    Args:
        directory: The run's directory; it is made when needed.
        start_step: The first step that will be written; 0 for a new run.
        suffix: Put at the end of the file's name, for example ``".v2"``.
        flush_secs: Seconds between flushes while records come.
        buffer_bytes: Bytes to gather before they are written.
        clock: Seconds since the epoch, for the file's name and the time of each record.

    Raises:
        ConfigurationError: If an argument is impossible.
        DataError: If ``start_step`` is no integer of 64 bits.

    Example:
        >>> import pathlib, tempfile
        >>> from callboard.events import EventWriter, read_records
        >>> directory = pathlib.Path(tempfile.mkdtemp())
        >>> with EventWriter(directory) as writer:
        ...     for step in range(3):
        ...         writer.add_scalar("loss", 1 / (step + 1), step)
        >>> (file,) = directory.iterdir()
        >>> len(list(read_records(file)))  # two that open every file, and three scalars
        5

    Source: the file format of TensorFlow's ``tf.summary``; names of methods as in PyTorch's
        ``SummaryWriter``; the rules on names and on ``start_step`` are those that TensorBoard
        2.21's two loaders agree on.
    """

    _warned: frozenset[str] = frozenset()

    def add_scalar(
        self,
        tag: str,
        value: SupportsFloat,
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record one number; NaN and infinities are recorded as they are.

        Args:
            tag: The curve's name.
            value: A number, or an array of one. It is stored as float32.
            step: The place on the curve.
            wall_time: Seconds since the epoch.
        """
        self._add(summaries.scalar_value(tag, value), step, wall_time)

    def add_scalars(
        self,
        values: Mapping[str, SupportsFloat],
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record several numbers of one step, all of them or, if one is wrong, none.

        To have curves in one chart, see :meth:`add_custom_scalars`.

        Args:
            values: From tag to number, each as for :meth:`add_scalar`.
            step: The place on every curve.
            wall_time: Seconds since the epoch.
        """
        if not isinstance(values, Mapping):
            raise DataError(
                f"add_scalars takes {{tag: number}} and a step, got {type(values).__name__}; write "
                "the group into the tags, as {'loss/train': 0.5, 'loss/validation': 0.6}"
            )
        encoded = b"".join([summaries.scalar_value(tag, value) for tag, value in values.items()])
        if encoded:
            self._add(encoded, step, wall_time)

    def add_histogram(
        self,
        tag: str,
        values: npt.ArrayLike,
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record how values are distributed, in 30 buckets of equal width.

        Args:
            tag: The histogram's name.
            values: Real numbers of any shape, possibly none. NaN and infinities are left out,
                with a warning once per tag.
            step: The place on the time axis.
            wall_time: Seconds since the epoch.

        Source: the buckets of ``tf.summary.histogram``.
        """
        buckets, left_out = finite_buckets(host_array(values))
        self._add(summaries.histogram_value(tag, buckets), step, wall_time)
        if left_out and tag not in self._warned:
            self._warned |= {tag}
            warnings.warn(
                f"histogram {tag!r} at step {step}: {left_out} values are NaN or infinite and "
                f"were left out, {int(buckets[:, 2].sum())} were counted",
                RuntimeWarning,
                stacklevel=2,
            )

    def add_text(
        self, tag: str, text: str, step: SupportsIndex = 0, *, wall_time: float | None = None
    ) -> None:
        """Record a text, which TensorBoard shows as Markdown.

        Args:
            tag: The text's name.
            text: Markdown, or plain text.
            step: The place on the time axis.
            wall_time: Seconds since the epoch.
        """
        self._add(summaries.text_value(tag, text), step, wall_time)

    def add_image(
        self,
        tag: str,
        image: Any,
        step: SupportsIndex = 0,
        *,
        dataformats: str | None = None,
        wall_time: float | None = None,
    ) -> None:
        """Record an image.

        Args:
            tag: The image's name.
            image: Pixels: integers from 0 to 255, or floats from 0 to 1, in 1 to 4 channels; or the
                content of a PNG file.
            step: The place on the time axis.
            dataformats: What the axes are: "HWC", "CHW" or "HW" (height, width, channels). By
                default the axis of the channels is the one that is short enough.
            wall_time: Seconds since the epoch.
        """
        self._add_images(tag, [image], dataformats, step, wall_time)

    def add_images(
        self,
        tag: str,
        images: Any,
        step: SupportsIndex = 0,
        *,
        dataformats: str | None = None,
        wall_time: float | None = None,
    ) -> None:
        """Record several images of one size under one tag.

        Args:
            tag: Their name.
            images: An array of images, or a sequence of them, each as for :meth:`add_image`.
            step: The place on the time axis.
            dataformats: What the axes are: "NHWC", "NCHW" or "NHW".
            wall_time: Seconds since the epoch.
        """
        if dataformats is not None:
            if not dataformats.startswith("N"):
                raise DataError(
                    f"dataformats={dataformats!r} must begin with N, the axis of the images: "
                    "'NHWC', 'NCHW' or 'NHW'"
                )
            dataformats = dataformats[1:]
        images = images if isinstance(images, list | tuple) else host_array(images)
        self._add_images(tag, images, dataformats, step, wall_time)

    def add_figure(
        self,
        tag: str,
        figure: Any,
        step: SupportsIndex = 0,
        *,
        close: bool = True,
        dpi: float | None = None,
        wall_time: float | None = None,
    ) -> None:
        """Record a figure of matplotlib as an image.

        Args:
            tag: The image's name.
            figure: The figure.
            step: The place on the time axis.
            close: Whether pyplot lets go of it, so that figures do not gather in memory.
            dpi: Dots per inch; those of the figure by default.
            wall_time: Seconds since the epoch.
        """
        png = figure_png(figure, dpi=dpi)
        value = summaries.image_value(tag, [png.content], png.width, png.height)
        self._add(value, step, wall_time)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if close and pyplot is not None:
            pyplot.close(figure)

    def add_audio(
        self,
        tag: str,
        samples: npt.ArrayLike,
        step: SupportsIndex = 0,
        *,
        sample_rate: float = 44_100,
        wall_time: float | None = None,
    ) -> None:
        """Record a sound, as a WAV file of 16 bits.

        Args:
            tag: The sound's name.
            samples: From -1 to 1, shape (frames,) or (frames, channels); what lies beyond is cut
                off.
            step: The place on the time axis.
            sample_rate: Frames per second.
            wall_time: Seconds since the epoch.
        """
        wav = encode_wav(host_array(samples), sample_rate)
        self._add(audio_value(tag, wav), step, wall_time)

    def add_pr_curve(
        self,
        tag: str,
        labels: npt.ArrayLike,
        predictions: npt.ArrayLike,
        step: SupportsIndex = 0,
        *,
        thresholds: int = 201,
        weights: npt.ArrayLike | None = None,
        wall_time: float | None = None,
    ) -> None:
        """Record precision against recall of a binary classifier.

        Args:
            tag: The curve's name.
            labels: What is true, booleans or 0 and 1, of any shape.
            predictions: Probabilities, of the same shape.
            step: The place on the time axis.
            thresholds: How many thresholds between 0 and 1 are tried.
            weights: What each prediction counts, of a shape that fits.
            wall_time: Seconds since the epoch.
        """
        counted = None if weights is None else host_array(weights)
        curve = pr_curve(
            host_array(labels), host_array(predictions), thresholds=thresholds, weights=counted
        )
        self._add(pr_curve_value(tag, curve), step, wall_time)

    def add_hparams(
        self,
        hparams: Mapping[str, object],
        metrics: Mapping[str, SupportsFloat] | None = None,
        *,
        group: str = "",
    ) -> None:
        """Record the hyperparameters of this run; its end is recorded by :meth:`close`.

        The dashboard compares runs, which are directories beside each other, by these and by
        the latest value of each scalar in them.

        Args:
            hparams: Numbers, booleans and texts by name.
            metrics: Results to write as scalars, at step 0.
            group: Runs of one group are repetitions, shown as one with their mean.
        """
        self._add(session_start_value(hparams, self._clock(), group), 0, None)
        self._has_session = True
        if metrics:
            self.add_scalars(metrics, 0)

    def add_custom_scalars(self, layout: Layout) -> None:
        """Say which curves share a chart in the dashboard of custom scalars.

        Args:
            layout: Categories, in them charts, in those tags: regular expressions that a tag has
                to begin with. The curves of all runs are shown.

        Example:
            >>> import tempfile
            >>> with EventWriter(tempfile.mkdtemp()) as writer:
            ...     writer.add_custom_scalars({"errors": {"both": ["loss/train$", "loss/val$"]}})
        """
        self._add(layout_value(layout), 0, None)

    def add_graph(self, model: object, inputs: Any = None) -> None:
        """Record the graph of a model's operations.

        Args:
            model: A model of a framework that the program uses, such as a torch module; or the
                nodes of a graph that you made (:class:`callboard.events.Node`).
            inputs: A batch of inputs, as the model is called with.

        Raises:
            UnsupportedError: If the framework gives no graph of operations.
        """
        nodes: Iterable[Node]
        if isinstance(model, Sequence) and all(isinstance(node, Node) for node in model):
            nodes = model
        else:
            nodes = inspection_of(trainable_of(model, None)).graph((inputs,)).nodes
            if not nodes:
                raise UnsupportedError(f"there is no graph of a {type(model).__name__} to be had")
        self._add_graph(graph_def(nodes))

    def add_keras_model(self, architecture: str) -> None:
        """Record the layers of a Keras model, for the page of graphs.

        Args:
            architecture: What ``to_json()`` of a Sequential or functional model returns.

        Example:
            >>> import tempfile
            >>> layer = '{"class_name": "Dense", "config": {"name": "a"}}'
            >>> model = '{"class_name": "Sequential", "config": {"name": "s", "layers": [%s]}}'
            >>> with EventWriter(tempfile.mkdtemp()) as writer:
            ...     writer.add_keras_model(model % layer)

        Source: ``keras_model_summary`` of Keras 3.15, whose tag is "keras".
        """
        self._add(keras_model_value("keras", architecture), 0, None)

    def add_embedding(
        self,
        tag: str,
        vectors: npt.ArrayLike,
        *,
        metadata: Metadata = None,
        images: Any = None,
    ) -> None:
        """Write points for the projector, into files beside the event file.

        Points of the same tag are replaced. The projector reads its files when it finds a run.

        Args:
            tag: What the projector calls them.
            vectors: Numbers, shape (points, dimensions).
            metadata: A label for each point; or a row of columns for each, after a row of their
                names; or the path of a TSV file with that.
            images: A small image for each point, shape (points, height, width, channels).
        """
        images = None if images is None else host_array(images)
        metadata = Path(metadata) if isinstance(metadata, str) else metadata
        write_embedding(self._directory, tag, host_array(vectors), metadata, images)

    def _add_images(
        self,
        tag: str,
        images: Iterable[Any],
        dataformats: str | None,
        step: SupportsIndex,
        wall_time: float | None,
    ) -> None:
        pngs = [
            image_png(image if isinstance(image, bytes) else host_array(image), dataformats)
            for image in images
        ]
        sizes = sorted({(png.width, png.height) for png in pngs})
        if len(sizes) != 1:
            shown = ", ".join(f"{width} x {height}" for width, height in sizes) or "none"
            raise DataError(f"images of the tag {tag!r} have one size; got {shown}")
        contents = [png.content for png in pngs]
        self._add(summaries.image_value(tag, contents, *sizes[0]), step, wall_time)
