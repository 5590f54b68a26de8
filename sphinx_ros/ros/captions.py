"""Outcomes -> the words that are shown: beside boxes and points, and below the picture.

The same for markers, annotations and the annotated picture. Knows no message and no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sphinx_ros.draw import with_score
from sphinx_ros.errors import Status
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import XYZ
from sphinx_ros.types import Box


class Caption(NamedTuple):
    """What is written beside a box or a point.

    name: its label, of which its colour follows. words: the label with its score. position:
    where it is in space, metres; NaN where unknown. box: what it is written beside, px.
    """

    name: str
    words: str
    position: XYZ
    box: Box


def captions_of(outcome: Outcome, reach: float) -> Iterator[Caption]:
    """Of all boxes and then of all points. reach: half the size of a point's sign, px."""
    for number, item in enumerate(outcome.boxes):
        position = outcome.positions.box(number).position
        yield Caption(item.label, with_score(item.label, item.score), position, item.box)
    for number, spot in enumerate(outcome.points):
        words, position = with_score(spot.name, spot.score), outcome.positions.point(number)
        box = (spot.x - reach, spot.y - reach, spot.x + reach, spot.y + reach)
        yield Caption(spot.name, words, position, box)


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
