"""Fractions of the padded square -> places in source pixels, and how the rest is reported.

Orders inverted corners and clips to the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import Span
from sphinx_ros.types import Box, ScoreSource

Scorer = Callable[[Span], float]
"""Characters of the parsed text -> the score of what is written there, 0..1, NaN unknown."""

SLACK = 0.01
"""Points outside by this share of the square are pulled in: two decimals are that coarse."""

REPEATED = " (repeated)"
"""What is written behind a part that was said before."""


def unknown(span: Span) -> float:
    """The score of an answer without probabilities."""
    return math.nan


def source_of(score: float) -> ScoreSource:
    """Where a score comes from."""
    return ScoreSource.NONE if math.isnan(score) else ScoreSource.TOKEN_PROBABILITY


def to_source_box(box: tuple[float, ...], place: Letterbox) -> Box | None:
    """A box in fractions -> px, corners ordered, clipped; None if it lies outside the picture."""
    x0, y0, x1, y1 = place.box_to_source(box)
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    if x1 < 0 or y1 < 0 or x0 > place.width or y0 > place.height:
        return None
    # A box that has an area must keep one: one that only touches the border lies outside.
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, place.width), min(y1, place.height))
    if (x1 > x0 and clipped[2] <= clipped[0]) or (y1 > y0 and clipped[3] <= clipped[1]):
        return None
    left, top, right, bottom = (float(value) for value in clipped)
    return left, top, right, bottom


def to_source_point(point: tuple[float, float], place: Letterbox) -> tuple[float, float] | None:
    """A point in fractions -> px, pulled in from just outside; None if it is farther outside."""
    x, y = place.to_source(*point)
    slack = SLACK * place.side
    if not (-slack <= x <= place.width + slack and -slack <= y <= place.height + slack):
        return None
    return float(min(max(x, 0.0), place.width)), float(min(max(y, 0.0), place.height))


def as_written(label: str, values: tuple[float, ...]) -> str:
    """How a box or point that is no result is reported: as the model would write it."""
    tag = f"<p>{label}</p>" if label else ""
    return f"{tag}[{','.join(f'{value:g}' for value in values)}]"
