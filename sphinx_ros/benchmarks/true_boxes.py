"""Boxes and sizes as data sets give them -> checked numbers in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import checked_box, written_box
from sphinx_ros.types import Box

SLACK = 1.0
"""Pixels by which a true box may reach beyond its picture: who labels rounds."""

LARGEST = 1e9
"""Of a number of pixels."""


def is_number(value: Any) -> bool:
    """Whether a value is a number that pixels may have: neither NaN nor endless nor True."""
    # comparing never overflows, which float(10**400) does
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) <= LARGEST


def box_of(values: Any, size: tuple[float, float] | None = None, xywh: bool = False) -> Box:
    """A box as a data set gives it, checked -> x0, y0, x1, y1 in pixels.

    size: (width, height) of the picture, where it is known. xywh: x, y, width, height.

    Raises:
        BadRequest: no four finite numbers, an empty box, or one beyond the picture.
    """
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    if len(given) != 4 or not all(map(is_number, given)):
        raise BadRequest(f"the box {quoted(values)} is not four finite numbers in pixels")
    if xywh:
        x, y, wide, high = given
        given = [x, y, x + wide, y + high]
    box = checked_box([float(value) for value in given])
    if size is not None:
        width, height = size
        if min(box[:2]) < -SLACK or box[2] > width + SLACK or box[3] > height + SLACK:
            raise BadRequest(
                f"the box {written_box(box)} reaches beyond the picture of "
                f"{width:g}x{height:g} pixels"
            )
    return box


def area_of(given: Any, box: Box) -> float:
    """Of the silhouette where it is given, else of the box, px."""
    x0, y0, x1, y1 = box
    return float(given) if is_number(given) and given >= 0 else (x1 - x0) * (y1 - y0)
