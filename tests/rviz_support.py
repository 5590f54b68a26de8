"""What rviz does with markers, after its source: what it refuses, where its Camera display draws.

rviz2 itself can't be installed here. Facts from ros2/rviz: `CameraDisplay::updateCamera`,
`calculateProjectionMatrix` and `translatePosition` (P alone, the baseline as a shift of the
camera, planes at 0.01 and 100 m), `MarkerCommon::processMessage` and the markers' own checks.
"""

import math
from collections import Counter

import cv2
import numpy as np

NEAR, FAR = 0.01, 100.0


def in_window(points, info):
    """Points [N, 3] of the optical frame, m -> places [N, 2] in a window of the picture's size."""
    p = np.array(info.p, float).reshape(3, 4)
    if not p.any():  # rviz would divide by zero: such a camera is shown by K
        p[:, :3] = np.array(info.k, float).reshape(3, 3)
    fx, fy, cx, cy = p[0, 0], p[1, 1], p[0, 2], p[1, 2]
    camera = np.array([-p[0, 3] / fx, -p[1, 3] / fy, 0.0])
    x, y, z = (np.asarray(points, float) - camera).T
    assert ((z > NEAR) & (z < FAR)).all(), "outside the planes of the Camera display"
    device_x = (2 * fx / info.width) * x / z - 2 * (0.5 - cx / info.width)
    device_y = (2 * fy / info.height) * y / z - 2 * (0.5 - cy / info.height)
    return np.stack([(device_x + 1) / 2 * info.width, (device_y + 1) / 2 * info.height], axis=1)


def camera_display(markers, info):
    """A picture [H, W, 3] uint8 with the lines of markers, one pixel thick, each in its colour."""
    picture = np.zeros((info.height, info.width, 3), np.uint8)
    for marker in markers:
        if len(marker.points) < 2:
            continue
        ends = in_window([(p.x, p.y, p.z) for p in marker.points], info)
        step = 2 if marker.type == marker.LINE_LIST else 1
        ink = [round(255 * c) for c in (marker.color.r, marker.color.g, marker.color.b)]
        for one, other in zip(ends[:-1:step], ends[1::step], strict=True):
            pair = [tuple(int(v) for v in np.floor(end)) for end in (one, other)]
            cv2.line(picture, *pair, ink, 1)
    return picture


def numbers(marker):
    """All numbers of a marker."""
    pose, scale, colour = marker.pose, marker.scale, marker.color
    places = [pose.position, *marker.points]
    turn = pose.orientation
    return [
        *(v for p in places for v in (p.x, p.y, p.z)),
        *(turn.x, turn.y, turn.z, turn.w, scale.x, scale.y, scale.z),
        *(colour.r, colour.g, colour.b, colour.a),
    ]


def complaints(array):
    """What rviz would refuse, warn of or draw wrongly in a MarkerArray; a sentence each."""
    found, cleared, seen = [], Counter(), set()
    for number, marker in enumerate(array.markers):
        if marker.header.frame_id.startswith("/"):
            found.append(f"{number}: frame {marker.header.frame_id!r} begins with a slash")
        if not all(map(math.isfinite, numbers(marker))):
            found.append(f"{number}: NaN or infinite numbers")
        if (marker.ns, marker.id) in seen:
            found.append(f"{number}: ({marker.ns}, {marker.id}) for the second time")
        seen.add((marker.ns, marker.id))
        if marker.action == marker.DELETEALL:
            cleared[marker.ns] += 1
            continue
        if not marker.ns or cleared[marker.ns] != 1:
            found.append(f"{number}: {cleared[marker.ns]} DELETEALL before it in {marker.ns!r}")
        found += [f"{number}: {sentence}" for sentence in _of_its_kind(marker)]
    found += [f"{n} DELETEALL in {name!r}" for name, n in cleared.items() if n != 1]
    return found


def _of_its_kind(marker):
    turn, colour = marker.pose.orientation, marker.color
    length = math.hypot(turn.x, turn.y, turn.z, turn.w)
    if abs(length - 1) > 1e-6:
        yield f"a quaternion of length {length}"
    if not all(0 <= v <= 1 for v in (colour.r, colour.g, colour.b)) or not 0 < colour.a <= 1:
        yield "a colour outside 0..1"
    if marker.frame_locked or marker.action != marker.ADD:
        yield "it would move with the robot, or is not added"
    scale = (marker.scale.x, marker.scale.y, marker.scale.z)
    if marker.type == marker.TEXT_VIEW_FACING:
        if not marker.text.strip() or not marker.text.isascii() or not marker.text.isprintable():
            yield f"the text {marker.text!r}"
        if scale[2] <= 0 or not 0 < scale[0] < scale[2]:
            yield f"a text of scale {scale}: its height, and the width of a space"
    elif marker.type == marker.LINE_LIST:
        if len(marker.points) % 2 or not marker.points or scale[0] <= 0:
            yield f"{len(marker.points)} ends of lines, {scale[0]} m thick"
    elif marker.type == marker.LINE_STRIP:
        if len(marker.points) < 2 or scale[0] <= 0:
            yield f"{len(marker.points)} corners of a line, {scale[0]} m thick"
    elif marker.type not in (marker.SPHERE, marker.CUBE) or min(scale) <= 0:
        yield f"type {marker.type} of scale {scale}"
