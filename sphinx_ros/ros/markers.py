"""Boxes in pixels to markers in front of the camera, for rviz.

rviz draws nothing in two dimensions, but its Camera display projects markers with the P matrix of
the camera info: lines at any depth along the rays of a box's corners land on the box. In the 3D
view the same markers show where the box points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sphinx_ros.draw import label_colour
from sphinx_ros.ros.calibration import lift, projection, why_unusable
from sphinx_ros.ros.lettering import Plates, in_ascii
from sphinx_ros.ros.messages import CameraInfo, Header, Marker, MarkerArray, Point
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.types import COCO_EDGES, Detection, Pose

STANDING = "standing"
"""Namespace of the markers of standing queries; rviz deletes those of one namespace alone."""

TEXT_SHARE = 0.04
"""Height of the letters as a share of the picture's height."""

SPACE_SHARE = 0.5
"""scale.x of a text as a share of its height: the width of a space, which rviz else gets wrong."""

LINE_SHARE = 0.005
"""Thickness of lines as a share of the depth."""


def marker_array(
    outcomes: Sequence[Outcome],
    info: CameraInfo,
    depth: float,
    *,
    lifetime: float = 0.0,
    ns: str = STANDING,
) -> MarkerArray | None:
    """All boxes and skeletons of one picture, replacing those of the namespace before.

    Args:
        depth: metres in front of the camera.
        lifetime: seconds after which rviz takes them down by itself; 0 is never.
        ns: namespace of the markers; those of others stay as they are.

    Returns:
        None where the camera info can't be used, see :func:`calibration.why_unusable`.
    """
    if why_unusable(info) is not None:
        return None
    shown = [one for one in outcomes if one.width > 0 and one.height > 0]
    header = next((one.header for one in outcomes if one.header), None) or Header()
    made = clear_markers(header, ns)
    if shown:
        sheet = _Sheet(header, info, (shown[0].width, shown[0].height), depth)
        boxes = [item for outcome in shown for item in outcome.boxes]
        made.markers += [*map(sheet.frame, boxes), *map(sheet.label, boxes)]
        made.markers += [sheet.skeleton(pose) for outcome in shown for pose in outcome.people]
        made.markers = [marker for marker in made.markers if marker is not None]
    for number, marker in enumerate(made.markers):
        marker.id, marker.ns = number, ns
        seconds = math.floor(lifetime)
        marker.lifetime.sec, marker.lifetime.nanosec = seconds, int(1e9 * (lifetime - seconds))
    return made


def clear_markers(header: Header | None = None, ns: str = STANDING) -> MarkerArray:
    """What takes the markers of a namespace down; those of all where it is ""."""
    return MarkerArray(markers=[Marker(header=header or Header(), ns=ns, action=Marker.DELETEALL)])


class _Sheet:
    """The picture of one pass, in front of the camera. size: (width, height), px. depth: m."""

    def __init__(self, header: Header, info: CameraInfo, size: tuple[int, int], depth: float):
        self.header, self.info, self.size, self.depth = header, info, size, depth
        self.plates = Plates(*size, TEXT_SHARE * size[1])

    def frame(self, item: Detection) -> Marker | None:
        """The lines around a box."""
        x0, y0, x1, y1 = item.box
        corners = self._lift([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
        if not np.isfinite(corners).all():
            return None
        lines = self._marker(Marker.LINE_STRIP, item.label)
        lines.scale.x = self.depth * LINE_SHARE
        lines.points = [_point(corner) for corner in corners]
        return lines

    def label(self, item: Detection) -> Marker | None:
        """The words of a box with its score: "red cube 0.83"."""
        score = "" if math.isnan(item.score) else f" {item.score:.2f}"
        words = self.plates.fit(in_ascii(item.label + score))
        if not words or not np.isfinite(item.box).all():
            return None  # rviz takes a text without letters for an error
        middle = self._lift([self.plates.place(words, item.box)])[0]
        if not np.isfinite(middle).all():
            return None
        text = self._marker(Marker.TEXT_VIEW_FACING, item.label)
        text.text = words
        text.scale.z = TEXT_SHARE * self.depth * self.info.height / projection(self.info)[1, 1]
        text.scale.x = SPACE_SHARE * text.scale.z
        text.pose.position = _point(middle)
        return text

    def skeleton(self, pose: Pose) -> Marker | None:
        """The bones between the joints that there are."""
        points = self._lift([(joint.x, joint.y) for joint in pose.keypoints])
        bones = self._marker(Marker.LINE_LIST, "person")
        bones.scale.x = self.depth * LINE_SHARE
        for ends in COCO_EDGES:
            if np.isfinite(points[list(ends)]).all():
                bones.points += [_point(points[end]) for end in ends]
        return bones if bones.points else None

    def _lift(self, pixels: Sequence) -> np.ndarray:
        points = lift(pixels, self.info, self.size, self.depth)
        assert points is not None, "the caller asks why_unusable first"
        return points

    def _marker(self, kind: int, label: str) -> Marker:
        marker = Marker(header=self.header, type=kind, action=Marker.ADD)
        marker.pose.orientation.w = 1.0
        colour = marker.color
        colour.r, colour.g, colour.b = (channel / 255 for channel in label_colour(label))
        colour.a = 1.0
        return marker


def _point(xyz: Sequence[float]) -> Point:
    x, y, z = (float(value) for value in xyz)
    return Point(x=x, y=y, z=z)
