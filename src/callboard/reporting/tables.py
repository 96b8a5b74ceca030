"""The tables of a report, and what it says in numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from callboard.curves import BestEpoch, best_epoch_of
from callboard.recorded import Recording

__all__ = [
    "SUMMARY",
    "decisions_of",
    "facts_of",
    "models_of",
    "number",
    "pairs_of",
    "runs_of",
    "values_of",
]

SUMMARY = "summary"
"""What the table of a model's layers is called in a configuration."""

_NONE = "\N{EN DASH}"
_MOST_ROWS = 100
_MOST_DECISIONS = 200
_SAVES = ("saved", "saving")
_SIGNS = {  # as on the curves
    "stopped": "M1 1h8v8h-8z",
    "reduced": "M1 1h8l-4 8z",
    "saved": "M2 5a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
}
_SIGNS["saving"] = _SIGNS["saved"]
_DIAMOND = "M1 5l4-4l4 4l-4 4z"


def number(value: Any) -> str:
    """Return a number to five digits, and anything else as it is.

    Example:
        >>> number(0.123456789), number(11984.3), number(2_000_000), number(1e-8)
        ('0.12346', '11,984', '2,000,000', '1e-08')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return _NONE
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:,.5g}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> duration(3725.0), duration(2.5), duration(0.0625)
        ('1 h 2 min', '2.5 s', '62.5 ms')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def facts_of(recording: Recording) -> str:
    """Return the most important numbers of a run."""
    facts: list[tuple[str, str, str]] = []
    best = best_epoch_of(recording.history)
    if best is not None:
        facts.append((f"best {best.name}", number(best.value), ""))
        facts.append(("best epoch", number(recording.epochs[best.at] + 1), ""))
    known = recording.progress
    stopped = "stopped early" if known.get("stop_reason") else ""
    facts.append(("epochs recorded", number(len(recording.epochs)), stopped))
    if known.get("step"):
        facts.append(("training steps", number(known["step"]), ""))
    seconds = known.get("elapsed_s")
    if seconds:
        facts.append(("time", duration(seconds), ""))
        each = "samples" if known.get("samples") else "step"
        if known.get(each):
            per_epoch = f"{duration(seconds / len(recording.epochs))} for an epoch"
            facts.append(
                (f"{each.rstrip('s')}s per second", number(known[each] / seconds), per_epoch)
            )
    elif known.get("steps_per_second"):
        facts.append(("steps per second", number(known["steps_per_second"]), "median of epochs"))
    elif "steps_per_second" in recording.history:
        speeds = [v for v in recording.history["steps_per_second"] if math.isfinite(v)]
        if speeds:
            facts.append(("steps per second", number(sum(speeds) / len(speeds)), "mean of epochs"))
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"{f'<small>{escape(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in facts
    )
    return f'<dl class="facts">{cells}</dl>'


def runs_of(recordings: Sequence[Recording]) -> str:
    """Return a table that compares runs, and says which color is whose."""
    bests = [best_epoch_of(recording.history) for recording in recordings]
    found = [best for best in bests if best is not None]
    comparable = len({best.name for best in found}) == 1
    lowest = min(best.value for best in found) if comparable else None
    heading = f"best {found[0].name}" if comparable else "best"

    def what(best: BestEpoch) -> str:
        return "" if comparable else f"{best.name} "

    rows = []
    for run, (recording, best) in enumerate(zip(recordings, bests, strict=True)):
        line = f'<line x1="0" x2="22" y1="4" y2="4" stroke="var(--c{run % 8})" stroke-width="3"/>'
        time = recording.progress.get("elapsed_s")
        cells = [
            number(len(recording.epochs)),
            _NONE if best is None else f"{what(best)}{number(best.value)}",
            _NONE if best is None else number(recording.epochs[best.at] + 1),
            _NONE if time is None else duration(time),
        ]
        first = best is not None and best.value == lowest
        rows.append(
            f'<tr{" class=best-row" if first else ""}><th scope="row">'
            f'<svg viewBox="0 0 22 8" width="22" height="8" aria-hidden="true">{line}</svg> '
            f"{escape(recording.name)}</th>"
            f"{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        )
    return _section(
        "Runs",
        _table(["run", "epochs", heading, "best epoch", "time"], "".join(rows), "numbers"),
        "runs",
    )


def decisions_of(recording: Recording) -> str:
    """Return the table of what callbacks decided; empty without a decision."""
    if not recording.decisions:
        return ""
    saved = [each for each in recording.decisions if each.action in _SAVES]
    quiet = (*saved[:-1], *(each for each in recording.decisions if each.action == "skipped"))
    hidden = {id(each) for each in quiet}
    told = [each for each in recording.decisions if id(each) not in hidden]
    left_out = len(recording.decisions) - len(told) + max(0, len(told) - _MOST_DECISIONS)
    rows = "".join(
        f'<tr><th scope="row">{each.epoch + 1:,}</th><td>{escape(each.callback)}</td>'
        f"<td>{_sign(each.action)}{escape(each.action)}</td><td>{escape(each.cause)}</td></tr>"
        for each in told[-_MOST_DECISIONS:]
    )
    heads = ["epoch", "callback", "did", "because"]
    table = _table(heads, rows, "wrap told") if rows else ""
    if left_out:
        counts = Counter(f"{each.callback} {each.action}" for each in recording.decisions)
        summed = ", ".join(f"{name}: {count:,}" for name, count in counts.most_common())
        table += f'<p class="note">{left_out:,} more are left out. All: {escape(summed)}.</p>'
    return _section("Decisions", table, "decisions")


def pairs_of(
    title: str, recordings: Sequence[Recording], attribute: str, without: Sequence[str] = ()
) -> str:
    """Return a table of names and values, a column for each run; empty without a value."""
    columns: list[Mapping[str, Any]] = [_flat(getattr(each, attribute)) for each in recordings]
    names = [
        name
        for name in dict.fromkeys(name for column in columns for name in column)
        if name not in without
    ]
    if not names:
        return ""
    rows = "".join(
        f"<tr{' class=best-row' if len({str(c.get(name)) for c in columns}) > 1 else ''}>"
        f'<th scope="row">{escape(name)}</th>'
        f"{''.join(f'<td>{escape(_shown(column.get(name)))}</td>' for column in columns)}</tr>"
        for name in names
    )
    heads = ["", *(each.name for each in recordings)] if len(recordings) > 1 else ["name", "value"]
    return _section(title, _table(heads, rows, "wrap"), attribute)


def models_of(recordings: Sequence[Recording]) -> str:
    """Return the tables of the models' layers; runs with the same model have one together."""
    runs: dict[str, list[str]] = {}
    for each in recordings:
        summary = each.configuration.get(SUMMARY)
        if isinstance(summary, str) and summary:
            runs.setdefault(summary, []).append(each.name)
    shared = len(runs) == 1 and len(next(iter(runs.values()))) == len(recordings)
    return "".join(
        _details(
            "Model" if shared else f"Model of {', '.join(names)}", f"<pre>{escape(table)}</pre>"
        )
        for table, names in runs.items()
    )


def values_of(recording: Recording) -> str:
    """Return the metrics as a table; of a long run, epochs at equal distances and the best one."""
    count = len(recording.epochs)
    positions = set(range(0, count, -(-count // _MOST_ROWS))) | {count - 1}
    best = best_epoch_of(recording.history)
    if best is not None:
        positions.add(best.at)
    rows = []
    for at in sorted(positions):
        cells = "".join(f"<td>{number(float(v[at]))}</td>" for v in recording.history.values())
        marked = " class=best-row" if best is not None and at == best.at else ""
        rows.append(f'<tr{marked}><th scope="row">{recording.epochs[at] + 1:,}</th>{cells}</tr>')
    note = "" if len(positions) == count else f" {len(positions)} of {count:,} epochs are shown."
    names = ["epoch", *recording.history]
    said = f"The best epoch is bold; {_NONE} is no finite value.{note}"
    table = _table(names, "".join(rows), "numbers", said)
    return _details(f"Values of {recording.name}", table)


def _table(heads: Sequence[str], rows: str, kind: str, caption: str = "") -> str:
    cells = "".join(
        f'<th scope="col">{escape(head)}</th>' if head else "<td></td>" for head in heads
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<table class="{kind}">{said}<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _section(title: str, content: str, name: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{_scrolling(content, name)}</section>"


def _details(title: str, content: str) -> str:
    title = escape(title)
    return f"<details><summary>{title}</summary>{_scrolling(content, title)}</details>"


def _scrolling(content: str, name: str) -> str:
    """Return content that scrolls by itself, which the keyboard can reach."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{name}">{content}</div>'


def _sign(action: str) -> str:
    path = _SIGNS.get(action, _DIAMOND)
    return (
        f'<svg class="sign" viewBox="0 0 10 10" aria-hidden="true"><path class="flag" d="{path}"/>'
        "</svg>"
    )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name} ")
        else:
            found[f"{before}{name}"] = value
    return found


def _shown(value: Any) -> str:
    return _NONE if value is None else number(value)
