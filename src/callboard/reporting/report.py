"""Writing a report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from callboard._core import fs
from callboard._core.errors import ConfigurationError

__all__ = ["report"]


def report(
    runs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] = "report.html",
    *,
    title: str = "",
) -> Path:
    r"""Write one HTML page about recorded runs, which needs nothing but a browser.

    It has the curves with the callbacks' decisions, the best epoch, configuration, environment,
    throughput and all values as a table, as far as they were recorded. Several runs are compared.

    Args:
        runs: The folder of a run, a log, an event file, a folder of checkpoints; or several.
        output: The page to write.
        title: Its heading; by default the runs' names.

    Returns:
        The page's path.

    Raises:
        FileFormatError: If something is no record of a run, or damaged.
        ConfigurationError: If there is no run.
        OSError: If a file cannot be read or written.

    Example:
        >>> import callboard, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "log.csv").write_text("epoch,loss\n0,0.5\n1,0.25\n")
        >>> callboard.report(folder, folder / "report.html").name
        'report.html'
    """
    from callboard.recorded import read_recordings  # noqa: PLC0415 - readers load when needed
    from callboard.reporting.page import page_of  # noqa: PLC0415 - as above

    paths = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    recordings = [each for path in paths for each in read_recordings(path)]
    if not recordings:
        raise ConfigurationError("there is no run to report on; pass the path of a log or a folder")
    path = Path(output)
    page = page_of(recordings, title)
    with fs.replacing(path) as file:
        file.write(page.encode())
    return path
