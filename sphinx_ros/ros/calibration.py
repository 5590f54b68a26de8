"""Camera info and pixels -> points in front of the camera, or why that is not possible.

Knows no message: whatever has the fields of sensor_msgs/CameraInfo will do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from sphinx_ros.ros.lettering import cut

PINHOLE = ("", "plumb_bob", "rational_polynomial", "rational", "radtan", "thin_prism", "tilted")
"""Distortion models that are the first coefficients of OpenCV's pinhole model, in its order."""

FISHEYE = ("equidistant", "fisheye", "kannala_brandt")
"""Names of OpenCV's fisheye model."""

PINHOLE_LENGTHS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV takes; fewer are those with zeros behind them."""

FISHEYE_LENGTH = 4

SHOWN = 60
"""Letters of a name in a message that a warning shows."""

FOCAL_LENGTHS = (0.01, 1000.0)
"""Least and largest focal length as a share of the picture's side: a view of 179 degrees, and of
a twentieth of a degree."""

LARGEST_SIDE = 1_000_000
"""Pixels of a calibrated picture's side, and of what a calibration shifts it by."""

FARTHEST = 50.0
"""Largest x or y at depth 1 (89 degrees); OpenCV gives any number for rays farther out."""


class Unusable(NamedTuple):
    """Why a calibration can't be used. kind: one of a few words; text: a sentence with values."""

    kind: str
    text: str


def why_unusable(info: Any) -> Unusable | None:
    """Why points can't be lifted with a sensor_msgs/CameraInfo; None if they can. Never raises."""
    try:
        k, d, r, p = (np.array(getattr(info, name), float).ravel() for name in "kdrp")
        size = (int(info.width), int(info.height))
    except (TypeError, ValueError, AttributeError) as error:
        return Unusable("fields", f"camera info can't be read ({cut(str(error), SHOWN)})")
    if (len(k), len(r), len(p)) != (9, 9, 12):
        counts = f"{len(k)}, {len(r)} and {len(p)}"
        return Unusable("counts", f"K, R and P have {counts} numbers; they must have 9, 9 and 12")
    for name, values in zip("KDRP", (k, d, r, p), strict=True):
        if not np.isfinite(values).all():
            text = f"{name} holds NaN or infinite numbers; calibrate the camera again"
            return Unusable(f"numbers of {name}", text)
    if k[0] <= 0 or k[4] <= 0:
        text = f"K has the focal lengths {k[0]:g} and {k[4]:g}: the camera is not calibrated"
        return Unusable("focal lengths", text)
    if min(size) <= 0:
        text = f"the calibrated picture is {size[0]}x{size[1]} pixels; both must be above 0"
        return Unusable("size", text)
    if reason := _why_absurd(k, p, size):
        return reason
    turn = r.reshape(3, 3)
    if turn.any() and not np.allclose(turn @ turn.T, np.eye(3), atol=1e-2):
        text = "R is no rotation; it must be orthonormal, or all zeros for none"
        return Unusable("rotation", text)
    return _why_distorted(str(info.distortion_model), d)


def _why_absurd(k: np.ndarray, p: np.ndarray, size: tuple[int, int]) -> Unusable | None:
    """Finite numbers that no camera has. P counts where it is filled."""
    if max(size) > LARGEST_SIDE:
        text = f"the calibrated picture is {size[0]}x{size[1]} pixels; calibrate the camera again"
        return Unusable("size", text)
    matrices = {"K": (k[0], k[4], k[2], k[5])}
    if p[0] > 0 and p[5] > 0:
        matrices["P"] = (p[0], p[5], p[2], p[6])
    low, high = FOCAL_LENGTHS
    for name, (*focal, x, y) in matrices.items():
        if not all(low <= f / side <= high for f, side in zip(focal, size, strict=True)):
            text = (
                f"{name} has the focal lengths {focal[0]:g} and {focal[1]:g} px for a picture of "
                f"{size[0]}x{size[1]}; each must be {low:g} to {high:g} times its side: calibrate "
                "the camera again"
            )
            return Unusable(f"focal lengths of {name}", text)
        if max(abs(x), abs(y)) > LARGEST_SIDE:
            text = f"{name} has its centre at {x:g}, {y:g} px; calibrate the camera again"
            return Unusable(f"centre of {name}", text)
    return None


def _why_distorted(model: str, d: np.ndarray) -> Unusable | None:
    used = len(np.trim_zeros(d, "b"))
    name, shown = _plain(model), cut(repr(model), SHOWN)
    if not used:
        return None
    if name not in PINHOLE + FISHEYE:
        text = (
            f"the distortion model {shown} is unknown; known are plumb_bob, rational_polynomial "
            "and equidistant: publish a rectified picture and its camera info"
        )
        return Unusable("distortion model", text)
    most = FISHEYE_LENGTH if name in FISHEYE else PINHOLE_LENGTHS[-1]
    if used > most:
        text = f"the distortion model {shown} has {used} coefficients; it may have {most}"
        return Unusable("coefficients", text)
    return None


class CalibrationCheck:
    """Says why a calibration can't be used, once for each kind of reason."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def news(self, info: Any) -> Unusable | None:
        """The reason, if none of its kind was said before; else None."""
        reason = why_unusable(info)
        if reason is None or reason.kind in self._said:
            return None
        self._said.add(reason.kind)
        return reason


def lift(
    points: Sequence | np.ndarray, info: Any, size: tuple[int, int], depth: float
) -> np.ndarray | None:
    """Raw pixels [N, 2] to points [N, 3] in the optical frame, metres. Never raises.

    Distorted pixels are rectified first, as rviz's Camera display knows P alone. What is no place
    in the picture (NaN) or can't be rectified is NaN.

    Args:
        info: sensor_msgs/CameraInfo. K, D and P are those of the whole sensor; where the picture
            has another size or shows a part of it, its pixels become the sensor's, see
            :func:`window`.
        size: (width, height) of the picture.
        depth: z of the points, metres.

    Returns:
        None where the camera info can't be used, see :func:`why_unusable`.
    """
    if why_unusable(info) is not None or min(size) <= 0:
        return None
    k, p = np.array(info.k, float).reshape(3, 3), projection(info)
    left, top, wide, high = window(info, size)
    scale = (wide / size[0], high / size[1])
    places = np.array(points, float).reshape(-1, 2) * scale + (left, top)
    places -= 0.5  # calibrations count from the middle of the first pixel
    known = np.isfinite(places).all(axis=1)
    places[known] = _rectified(places[known], info, k, p[:, :3])
    x = ((places[:, 0] - p[0, 2]) * depth - p[0, 3]) / p[0, 0]
    y = ((places[:, 1] - p[1, 2]) * depth - p[1, 3]) / p[1, 1]
    lifted = np.stack([x, y, np.full_like(x, depth)], axis=1)
    lost = ~(np.abs(lifted[:, :2]).max(axis=1, initial=0.0) <= FARTHEST * abs(depth))  # NaN, too
    lifted[lost] = np.nan
    return lifted


def window(info: Any, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What a picture shows of the sensor: left, top, width and height in the sensor's pixels.

    That is the camera info's `roi`, before binning, if it is set to a part of the sensor; of a
    rectified picture, too, as image_proc makes it. Some drivers fill `roi` and send all of the
    sensor all the same, so a picture of the whole size is taken for the whole.

    Args:
        info: a usable sensor_msgs/CameraInfo. size: (width, height) of the picture.
    """
    full = int(info.width), int(info.height)
    whole = (0, 0, *full)
    roi = getattr(info, "roi", None)
    if roi is None:
        return whole
    left, top = int(roi.x_offset), int(roi.y_offset)
    wide, high = int(roi.width), int(roi.height)
    inside = left + wide <= full[0] and top + high <= full[1]
    if min(wide, high) <= 0 or not inside or (wide, high) == full:
        return whole
    binning = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    binned = full[0] // binning[0], full[1] // binning[1]
    part = wide // binning[0], high // binning[1]
    return whole if size in (full, binned) and size != part else (left, top, wide, high)


def of_rectified(info: Any) -> Any:
    """The calibration of pictures that are rectified already: that of P, without distortion.

    camera_info beside such a topic (image_rect) still tells of the raw pictures.
    """
    p = np.array(info.p, float).reshape(-1)
    if len(p) != 12 or not (p[0] > 0 and p[5] > 0):
        return info  # nothing is known of the rectified ones
    made = copy.copy(info)
    made.k, made.r, made.d = list(p.reshape(3, 4)[:, :3].ravel()), list(np.eye(3).ravel()), []
    return made


def projection(info: Any) -> np.ndarray:
    """P [3, 4] of a usable camera info; K where there is none."""
    p = np.array(info.p, float).reshape(3, 4)
    if p[0, 0] > 0 and p[1, 1] > 0:
        return p
    return np.hstack([np.array(info.k, float).reshape(3, 3), np.zeros((3, 1))])


def _rectified(points: np.ndarray, info: Any, k: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Distorted pixels [N, 2] -> those of the rectified picture."""
    d, turn = np.trim_zeros(np.array(info.d, float), "b"), np.array(info.r, float).reshape(3, 3)
    if not len(d) or not len(points):
        return points
    if not turn.any():
        turn = np.eye(3)
    fisheye = _plain(info.distortion_model) in FISHEYE
    lengths = (FISHEYE_LENGTH,) if fisheye else PINHOLE_LENGTHS
    padded = np.zeros(next(length for length in lengths if length >= len(d)))
    padded[: len(d)] = d
    undistort = cv2.fisheye.undistortPoints if fisheye else cv2.undistortPoints
    try:
        return undistort(points[:, None], k, padded, R=turn, P=p).reshape(-1, 2)
    except cv2.error:  # coefficients that OpenCV can't invert
        return np.full_like(points, np.nan)


def _plain(model: str) -> str:
    return "_".join(str(model).lower().replace("-", " ").replace("_", " ").split())
