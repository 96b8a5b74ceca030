"""One page about one run or several, with everything that it needs in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from callboard.recorded import Recording
from callboard.reporting.panels import marks_of, panels_of
from callboard.reporting.tables import (
    SUMMARY,
    decisions_of,
    facts_of,
    models_of,
    number,
    pairs_of,
    runs_of,
    values_of,
)

__all__ = ["page_of"]

_NO_SCRIPT = (
    '<noscript><p class="note">The curves need JavaScript; the values below do not.</p></noscript>'
)
_DASHES = ("", "6 4", "2 4", "9 3 2 3")

# A browser that knows this policy loads nothing from anywhere, whatever is in the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page_of(recordings: Sequence[Recording], title: str = "") -> str:
    """Return an HTML page with curves, decisions, configuration, environment and values.

    Args:
        recordings: The runs, at least one; several are compared.
        title: The page's heading; by default the runs' names.

    Example:
        >>> page = page_of([Recording("a run", [0, 1], {"loss": [0.5, 0.25]})])
        >>> page.startswith("<!DOCTYPE html>"), "https:" in page
        (True, False)
    """
    single = recordings[0] if len(recordings) == 1 else None
    title = title or " · ".join(each.name for each in recordings[:4])
    panels = panels_of(recordings)
    data: dict[str, Any] = {
        "runs": len(recordings),
        "panels": panels,
        "marks": [] if single is None else marks_of(single),
    }
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lead)}</p>' if (lead := _lead(recordings)) else "",
        runs_of(recordings) if single is None else facts_of(single),
        f'<div class="panels">{"".join(_panel(each) for each in panels)}</div>',
        _NO_SCRIPT,
        *(["" if single is None else decisions_of(single)]),
        '<div class="beside">' if single else "<div>",
        pairs_of("Configuration", recordings, "configuration", without=(SUMMARY,)),
        pairs_of("Environment", recordings, "environment"),
        "</div>",
        f"<section>{models_of(recordings)}{''.join(map(values_of, recordings))}</section>",
        _footer(recordings),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n<main>\n"
        f"{chr(10).join(part for part in parts if part)}\n</main>\n"
        f'<script type="application/json" id="data">{_json(data)}</script>\n'
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _lead(recordings: Sequence[Recording]) -> str:
    """Return what was trained and how it ended, as far as that is known."""
    if len(recordings) > 1:
        return f"{len(recordings)} runs compared."
    known, reason = recordings[0].configuration, recordings[0].progress.get("stop_reason")
    parts = [str(known["model"])] if "model" in known else []
    if isinstance(known.get("parameters"), int):
        parts.append(f"{number(known['parameters'])} parameters")
    parts += [f"{name} {known[name]}" for name in ("optimizer", "loss") if name in known]
    told = [", ".join(parts), f"stopped: {reason}" if reason else ""]
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in told if each)


def _panel(panel: dict[str, Any]) -> str:
    name = escape(panel["name"])
    legend = "".join(
        f'<span><svg viewBox="0 0 22 8" aria-hidden="true"><line x1="0" x2="22" y1="4" y2="4" '
        f'stroke="var(--c{each["color"] % 8})" stroke-width="2.5" '
        f'stroke-dasharray="{_DASHES[each["dash"] % 4]}"/></svg>{escape(each["label"])}</span>'
        for each in panel["series"]
    )
    dashed = any(each["thin"] for each in panel["series"])
    key = '<div class="key">training is dashed</div>' if dashed else ""
    button = '<button type="button">log</button>' if panel["can_be_log"] else ""
    button = button.replace("<button", f'<button aria-label="logarithmic axis of {name}"')
    first, last = panel["x"][0], panel["x"][-1]
    return (
        f'<div class="panel"><header><h2>{name}</h2><div class="legend">{legend}</div>{button}{key}'
        f'</header><div class="plot" tabindex="0" role="slider" aria-label="{name} by epoch" '
        f'aria-valuemin="{first}" aria-valuemax="{last}" aria-valuenow="{last}" '
        f'aria-valuetext="press an arrow key for the values of an epoch"></div></div>'
    )


def _footer(recordings: Sequence[Recording]) -> str:
    sources = [source for each in recordings for source in each.sources]
    skipped = sorted({name for each in recordings for name in each.skipped})
    said = f"From {', '.join(sources[:12])}{' and more' if len(sources) > 12 else ''}. "
    if skipped:
        said += f"Not numbers, so left out: {', '.join(skipped)}. "
    return f"<footer>{escape(said)}Written by callboard.</footer>"


def _json(data: dict[str, Any]) -> str:
    """Return JSON that no text in it can end: a name may hold anything."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
