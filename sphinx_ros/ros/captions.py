"""Outcomes -> the words that are shown: beside boxes and points, and below the picture.

The same for markers, annotations and the annotated picture. Knows no message and no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sphinx_ros.draw import labels_of
from sphinx_ros.errors import Status
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.types import Box


class Caption(NamedTuple):
    """What is written beside a box or a point.

    name: its label, of which its colour follows. rows: the label with its score, and where it is
    in space if that is known; none where it is written elsewhere. box: what they stand beside, px.
    """

    name: str
    rows: tuple[str, ...]
    box: Box


def captions_of(outcome: Outcome, reach: float) -> list[Caption]:
    """Of all boxes and then of all points. reach: half the size of a point's sign, px."""
    boxes, points, where = outcome.boxes, outcome.points, outcome.positions
    names = [*(item.label for item in boxes), *(spot.name for spot in points)]
    places = [where.box(number).position for number in range(len(boxes))]
    places += [where.point(number) for number in range(len(points))]
    sides = [item.box for item in boxes]
    sides += [(p.x - reach, p.y - reach, p.x + reach, p.y + reach) for p in points]
    rows = [
        (words, *filter(None, [position_words(place)])) if words else ()
        for words, place in zip(labels_of(boxes, points), places, strict=True)
    ]
    return [Caption(*one) for one in zip(names, rows, sides, strict=True)]


def position_words(xyz: Sequence[float]) -> str:
    """Metres -> "(0.12, -0.03, 1.04 m)"; "" where they are unknown."""
    if not all(map(math.isfinite, xyz)):
        return ""
    return f"({', '.join(f'{round(float(value), 2) + 0.0:.2f}' for value in xyz)} m)"


def spoken(outcome: Outcome) -> str:
    """What a query was answered in words, or why it was not; "" where boxes say it all."""
    if outcome.status is not Status.OK:
        return f"{outcome.query.line()} -> {outcome.status}"
    text = getattr(outcome.result, "text", "")
    return f"{outcome.query.line()} -> {text}" if text else ""
