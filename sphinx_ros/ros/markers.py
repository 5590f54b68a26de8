"""Boxes in pixels to markers in front of the camera, for rviz. Knows numpy, OpenCV and messages.

rviz draws nothing in two dimensions, but its Camera display projects markers with the P matrix of
the camera info: lines at any depth along the rays of a box's corners land on the box. In the 3D
view the same markers show where the box points.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sphinx_ros.draw import label_colour
from sphinx_ros.ros.messages import CameraInfo, Header, Marker, MarkerArray
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.types import COCO_EDGES, Detection, Pose

TEXT_SHARE = 0.04  # height of the letters as a share of the picture's height
LINE_SHARE = 0.005


def lift(
    points: Sequence, info: CameraInfo, size: tuple[int, int], depth: float
) -> np.ndarray | None:
    """Raw pixels [N, 2] to points [N, 3] in the optical frame, metres; None if uncalibrated.

    size: (width, height) of the picture; where camera info describes another size, pixels are
    scaled to it. Distorted pixels are rectified first, as the Camera display knows P alone.
    """
    k = np.array(info.k, float).reshape(3, 3)
    p = np.array(info.p, float).reshape(3, 4)
    if k[0, 0] <= 0 or k[1, 1] <= 0:
        return None
    if p[0, 0] <= 0 or p[1, 1] <= 0:
        p = np.hstack([k, np.zeros((3, 1))])
    points = np.asarray(points, float).reshape(-1, 2)
    if info.width and info.height:
        points = points * [info.width / size[0], info.height / size[1]]
    points = points - 0.5  # calibrations count from the middle of the first pixel
    d, r = np.array(info.d, float), np.array(info.r, float).reshape(3, 3)
    rotation = r if np.any(r) else np.eye(3)
    if np.any(d) and len(points):
        undistort = (
            cv2.fisheye.undistortPoints
            if info.distortion_model == "equidistant"
            else cv2.undistortPoints
        )
        points = undistort(points[:, None], k, d, R=rotation, P=p[:, :3]).reshape(-1, 2)
    x = ((points[:, 0] - p[0, 2]) * depth - p[0, 3]) / p[0, 0]
    y = ((points[:, 1] - p[1, 2]) * depth - p[1, 3]) / p[1, 1]
    return np.stack([x, y, np.full_like(x, depth)], axis=1)


def marker_array(
    outcomes: Sequence[Outcome], info: CameraInfo, depth: float
) -> MarkerArray | None:
    """All boxes and skeletons of one picture, replacing those of the one before.

    depth: metres in front of the camera. None where the camera is not calibrated.
    """
    markers = MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
    if info.k[0] <= 0:
        return None
    for outcome in outcomes:
        markers.markers[0].header = outcome.header or Header()
        for item in outcome.boxes:
            markers.markers += _box(item, outcome, info, depth)
        for pose in outcome.people:
            markers.markers += _skeleton(pose, outcome, info, depth)
    for number, marker in enumerate(markers.markers):
        marker.id = number
    return markers


def _box(item: Detection, outcome: Outcome, info: CameraInfo, depth: float) -> list[Marker]:
    size, (x0, y0, x1, y1) = (outcome.width, outcome.height), item.box
    outline = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    corners = lift(outline, info, size, depth)
    if corners is None or not np.isfinite(corners).all():
        return []
    frame = _marker(outcome, Marker.LINE_STRIP, label_colour(item.label))
    frame.scale.x = depth * LINE_SHARE
    frame.points = [_point(frame, corner) for corner in corners]
    words = _marker(outcome, Marker.TEXT_VIEW_FACING, label_colour(item.label))
    words.text = item.label
    words.scale.z = float(TEXT_SHARE * np.ptp(lift([(0, 0), size], info, size, depth)[:, 1]))
    middle = (corners[0] + corners[1]) / 2 - (0, words.scale.z / 2, 0)
    words.pose.position = _point(words, middle)
    return [frame, words]


def _skeleton(pose: Pose, outcome: Outcome, info: CameraInfo, depth: float) -> list[Marker]:
    places = [(k.x, k.y) for k in pose.keypoints]
    points = lift(places, info, (outcome.width, outcome.height), depth)
    if points is None or len(points) != 17:
        return []
    bones = _marker(outcome, Marker.LINE_LIST, label_colour("person"))
    bones.scale.x = depth * LINE_SHARE
    for one, other in COCO_EDGES:
        if np.isfinite(points[[one, other]]).all():
            bones.points += [_point(bones, points[i]) for i in (one, other)]
    return [bones] if bones.points else []


def _marker(outcome: Outcome, kind: int, colour) -> Marker:
    marker = Marker(header=outcome.header or Header(), ns="sphinx", type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.color.r, marker.color.g, marker.color.b = (c / 255 for c in colour)
    marker.color.a = 1.0
    return marker


def _point(marker: Marker, xyz):
    """A geometry_msgs/Point, whose class the marker's own position lends."""
    point = type(marker.pose.position)()
    point.x, point.y, point.z = (float(v) for v in xyz)
    return point
