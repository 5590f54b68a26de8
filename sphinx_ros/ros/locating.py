"""Boxes and points of a picture, its depth and its calibration -> where they are in space.

Positions are in the camera's optical frame (x right, y down, z forward; REP 103), metres. Whatever
can't be known is NaN: no depth in the middle of the box, outside the picture, no calibration.

A box holds background too, so its thing is what lies in the middle part, and whatever is about as
near (:data:`BAND`). What a robot goes for is the middle of the thing, and depth shows its near
side alone: the middle lies behind the median of what is seen by :data:`BEHIND` of half its mean
width, as of a body that is about as deep as wide, but by no more than its visible side is curved
or bent, so that a door or a sheet of paper stays where it is seen. Measured by bench/depth.py.
Points and joints are on the surface that is seen: what lies behind it nobody knows.
Knows no message: whatever has the fields of sensor_msgs/CameraInfo will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from sphinx_ros.image.depth import DepthPicture
from sphinx_ros.ros.calibration import lift
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import UNKNOWN, XYZ, Place, Positions
from sphinx_ros.types import Box, Keypoint, Visibility

CORE = 0.4
"""Share of a box's sides that its middle part has."""

LEAST_KNOWN = 0.125
"""Share of the middle part, and of a point's window, that must have a depth."""

BAND = 0.45
"""How far from the depth in its middle a thing reaches, as a share of its larger side."""

BEHIND = 0.75
"""Where the middle of a thing lies behind its visible side, as a share of half its mean width.

By geometry a ball's is at 0.9, an upright can's at 0.87, a cube's at 1 with a face to the camera
and at 0.5 with an edge."""

ENDS = (5.0, 95.0)
"""Percentiles between which a side's curvature is measured."""

NEAR = 2.0
"""Percentile of the depth that counts as a thing's nearest point."""

MOST = 64
"""Samples along a side of a box that are looked at."""

WINDOW = 0.005
"""Half the side of a point's window as a share of the picture's larger side; at least 1 pixel."""


class Scene:
    """A picture's depth and calibration.

    Args:
        info: sensor_msgs/CameraInfo of the picture.
        size: (width, height) of the picture whose pixels are asked for.
        frame: name of the camera's optical frame.

    Raises:
        BadImage: the depth is not of the picture's shape, or is beyond all measure.
    """

    def __init__(self, depth: DepthPicture, info: Any, size: tuple[int, int], frame: str):
        depth.check_fits(*size)
        depth.check_range()
        self.frame = frame
        self._depth, self._info, self._size = depth, info, size
        self._scale = (depth.width / size[0], depth.height / size[1])

    def place(self, box: Box) -> Place:
        """Where the thing of a box is, and how large."""
        x0, y0, x1, y1 = box
        if not all(map(math.isfinite, box)):
            return Place()
        wide, high = CORE / 2 * (x1 - x0), CORE / 2 * (y1 - y0)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        seen = _median(self._metres((x - wide, y - high, x + wide, y + high)))
        if math.isnan(seen):
            return Place()
        surface, width, height = self._spanned(box, seen)
        inside = self._metres(box)
        own = np.abs(inside - seen) < BAND * max(width, height)  # False where NaN
        if not own.any() or math.isnan(width + height):
            return Place()
        own_depth = inside[own]
        mean_width = min(width, height) * own.sum() / np.isfinite(inside).sum()
        behind = min(BEHIND * mean_width / 2, _bulge(inside, own))
        middle = float(np.median(own_depth) + behind)
        position, width, height = self._spanned(box, middle)
        deep = 2 * (middle - float(np.percentile(own_depth, NEAR)))
        return Place(position, (width, height, deep), surface)

    def point(self, x: float, y: float) -> XYZ:
        """Where the surface is that is seen at a pixel."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return UNKNOWN
        # The window is one of whole depth pixels around the one that holds the point.
        reach = max(1, round(WINDOW * max(self._depth.width, self._depth.height)))
        column, row = math.floor(x * self._scale[0]), math.floor(y * self._scale[1])
        if not (0 <= column < self._depth.width and 0 <= row < self._depth.height):
            return UNKNOWN
        around = (row - reach, row + reach + 1, column - reach, column + reach + 1)
        seen = _median(self._depth.metres(*around))
        return self._lift([(x, y)], seen)[0]

    def joint(self, item: Keypoint) -> XYZ:
        """Where a joint or named point is; one behind something is not where that is seen."""
        return UNKNOWN if item.visibility is Visibility.OCCLUDED else self.point(item.x, item.y)

    def _metres(self, box: Box) -> np.ndarray:
        """The depth inside a box of the picture's pixels, at least one of its own pixels."""
        left, right = math.floor(box[0] * self._scale[0]), math.ceil(box[2] * self._scale[0])
        top, bottom = math.floor(box[1] * self._scale[1]), math.ceil(box[3] * self._scale[1])
        return self._depth.metres(top, max(bottom, top + 1), left, max(right, left + 1), most=MOST)

    def _spanned(self, box: Box, depth: float) -> tuple[XYZ, float, float]:
        """The middle of a box at a depth, and how wide and high the box is there."""
        x0, y0, x1, y1 = box
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        middle, *ends = self._lift([(x, y), (x0, y), (x1, y), (x, y0), (x, y1)], depth)
        left, right, top, bottom = ends
        return middle, math.dist(left, right), math.dist(top, bottom)

    def _lift(self, pixels: list[tuple[float, float]], depth: float) -> list[XYZ]:
        points = lift(pixels, self._info, self._size, depth)
        if points is None or math.isnan(depth):
            return [UNKNOWN] * len(pixels)
        return [
            (float(x), float(y), float(z)) if math.isfinite(x + y) else UNKNOWN
            for x, y, z in points
        ]


def located(outcome: Outcome, scene: Scene) -> Positions:
    """Where an outcome's boxes, points and people are, in the scene's frame."""
    boxes = tuple(scene.place(item.box) for item in outcome.boxes)
    points = _joints(outcome.points, scene)
    people = tuple(_joints(person.keypoints, scene) for person in outcome.people)
    known = [place.position for place in boxes] + [
        *points,
        *(one for all_ in people for one in all_),
    ]
    if not any(math.isfinite(sum(one)) for one in known):
        return Positions()
    return Positions(scene.frame, boxes=boxes, points=points, people=people)


def _joints(items: Iterable[Keypoint], scene: Scene) -> tuple[XYZ, ...]:
    return tuple(scene.joint(item) for item in items)


def _median(values: np.ndarray) -> float:
    """Of what is known; NaN where too little is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size > LEAST_KNOWN * values.size else math.nan


def _bulge(inside: np.ndarray, own: np.ndarray) -> float:
    """How far a thing's visible side is curved or bent, metres; 0 for a flat one, slanted or not.

    inside: [n, m] depth. own: [n, m] which of it is the thing's. Inverse depth is affine in the
    pixels of a flat side, so the side is compared with the one that is fitted that way.
    """
    if own.sum() < 4:
        return 0.0
    rows, columns = np.nonzero(own)
    depth = inside[own].astype(float)
    pixels = np.stack([np.ones(len(depth)), rows, columns], axis=1)
    fitted = pixels @ np.linalg.lstsq(pixels, 1 / depth, rcond=None)[0]
    off = depth - 1 / np.maximum(fitted, 1e-3)
    low, high = np.percentile(off, ENDS)
    return float(high - low)
