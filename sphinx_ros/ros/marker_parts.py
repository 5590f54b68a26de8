"""A kind and a name -> one marker with all that rviz asks of it: frame, quaternion, colour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sphinx_ros.draw import label_colour
from sphinx_ros.ros.messages import Header, Marker, Point

SPACE_SHARE = 0.5
"""scale.x of a text as a share of its height: the width of a space, which rviz else gets wrong."""


def new_marker(header: Header, kind: int, name: str) -> Marker:
    """A marker at the origin of its frame, in the colour of a name. kind: a constant of Marker."""
    marker = Marker(header=without_slash(header), type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    colour = marker.color
    colour.r, colour.g, colour.b = (channel / 255 for channel in label_colour(name))
    colour.a = 1.0
    return marker


def new_lines(header: Header, name: str, pairs: Iterable[Any], thick: float) -> Marker | None:
    """Lines between pairs of points [2, 3], metres; those with NaN are left out, None for none."""
    marker = new_marker(header, Marker.LINE_LIST, name)
    marker.scale.x = thick
    for ends in pairs:
        if all(math.isfinite(value) for end in ends for value in end):
            marker.points += [point_of(end) for end in ends]
    return marker if marker.points else None


def new_text(
    header: Header, name: str, words: str, at: Sequence[float], height: float
) -> Marker | None:
    """Words around a point, letters of a height in metres; None for no words or no place."""
    if not words or not all(map(math.isfinite, at)):
        return None  # rviz takes a text without letters for an error
    marker = new_marker(header, Marker.TEXT_VIEW_FACING, name)
    marker.text = words
    marker.scale.z, marker.scale.x = height, SPACE_SHARE * height
    marker.pose.position = point_of(at)
    return marker


def point_of(xyz: Sequence[float]) -> Point:
    """Metres, as a message."""
    x, y, z = (float(value) for value in xyz)
    return Point(x=x, y=y, z=z)


def without_slash(header: Header) -> Header:
    """The header as TF2 takes it: drivers of old call a frame "/camera", which it refuses."""
    if not header.frame_id.startswith("/"):
        return header
    return Header(stamp=header.stamp, frame_id=header.frame_id.lstrip("/"))
