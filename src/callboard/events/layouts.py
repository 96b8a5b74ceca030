"""Which curves share a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callboard._core.errors import DataError
from callboard.events.protobuf import described, encoded, field
from callboard.events.tensors import strings, tensor_value

__all__ = ["Layout", "layout_value"]

Layout = Mapping[str, Mapping[str, Sequence[str]]]
"""Categories, in them charts, in those the tags, which are regular expressions."""


def layout_value(layout: Layout) -> bytes:
    """Return a layout of the dashboard of custom scalars.

    Raises:
        DataError: If it is none.

    Source: ``layout.proto`` of TensorBoard's ``plugins/custom_scalar``.
    """
    _check(layout)
    content = b"".join(_category(title, charts) for title, charts in layout.items())
    return tensor_value("custom_scalars__config__", strings([content]), "custom_scalars")


def _category(title: str, charts: Mapping[str, Sequence[str]]) -> bytes:
    content = b"".join(_chart(name, tags) for name, tags in charts.items())
    return field(b"\x12", field(b"\x0a", encoded(title, "a category")) + content)


def _chart(title: str, tags: Sequence[str]) -> bytes:
    lines = b"".join(field(b"\x0a", encoded(tag, f"a tag of the chart {title!r}")) for tag in tags)
    return field(b"\x12", field(b"\x0a", encoded(title, "a chart")) + field(b"\x12", lines))


def _check(layout: object) -> None:
    if isinstance(layout, Mapping) and all(isinstance(c, Mapping) for c in layout.values()):
        every = [tags for charts in layout.values() for tags in charts.values()]
        if all(isinstance(tags, list | tuple) for tags in every):
            return
    raise DataError(
        "a layout is {category: {chart: [tags]}}, such as "
        f"{{'epochs': {{'loss': ['epoch_loss$']}}}}; got {described(layout)}"
    )
