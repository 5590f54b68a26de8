"""Boxes, points and joints in pixels -> markers in front of the camera, for rviz.

rviz draws nothing in two dimensions, but its Camera display projects markers with the P matrix of
the camera info: lines at any depth along the rays of a box's corners land on the box. In the 3D
view the same markers show where the box points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sphinx_ros.ros.calibration import lift, projection, window
from sphinx_ros.ros.captions import Caption, captions_of
from sphinx_ros.ros.lettering import Plates, in_ascii
from sphinx_ros.ros.marker_parts import new_lines, new_marker, new_text, point_of
from sphinx_ros.ros.messages import CameraInfo, Header, Marker
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.types import COCO_EDGES, Detection, Keypoint, Pose

TEXT_SHARE = 0.04
"""Height of the letters as a share of the picture's height."""

LINE_SHARE = 0.005
"""Thickness of lines as a share of the depth."""

CROSS_SHARE = 0.02
"""Half the width of a point's cross as a share of the picture's height."""


class Sheet:
    """The picture of one pass, in front of the camera.

    info: a usable calibration. size: (width, height) of the picture, px. depth: m.
    """

    def __init__(self, header: Header, info: CameraInfo, size: tuple[int, int], depth: float):
        self.header, self.info, self.size, self.depth = header, info, size, depth
        self.plates = Plates(*size, TEXT_SHARE * size[1])
        self.cross = CROSS_SHARE * size[1]

    def markers(self, outcomes: Sequence[Outcome]) -> list[Marker]:
        """All that is on the sheet; the words last, so that they find free ground."""
        made: list[Marker | None] = []
        for outcome in outcomes:
            made += [self._frame(item) for item in outcome.boxes]
            made += [self._cross(spot) for spot in outcome.points]
            made += [self._skeleton(pose) for pose in outcome.people]
        for outcome in outcomes:
            for caption in captions_of(outcome, self.cross):
                made += self._words(caption)
        return [marker for marker in made if marker is not None]

    def _frame(self, item: Detection) -> Marker | None:
        x0, y0, x1, y1 = item.box
        corners = self._lift([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
        if not np.isfinite(corners).all():
            return None
        lines = new_marker(self.header, Marker.LINE_STRIP, item.label)
        lines.scale.x = self.depth * LINE_SHARE
        lines.points = [point_of(corner) for corner in corners]
        return lines

    def _cross(self, spot: Keypoint) -> Marker | None:
        x, y, reach = spot.x, spot.y, self.cross
        ends = self._lift([(x - reach, y), (x + reach, y), (x, y - reach), (x, y + reach)])
        if not np.isfinite(ends).all():
            return None
        pairs = [ends[:2], ends[2:]]
        return new_lines(self.header, spot.name, pairs, self.depth * LINE_SHARE)

    def _skeleton(self, pose: Pose) -> Marker | None:
        joints = self._lift([(joint.x, joint.y) for joint in pose.keypoints])
        bones = [joints[list(ends)] for ends in COCO_EDGES]
        return new_lines(self.header, "person", bones, self.depth * LINE_SHARE)

    def _words(self, caption: Caption) -> list[Marker | None]:
        """The words of a box, and below them where the thing is, each a marker of its own.

        rviz makes the gap between two rows of one text a centimetre, at any depth.
        """
        if not caption.rows or not all(map(math.isfinite, caption.box)):
            return []
        rows = [row for row in map(in_ascii, caption.rows) if row]
        rows = [self.plates.fit(row) for row in rows]
        *_, high = window(self.info, self.size)
        height = TEXT_SHARE * self.depth * high / projection(self.info)[1, 1]
        middles = self._lift(self.plates.place(rows, caption.box))
        return [
            new_text(self.header, caption.name, row, middle, height)
            for row, middle in zip(rows, middles, strict=True)
        ]

    def _lift(self, pixels: Sequence) -> np.ndarray:
        points = lift(pixels, self.info, self.size, self.depth)
        assert points is not None, "the caller asks why_unusable first"
        return points
