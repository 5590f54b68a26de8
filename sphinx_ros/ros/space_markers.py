"""Positions of an answer's things -> markers where the things are, for rviz's 3D view.

A thing is a box of lines with its middle at the position; one of unknown size, and a point, is a
small ball; a person is the bones between the joints whose positions are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from sphinx_ros.ros.captions import Caption, captions_of
from sphinx_ros.ros.lettering import in_ascii
from sphinx_ros.ros.marker_parts import new_lines, new_marker, new_text, point_of
from sphinx_ros.ros.messages import Header, Marker
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import XYZ, Place
from sphinx_ros.types import COCO_EDGES, COCO_KEYPOINTS

THICK = 0.004
"""Metres: thickness of lines, and the least side of a box."""

BALL = 0.02
"""Metres: diameter of what stands for a point, and for a thing of unknown size."""

LETTERS = (0.02, 0.2)
"""Metres: least and greatest height of letters; between, a third of the thing's largest side."""

_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
EDGES = np.array(
    [
        (_CORNERS[i], _CORNERS[j])
        for i, j in itertools.combinations(range(8), 2)
        if np.abs(_CORNERS[i] - _CORNERS[j]).sum() == 1
    ]
)
"""The 12 edges [12, 2, 3] of a cube of side 1 around the origin."""


def in_space(outcome: Outcome) -> list[Marker]:
    """The markers of an outcome's things whose positions are known; none without positions."""
    where = outcome.positions
    if not where.frame:
        return []
    header = Header(frame_id=where.frame)
    if outcome.header is not None:
        header.stamp = outcome.header.stamp
    up = turned((0.0, -1.0, 0.0), where.orientation)  # of the picture
    made: list[Marker | None] = []
    for number, caption in enumerate(captions_of(outcome, 0.0)):
        box = number < len(outcome.boxes)
        spot = number - len(outcome.boxes)
        place = where.box(number) if box else Place(position=where.point(spot))
        made += _thing(header, caption, place, where.orientation, up)
    for person in range(len(outcome.people)):
        joints = [where.joint(person, number) for number in range(len(COCO_KEYPOINTS))]
        bones = [[joints[end] for end in ends] for ends in COCO_EDGES]
        made.append(new_lines(header, "person", bones, THICK))
    return [marker for marker in made if marker is not None]


def turned(xyz: XYZ, quaternion: Sequence[float]) -> np.ndarray:
    """A vector [3], turned by a unit quaternion (x, y, z, w)."""
    axis, w = np.array(quaternion[:3], float), float(quaternion[3])
    across = 2 * np.cross(axis, xyz)
    return np.array(xyz, float) + w * across + np.cross(axis, across)


def _thing(
    header: Header, caption: Caption, place: Place, turn: Sequence[float], up: np.ndarray
) -> list[Marker | None]:
    """A box or a ball, and its words on top."""
    if not place.known:
        return []
    sized = all(map(math.isfinite, place.size))
    size = np.maximum(place.size, THICK) if sized else np.full(3, BALL)
    if sized:
        solid = new_lines(header, caption.name, EDGES * size, THICK)
        assert solid is not None, "the edges of a known size are finite"
        sides = solid.pose.orientation
        sides.x, sides.y, sides.z, sides.w = (float(value) for value in turn)
    else:
        solid = new_marker(header, Marker.SPHERE, caption.name)
        solid.scale.x = solid.scale.y = solid.scale.z = BALL
    solid.pose.position = point_of(place.position)
    height = float(np.clip(size.max() / 3, *LETTERS))
    top = np.array(place.position) + up * (size[1] / 2 + height)
    said = in_ascii(" ".join(caption.rows))
    return [solid, new_text(header, caption.name, said, top, height)]
