"""Scores -> a table for people, in a terminal or in Markdown, and an object for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sphinx_ros.benchmarks.scoring import Score

HEAD = ("score", "correct", "95 %", "questions", "official", "counted", "published")


def as_json(scores: Sequence[Score]) -> dict[str, Any]:
    """Name -> {correct, questions, interval95, official, counted, published, source}.

    null: unknown. official and what follows stand where there is such a number.
    """
    found: dict[str, Any] = {}
    for one in scores:
        values: dict[str, Any] = {"correct": _known(one.correct), "questions": one.correct_n}
        if not math.isnan(one.low):
            values["interval95"] = [_known(one.low), _known(one.high)]
        if one.official_n:
            values |= {"official": _known(one.official), "counted": one.official_n}
        if one.source:
            values |= {"published": one.published, "source": one.source}
        found[one.name] = values
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def cells(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """The cells of each row, as text."""
    return [
        (
            one.name,
            _number(one.correct),
            "" if math.isnan(one.low) else f"{_number(one.low)}-{_number(one.high)}",
            str(one.correct_n or ""),
            _number(one.official),
            str(one.official_n or ""),
            _number(one.published),
        )
        for one in scores
    ]


def _number(value: float) -> str:
    """Shares with four digits, points with one."""
    if math.isnan(value):
        return ""
    return f"{value:.1f}" if abs(value) > 1 else f"{value:.4f}"


def plain_table(scores: Sequence[Score]) -> str:
    """Columns of equal width; those without a value are left out."""
    rows = [HEAD, *cells(scores)]
    used = [n for n in range(len(HEAD)) if any(row[n] for row in rows[1:])]
    widths = {n: max(len(row[n]) for row in rows) for n in used}
    lines = []
    for row in rows:
        parts = [row[n].ljust(widths[n]) if n == 0 else row[n].rjust(widths[n]) for n in used]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def markdown(scores: Sequence[Score], notes: Sequence[str]) -> str:
    """The table, what was left out, and where published figures stand."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in cells(scores)]
    sources = dict.fromkeys(f"{one.name}: {one.source}" for one in scores if one.source)
    lines += ["", *(f"- {note}" for note in notes)]
    lines += [f"- published {source}" for source in sources]
    return "\n".join(lines).rstrip() + "\n"
