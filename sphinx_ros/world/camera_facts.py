"""The simulated camera -> what its messages say, live and recorded. Knows no ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx_ros.world.truth import Camera

SIDES = (64, 4096)
"""How few and how many pixels a side of its picture may have."""

FRAME_ID = "camera_optical_frame"
"""x right, y down, z forward."""

JPEG_FORMAT = "rgb8; jpeg compressed bgr8"
"""The format that image_transport writes for a colour JPEG."""


def calibration(camera: Camera) -> dict[str, Any]:
    """The fields of a sensor_msgs/CameraInfo but its header, of a camera without distortion.

    Its pixel centres are whole numbers; in ours the corner of the picture is (0, 0).
    """
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5
    return {
        "width": camera.width,
        "height": camera.height,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }


def nanoseconds(header: Any) -> int:
    """The stamp of a std_msgs/Header since the epoch."""
    return header.stamp.sec * 10**9 + header.stamp.nanosec
